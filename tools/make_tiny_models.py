#!/usr/bin/env python3
"""Writes tests/golden/tiny: seeded random models of each architecture and their reference logits.

    python3 tools/make_tiny_models.py          (needs numpy, gguf, torch and transformers)

NAME.gguf is the model; NAME.ref holds, little-endian: int32 n_tokens, int32 n_vocab, int32 ids[],
float32 logits[n_tokens][n_vocab]. The logits come from transformers in float64 on the decoded
weights where its class can express the model, else from the numpy twin in tests/oracle; where both
can, they must agree.
"""
import argparse
import math
import pathlib
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "oracle"))
import dense_model  # noqa: E402  (path set above)

N_TOKENS = 48
BASE = dict(arch="llama", layers=2, d=32, heads=4, kv_heads=2, d_head=None, ff=32, vocab=64, context=64,
            theta=10000.0, eps=1e-5, rope={}, llama3=None, tied=False, bias=(), fused=False, qk_norm=False,
            rope_dims=None, types=lambda name: Q.F32)


def mixed_k_types(name):
    for part, kind in {"attn_q": Q.Q4_K, "attn_k": Q.Q5_K, "attn_v": Q.Q6_K, "attn_output": Q.Q5_1, "ffn_gate": Q.Q3_K,
                       "ffn_up": Q.Q2_K, "ffn_down": Q.IQ4_NL, "token_embd": Q.Q6_K, "output.": Q.IQ4_XS}.items():
        if part in name:
            return kind
    return Q.F32


def all_of(kind, head=None):
    return lambda name: (head or kind) if name.startswith(("token_embd", "output.")) else kind


MODELS = {
    "llama_mha": dict(kv_heads=4),
    "llama_gqa_tied": dict(tied=True, theta=100000.0),
    "llama_rope_freqs": dict(theta=100.0, d_head=16, llama3=dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                                                 original_max_position_embeddings=32)),
    "llama_linear_bias": dict(rope=dict(type="linear", factor=4.0), theta=100000.0, bias=("q", "k", "v", "output")),
    "llama_partial_rope": dict(layers=1, rope_dims=4),
    "qwen2_bias": dict(arch="qwen2", bias=("q", "k", "v"), theta=1e6, eps=1e-6, tied=True),
    "qwen2_fused": dict(arch="qwen2", bias=("q", "k", "v"), fused=True),
    "qwen3": dict(arch="qwen3", qk_norm=True, d_head=12, eps=1e-6),
    "qwen3_yarn": dict(arch="qwen3", qk_norm=True, d_head=16, theta=1000.0, eps=1e-6,
                       rope=dict(type="yarn", factor=4.0, original_context_length=16, attn_factor=0.8782488562869419)),
    "llama_f16": dict(types=all_of(Q.F16)),
    "qwen3_bf16": dict(arch="qwen3", qk_norm=True, types=all_of(Q.BF16)),
    "llama_q8_0": dict(types=all_of(Q.Q8_0)),
    "llama_q4_1": dict(types=all_of(Q.Q4_1, Q.Q8_0), tied=True),
    "qwen2_q4_0": dict(arch="qwen2", bias=("q", "k", "v"), types=all_of(Q.Q4_0, Q.Q5_0)),
    "qwen2_mixed_k": dict(arch="qwen2", bias=("q", "k", "v"), types=mixed_k_types, layers=1, d=256, heads=2, kv_heads=1,
                          d_head=32, ff=64),
}

# K- and I-quants are not written by the gguf package, so their blocks are drawn directly: random
# bits, then scales (float16 fields at these byte offsets) that give the wanted spread.
# {type: (offset of d, offset of dmin, dmin / d that centres the values)}
SCALE_FIELDS = {Q.Q2_K: (80, 82, 1.5), Q.Q3_K: (108, None, 0), Q.Q4_K: (0, 2, 7.5), Q.Q5_K: (0, 2, 15.5),
                Q.Q6_K: (208, None, 0), Q.IQ4_NL: (0, None, 0), Q.IQ4_XS: (0, None, 0)}


