#!/usr/bin/env python3
"""Writes tests/golden/tokenizer/vectors.json: ids that independent reference tokenizers give.

usage: make_tokenizer_vectors.py TESTDATA_DIRECTORY [SMOLLM2_GGUF]

TESTDATA_DIRECTORY is what tools/fetch_test_data.py fills. Needs the Python packages tokenizers,
regex and gguf. References: the packages' own tokenizer.json run by `tokenizers`; for pre-tokenizers
whose vocabulary no package carries, the published patterns run by `regex` in front of the BPE of
`tokenizers`, on a vocabulary that is there. Invalid UTF-8, which those do not take, goes the second
way too: every invalid byte is matched as U+FFFD and merged as its byte.
"""
import json
import pathlib
import sys

import regex
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

ROOT = pathlib.Path(__file__).resolve().parent.parent
MASK = (1 << 64) - 1

# Letters of deepseek-llm, as code points on purpose: NFC would rewrite six of the characters.
DEEPSEEK_LETTERS = (
    r"A-Za-z\u00B5\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u01BA\u01BC-\u01BF\u01C4-\u0293\u0295-"
    r"\u02AF\u0370-\u0373\u0376\u0377\u037B-\u037D\u037F\u0386\u0388-\u038A\u038C\u038E-"
    r"\u03A1\u03A3-\u03F5\u03F7-\u0481\u048A-\u052F\u0531-\u0556\u10A0-\u10C5\u13A0-\u13F5"
    r"\u13F8-\u13FD\u1C90-\u1CBA\u1CBD-\u1CBF\u1D00-\u1D2B\u1D6B-\u1D77\u1D79-\u1D9A\u1E00-"
    r"\u1F15\u1F18-\u1F1D\u1F20-\u1F45\u1F48-\u1F4D\u1F50-\u1F57\u1F59\u1F5B\u1F5D\u1F5F-"
    r"\u1F7D\u1F80-\u1FB4\u1FB6-\u1FBC\u1FBE\u1FC2-\u1FC4\u1FC6-\u1FCC\u1FD0-\u1FD3\u1FD6-"
    r"\u1FDB\u1FE0-\u1FEC\u1FF2-\u1FF4\u1FF6-\u1FFC\u2102\u2107\u210A-\u2113\u2115\u2119-"
    r"\u211D\u2124\u2126\u2128\u212A-\u212D\u212F-\u2134\u2139\u213C-\u213F\u2145-\u2149"
    r"\u214E\u2183\u2184\u2C00-\u2C7B\u2C7E-\u2CE4\u2CEB-\u2CEE\u2CF2\u2CF3\uA640-\uA66D"
    r"\uA680-\uA69B\uA722-\uA76F\uA771-\uA787\uA78B-\uA78E\uAB70-\uABBF\uFB00-\uFB06\uFB13-"
    r"\uFB17\uFF21-\uFF3A\uFF41-\uFF5A\U00010400-\U0001044F\U000104B0-\U000104D3\U000104D8-"
    r"\U000104FB\U00010C80-\U00010CB2\U00010CC0-\U00010CF2\U000118A0-\U000118DF\U0001E900-"
    r"\U0001E943"
)
CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d"
GPT2 = CONTRACTIONS + r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:" + CONTRACTIONS + r")|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
CJK = r"[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+"
PATTERNS = {
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "llama-bpe": [LLAMA3],
    "qwen2": [LLAMA3.replace("{1,3}", "")],
    "deepseek-llm": [r"[\r\n]", r"\s?[" + DEEPSEEK_LETTERS + "]+",
                     r"\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+", r"\s+$", CJK,
                     r"\p{N}+"],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}"],
    "deepseek-v3": [
        r"\p{N}{1,3}", r"[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+",
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
}

