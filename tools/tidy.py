"""House rules that a compiler cannot see, run as a test. Prints file:line: rule; exit 1 when any.

Each rule is a small function of (path, lines) that yields (line number, message), so that
tidy_test.py can feed it a planted fault. There is no list of exceptions to grow: a line that has a
good reason says so with "tidy: allow" in a comment.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BANNED = {  # text -> use instead
    "std::stoi": "base/parse.h", "std::stol": "base/parse.h", "std::stof": "base/parse.h",
    "std::stod": "base/parse.h", "atoi(": "base/parse.h", "std::regex": "a hand-written scanner",
    ".at(": "a checked index", "std::cout": "base/log.h, or stdio in app", "std::cerr": "base/log.h",
    "std::shared_ptr": "unique_ptr or a reference (an immutable object may carry: tidy: allow)",
    "using namespace std": "qualified names", "assert(": "CHECK or DCHECK", "alloca(": "a buffer",
    "strcpy(": "std::string", "sprintf(": "fmt::format", "system(": "fork and exec without a shell",
}
LIMITS = {"src": 800, "test": 1200}
FUNCTION_LINES = 70
KERNEL_FUNCTION_LINES = 120
BLOB_BYTES = 512 * 1024
BLOB_EXEMPT = {"web/web.pack": 1536 * 1024, "src/app/nano/nano.gguf": 6 * 1000 * 1000}
INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')
SYSTEM_INCLUDE = re.compile(r"\s*#\s*include\s+<([^>]+)>")
ISA_HEADERS = {"immintrin.h", "arm_neon.h", "stddef.h", "stdint.h", "string.h", "float.h"}


def read_layers(text):
    """room -> rooms it may include. A room must be declared after those it uses."""
    layers = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            room, below = line.split(":")
            for other in below.split():
                if other not in layers:
                    raise ValueError(f"layers: {room} uses {other}, which is not declared before it")
            layers[room] = set(below.split())
    return layers


def layer_rule(layers):
    def check(path, lines):
        parts = pathlib.PurePath(path).parts
        if parts[0] != "src":
            return
        room = parts[1]
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            other, *rest = pathlib.PurePath(match.group(1)).parts
            if other not in layers or other == room:
                continue
            if other not in layers[room]:
                yield number, f"{room} may not include {other} (tools/layers.txt)"
            elif len(rest) != 1 and not (("_test." in path or "/testing/" in path) and rest[0] == "testing"):
                yield number, f"{match.group(1)} is private to {other}"
    return check


def banned_rule(path, lines):
    """A test may use .at() and throw: a failing test is its own report."""
    is_test = "_test." in path or "/testing/" in path
    for number, line in enumerate(lines, 1):
        if "tidy: allow" in line:
            continue
        code = line.split("//")[0]
        for word, instead in BANNED.items():
            if is_test and word == ".at(":
                continue
            if re.search(r"(?<![\w:.])" + re.escape(word) if word[0] not in ".:" else re.escape(word), code):
                yield number, f"{word} is banned, use {instead}"
        if "getenv(" in code and not path.startswith(("src/app/", "tests/", "bench/")) and "_test." not in path:
            yield number, "getenv outside app: pass settings in"
        if re.search(r"\bthrow\b", code) and path.startswith("src/") and not is_test:
            yield number, "our code throws nothing: return an Error"


def shape_rule(path, lines):
    for number, line in enumerate(lines, 1):
        if len(line) > 100 and "tidy: allow" not in line and not INCLUDE.match(line):
            yield number, "line exceeds 100 columns"
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
            yield number, "unfinished work belongs in an issue"
        if re.match(r"\s*//\s*TEST(_F|_P)?\(", line):
            yield number, "a test is commented out: fix it or delete it"
    limit = LIMITS["test" if "_test." in path else "src"]
    if len(lines) > limit:
        yield len(lines), f"file exceeds {limit} lines"
    # ISA headers are read once per instruction set, into a namespace each.
    if path.endswith(".h") and path.startswith("src/") and "/isa_" not in path and "#pragma once" not in "\n".join(lines[:3]):
        yield 1, "a header starts with #pragma once"


def function_rule(path, lines):
    """Function length by brace at the indent of the opening line; namespaces and types do not count."""
    limit = KERNEL_FUNCTION_LINES if path.startswith("src/kernels/") else FUNCTION_LINES
    start = None
    for number, line in enumerate(lines, 1):
        opens = re.match(r"^( {0,4})\S.*\)( const| override| noexcept| final|\s)*(-> [\w:<>*& ]+)?\s*(:.*)?\{$", line)
        if start is None and opens and not re.match(r"^\s*(namespace|class|struct|enum|union|if|for|while|switch|TEST)", line):
            start = (number, opens.group(1))
        elif start is not None and re.match("^" + start[1] + r"\}", line):
            length = number - start[0] + 1
            if length > limit:
                yield start[0], f"function has {length} lines, limit {limit}"
            start = None


def isa_rule(path, lines):
    """ISA files may only include what cannot emit shared inline code (docs/decisions/0003)."""
    name = pathlib.PurePath(path).name
    if not name.startswith("isa_"):
        return
    for number, line in enumerate(lines, 1):
        match = SYSTEM_INCLUDE.match(line)
        if match and match.group(1) not in ISA_HEADERS:
            yield number, f"<{match.group(1)}> in an ISA file may emit shared inline code"
        match = INCLUDE.match(line)
        if match and "/cpu/" not in match.group(1):
            yield number, f"{match.group(1)} in an ISA file: only files of kernels/cpu"


def text_rule(path, lines):
    # Written in halves, so that this file does not name them either.
    names = ("py" "pi.org", "python" "hosted", "registry." "npmjs", "npm" "js.com", "npm" "js.org", "deb." "debian.org",
             "crates" ".io", "proxy." "golang", "repo." "maven", "repo1." "maven")
    host = re.compile("|".join(re.escape(name) for name in names))
    place = re.compile(r"(^|[^a-zA-Z0-9_.])/(root|home/[a-z]+|work|farm)/")
    for number, line in enumerate(lines, 1):
        if host.search(line):
            yield number, "names a package registry's host"
        if path != "tools/tidy.py" and place.search(line):
            yield number, "names a path of one machine"


def markdown_rule(path, lines):
    fenced = False
    titles = 0
    for line in lines:
        fenced ^= line.startswith("```")
        titles += not fenced and line.startswith("# ")
    if titles != 1:
        yield 1, f"a Markdown file has exactly one title, this one {titles}"


def rules_for(path, layers):
    suffix = pathlib.PurePath(path).suffix
    if suffix in {".h", ".cc", ".cu"}:
        yield from (layer_rule(layers), banned_rule, shape_rule, function_rule, isa_rule, text_rule)
    elif suffix == ".md":
        yield from (markdown_rule, text_rule)
    elif suffix in {".py", ".sh", ".js", ".mjs", ".ts", ".svelte", ".json", ".yaml", ".yml", ".txt", ""}:
        yield text_rule


def check_file(path, text, layers):
    for rule in rules_for(path, layers):
        for number, message in rule(path, text.splitlines()):
            yield f"{path}:{number}: {message}"


def tracked_files():
    listing = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True,
                             text=True, check=True).stdout
    return [name for name in listing.splitlines() if (ROOT / name).is_file()]


def main():
    layers = read_layers((ROOT / "tools/layers.txt").read_text())
    bad = []
    files = tracked_files()
    for name in files:
        data = (ROOT / name).read_bytes()
        if len(data) > BLOB_EXEMPT.get(name, BLOB_BYTES):
            bad.append(f"{name}:1: {len(data)} bytes is too large for the repository")
        try:
            bad += check_file(name, data.decode(), layers)
        except UnicodeDecodeError:
            continue  # binary test data
    for room in {pathlib.PurePath(n).parts[1] for n in files if n.startswith("src/")} - set(layers):
        bad.append(f"src/{room}:1: this room is not in tools/layers.txt")
    print("\n".join(bad) if bad else f"tidy: {len(files)} files keep the house rules")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
