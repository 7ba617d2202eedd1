#!/usr/bin/env python3
"""How far each engine's predictions are from exact arithmetic on the same file: mean KL divergence
and top-1 agreement over English, Chinese and code, as a Markdown table.

    python3 bench/peers/quality.py MODEL.gguf ... [--peer DIR] [--ik PYTHON] [--positions 400] [--json OUT]

The reference is transformers in float64 on the file's decoded weights (tests/oracle; llama, qwen2,
qwen3). All engines get the same ids (Hadal's tokenizer) and keep keys and values in f16. Needs
numpy, gguf, torch and transformers; the peers are those of compare.py. A reference is kept in
--cache (by the file's name, size and date), because it takes longer than all engines together.
"""
import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TEXTS = ["english", "chinese", "code"]


def read_texts(binary, model, positions):
    """The first ids of each text of tests/golden."""
    texts = []
    for name in TEXTS:
        text = (ROOT / "tests" / "golden" / "text" / f"{name}.txt").read_bytes()
        done = subprocess.run([binary, "tokenize", "--model", model, "--json"], input=text, capture_output=True, check=True)
        texts.append(json.loads(done.stdout)["ids"][:positions])
    return texts


def log_softmax(logits):
    logits = logits.astype(np.float64)
    logits -= logits.max(1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def reference_of(model, texts, cache):
    """[positions, n_vocab] float32 logits of all texts, computed in float64."""
    state = model.resolve().stat()
    key = hashlib.sha256(f"{state.st_size} {state.st_mtime_ns} {texts}".encode()).hexdigest()[:16]
    path = cache / f"reference-{model.stem}-{key}.npy"
    if not path.exists():
        sys.path.insert(0, str(ROOT / "tests" / "oracle"))
        import dense_model
        import transformers_model
        net = transformers_model.build(dense_model.GgufModel(model))
        rows = [transformers_model.logits(net, ids).astype(np.float32) for ids in texts]
        cache.mkdir(parents=True, exist_ok=True)
        np.save(path, np.concatenate(rows))
    return np.load(path)


class Engines:
    """name -> a function of (model, texts, output file) that leaves float32 logits in the file."""

    def __init__(self, args):
        self.args = args
        self.known = {}
        for kind in args.activations.split(","):
            self.known[f"Hadal {kind}"] = lambda *work, kind=kind: self.hadal(kind, *work)
        if args.peer:
            self.known["llama.cpp"] = lambda *work: self.driver(["node", HERE / "llama_cpp.mjs", args.peer], *work)
        if args.ik:
            self.known["ik_llama.cpp"] = lambda *work: self.driver([args.ik, HERE / "ik_llama_cpp_peer.py"], *work)

    def hadal(self, activations, model, texts, out):
        with open(out, "wb") as all_rows, tempfile.NamedTemporaryFile() as rows:
            for ids in texts:
                command = [self.args.binary, "logits", "--model", model, "--kv-type", "f16", "--rows", rows.name,
                           "--ids", " ".join(map(str, ids)), "-t", str(self.args.t), "--activations", activations]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                all_rows.write(pathlib.Path(rows.name).read_bytes())

    def driver(self, command, model, texts, out):
        request = {"mode": "logits", "model": str(model), "threads": self.args.t, "ids": texts, "out": str(out)}
        done = subprocess.run([*command, json.dumps(request)], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{command[0]} failed with exit code {done.returncode}:\n{done.stderr[-2000:]}")


def compare(expected, found):
    """(mean KL(reference || engine), 99th percentile, top-1 agreement), by part to spare memory."""
    divergences, agreements = [], []
    for begin in range(0, len(expected), 256):
        p, q = log_softmax(expected[begin:begin + 256]), log_softmax(found[begin:begin + 256])
        divergences.append((np.exp(p) * (p - q)).sum(1))
        agreements.append(p.argmax(1) == q.argmax(1))
    divergence = np.concatenate(divergences)
    return {"mean_kld": divergence.mean(), "p99_kld": np.quantile(divergence, 0.99),
            "top1_agreement": np.concatenate(agreements).mean()}


def measure(model, engines, args):
    texts = read_texts(args.binary, model, args.positions)
    expected = reference_of(model, texts, args.cache)
    row = {"model": model.name, "positions": len(expected)}
    for name, run in engines.known.items():
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "logits.f32"
            run(model.resolve(), texts, out)
            row[name] = compare(expected, np.fromfile(out, np.float32).reshape(len(expected), -1))
        print(f"{model.name}, {name}: {row[name]}", file=sys.stderr)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--peer", help="directory that node-llama-cpp is installed in")
    parser.add_argument("--ik", help="a Python that has ik-llama-cpp-python")
    parser.add_argument("--activations", default="auto,int16", help="of Hadal, with commas (default auto,int16)")
    parser.add_argument("--binary", default=ROOT / "build" / "release" / "hadal")
    parser.add_argument("--positions", type=int, default=400, help="of each text, at most (default 400)")
    parser.add_argument("--cache", type=pathlib.Path, default=ROOT / "build" / "quality")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures to this file, too")
    parser.add_argument("-t", type=int, default=2, help="threads")
    args = parser.parse_args()
    engines = Engines(args)
    names = list(engines.known)
    rows = [measure(model, engines, args) for model in args.models]
    print("Mean KL divergence to float64 on the same weights (top-1 agreement)\n")
    print("| file | positions | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 2) + "|")
    for row in rows:
        cells = [f"{row[name]['mean_kld']:.2e} ({100 * row[name]['top1_agreement']:.2f} %)" for name in names]
        print(f"| {row['model']} | {row['positions']} | " + " | ".join(cells) + " |")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
