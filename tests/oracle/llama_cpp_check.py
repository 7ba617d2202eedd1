#!/usr/bin/env python3
"""Compares logits of Hadal and of llama.cpp with the numpy twin on the same seeded DeepSeek files.

    python3 tests/oracle/llama_cpp_check.py --peer DIR      (node-llama-cpp lies in DIR; needs numpy and gguf)

V2-Lite's shape has its 27 layers, by which llama.cpp knows it, but experts in two only: random ones in
each would make every rounding another choice of experts. Groups of V2 are left out: llama.cpp ranks
them by V3's rule. Hadal keeps keys and values in F32, llama.cpp in F16. Ends with 1 when Hadal is further
off than LIMIT or llama.cpp's best ids differ at more than a tenth of the positions.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "oracle")]
import deepseek_model  # noqa: E402  (path set above)
import dense_model  # noqa: E402
import make_tiny_deepseek as tiny  # noqa: E402

LIMIT = 2e-3  # logits range over about -10 to 10; activations that meet Q8_0 have 16 bits
LITE = dict(tiny.V2, q_rank=0, groups=1, groups_used=1, shared=2, scale=1.0, layers=27, dense=25)
MODELS = {
    "V1": tiny.MODELS["deepseek_v1"],
    "V2-Lite, k_b and v_b": LITE,
    "V2-Lite, kv_b": dict(LITE, form="kv_b_old_keys"),
    "V3": dict(tiny.MODELS["deepseek_v3"], mtp=0),
    "V3, Q8_0": tiny.MODELS["deepseek_v3_q8_0"],
}


def hadal(args, path, ids, out):
    command = [args.binary, "logits", "--model", path, "--kv-type", "f32", "--rows", out, "--ids", " ".join(map(str, ids)),
               "--activations", "int16"]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def llama_cpp(args, path, ids, out):
    request = {"mode": "logits", "model": str(path), "threads": 2, "ids": [ids], "out": str(out)}
    return subprocess.run(["node", str(ROOT / "bench" / "peers" / "llama_cpp.mjs"), args.peer, json.dumps(request)],
                          capture_output=True, text=True, errors="replace")


def compare(args, name, index, folder):
    """The table's row, and whether it is as it should be."""
    spec, rng = {**tiny.BASE, **MODELS[name]}, np.random.default_rng(index)
    path = folder / "model.gguf"
    tiny.write_model(path, spec, rng, vocabulary=True)
    ids = [int(i) for i in rng.integers(0, spec["vocab"], tiny.N_TOKENS)]
    wanted = deepseek_model.logits(dense_model.GgufModel(path), np.array(ids))
    worst, same, cells = [], [], []
    for engine in (hadal, llama_cpp):
        out = folder / "logits.f32"
        done = engine(args, path, ids, out)
        if done.returncode != 0:
            sys.exit(f"{engine.__name__} failed on {name}:\n{done.stderr[-2000:]}")
        found = np.fromfile(out, np.float32).reshape(wanted.shape)
        worst.append(float(np.abs(found - wanted).max()))
        same.append((found.argmax(1) == wanted.argmax(1)).mean())
        cells.append(f"{worst[-1]:.4f} ({100 * same[-1]:.0f} %)")
    return f"| {name} | {' | '.join(cells)} |", worst[0] <= LIMIT and same[1] >= 0.9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="directory that node-llama-cpp is installed in")
    parser.add_argument("--binary", default=ROOT / "build" / "release" / "hadal")
    args = parser.parse_args()
    print("Largest difference of a logit from float64 (top-1 agreement)\n\n| model | Hadal | llama.cpp |\n|---|---|---|")
    good = True
    for index, name in enumerate(MODELS):
        with tempfile.TemporaryDirectory() as folder:
            row, fine = compare(args, name, index, pathlib.Path(folder))
        print(row, flush=True)
        good = good and fine
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
