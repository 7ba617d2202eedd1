"""Writes a GGUF file of a real model's shape with random weights, for speed measurements that need
no download. The text it makes is noise; the bytes read and the arithmetic are the real ones.

    pip install numpy gguf
    python3 tools/make_bench_model.py OUT.gguf [--shape 1.5b] [--mix q4_k_m]

Shapes: DeepSeek-R1-Distill-Qwen-1.5B and -7B, R1-Distill-Llama-8B, SmolLM2-135M. Mixes: one block
format for all matrices, or q4_k_m (Q4_K, with Q6_K where llama-quantize puts it).
"""
import argparse

import gguf
import numpy as np

SHAPES = {  # arch, layers, d_model, heads, kv heads, d_head, d_ff, vocab, rope theta, tied
    "135m": ("llama", 30, 576, 9, 3, 64, 1536, 49152, 1e5, True),
    "1.5b": ("qwen2", 28, 1536, 12, 2, 128, 8960, 151936, 1e4, False),
    "7b": ("qwen2", 28, 3584, 28, 4, 128, 18944, 152064, 1e4, False),
    "8b": ("llama", 32, 4096, 32, 8, 128, 14336, 128256, 5e5, False),
}
# Byte offsets of the f16 scale fields in a block: they get small sane numbers, all else is random.
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0]}
SCALE = {"Q8_0": 2e-4, "Q2_K": 1e-3, "Q3_K": 2e-4, "Q4_K": 1e-4, "Q5_K": 5e-5, "Q6_K": 1e-5, "IQ4_NL": 2e-4, "IQ4_XS": 1e-5}


def random_matrix(rng, name, rows, cols):
    kind = gguf.GGMLQuantizationType[name]
    if name in ("F32", "F16", "BF16"):
        values = rng.standard_normal((rows, cols), dtype=np.float32) * 0.02
        return gguf.quants.quantize(values, kind), kind
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (rows * cols // elements, size), dtype=np.uint8)
    if name == "MXFP4":
        blocks[:, 0] = rng.integers(118, 122, len(blocks), dtype=np.uint8)
    for offset in SCALES.get(name, []):
        scale = (rng.random(len(blocks), dtype=np.float32) + 0.5) * SCALE.get(name, 3e-3)
        blocks[:, offset:offset + 2] = scale.astype(np.float16).view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1), kind


def pick(mix, tensor, layer, layers, cols):
    """The block format llama-quantize would choose (reduced to what this tool needs)."""
    if mix != "q4_k_m":
        return mix.upper()
    more = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
    if tensor == "output" or (tensor in ("attn_v", "ffn_down") and more):
        name = "Q6_K"
    else:
        name = "Q4_K"
    return name if cols % 256 == 0 else {"Q4_K": "Q5_0", "Q6_K": "Q8_0"}[name]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--shape", choices=SHAPES, default="1.5b")
    parser.add_argument("--mix", default="q4_k_m")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    arch, layers, d, heads, kv, hd, ff, vocab, theta, tied = SHAPES[args.shape]
    rng = np.random.default_rng(args.seed)
    out = gguf.GGUFWriter(args.out, arch)
    out.add_name(f"bench-{args.shape}-{args.mix}")
    if file_type := getattr(gguf.LlamaFileType, f"MOSTLY_{args.mix.upper()}", None):
        out.add_file_type(file_type)
    for add, value in ((out.add_context_length, 32768), (out.add_embedding_length, d), (out.add_block_count, layers),
                       (out.add_feed_forward_length, ff), (out.add_head_count, heads), (out.add_head_count_kv, kv),
                       (out.add_layer_norm_rms_eps, 1e-6), (out.add_rope_freq_base, theta), (out.add_vocab_size, vocab),
                       (out.add_rope_dimension_count, hd)):
        add(value)
    # A vocabulary that every engine loads: bytes first, then numbered fillers, one merge.
    alphabet = [chr(c) if 33 <= c <= 126 or 161 <= c <= 172 or c >= 174 else None for c in range(256)]
    spare = iter(range(256, 512))
    alphabet = [a if a is not None else chr(next(spare)) for a in alphabet]
    tokens = alphabet + ["th"] + [f"<filler{i}>" for i in range(vocab - 257)]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("qwen2" if arch == "qwen2" else "llama-bpe")
    out.add_token_list(tokens)
    out.add_token_types([1] * vocab)
    out.add_token_merges(["t h"])
    out.add_eos_token_id(vocab - 1)
    out.add_bos_token_id(vocab - 2)

    def matrix(name, rows, cols, layer=0):
        data, kind = random_matrix(rng, pick(args.mix, name.split(".")[-2], layer, layers, cols), rows, cols)
        out.add_tensor(name, data, raw_dtype=kind)

    def vector(name, n, value):
        out.add_tensor(name, np.full(n, value, dtype=np.float32))

    matrix("token_embd.weight", vocab, d)
    for n in range(layers):
        block = f"blk.{n}."
        vector(block + "attn_norm.weight", d, 1.0)
        vector(block + "ffn_norm.weight", d, 1.0)
        for name, rows, cols in (("attn_q", heads * hd, d), ("attn_k", kv * hd, d), ("attn_v", kv * hd, d),
                                 ("attn_output", d, heads * hd), ("ffn_gate", ff, d), ("ffn_up", ff, d), ("ffn_down", d, ff)):
            matrix(f"{block}{name}.weight", rows, cols, n)
            if arch == "qwen2" and name in ("attn_q", "attn_k", "attn_v"):
                vector(f"{block}{name}.bias", rows, 0.01)
    vector("output_norm.weight", d, 1.0)
    if not tied:
        matrix("output.weight", vocab, d)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


if __name__ == "__main__":
    main()
