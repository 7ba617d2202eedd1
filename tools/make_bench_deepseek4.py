#!/usr/bin/env python3
"""Writes a slice of DeepSeek-V4-Flash with random weights, in the types of published files (experts
MXFP4, other matrices Q8_0, small ones BF16 and F32), for speed measurements: one layer with a window
alone, one of ratio 4 and one of ratio 128. A token's work per layer is the real one; there are fewer
experts, of which as many are used.

    pip install numpy gguf
    python3 tools/make_bench_deepseek4.py OUT.gguf [--experts 32]      (2.1 GB)
"""
import argparse

import gguf
import numpy as np

from make_bench_model import Plan, add_vocabulary

D, HEADS, WIDTH, ROPE, Q_RANK, GROUPS, O_RANK, FF, USED, STREAMS = 4096, 64, 512, 64, 1024, 8, 1024, 2048, 6, 4
INDEX_HEADS, INDEX_WIDTH, VOCAB, RATIOS = 64, 128, 16384, [0, 4, 128]


def add_keys(out, experts):
    arch = "deepseek4"
    for key, value in {
            "block_count": len(RATIOS), "context_length": 1048576, "embedding_length": D, "vocab_size": VOCAB,
            "embedding_length_out": STREAMS * D, "expert_feed_forward_length": FF, "expert_count": experts,
            "expert_used_count": USED, "expert_shared_count": 1, "expert_gating_func": 4, "attention.head_count": HEADS,
            "attention.head_count_kv": 1, "attention.key_length": WIDTH, "attention.value_length": WIDTH,
            "attention.q_lora_rank": Q_RANK, "attention.output_group_count": GROUPS,
            "attention.output_lora_rank": O_RANK, "attention.sliding_window": 128,
            "attention.indexer.head_count": INDEX_HEADS, "attention.indexer.key_length": INDEX_WIDTH,
            "attention.indexer.top_k": 512, "rope.dimension_count": ROPE, "hyper_connection.count": STREAMS,
            "hyper_connection.sinkhorn_iterations": 20, "hash_layer_count": 0,
            "rope.scaling.original_context_length": 65536}.items():
        out.add_uint32(f"{arch}.{key}", value)
    for key, value in {"attention.layer_norm_rms_epsilon": 1e-6, "hyper_connection.epsilon": 1e-6,
                       "rope.freq_base": 1e4, "attention.compress_rope_freq_base": 1.6e5, "rope.scaling.factor": 16.0,
                       "expert_weights_scale": 1.5, "swiglu_clamp_exp": 10.0, "swiglu_clamp_shexp": 10.0}.items():
        out.add_float32(f"{arch}.{key}", value)
    out.add_bool(f"{arch}.expert_weights_norm", True)
    out.add_string(f"{arch}.rope.scaling.type", "yarn")
    out.add_array(f"{arch}.attention.compress_ratios", RATIOS + [0])


def compressor(plan, name, channels, width, ratio):
    plan.matrix(f"{name}_kv.weight", channels, D, kind="BF16")
    plan.matrix(f"{name}_gate.weight", channels, D, kind="BF16")
    plan.matrix(f"{name}_ape.weight", ratio, channels, kind="F32")
    plan.vector(f"{name}_norm.weight", width)


def block(plan, n, ratio, experts):
    b = f"blk.{n}."
    gates = STREAMS * (STREAMS + 2)
    for site in ("attn", "ffn"):
        plan.vector(f"{b}{site}_norm.weight", D)
        plan.matrix(f"{b}hc_{site}_fn.weight", gates, STREAMS * D, kind="F32")
        plan.vector(f"{b}hc_{site}_base.weight", gates)
        plan.vector(f"{b}hc_{site}_scale.weight", 3)
    for name, rows, cols in (("attn_q_a", Q_RANK, D), ("attn_q_b", HEADS * WIDTH, Q_RANK), ("attn_kv", WIDTH, D),
                             ("attn_output_a", GROUPS * O_RANK, HEADS * WIDTH // GROUPS),
                             ("attn_output_b", D, GROUPS * O_RANK)):
        plan.matrix(f"{b}{name}.weight", rows, cols)
    for name, size in (("attn_q_a_norm", Q_RANK), ("attn_kv_a_norm", WIDTH), ("attn_sinks", HEADS)):
        plan.vector(f"{b}{name}.weight", size)
    if ratio:
        compressor(plan, b + "attn_compressor", WIDTH * (2 if ratio == 4 else 1), WIDTH, ratio)
    if ratio == 4:
        plan.matrix(b + "indexer.proj.weight", INDEX_HEADS, D, kind="BF16")
        plan.matrix(b + "indexer.attn_q_b.weight", INDEX_HEADS * INDEX_WIDTH, Q_RANK)
        compressor(plan, b + "indexer_compressor", 2 * INDEX_WIDTH, INDEX_WIDTH, ratio)
    plan.matrix(b + "ffn_gate_inp.weight", experts, D, kind="BF16")
    plan.vector(b + "exp_probs_b.bias", experts)
    for name, rows, cols in (("gate", FF, D), ("up", FF, D), ("down", D, FF)):
        plan.matrix(f"{b}ffn_{name}_exps.weight", experts, rows, cols, kind="MXFP4")
        plan.matrix(f"{b}ffn_{name}_shexp.weight", rows, cols)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--experts", type=int, default=32)
    args = parser.parse_args()
    out = gguf.GGUFWriter(args.out, "deepseek4")
    out.add_name("bench-v4-slice")
    add_keys(out, args.experts)
    add_vocabulary(out, {"arch": "deepseek2", "vocab": VOCAB})
    plan = Plan("q8_0", len(RATIOS))
    plan.matrix("token_embd.weight", VOCAB, D, kind="BF16")
    for n, ratio in enumerate(RATIOS):
        block(plan, n, ratio, args.experts)
    plan.vector("output_norm.weight", D)
    plan.matrix("output.weight", VOCAB, D, kind="BF16")
    plan.matrix("output_hc_fn.weight", STREAMS, STREAMS * D, kind="F32")
    plan.vector("output_hc_base.weight", STREAMS)
    plan.vector("output_hc_scale.weight", 1)
    plan.write(out, np.random.default_rng(1))
    out.close()


if __name__ == "__main__":
    main()
