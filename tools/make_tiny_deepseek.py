#!/usr/bin/env python3
"""Writes the DeepSeek V1, V2 and V3 models of tests/golden/tiny and their reference logits.

    python3 tools/make_tiny_deepseek.py          (needs numpy, gguf, torch and transformers)

Same files as make_tiny_models.py writes (its head describes them); NAME.next.ref holds the logits
of the prediction layer, a row less. Seeded. Every feature of its generation is on in each: groups
of which some are masked, biased scores of both signs, shared experts, YaRN.
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
import deepseek_model  # noqa: E402  (path set above)
import dense_model  # noqa: E402

N_TOKENS = 48
YARN = dict(factor=40.0, original=16, multiplier=0.1)
BASE = dict(arch="deepseek2", layers=2, dense=1, mtp=0, d=32, heads=4, ff=48, vocab=64, context=640, theta=10000.0,
            nope=16, rope=8, value=12, q_rank=24, kv_rank=32, yarn=YARN, form="parts", experts=8, used=3, shared=1,
            moe_ff=16, gating=2, bias=True, groups=4, groups_used=2, norm=True, scale=2.5, fused=False, types=None)
V2 = dict(gating=1, bias=False, norm=False, yarn=dict(factor=40.0, original=16, multiplier=0.0707))
MODELS = {
    "deepseek_v1": dict(V2, arch="deepseek", yarn=None, groups=1, groups_used=1, shared=2, scale=1.0),
    "deepseek_v2_lite": dict(V2, q_rank=0, form="kv_b", groups=1, groups_used=1, shared=2, scale=1.0),
    "deepseek_v2": dict(V2, form="kv_b_old_keys", scale=4.0),
    "deepseek_v3": dict(mtp=1),
    "deepseek_v3_kv_b": dict(form="kv_b", fused=True, yarn=None),
    "deepseek_v3_q8_0": dict(d=64, nope=32, rope=16, value=32, q_rank=32, kv_rank=64, ff=64, moe_ff=32, layers=3,
                             types=Q.Q8_0),
    # Enough index heads that no two positions score zero: there transformers chooses either.
    "deepseek_v32": dict(arch="deepseek32", mtp=1, index_heads=12, index_width=20, top_k=6),
    # Every number fits into BF16, the type of deepseek-moe-16b.
    "deepseek_v1_bf16": dict(V2, arch="deepseek", yarn=None, groups=1, groups_used=1, shared=2, scale=1.0, types=Q.BF16),
}


def random_tensors(rng, spec):
    """{name: (data, type or None)}; shapes rows first."""
    out = {}

    def exact(values):
        """Those that files keep as F32 too fit into the type of the published weights."""
        if spec["types"] != Q.BF16:
            return values
        return gguf.quants.dequantize(gguf.quants.quantize(values, Q.BF16), Q.BF16)

    def norm(name, n):
        out[name] = exact((1 + 0.2 * rng.standard_normal(n)).astype(np.float32)), None

    def matrix(name, *shape, spread=None, plain=False):
        spread = spread or 1.4 / math.sqrt(shape[-1])
        values = (spread * rng.standard_normal(shape)).astype(np.float32)
        kind = None if plain else spec["types"]
        out[name] = (exact(values) if kind is None else gguf.quants.quantize(values, kind)), kind

    def feed_forward(prefix, suffix, ff):
        for part, shape in {"gate": (ff, spec["d"]), "up": (ff, spec["d"]), "down": (spec["d"], ff)}.items():
            matrix(f"{prefix}ffn_{part}{suffix}.weight", *shape)

    def experts(prefix):
        n, ff, d = spec["experts"], spec["moe_ff"], spec["d"]
        matrix(prefix + "ffn_gate_inp.weight", n, d, spread=2 / math.sqrt(d), plain=True)
        if spec["bias"]:
            out[prefix + "exp_probs_b.bias"] = (0.6 * rng.standard_normal(n) - 0.3).astype(np.float32), None
        if spec["fused"]:
            matrix(prefix + "ffn_gate_up_exps.weight", n, 2 * ff, d)
        else:
            matrix(prefix + "ffn_gate_exps.weight", n, ff, d)
            matrix(prefix + "ffn_up_exps.weight", n, ff, d)
        matrix(prefix + "ffn_down_exps.weight", n, d, ff)
        feed_forward(prefix, "_shexp", spec["shared"] * ff)

    def latent(prefix):
        heads, query = spec["heads"], spec["nope"] + spec["rope"]
        if spec["q_rank"]:
            matrix(prefix + "attn_q_a.weight", spec["q_rank"], spec["d"])
            norm(prefix + "attn_q_a_norm.weight", spec["q_rank"])
            matrix(prefix + "attn_q_b.weight", heads * query, spec["q_rank"])
        else:
            matrix(prefix + "attn_q.weight", heads * query, spec["d"])
        matrix(prefix + "attn_kv_a_mqa.weight", spec["kv_rank"] + spec["rope"], spec["d"])
        norm(prefix + "attn_kv_a_norm.weight", spec["kv_rank"])
        if spec["form"] == "parts":
            matrix(prefix + "attn_k_b.weight", heads, spec["kv_rank"], spec["nope"], spread=1 / math.sqrt(spec["kv_rank"]))
            matrix(prefix + "attn_v_b.weight", heads, spec["value"], spec["kv_rank"])
        else:
            matrix(prefix + "attn_kv_b.weight", heads * (spec["nope"] + spec["value"]), spec["kv_rank"])
        matrix(prefix + "attn_output.weight", spec["d"], heads * spec["value"])
        if "top_k" in spec:
            matrix(prefix + "indexer.attn_q_b.weight", spec["index_heads"] * spec["index_width"], spec["q_rank"])
            matrix(prefix + "indexer.attn_k.weight", spec["index_width"], spec["d"])
            norm(prefix + "indexer.k_norm.weight", spec["index_width"])
            out[prefix + "indexer.k_norm.bias"] = (0.3 * rng.standard_normal(spec["index_width"])).astype(np.float32), None
            matrix(prefix + "indexer.proj.weight", spec["index_heads"], spec["d"])

    matrix("token_embd.weight", spec["vocab"], spec["d"], spread=0.7)
    norm("output_norm.weight", spec["d"])
    matrix("output.weight", spec["vocab"], spec["d"], spread=2 / math.sqrt(spec["d"]))
    for layer in range(spec["layers"] + spec["mtp"]):
        prefix = f"blk.{layer}."
        norm(prefix + "attn_norm.weight", spec["d"])
        norm(prefix + "ffn_norm.weight", spec["d"])
        if spec["arch"] == "deepseek":
            for part in "qkv":
                matrix(f"{prefix}attn_{part}.weight", spec["d"], spec["d"])
            matrix(prefix + "attn_output.weight", spec["d"], spec["d"])
        else:
            latent(prefix)
        if layer < spec["dense"]:
            feed_forward(prefix, "", spec["ff"])
        else:
            experts(prefix)
        if layer >= spec["layers"]:
            matrix(prefix + "nextn.eh_proj.weight", spec["d"], 2 * spec["d"])
            for part in ("enorm", "hnorm", "shared_head_norm"):
                norm(f"{prefix}nextn.{part}.weight", spec["d"])
    return out


def add_attention_keys(writer, spec):
    arch, heads = spec["arch"], spec["heads"]
    if arch == "deepseek":
        writer.add_head_count_kv(heads)
        writer.add_rope_dimension_count(spec["d"] // heads)
        return
    query = spec["nope"] + spec["rope"]
    writer.add_rope_dimension_count(spec["rope"])
    writer.add_kv_lora_rank(spec["kv_rank"])
    if spec["q_rank"]:
        writer.add_q_lora_rank(spec["q_rank"])
    if spec["form"] == "kv_b_old_keys":
        writer.add_head_count_kv(heads)
        writer.add_key_length(query)
        writer.add_value_length(spec["value"])
    else:
        writer.add_head_count_kv(1)
        writer.add_key_length(spec["kv_rank"] + spec["rope"])
        writer.add_value_length(spec["kv_rank"])
        writer.add_key_length_mla(query)
        writer.add_value_length_mla(spec["value"])
    if "top_k" in spec:
        writer.add_uint32(f"{arch}.attention.indexer.head_count", spec["index_heads"])
        writer.add_uint32(f"{arch}.attention.indexer.key_length", spec["index_width"])
        writer.add_uint32(f"{arch}.attention.indexer.top_k", spec["top_k"])
    if spec["yarn"]:
        writer.add_string(f"{arch}.rope.scaling.type", "yarn")
        writer.add_float32(f"{arch}.rope.scaling.factor", spec["yarn"]["factor"])
        writer.add_uint32(f"{arch}.rope.scaling.original_context_length", spec["yarn"]["original"])
        writer.add_float32(f"{arch}.rope.scaling.yarn_log_multiplier", spec["yarn"]["multiplier"])


def add_expert_keys(writer, spec):
    writer.add_expert_count(spec["experts"])
    writer.add_expert_used_count(spec["used"])
    writer.add_expert_shared_count(spec["shared"])
    writer.add_expert_feed_forward_length(spec["moe_ff"])
    writer.add_expert_weights_scale(spec["scale"])
    writer.add_expert_weights_norm(spec["norm"])
    writer.add_uint32(f"{spec['arch']}.expert_gating_func", spec["gating"])
    writer.add_uint32(f"{spec['arch']}.expert_group_count", spec["groups"])
    writer.add_uint32(f"{spec['arch']}.expert_group_used_count", spec["groups_used"])
    writer.add_leading_dense_block_count(spec["dense"])
    if spec["mtp"]:
        writer.add_uint32(f"{spec['arch']}.nextn_predict_layers", spec["mtp"])


def add_vocabulary(writer, count):
    """Placeholders: llama.cpp loads no model without a vocabulary."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"t{i}" for i in range(count)])
    writer.add_token_types([gguf.TokenType.NORMAL] * count)
    writer.add_token_merges(["t 1"])