# What random strings are made of. Code point ranges lie inside blocks that have been full for years,
# so that the Unicode version of a reference does not matter.
ATOMS = [
    " ", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", "\t\t", "\u00a0", "\u3000", "\u2028",
    "\u0085", "\u200b", "\u200d", "\ufeff", "\x00", "\x1c", "\x7f", "the", " the", " Hello", "world", "I'm",
    "don't", "WE'LL", "'S", "'\u017f", "'re", "' ll", "I've", "naïve", "café", "e\u0301", "Å", "\u212b", "Führer", "øre",
    "STRASSE", "ß", "ﬁ", "1", "12", "123", "1234", "12345678", "3.14", "½", "²", "٣٤", "一二三", "你好", "世界",
    "，", "。", "！", "“引号”", "深度求索", "机器学习", "龥", "龦", "㐀", "𠀀", "ひらがな", "カタカナ", "ア・イ", "ー", "が",
    "か\u3099", "한국어", "각", "가\u11a8", "नमस्ते", "ไทย", "עִבְרִית", "العربية", "Ελληνικά", "Русский", "Ω", "Ωμ", "Kelvin\u212a",
    "😁", "👨‍👩‍👧", "🇨🇳", "👍🏽", "❤️", "...", "!!!", "?!", "--", "==", "->", "://", "#include", "<div>", "</div>",
    "{\n", "}\n", "();", "_name", "camelCase", "$x", "@a", "`c`", "^", "~", "|", "\\n", "%d", "&amp;",
    "<|im_start|>", "<｜User｜>", "<think>", "</think>", "<|endoftext|>", "[INST]", "<s>", "</s>", "<｜", "<|",
    "supercalifragilisticexpialidocious", "aaaa", "ababab", "====", "        ", "0000",
]
RANGES = [
    [0x20, 0x7E], [0xA1, 0x17F], [0x300, 0x36F], [0x391, 0x3A1], [0x410, 0x44F], [0x5D0, 0x5EA], [0x621, 0x64A],
    [0x905, 0x939], [0xE01, 0xE3A], [0x1100, 0x1112], [0x1161, 0x1175], [0x11A8, 0x11C2], [0x1E00, 0x1EFF],
    [0x2010, 0x2027], [0x2190, 0x23F3], [0x2460, 0x24FF], [0x3041, 0x3096], [0x30A1, 0x30FE], [0x4E00, 0x9FA5],
    [0xAC00, 0xD7A3], [0xF900, 0xFA0D], [0xFF01, 0xFF5E], [0x1D400, 0x1D454], [0x1F300, 0x1F5FF],
    [0x20000, 0x2A6D6], [0x2F800, 0x2FA1D],
]
EXPLICIT = [
    "", " ", "\n", "Hello world", " Hello world", "Hello, y'all! How are you 😁 ?我想在apple工作1314151天～",
    "你好，世界！", "深度求索（DeepSeek）成立于2023年，专注于大模型的研究与开发。", "The quick brown fox jumps over the lazy dog.",
    "def f(x):\n    return x ** 2  # square\n", "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}\n",
    "<｜User｜>hi<｜Assistant｜>", "<|im_start|>user\nhi<|im_end|>", "<think>\n</think>", "3.14159 × 2²",
    "naïve café don't I'LL", "\r\n\r\n x", "a" * 200, " " * 100 + "x", "\n" * 50, "1234567890" * 5,
    "こんにちは世界123456", "ア・イ・ウ", "한국어 텍스트", "e\u0301\u0323", "q\u0307\u0323", "\u1100\u1161\u11a8", "\u2126 \u212b \u212a",
    "😁👨‍👩‍👧🇨🇳👍🏽", "x\u0001y \u0001 z", "a\u200bb", "https://example.com/a?b=c&d=%20", "{\"a\": [1, 2.5, null]}",
]
# A megabyte of each is made by drawing from these, separated as given.
BULK = {
    "english": (" ", """the of and to in is that for it was on are as with his they at be this from have or by one had
        not but what all were when we there can an your which their said if do will each about how up out them then
        she many some so these would other into has more her two like him see time could no make than first been its
        who now people my made over did down only way find use may water long little very after words called just
        where most know government international development understanding characteristics responsibility However,
        "Indeed," it's don't we've I'll they're end. why? never! (perhaps) state-of-the-art e.g. 1984, 3.5% $20 U.S.
        Mr. London Shakespeare thermodynamics photosynthesis\\n\\nChapter unquestionably""".split()),
    "chinese": ("", """我们 你们 的 了 在 是 和 有 不 人 这 中 大 为 上 个 国 以 要 他 时 来 用 生 到 作 地 于 出 就 分 对 成 会 可以
        主要 发展 技术 人工智能 大语言模型 深度学习 训练 推理 数据 计算 北京 上海 中华人民共和国 经济 社会 文化 历史 研究 结果表明 因此
        但是 如果 那么 虽然 然而 2023年 12月 第一 ， 。 、 ； ： ？ ！ “ ” （ ） 《红楼梦》 DeepSeek GPU 龘 饕餮 魑魅魍魉 繁體中文 臺灣
        一二三四五 百分之八十 ——""".split() + ["\n"]),
    "code": ("", ["def ", "return ", "self.", "(", ")", ":\n    ", "\n", "        ", "\t", "for (int i = 0; i < n; ++i) {\n",
                  "}\n", "};\n\n", "if (", ") {\n", "#include <vector>\n", "std::string_view ", "const auto& ", "x", " = ",
                  "foo_bar", "HttpServer", "0x1F", "42", "3.14f", ";\n", "// a comment\n", "/* ", " */", '"text"', "'c'", "->",
                  "=>", "==", "!=", "&&", "||", "[i]", "{}", "<T>", ", ", "import numpy as np\n", "async function ",
                  "console.log(", "SELECT * FROM t WHERE id = ?", "<div class=\"a\">", "</div>\n", "\r\n", "    # 注释\n",
                  "lambda y: y + 1", "\\n", "%s", "__init__", "// ----------\n"]),
}
BULK_BYTES = 1_000_000


