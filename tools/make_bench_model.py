#!/usr/bin/env python3
"""Writes a GGUF file of a real model's shape with random weights, for speed measurements that need
no download. The text it makes is noise; the bytes read and the arithmetic are the real ones.

    pip install numpy gguf
    python3 tools/make_bench_model.py OUT.gguf [--shape 1.5b] [--mix q4_k_m]

Shapes: DeepSeek-R1-Distill-Qwen-1.5B and -7B, R1-Distill-Llama-8B, SmolLM2-135M; V2-Lite (27 layers
with 64 experts, 10.4 GiB in q4_k), and one dense and one expert layer of V3 (6.6 GiB). Mixes: one
block format for all matrices (Q8_0 where a row is no multiple of it), or q4_k_m (Q4_K, with Q6_K
where llama-quantize puts it).
"""
import argparse

import gguf
import numpy as np

DENSE = ("arch", "layers", "d", "heads", "kv_heads", "d_head", "ff", "vocab", "theta", "tied")
SHAPES = {
    "135m": dict(zip(DENSE, ("llama", 30, 576, 9, 3, 64, 1536, 49152, 1e5, True))),
    "1.5b": dict(zip(DENSE, ("qwen2", 28, 1536, 12, 2, 128, 8960, 151936, 1e4, False))),
    "7b": dict(zip(DENSE, ("qwen2", 28, 3584, 28, 4, 128, 18944, 152064, 1e4, False))),
    "8b": dict(zip(DENSE, ("llama", 32, 4096, 32, 8, 128, 14336, 128256, 5e5, False))),
    "v2-lite": dict(arch="deepseek2", layers=27, d=2048, heads=16, ff=10944, vocab=102400, theta=1e4, tied=False, q_rank=0,
                    kv_rank=512, nope=128, rope=64, value=128, experts=64, used=6, shared=2, moe_ff=1408, gating=1,
                    groups=(1, 1), norm=False, scale=1.0, multiplier=0.0707),
    "v3-slice": dict(arch="deepseek2", layers=2, d=7168, heads=128, ff=18432, vocab=129280, theta=1e4, tied=False,
                     q_rank=1536, kv_rank=512, nope=128, rope=64, value=128, experts=256, used=8, shared=1, moe_ff=2048,
                     gating=2, groups=(8, 4), norm=True, scale=2.5, multiplier=0.1),
}
# Byte offsets of the f16 scale fields in a block: they get small sane numbers, all else is random.
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0]}
SCALE = {"Q8_0": 2e-4, "Q2_K": 1e-3, "Q3_K": 2e-4, "Q4_K": 1e-4, "Q5_K": 5e-5, "Q6_K": 1e-5, "IQ4_NL": 2e-4, "IQ4_XS": 1e-5}


def random_matrix(rng, name, rows, cols):
    if name in ("F32", "F16", "BF16"):
        values = rng.standard_normal((rows, cols), dtype=np.float32) * 0.02
        return gguf.quants.quantize(values, gguf.GGMLQuantizationType[name])
    elements, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    blocks = rng.integers(0, 256, (rows * cols // elements, size), dtype=np.uint8)
    if name == "MXFP4":
        blocks[:, 0] = rng.integers(118, 122, len(blocks), dtype=np.uint8)
    for offset in SCALES.get(name, []):
        scale = (rng.random(len(blocks), dtype=np.float32) + 0.5) * SCALE.get(name, 3e-3)
        blocks[:, offset:offset + 2] = scale.astype(np.float16).view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


def pick(mix, tensor, layer, layers, cols):
    """The block format llama-quantize would choose (reduced to what this tool needs)."""
    if mix != "q4_k_m":
        name = mix.upper()
        return name if cols % gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]][0] == 0 else "Q8_0"
    more = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
    if tensor == "output" or (tensor in ("attn_v", "ffn_down") and more):
        name = "Q6_K"
    else:
        name = "Q4_K"
    return name if cols % 256 == 0 else {"Q4_K": "Q5_0", "Q6_K": "Q8_0"}[name]


