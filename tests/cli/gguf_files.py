"""Writes small GGUF files: a vocabulary of bytes with a chat template, and models over it."""
import random
import struct

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
ALIGNMENT = 32
TEMPLATE = ("{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}\n{% endfor %}"
            "{% if add_generation_prompt %}[assistant]{% endif %}")


def string(text):
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def value(kind, content):
    if kind == STRING:
        return string(content)
    if kind == ARRAY:
        element, items = content
        return struct.pack("<IQ", element, len(items)) + b"".join(value(element, item) for item in items)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], content)


def sentencepiece(pieces):
    """Changes that make a model's vocabulary a SentencePiece one: <unk> <s> </s> 0 1 ... , then `pieces`."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *pieces]
    kinds = [2, 3, 3] + [6] * 256 + [1] * len(pieces)
    return [("tokenizer.ggml.model", STRING, "llama"), ("tokenizer.ggml.pre", STRING, "default"),
            ("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)), ("tokenizer.ggml.token_type", ARRAY, (I32, kinds)),
            ("tokenizer.ggml.scores", ARRAY, (F32, [-float(i) for i in range(len(tokens))])),
            ("tokenizer.ggml.bos_token_id", U32, 1), ("tokenizer.ggml.eos_token_id", U32, 2)]


def byte_alphabet():
    """The printable stand-ins of byte-level BPE: byte 32 is U+0120, and so on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    shifted = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(shifted)) for b in range(256)]


def vocabulary():
    """258 tokens: one per byte, a begin (256) and an end (257). No merges: ids are bytes."""
    tokens = byte_alphabet() + ["<s>", "</s>"]
    return [("tokenizer.ggml.model", STRING, "gpt2"), ("tokenizer.ggml.pre", STRING, "gpt-2"),
            ("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)),
            ("tokenizer.ggml.token_type", ARRAY, (I32, [1] * 256 + [3, 3])),
            ("tokenizer.ggml.merges", ARRAY, (STRING, [])),
            ("tokenizer.ggml.bos_token_id", U32, 256), ("tokenizer.ggml.eos_token_id", U32, 257),
            ("tokenizer.ggml.add_bos_token", BOOL, True), ("tokenizer.chat_template", STRING, TEMPLATE)]


def write(path, metadata, tensors=()):
    """tensors: (name, [ne0, ne1], floats)."""
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, kind, content in metadata:
        out += string(key) + struct.pack("<I", kind) + value(kind, content)
    offset, data = 0, b""
    for name, shape, floats in tensors:
        packed = struct.pack(f"<{len(floats)}f", *floats)
        out += string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        out += struct.pack("<IQ", 0, offset)
        packed += b"\0" * (-len(packed) % ALIGNMENT)
        offset += len(packed)
        data += packed
    path.write_bytes(out + b"\0" * (-len(out) % ALIGNMENT) + data)
    return path


def write_vocabulary(path, changes=()):
    return write(path, [("general.architecture", STRING, "llama"), *replaced(vocabulary(), changes)])


def replaced(metadata, changes):
    changed = {key: (key, kind, content) for key, kind, content in changes}
    kept = [changed.pop(entry[0], entry) for entry in metadata]
    return [entry for entry in kept if entry[1] is not None] + list(changed.values())


def model(seed=1, vocab=258, context=64, width=32, changes=()):
    """Metadata and tensors of a random Llama of one layer."""
    rng = random.Random(seed)

    def matrix(columns, rows):
        return [rng.gauss(0, 0.2) for _ in range(columns * rows)]

    metadata = [("general.architecture", STRING, "llama"), ("llama.block_count", U32, 1),
                ("llama.context_length", U32, context), ("llama.embedding_length", U32, width),
                ("llama.feed_forward_length", U32, 32), ("llama.attention.head_count", U32, 4),
                ("llama.attention.head_count_kv", U32, 2), ("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
                ("llama.rope.freq_base", F32, 10000.0), ("llama.vocab_size", U32, vocab), *vocabulary()]
    shapes = {"token_embd.weight": (width, vocab), "output.weight": (width, vocab), "blk.0.attn_q.weight": (width, width),
              "blk.0.attn_k.weight": (width, width // 2), "blk.0.attn_v.weight": (width, width // 2),
              "blk.0.attn_output.weight": (width, width), "blk.0.ffn_gate.weight": (width, 32),
              "blk.0.ffn_up.weight": (width, 32), "blk.0.ffn_down.weight": (32, width)}
    tensors = [(name, list(shape), matrix(*shape)) for name, shape in shapes.items()]
    tensors += [(name, [width], [1.0] * width) for name in
                ("output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight")]
    return replaced(metadata, changes), tensors


def write_model(path, **options):
    return write(path, *model(**options))