def random_blocks(rng, shape, kind, spread):
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (shape[0], shape[1] // block, size), dtype=np.uint8)
    d_at, min_at, ratio = SCALE_FIELDS[kind]

    def set_scale(d):
        data[..., d_at:d_at + 2] = np.frombuffer(np.float16(d).tobytes(), np.uint8)
        if min_at is not None:
            data[..., min_at:min_at + 2] = np.frombuffer(np.float16(d * ratio).tobytes(), np.uint8)

    set_scale(1.0)
    decoded = gguf.quants.dequantize(data.reshape(shape[0], -1), kind)
    set_scale(spread / decoded.std())
    return data.reshape(shape[0], -1)


def llama3_divisors(spec, d_head):
    block, out = spec["llama3"], []
    for i in range(d_head // 2):
        wave = 2 * math.pi * spec["theta"] ** (2 * i / d_head)
        original, factor = block["original_max_position_embeddings"], block["factor"]
        low, high = block["low_freq_factor"], block["high_freq_factor"]
        smooth = (original / wave - low) / (high - low)
        out.append(1.0 if wave < original / high else factor if wave > original / low
                   else 1 / ((1 - smooth) / factor + smooth))
    return np.array(out, np.float32)


def matrices(spec, d_head):
    """{name: (rows, cols)} of one layer."""
    d, ff = spec["d"], spec["ff"]
    q, kv = spec["heads"] * d_head, spec["kv_heads"] * d_head
    attention = {"attn_qkv": (q + 2 * kv, d)} if spec["fused"] else {"attn_q": (q, d), "attn_k": (kv, d), "attn_v": (kv, d)}
    return {**attention, "attn_output": (d, q), "ffn_gate": (ff, d), "ffn_up": (ff, d), "ffn_down": (d, ff)}


def random_tensors(rng, spec, d_head):
    """[(name, data, type or None)]; typed ones are raw blocks."""
    def norm(name, n):
        return name, (1 + 0.2 * rng.standard_normal(n)).astype(np.float32), None

    def matrix(name, shape, spread):
        kind = spec["types"](name)
        if kind in SCALE_FIELDS:
            return name, random_blocks(rng, shape, kind, spread), kind
        values = (spread * rng.standard_normal(shape)).astype(np.float32)
        return name, values if kind == Q.F32 else gguf.quants.quantize(values, kind), None if kind == Q.F32 else kind

    tensors = [matrix("token_embd.weight", (spec["vocab"], spec["d"]), 0.7 if not spec["tied"] else 0.4),
               norm("output_norm.weight", spec["d"])]
    if not spec["tied"]:
        tensors.append(matrix("output.weight", (spec["vocab"], spec["d"]), 2 / math.sqrt(spec["d"])))
    if spec["llama3"]:
        tensors.append(("rope_freqs.weight", llama3_divisors(spec, d_head), None))
    for layer in range(spec["layers"]):
        block = f"blk.{layer}."
        tensors += [norm(block + "attn_norm.weight", spec["d"]), norm(block + "ffn_norm.weight", spec["d"])]
        for name, shape in matrices(spec, d_head).items():
            tensors.append(matrix(f"{block}{name}.weight", shape, 1.4 / math.sqrt(shape[1])))
            if name.removeprefix("attn_") in spec["bias"] or (name == "attn_qkv" and spec["bias"]):
                tensors.append((f"{block}{name}.bias", (0.3 * rng.standard_normal(shape[0])).astype(np.float32), None))
        if spec["qk_norm"]:
            tensors += [norm(block + "attn_q_norm.weight", d_head), norm(block + "attn_k_norm.weight", d_head)]
    return tensors


def write_model(path, spec, rng):
    d_head = spec["d_head"] or spec["d"] // spec["heads"]
    writer = gguf.GGUFWriter(path, spec["arch"])
    writer.add_name(path.stem)
    writer.add_block_count(spec["layers"])
    writer.add_context_length(spec["context"])
    writer.add_embedding_length(spec["d"])
    writer.add_feed_forward_length(spec["ff"])
    writer.add_head_count(spec["heads"])
    writer.add_head_count_kv(spec["kv_heads"])
    writer.add_layer_norm_rms_eps(spec["eps"])
    writer.add_rope_freq_base(spec["theta"])
    writer.add_vocab_size(spec["vocab"])
    if spec["d_head"]:
        writer.add_key_length(d_head)
        writer.add_value_length(d_head)
    writer.add_rope_dimension_count(spec["rope_dims"] or d_head)
    for key, value in spec["rope"].items():
        add = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32}[type(value)]
        add(f"{spec['arch']}.rope.scaling.{key}", value)
    for name, data, kind in random_tensors(rng, spec, d_head):
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def reference(path, spec, ids, with_transformers):
    model = dense_model.GgufModel(path)
    twin = dense_model.logits(model, ids)
    if spec["rope_dims"] or not with_transformers:
        return twin, "numpy twin"
    import transformers_model
    logits = transformers_model.logits(transformers_model.build(model, llama3=spec["llama3"]), ids)
    difference = np.abs(logits - twin).max()
    if difference > 2e-5:
        raise SystemExit(f"{path.name}: transformers and the numpy twin differ by {difference}")
    return logits, f"transformers (numpy twin within {difference:.1e})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "tests" / "golden" / "tiny")
    parser.add_argument("--no-transformers", action="store_true", help="take every reference from the numpy twin")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for index, (name, changes) in enumerate(MODELS.items()):
        spec, rng = {**BASE, **changes}, np.random.default_rng(20261122 + index)
        path = args.out / f"{name}.gguf"
        write_model(path, spec, rng)
        ids = rng.integers(0, spec["vocab"], N_TOKENS).astype("<i4")
        logits, source = reference(path, spec, ids, not args.no_transformers)
        with open(args.out / f"{name}.ref", "wb") as out:
            out.write(np.array([N_TOKENS, spec["vocab"]], "<i4").tobytes() + ids.tobytes())
            out.write(logits.astype("<f4").tobytes())
        print(f"{name:20} {path.stat().st_size:7} bytes  logits in [{logits.min():.2f}, {logits.max():.2f}]  {source}")


if __name__ == "__main__":
    main()