class Plan:
    """Tensors in the order of the file; their data are drawn when they are written."""

    def __init__(self, mix, layers):
        self.mix, self.layers, self.tensors = mix, layers, []

    def matrix(self, name, *shape, layer=0, kind=None):
        kind = kind or pick(self.mix, name.split(".")[-2], layer, self.layers, shape[-1])
        self.tensors.append((name, shape, kind))

    def vector(self, name, n):
        self.tensors.append((name, (n,), None))

    def write(self, out, rng):
        for name, shape, kind in self.tensors:
            quant = gguf.GGMLQuantizationType[kind or "F32"]
            elements, size = gguf.GGML_QUANT_SIZES[quant]
            row = shape[-1] // elements * size
            stored = (*shape[:-1], row // 4) if kind is None or kind == "F32" else (*shape[:-1], row)
            out.add_tensor_info(name, stored, np.dtype(np.float32 if quant == 0 else np.uint8),
                                int(np.prod(shape[:-1])) * row, raw_dtype=None if quant == 0 else quant)
        out.write_header_to_file()
        out.write_kv_data_to_file()
        out.write_ti_data_to_file()
        for name, shape, kind in self.tensors:
            rows = int(np.prod(shape[:-1]))
            data = np.full(shape, 1.0, np.float32) if kind is None else random_matrix(rng, kind, rows, shape[-1])
            out.write_tensor_data(data)


def plan_dense(plan, shape, n):
    block, d, hd = f"blk.{n}.", shape["d"], shape["d_head"]
    q, kv = shape["heads"] * hd, shape["kv_heads"] * hd
    for name, rows, cols in (("attn_q", q, d), ("attn_k", kv, d), ("attn_v", kv, d), ("attn_output", d, q),
                             ("ffn_gate", shape["ff"], d), ("ffn_up", shape["ff"], d), ("ffn_down", d, shape["ff"])):
        plan.matrix(f"{block}{name}.weight", rows, cols, layer=n)
        if shape["arch"] == "qwen2" and name in ("attn_q", "attn_k", "attn_v"):
            plan.vector(f"{block}{name}.bias", rows)


def plan_latent(plan, shape, n):
    block, d, heads, rank = f"blk.{n}.", shape["d"], shape["heads"], shape["kv_rank"]
    query = heads * (shape["nope"] + shape["rope"])
    if shape["q_rank"]:
        plan.matrix(block + "attn_q_a.weight", shape["q_rank"], d)
        plan.vector(block + "attn_q_a_norm.weight", shape["q_rank"])
        plan.matrix(block + "attn_q_b.weight", query, shape["q_rank"])
    else:
        plan.matrix(block + "attn_q.weight", query, d)
    plan.matrix(block + "attn_kv_a_mqa.weight", rank + shape["rope"], d)
    plan.vector(block + "attn_kv_a_norm.weight", rank)
    plan.matrix(block + "attn_k_b.weight", heads, rank, shape["nope"], kind="Q8_0")
    plan.matrix(block + "attn_v_b.weight", heads, shape["value"], rank, kind="Q8_0")
    plan.matrix(block + "attn_output.weight", d, heads * shape["value"])
    if n == 0:
        feed_forward(plan, block, "", shape["ff"], d)
        return
    plan.matrix(block + "ffn_gate_inp.weight", shape["experts"], d, kind="F32")
    if shape["gating"] == 2:
        plan.vector(block + "exp_probs_b.bias", shape["experts"])
    for name, rows, cols in (("gate", shape["moe_ff"], d), ("up", shape["moe_ff"], d), ("down", d, shape["moe_ff"])):
        plan.matrix(f"{block}ffn_{name}_exps.weight", shape["experts"], rows, cols)
    feed_forward(plan, block, "_shexp", shape["shared"] * shape["moe_ff"], d)


def feed_forward(plan, block, suffix, ff, d):
    for name, rows, cols in (("gate", ff, d), ("up", ff, d), ("down", d, ff)):
        plan.matrix(f"{block}ffn_{name}{suffix}.weight", rows, cols)


def add_keys(out, shape):
    arch = shape["arch"]
    for add, value in ((out.add_context_length, 32768), (out.add_embedding_length, shape["d"]),
                       (out.add_block_count, shape["layers"]), (out.add_feed_forward_length, shape["ff"]),
                       (out.add_head_count, shape["heads"]), (out.add_layer_norm_rms_eps, 1e-6),
                       (out.add_rope_freq_base, shape["theta"]), (out.add_vocab_size, shape["vocab"])):
        add(value)
    if "kv_rank" not in shape:
        out.add_head_count_kv(shape["kv_heads"])
        out.add_rope_dimension_count(shape["d_head"])
        return
    out.add_head_count_kv(1)
    out.add_rope_dimension_count(shape["rope"])
    out.add_kv_lora_rank(shape["kv_rank"])
    if shape["q_rank"]:
        out.add_q_lora_rank(shape["q_rank"])
    out.add_key_length(shape["kv_rank"] + shape["rope"])
    out.add_value_length(shape["kv_rank"])
    out.add_key_length_mla(shape["nope"] + shape["rope"])
    out.add_value_length_mla(shape["value"])
    out.add_string(f"{arch}.rope.scaling.type", "yarn")
    out.add_float32(f"{arch}.rope.scaling.factor", 40.0)
    out.add_uint32(f"{arch}.rope.scaling.original_context_length", 4096)
    out.add_float32(f"{arch}.rope.scaling.yarn_log_multiplier", shape["multiplier"])
    out.add_expert_count(shape["experts"])
    out.add_expert_used_count(shape["used"])
    out.add_expert_shared_count(shape["shared"])
    out.add_expert_feed_forward_length(shape["moe_ff"])
    out.add_expert_weights_scale(shape["scale"])
    out.add_expert_weights_norm(shape["norm"])
    out.add_leading_dense_block_count(1)
    out.add_uint32(f"{arch}.expert_gating_func", shape["gating"])
    out.add_uint32(f"{arch}.expert_group_count", shape["groups"][0])
    out.add_uint32(f"{arch}.expert_group_used_count", shape["groups"][1])


def add_vocabulary(out, shape):
    """One that every engine loads: bytes first, then numbered fillers, one merge."""
    vocab = shape["vocab"]
    alphabet = [chr(c) if 33 <= c <= 126 or 161 <= c <= 172 or c >= 174 else None for c in range(256)]
    spare = iter(range(256, 512))
    alphabet = [a if a is not None else chr(next(spare)) for a in alphabet]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre({"qwen2": "qwen2", "deepseek2": "deepseek-llm"}.get(shape["arch"], "llama-bpe"))
    out.add_token_list(alphabet + ["th"] + [f"<filler{i}>" for i in range(vocab - 257)])
    out.add_token_types([1] * vocab)
    out.add_token_merges(["t h"])
    out.add_eos_token_id(vocab - 1)
    out.add_bos_token_id(vocab - 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--shape", choices=SHAPES, default="1.5b")
    parser.add_argument("--mix", default="q4_k_m")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    shape = SHAPES[args.shape]
    out = gguf.GGUFWriter(args.out, shape["arch"])
    out.add_name(f"bench-{args.shape}-{args.mix}")
    if file_type := getattr(gguf.LlamaFileType, f"MOSTLY_{args.mix.upper()}", None):
        out.add_file_type(file_type)
    add_keys(out, shape)
    add_vocabulary(out, shape)
    plan = Plan(args.mix, shape["layers"])
    plan.matrix("token_embd.weight", shape["vocab"], shape["d"])
    for n in range(shape["layers"]):
        plan.vector(f"blk.{n}.attn_norm.weight", shape["d"])
        plan.vector(f"blk.{n}.ffn_norm.weight", shape["d"])
        (plan_latent if "kv_rank" in shape else plan_dense)(plan, shape, n)
    plan.vector("output_norm.weight", shape["d"])
    if not shape["tied"]:
        plan.matrix("output.weight", shape["vocab"], shape["d"])
    plan.write(out, np.random.default_rng(args.seed))
    out.close()


if __name__ == "__main__":
    main()
