// Server-sent events from a fetch body: whole `data:` payloads, however the bytes are cut.

export class SseParser {
  private pending = "";

  /** The payloads that `text` completes. Comments (keep-alive) and other fields are skipped. */
  push(text: string): string[] {
    this.pending += text;
    const events = this.pending.split(/\r?\n\r?\n/);
    this.pending = events.pop() ?? "";
    return events
      .map((event) =>
        event
          .split(/\r?\n/)
          .filter((line) => line.startsWith("data:"))
          .map((line) => line.slice(5).replace(/^ /, ""))
          .join("\n"),
      )
      .filter((payload) => payload !== "");
  }
}