def write_model(path, spec, rng, vocabulary=False):
    writer = gguf.GGUFWriter(path, spec["arch"])
    writer.add_name(path.stem)
    writer.add_block_count(spec["layers"] + spec["mtp"])
    writer.add_context_length(spec["context"])
    writer.add_embedding_length(spec["d"])
    writer.add_feed_forward_length(spec["ff"])
    writer.add_head_count(spec["heads"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(spec["theta"])
    writer.add_vocab_size(spec["vocab"])
    add_attention_keys(writer, spec)
    add_expert_keys(writer, spec)
    if vocabulary:
        add_vocabulary(writer, spec["vocab"])
    for name, (data, kind) in random_tensors(rng, spec).items():
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def reference(model, spec, ids):
    """The twin's logits, after comparing them with transformers where it has the architecture."""
    twin = deepseek_model.logits(model, ids)
    if spec["arch"] == "deepseek":
        return twin, "numpy twin"
    import deepseek_transformers
    logits = deepseek_transformers.logits(model, ids)
    difference = np.abs(logits - twin).max()
    if not difference < 2e-5:
        raise SystemExit(f"transformers and the numpy twin differ by {difference}")
    return logits, f"transformers (numpy twin within {difference:.1e})"


def write_reference(path, ids, logits):
    with open(path, "wb") as out:
        out.write(np.array(logits.shape, "<i4").tobytes() + ids[:len(logits)].tobytes())
        out.write(logits.astype("<f4").tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "tests" / "golden" / "tiny")
    args = parser.parse_args()
    for index, (name, changes) in enumerate(MODELS.items()):
        spec, rng = {**BASE, **changes}, np.random.default_rng(20261123 + index)
        path = args.out / f"{name}.gguf"
        write_model(path, spec, rng)
        ids = rng.integers(0, spec["vocab"], N_TOKENS).astype("<i4")
        model = dense_model.GgufModel(path)
        logits, source = reference(model, spec, ids)
        write_reference(args.out / f"{name}.ref", ids, logits)
        if spec["mtp"]:
            write_reference(args.out / f"{name}.next.ref", ids, deepseek_model.next_logits(model, ids))
        print(f"{name:20} {path.stat().st_size:7} bytes  logits in [{logits.min():.2f}, {logits.max():.2f}]  {source}")


if __name__ == "__main__":
    main()