class Random:
    """SplitMix64; the test has the same in C++."""

    def __init__(self, seed):
        self.state = seed

    def next(self, below):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return (z ^ (z >> 31)) % below


def random_string(random, with_bytes):
    out = b""
    for _ in range(1 + random.next(12)):
        kind = random.next(16)
        if kind < 10:
            out += ATOMS[random.next(len(ATOMS))].encode()
        elif kind < 13:
            first, last = RANGES[random.next(len(RANGES))]
            out += chr(first + random.next(last - first + 1)).encode()
        elif kind == 13:
            out += ATOMS[random.next(len(ATOMS))].encode() * (1 + random.next(40))
        elif kind == 14 and with_bytes:
            out += bytes([random.next(256)])
        else:
            out += bytes([32 + random.next(95)])
    return out


def split_isolated(pieces, pattern):
    out = []
    for piece in pieces:
        at = 0
        for match in pattern.finditer(piece):
            if match.start() > at:
                out.append(piece[at:match.start()])
            if match.end() > match.start():
                out.append(match.group())
            at = match.end()
        if at < len(piece):
            out.append(piece[at:])
    return out


def byte_alphabet():
    kept = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    others = [b for b in range(256) if b not in kept]
    return {b: chr(b) for b in kept} | {b: chr(256 + i) for i, b in enumerate(others)}


class PatternReference:
    """Patterns, then BPE; takes any bytes."""

    ALPHABET = byte_alphabet()

    def __init__(self, bpe, pre):
        self.bpe = bpe
        self.patterns = [regex.compile(p.replace(r"\S", r"\P{White_Space}").replace(r"\s", r"\p{White_Space}")
                                       .replace(r"[^\P{White_Space}", r"[^\p{White_Space}"))
                         for p in PATTERNS[pre]]

    def ids(self, data):
        escaped = data.decode("utf-8", "surrogateescape")
        seen = "".join("\ufffd" if "\udc80" <= c <= "\udcff" else c for c in escaped)
        pieces, at, out = [seen] if seen else [], 0, []
        for pattern in self.patterns:
            pieces = split_isolated(pieces, pattern)
        for piece in pieces:
            raw = escaped[at:at + len(piece)].encode("utf-8", "surrogateescape")
            out += [t.id for t in self.bpe.tokenize("".join(self.ALPHABET[b] for b in raw))]
            at += len(piece)
        return out


