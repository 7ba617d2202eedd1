#!/usr/bin/env python3
"""Turns a tokenizer.json (byte-level BPE) into a GGUF file that holds the vocabulary only.

usage: make_vocab_gguf.py TOKENIZER_JSON PRE OUT_GGUF [BOS_TEXT EOS_TEXT]

Token types are those that converters of real models write: control for special added tokens and for
added tokens that look like <|...|>, user-defined for the other added ones, unused for gaps.
"""
import json
import struct
import sys

U32, I32, STRING, ARRAY = 4, 5, 8, 9
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5


def text(value):
    data = value.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def entry(key, kind, payload):
    return text(key) + struct.pack("<I", kind) + payload


def array(kind, count, payload):
    return struct.pack("<IQ", kind, count) + payload


def looks_like_control(content):
    return (content.startswith("<|") and content.endswith("|>")) or (
        content.startswith("<｜") and content.endswith("｜>"))


def read_vocabulary(path):
    """(tokens, types, merges) of a tokenizer.json."""
    with open(path, encoding="utf-8") as source:
        data = json.load(source)
    vocabulary, added = data["model"]["vocab"], data["added_tokens"]
    size = max([*vocabulary.values(), *(token["id"] for token in added)]) + 1
    tokens = [f"[PAD{i}]" for i in range(size)]
    types = [UNUSED] * size
    for content, number in vocabulary.items():
        tokens[number], types[number] = content, NORMAL
    for token in added:
        control = token["special"] or looks_like_control(token["content"])
        tokens[token["id"]] = token["content"]
        types[token["id"]] = CONTROL if control else USER_DEFINED
    merges = [m if isinstance(m, str) else " ".join(m) for m in data["model"]["merges"]]
    return tokens, types, merges


def write_gguf(path, pre, tokens, types, merges, specials):
    entries = [
        entry("general.architecture", STRING, text("llama")),
        entry("tokenizer.ggml.model", STRING, text("gpt2")),
        entry("tokenizer.ggml.pre", STRING, text(pre)),
        entry("tokenizer.ggml.tokens", ARRAY, array(STRING, len(tokens), b"".join(map(text, tokens)))),
        entry("tokenizer.ggml.token_type", ARRAY,
              array(I32, len(types), struct.pack(f"<{len(types)}i", *types))),
        entry("tokenizer.ggml.merges", ARRAY, array(STRING, len(merges), b"".join(map(text, merges)))),
    ]
    entries += [entry(f"tokenizer.ggml.{name}_token_id", U32, struct.pack("<I", tokens.index(content)))
                for name, content in specials.items()]
    with open(path, "wb") as out:
        out.write(b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries))


def convert(source, pre, target, bos=None, eos=None):
    specials = {name: content for name, content in (("bos", bos), ("eos", eos)) if content}
    write_gguf(target, pre, *read_vocabulary(source), specials)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 6):
        sys.exit(__doc__)
    convert(*sys.argv[1:])
