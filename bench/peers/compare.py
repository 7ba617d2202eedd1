#!/usr/bin/env python3
"""Hadal next to llama.cpp on the same file and machine, as a Markdown table.

    npm install --prefix DIR node-llama-cpp@3.22.1
    python3 bench/peers/compare.py --peer DIR --model FILE [--binary build/release/hadal]

Runs alternate (peer, hadal, peer, hadal, ...), so that a change of the machine's load hits both; the
figures are medians, the spread is (max - min) / median. The peer's decode figure includes its
wrapper's sampler, which costs it some percent on large vocabularies.
"""
import argparse
import json
import pathlib
import platform
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def last_json(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"


def cell(values):
    middle = statistics.median(values)
    return f"{middle:.1f} (±{50 * (max(values) - min(values)) / middle:.0f} %)"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", required=True, help="directory that node-llama-cpp is installed in")
    parser.add_argument("--model", required=True, help="a .gguf file")
    parser.add_argument("--binary", default=ROOT / "build" / "release" / "hadal")
    parser.add_argument("-p", type=int, default=512, help="prompt tokens")
    parser.add_argument("-n", type=int, default=64, help="tokens to decode")
    parser.add_argument("-t", type=int, default=2, help="threads")
    parser.add_argument("-r", type=int, default=3, help="runs of each")
    options = parser.parse_args()

    peer, ours = [], []
    for run in range(options.r):
        peer.append(last_json(["node", HERE / "llama_cpp.mjs", options.peer, options.model, options.p, options.n, options.t]))
        ours.append(last_json([options.binary, "bench", "--model", options.model, "-p", options.p, "-n", options.n,
                               "-t", options.t, "-b", "8", "-r", "1", "--json"]))
        print(f"run {run + 1} of {options.r} done", file=sys.stderr)

    def column(rows, name):
        return [row[name] for row in rows]

    print(f"{pathlib.Path(options.model).name}, {options.t} threads of {processor()}, medians of {options.r}\n")
    print("| | llama.cpp, tokens/s | Hadal, tokens/s | ratio |")
    print("|---|---|---|---|")
    for label, name in ((f"prefill {options.p}", "prefill_tps"), (f"decode {options.n}", "decode_tps")):
        ratio = statistics.median(column(ours, name)) / statistics.median(column(peer, name))
        print(f"| {label} | {cell(column(peer, name))} | {cell(column(ours, name))} | {ratio:.2f} |")
    print(f"| decode, batch of 8 | | {cell(column(ours, 'batch_decode_tps'))} | |")
    median = {name: statistics.median(column(ours, name)) for name in ours[0] if name != "model"}
    print(f"\nHadal reads {median['bytes_per_token'] / 1e6:.1f} MB per token at a measured "
          f"{median['read_bandwidth_gbps']:.1f} GB/s: decode is at {100 * median['decode_bound_fraction']:.0f} % of that bound, "
          f"prefill at {median['prefill_mac_per_cycle']:.1f} multiply-adds per core and cycle.")


if __name__ == "__main__":
    main()
