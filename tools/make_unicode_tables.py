#!/usr/bin/env python3
"""Writes src/text/tokenizer/unicode_{classes,decompositions}.cc from the Unicode Character Database.

usage: make_unicode_tables.py [UCD_DIRECTORY]

The directory is that of Debian's package `unicode-data` unless another is named. What comes out:
code point classes as ranges, canonical combining classes as ranges, canonical decompositions (one
level, Hangul left to arithmetic) and simple lower-case mappings as runs.

Normalisation data stops at Unicode 9.0: the normaliser of the reference tokenizers (Hugging Face)
knows no younger marks, so models have never seen them reordered or composed.
"""
import pathlib
import sys

LETTER, NUMBER, PUNCTUATION, SYMBOL, MARK, SPACE, OTHER, NONSPACING, NFC_CHECK = (1 << i for i in range(9))
BY_CATEGORY = {"L": LETTER, "N": NUMBER, "P": PUNCTUATION, "S": SYMBOL, "M": MARK, "C": OTHER, "Z": 0}
LIMIT = 0x110000
NORMALISER = (9, 0)


def properties(path, wanted):
    """Code points that a property file gives the property `wanted`."""
    found = set()
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = [field.strip() for field in line.split("#")[0].split(";")]
        if len(fields) >= 2 and fields[1] == wanted:
            first, _, last = fields[0].partition("..")
            found.update(range(int(first, 16), int(last or first, 16) + 1))
    return found


def ages(path):
    """Code point -> (major, minor) of the version that brought it."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = [field.strip() for field in line.split("#")[0].split(";")]
        if len(fields) == 2:
            first, _, last = fields[0].partition("..")
            version = tuple(map(int, fields[1].split(".")))
            found.update((point, version) for point in range(int(first, 16), int(last or first, 16) + 1))
    return found


def read_characters(path):
    category, combining = ["Cn"] * LIMIT, [0] * LIMIT
    decomposition, lower, range_start = {}, {}, None
    for line in path.read_text(encoding="utf-8").splitlines():
        f = line.split(";")
        code = int(f[0], 16)
        if f[1].endswith(", First>"):
            range_start = code
        first = range_start if f[1].endswith(", Last>") else code
        for point in range(first, code + 1):
            category[point], combining[point] = f[2], int(f[3])
        if f[5] and not f[5].startswith("<"):
            decomposition[code] = [int(x, 16) for x in f[5].split()]
        if f[13]:
            lower[code] = int(f[13], 16)
    return category, combining, decomposition, lower


def ranges(values):
    """(start, value) wherever the value changes."""
    out = []
    for point, value in enumerate(values):
        if not out or out[-1][1] != value:
            out.append((point, value))
    return out


def lower_runs(lower):
    """Runs (first, count, stride, difference) with stride 1 or 2."""
    runs = []
    for point in sorted(lower):
        difference = lower[point] - point
        if runs and runs[-1][3] == difference:
            first, count, stride, _ = runs[-1]
            step = point - (first + (count - 1) * stride)
            if step in (1, 2) and (count == 1 or step == stride):
                runs[-1] = (first, count + 1, step, difference)
                continue
        runs.append((point, 1, 1, difference))
    return runs


def array(kind, name, items):
    lines, line = [f"const {kind} {name}[] = {{"], "   "
    for item in items:
        if len(line) + len(item) + 2 > 100:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join(lines + [line, "};", f"const size_t {name}Count = sizeof({name}) / sizeof({name}[0]);\n"])


def write(name, version, arrays):
    head = f"""// Written by tools/make_unicode_tables.py: change that, not this.
// Derived from the Unicode Character Database, version {version}.
#include "text/tokenizer/unicode_tables.h"

namespace hadal::unicode {{

// clang-format off
"""
    path = pathlib.Path(__file__).resolve().parent.parent / "src/text/tokenizer" / name
    path.write_text(head + "\n".join(arrays) + "// clang-format on\n\n}  // namespace hadal::unicode\n")


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "/usr/share/unicode")
    version = (root / "PropList.txt").read_text(encoding="utf-8").split("-", 1)[1].split(".txt")[0]
    category, combining, decomposition, lower = read_characters(root / "UnicodeData.txt")
    age = ages(root / "DerivedAge.txt")
    combining = [c if age.get(point, NORMALISER) <= NORMALISER else 0 for point, c in enumerate(combining)]
    decomposition = {c: d for c, d in decomposition.items() if age[c] <= NORMALISER}
    spaces = properties(root / "PropList.txt", "White_Space")
    excluded = properties(root / "DerivedNormalizationProps.txt", "Full_Composition_Exclusion")

    seconds = {d[1] for c, d in decomposition.items() if c not in excluded and len(d) == 2}
    seconds |= set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))  # Hangul vowels and trailers
    flags = []
    for point in range(LIMIT):
        value = BY_CATEGORY[category[point][0]]
        value |= SPACE if point in spaces else 0
        value |= NONSPACING if category[point] == "Mn" else 0
        value |= NFC_CHECK if combining[point] or point in seconds or (
            point in excluded and point in decomposition) else 0
        flags.append(value)

    write("unicode_classes.cc", version, [
        array("uint32_t", "kClassRanges", [f"0x{p << 10 | v:x}" for p, v in ranges(flags)]),
        array("uint32_t", "kCombiningRanges", [f"0x{p << 8 | v:x}" for p, v in ranges(combining)]),
        array("LowerRun", "kLowerRuns", ["{0x%x,%d,%d,%d}" % run for run in lower_runs(lower)])])
    write("unicode_decompositions.cc", version, [
        array("Decomposition", "kDecompositions",
              ["{0x%x,0x%x,0x%x,%d}" % (c, d[0], d[1] if len(d) > 1 else 0, c not in excluded)
               for c, d in sorted(decomposition.items())])])


if __name__ == "__main__":
    main()
