// Light or dark: the system's choice until the reader makes one.

const kTheme = "hadal.theme";

class Theme {
  dark = $state(localStorage.getItem(kTheme) ? localStorage.getItem(kTheme) === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);

  toggle(): void {
    this.dark = !this.dark;
    localStorage.setItem(kTheme, this.dark ? "dark" : "light");
    this.apply();
  }

  apply(): void {
    document.documentElement.dataset.theme = this.dark ? "dark" : "light";
  }
}

export const theme = new Theme();
