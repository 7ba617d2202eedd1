#!/usr/bin/env python3
"""Writes tests/golden/tiny/deepseek4*: seeded random DeepSeek V4 models and their reference logits.

    python3 tools/make_tiny_deepseek4.py       (needs numpy and gguf; torch and transformers to check)

Every feature is on and small enough to matter within 300 tokens: a window of 8, layers of ratio 0, 4
and 128, 4 rows kept of up to 75, clamps that bite, two hash-routed layers. NAME.rows holds,
little-endian: int32 n_tokens, int32 n_vocab, int32 n_rows, int32 ids[n_tokens], int32 rows[n_rows],
float32 logits[n_rows][n_vocab]: those of the positions named in rows. They come from the float64
numpy implementation in tests/oracle, which must agree with transformers where that has the
architecture. Of some seeds that one is taken where no choice (of rows, of experts) hangs on the last
digits; the files in quantised formats, whose activations the engine rounds, leave no choice at all.

deepseek4_mtp.block is the prediction block of deepseek4.gguf as a GGUF file of its own, without the
name that would make it look like a whole model, and without the copies of embedding and head that
published ones have; its .rows are its logits, fed by the main model.
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
import deepseek4 as oracle  # noqa: E402  (path set above)

N_TOKENS = 300
SEEDS = 40
ROWS = [0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 31, 32, 47, 63, 64, 100, 126, 127, 128, 129, 130, 131, 132, 159, 160, 200, 254,
        255, 256, 257, 258, 280, 299]
BASE = dict(d=32, heads=4, head_dim=32, rope=8, q_rank=32, groups=2, o_rank=16, ff=32, experts=8, used=3, vocab=64,
            context=4096, window=8, ratios=[0, 4, 128, 4], index_heads=8, index_dim=16, top_k=4, hash_layers=2, eps=1e-6,
            streams=4, iterations=20, clamp=[1.0, 0.8, 1.0, 0.9], clamp_shared=None, scale=1.5, yarn=True)


def f16_matrices(name):
    """What real files keep as F32 (norms, hyper-connections, positions, sinks) stays so."""
    return Q.F32 if any(part in name for part in ("_norm", "hc_", "_ape", "sinks", "bias")) else Q.F16


def published_types(name):
    if f16_matrices(name) == Q.F32:
        return Q.F32
    if "_exps" in name:
        return Q.MXFP4
    kept = ("token_embd", "output.weight", "gate_inp", "compressor", "indexer.proj")
    return Q.BF16 if any(part in name for part in kept) else Q.Q8_0


def requantised_types(name):
    """Everything a quantiser may touch in Q8_0, the two-dimensional float tensors too."""
    return Q.F32 if any(part in name for part in ("_norm", "_base", "_scale", "sinks", "bias")) else Q.Q8_0


MODELS = {
    "deepseek4": dict(types=f16_matrices),
    "deepseek4_mxfp4": dict(types=published_types, clamp=1.0, ratios=[4, 128], top_k=512),
    "deepseek4_q8_0": dict(types=requantised_types, yarn=False, clamp_shared=0.7, ratios=[128, 4], hash_layers=0, experts=4, used=4,
                           top_k=512),
}


class Tensors:
    def __init__(self, rng, spec):
        self.rng, self.spec, self.out = rng, spec, []

    def add(self, name, values):
        kind, values = self.spec["types"](name), np.ascontiguousarray(values, np.float32)
        if kind == Q.F32:
            self.out.append((name, values, None))
        else:
            self.out.append((name, gguf.quants.quantize(values, kind), kind))

    def normal(self, name, shape, spread, centre=0.0):
        self.add(name, centre + spread * self.rng.standard_normal(shape))

    def matrix(self, name, rows, cols, gain=1.4):
        self.normal(name, (rows, cols), gain / math.sqrt(cols))

    def norm(self, name, n):
        self.normal(name, n, 0.2, 1.0)

    def site(self, name, outputs):
        """A hyper-connection: gates that differ between streams and tokens."""
        width = self.spec["streams"] * self.spec["d"]
        self.normal(f"{name}_fn.weight", (outputs, width), 1 / math.sqrt(width))
        self.normal(f"{name}_base.weight", outputs, 0.5)
        self.normal(f"{name}_scale.weight", 1 if outputs == self.spec["streams"] else 3, 0.1, 0.8)

    def compressor(self, name, channels, width, ratio):
        d = self.spec["d"]
        self.matrix(f"{name}_kv.weight", channels, d)
        self.matrix(f"{name}_gate.weight", channels, d)
        self.normal(f"{name}_ape.weight", (ratio, channels), 0.5)
        self.norm(f"{name}_norm.weight", width)

    def block(self, n, ratio, hashed):
        s, b = self.spec, f"blk.{n}."
        d, width, ff, experts = s["d"], s["head_dim"], s["ff"], s["experts"]
        for site in ("attn", "ffn"):
            self.norm(f"{b}{site}_norm.weight", d)
            self.site(f"{b}hc_{site}", s["streams"] * (s["streams"] + 2))
        self.matrix(b + "attn_q_a.weight", s["q_rank"], d)
        self.norm(b + "attn_q_a_norm.weight", s["q_rank"])
        self.matrix(b + "attn_q_b.weight", s["heads"] * width, s["q_rank"])
        self.matrix(b + "attn_kv.weight", width, d)
        self.norm(b + "attn_kv_a_norm.weight", width)
        self.normal(b + "attn_sinks.weight", s["heads"], 1.0)
        self.matrix(b + "attn_output_a.weight", s["groups"] * s["o_rank"], s["heads"] * width // s["groups"], 2.0)
        self.matrix(b + "attn_output_b.weight", d, s["groups"] * s["o_rank"], 2.0)
        if ratio:
            self.compressor(b + "attn_compressor", width * (2 if ratio == 4 else 1), width, ratio)
        if ratio == 4:
            self.matrix(b + "indexer.proj.weight", s["index_heads"], d, 3.0)
            self.matrix(b + "indexer.attn_q_b.weight", s["index_heads"] * s["index_dim"], s["q_rank"])
            self.compressor(b + "indexer_compressor", 2 * s["index_dim"], s["index_dim"], ratio)
        self.matrix(b + "ffn_gate_inp.weight", experts, d)
        if hashed:
            table = np.argsort(self.rng.random((s["vocab"], experts)), axis=1)[:, :s["used"]]
            self.out.append((b + "ffn_gate_tid2eid.weight", table.astype(np.int32), None))
        else:
            self.normal(b + "exp_probs_b.bias", experts, 0.1)
        for name, rows, cols in (("gate", ff, d), ("up", ff, d), ("down", d, ff)):
            self.normal(f"{b}ffn_{name}_exps.weight", (experts, rows, cols), 1.4 / math.sqrt(cols))
            self.matrix(f"{b}ffn_{name}_shexp.weight", rows, cols)

    def published_prediction(self, n):
        """The prediction block as checkpoints have it: the joining matrix in two, a head of its own."""
        d, block = self.spec["d"], f"blk.{n}.nextn."
        self.block(n, 0, False)
        for name in ("e_proj", "h_proj"):
            self.matrix(f"{block}{name}.weight", d, d)
        for name in ("enorm", "hnorm", "shared_head_norm"):
            self.norm(f"{block}{name}.weight", d)
        self.site(f"{block}hc_head", self.spec["streams"])

    def ends(self):
        s = self.spec
        self.normal("token_embd.weight", (s["vocab"], s["d"]), 0.7)
        self.norm("output_norm.weight", s["d"])
        self.matrix("output.weight", s["vocab"], s["d"], 2.0)
        self.site("output_hc", s["streams"])


def add_keys(writer, spec, layers, ratios, predicting):
    arch = "deepseek4"
    writer.add_name("tiny " + arch)
    for key, value in {
            "block_count": layers, "context_length": spec["context"], "embedding_length": spec["d"],
            "embedding_length_out": spec["d"] * spec["streams"], "vocab_size": spec["vocab"],
            "expert_feed_forward_length": spec["ff"], "expert_count": spec["experts"],
            "expert_used_count": spec["used"], "expert_shared_count": 1, "expert_gating_func": 4,
            "attention.head_count": spec["heads"], "attention.head_count_kv": 1,
            "attention.key_length": spec["head_dim"], "attention.value_length": spec["head_dim"],
            "attention.q_lora_rank": spec["q_rank"], "attention.output_group_count": spec["groups"],
            "attention.output_lora_rank": spec["o_rank"], "attention.sliding_window": spec["window"],
            "attention.indexer.head_count": spec["index_heads"], "attention.indexer.key_length": spec["index_dim"],
            "attention.indexer.top_k": spec["top_k"], "rope.dimension_count": spec["rope"],
            "hyper_connection.count": spec["streams"], "hyper_connection.sinkhorn_iterations": spec["iterations"],
            "hash_layer_count": 0 if predicting else spec["hash_layers"],
            "nextn_predict_layers": 1 if predicting else 0}.items():
        writer.add_uint32(f"{arch}.{key}", value)
    for key, value in {"attention.layer_norm_rms_epsilon": spec["eps"], "hyper_connection.epsilon": 1e-6,
                       "rope.freq_base": 100.0, "attention.compress_rope_freq_base": 1600.0,
                       "expert_weights_scale": spec["scale"]}.items():
        writer.add_float32(f"{arch}.{key}", value)
    writer.add_bool(f"{arch}.expert_weights_norm", True)
    writer.add_array(f"{arch}.attention.compress_ratios", ratios + [0] * (layers + 1 - len(ratios)))
    for key in ("clamp", "clamp_shared"):
        value, name = spec[key], f"{arch}.swiglu_{'clamp_exp' if key == 'clamp' else 'clamp_shexp'}"
        if isinstance(value, list):
            writer.add_array(name, (value + value[-1:])[:layers])
        elif value is not None:
            writer.add_float32(name, value)
    if spec["yarn"]:
        writer.add_string(f"{arch}.rope.scaling.type", "yarn")
        writer.add_float32(f"{arch}.rope.scaling.factor", 16.0)
        writer.add_uint32(f"{arch}.rope.scaling.original_context_length", 64)


def write_file(path, spec, seed, predicting=False):
    """`predicting`: a file with the prediction block alone."""
    ratios = spec["ratios"]
    tensors = Tensors(np.random.default_rng(seed), spec)
    if not predicting:
        tensors.ends()
        for n, ratio in enumerate(ratios):
            tensors.block(n, ratio, n < spec["hash_layers"])
        if spec.get("published_prediction"):
            tensors.published_prediction(len(ratios))
    else:
        n, d = len(ratios), spec["d"]
        tensors.site("output_hc", spec["streams"])
        tensors.block(n, 0, False)
        tensors.matrix(f"blk.{n}.nextn.eh_proj.weight", d, 2 * d)
        for name in ("enorm", "hnorm", "shared_head_norm"):
            tensors.norm(f"blk.{n}.nextn.{name}.weight", d)
    writer = gguf.GGUFWriter(path, "deepseek4")
    add_keys(writer, spec, len(ratios) + predicting, ratios, predicting)
    for name, data, kind in tensors.out:
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_rows(path, ids, rows, logits):
    with open(path, "wb") as out:
        out.write(np.array([len(ids), logits.shape[1], len(rows)], "<i4").tobytes())
        out.write(np.array(ids, "<i4").tobytes() + np.array(rows, "<i4").tobytes())
        out.write(logits[rows].astype("<f4").tobytes())


def evaluate(path, spec, seed):
    write_file(path, spec, seed)
    model, report = oracle.GgufModel(path), oracle.Report()
    ids = np.random.default_rng(seed + 1000).integers(0, spec["vocab"], N_TOKENS)
    logits, state = oracle.forward(model, ids, report)
    return report.gap(), seed, model, ids, logits, state, report


def write_clear_model(path, spec, first_seed):
    """The seed with the clearest choices."""
    seeds = range(first_seed, first_seed + SEEDS)
    best = max(seeds, key=lambda seed: evaluate(path, spec, seed)[0])
    return evaluate(path, spec, best)


def check_with_transformers(model, ids, logits):
    import deepseek4_transformers
    other = deepseek4_transformers.logits(model, ids)
    difference = np.abs(other - logits).max()
    if difference > 1e-3:
        raise SystemExit(f"transformers and the oracle differ by {difference}")
    return f"transformers within {difference:.1e}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "tests" / "golden" / "tiny")
    parser.add_argument("--no-transformers", action="store_true", help="do not compare with transformers")
    args = parser.parse_args()
    for index, (name, changes) in enumerate(MODELS.items()):
        spec, path = {**BASE, **changes}, args.out / f"{name}.gguf"
        gap, seed, model, ids, logits, state, report = write_clear_model(path, spec, 4000 + 200 * index)
        write_rows(args.out / f"{name}.rows", ids, ROWS, logits)
        checked = "" if args.no_transformers else check_with_transformers(model, ids, logits)
        print(f"{name:18} seed {seed} {path.stat().st_size:7} bytes  logits in [{logits.min():.2f}, {logits.max():.2f}]  "
              f"gap {gap:.1e}, {report.sparse_rows} sparse rows  {checked}")
        if name == "deepseek4":
            block = args.out / "deepseek4_mtp.block"
            write_file(block, spec, seed + 5000, predicting=True)
            predicted, _ = oracle.predict(oracle.GgufModel(block), model, ids[1:], state[:-1])
            write_rows(args.out / "deepseek4_mtp.rows", ids, ROWS[:-1], predicted)


if __name__ == "__main__":
    main()