class FileReference:
    """A tokenizer.json, with its special tokens switched off as text."""

    def __init__(self, path):
        data = json.loads(path.read_text(encoding="utf-8"))
        data["added_tokens"], data["post_processor"] = [], None
        self.tokenizer = Tokenizer.from_str(json.dumps(data))

    def ids(self, data):
        return self.tokenizer.encode(data.decode(), add_special_tokens=False).ids


class SmolReference:
    """SmolLM2's tokenizer, from the vocabulary of its GGUF file."""

    def __init__(self, path):
        from gguf import GGUFReader
        fields = GGUFReader(path).fields
        strings = lambda key: [bytes(fields[key].parts[i]).decode() for i in fields[key].data]
        tokens = strings("tokenizer.ggml.tokens")
        merges = [tuple(m.split(" ")) for m in strings("tokenizer.ggml.merges")]
        self.tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
        self.tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])

    def ids(self, data):
        return self.tokenizer.encode(data.decode(), add_special_tokens=False).ids


def digest(lists):
    """FNV-1a (64 bit) over ids as little-endian 32-bit numbers, -1 after every list."""
    value = 0xCBF29CE484222325
    for ids in lists:
        for number in [*ids, 0xFFFFFFFF]:
            for byte in number.to_bytes(4, "little"):
                value = ((value ^ byte) * 0x100000001B3) & MASK
    return f"{value:016x}"


def block_digests(reference, seed, count, with_bytes):
    """One digest for every 100 random strings, so that a failure says where."""
    random, out = Random(seed), []
    for _ in range(count // 100):
        out.append(digest([reference.ids(random_string(random, with_bytes)) for _ in range(100)]))
    return out


def bulk_text(random, separator, words):
    out, size = [], 0
    while size < BULK_BYTES:
        out.append(words[random.next(len(words))] + separator)
        size += len(out[-1].encode())
    return "".join(out)


def families(data):
    """(name, vocabulary file, pre, reference, takes bytes)"""
    bpe = FileReference(data / "deepseek-v3/tokenizer.json").tokenizer.model
    for name, pre in (("deepseek-v3", "deepseek-v3"), ("deepseek-v4", "joyai-llm"), ("qwen3", "qwen2"),
                      ("llama3", "llama-bpe")):
        yield name, name, pre, FileReference(data / name / "tokenizer.json"), False
    for pre in ("gpt-2", "smollm", "deepseek-llm", "deepseek-coder", "deepseek-v3", "default"):
        yield f"{pre} rules", "deepseek-v3", pre, PatternReference(bpe, pre), True


def main():
    data = pathlib.Path(sys.argv[1])
    entries = [dict(name=name, vocabulary=vocabulary, pre=pre, bytes=with_bytes, seed=seed, reference=reference)
               for seed, (name, vocabulary, pre, reference, with_bytes) in enumerate(families(data), 1)]
    if len(sys.argv) > 2:
        entries.append(dict(name="smollm2", vocabulary="smollm2", pre="smollm", bytes=False, seed=100,
                            reference=SmolReference(sys.argv[2])))
    random = Random(0)
    strings = EXPLICIT + [s for s in (random_string(random, False).decode() for _ in range(170)) if len(s) < 200]
    for entry in entries:
        reference = entry.pop("reference")
        entry["random"] = block_digests(reference, entry["seed"], 3000, entry["bytes"])
        entry["bulk"] = {name: digest([reference.ids(bulk_text(Random(7), *parts).encode())])
                         for name, parts in BULK.items()}
        entry["ids"] = [" ".join(map(str, reference.ids(s.encode()))) for s in strings]
    bulk = {name: dict(separator=separator, words=words) for name, (separator, words) in BULK.items()}
    out = dict(atoms=ATOMS, ranges=RANGES, bulk=bulk, bulk_bytes=BULK_BYTES, strings=strings, families=entries)
    target = ROOT / "tests/golden/tokenizer/vectors.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(out, ensure_ascii=True, indent=0) + "\n")


if __name__ == "__main__":
    main()
