#!/usr/bin/env python3
"""Writes fuzz/corpus/model/deepseek*.gguf: the smallest model of every DeepSeek architecture and layout.

    python3 tools/make_fuzz_models.py       (needs numpy and gguf)

Seeded, a few kilobytes each, so that a fuzzer's single changes often meet a key, a name or a shape.
V4 has a file for each kind of layer: sparse compression, heavy compression behind a routing table, and
the window alone with a prediction layer, which lies in the model's file under the names that translated
checkpoints give it.
"""
import argparse
import pathlib
import sys

import numpy as np
from gguf import GGMLQuantizationType as Q

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import make_tiny_deepseek  # noqa: E402  (path set above)
import make_tiny_deepseek4  # noqa: E402

SMALL = dict(make_tiny_deepseek.BASE, layers=1, dense=0, d=8, heads=2, ff=8, vocab=8, context=64, nope=4, rope=4, value=4, q_rank=8,
             kv_rank=16, experts=4, used=2, moe_ff=4, groups=2, groups_used=1, types=Q.F16)
V2 = {**make_tiny_deepseek.V2, "shared": 2}
V32 = dict(arch="deepseek32", index_heads=2, index_width=8, top_k=2)
MODELS = {
    "deepseek": dict(V2, arch="deepseek", yarn=None, groups=1, groups_used=1, layers=2, dense=1),
    "deepseek2_kv_b": dict(V2, q_rank=0, form="kv_b", groups=1, groups_used=1),
    "deepseek2_old_keys": dict(V2, form="kv_b_old_keys"),
    "deepseek2_parts": dict(fused=True),
    "deepseek2_mtp": dict(mtp=1),
    "deepseek32": V32,
    "deepseek32_mtp": dict(V32, mtp=1),
}
SMALL_V4 = dict(make_tiny_deepseek4.BASE, d=16, streams=2, heads=2, rope=4, q_rank=8, groups=2, o_rank=4, ff=4, experts=2, used=1,
                vocab=8, context=256, window=4, index_heads=1, index_dim=16, top_k=2, clamp=1.0)


def small_types(name):
    """Rows that fill whole blocks in 8 bits, other matrices in 16."""
    if "attn_compressor_ape" in name or "_fn" in name:
        return Q.Q8_0
    return Q.F16 if "indexer_compressor_ape" in name else make_tiny_deepseek4.f16_matrices(name)


V4_MODELS = {
    "deepseek4": dict(ratios=[4], hash_layers=0),
    "deepseek4_heavy": dict(ratios=[128], hash_layers=1),
    "deepseek4_mtp": dict(ratios=[0], hash_layers=0, published_prediction=True),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "fuzz" / "corpus" / "model")
    args = parser.parse_args()
    for seed, (name, changes) in enumerate(MODELS.items()):
        make_tiny_deepseek.write_model(args.out / f"{name}.gguf", {**SMALL, **changes}, np.random.default_rng(seed))
    for seed, (name, changes) in enumerate(V4_MODELS.items()):
        make_tiny_deepseek4.write_file(args.out / f"{name}.gguf", {**SMALL_V4, **changes, "types": small_types}, seed)
    for path in sorted(args.out.glob("deepseek*.gguf")):
        print(f"{path.name:24} {path.stat().st_size:6} bytes")


if __name__ == "__main__":
    main()
