#!/usr/bin/env python3
"""Hadal next to its peers on the same file and machine, as a Markdown table.

    npm install --prefix DIR node-llama-cpp@3.22.1
    python3 -m venv VENV && VENV/bin/pip install ik-llama-cpp-python==0.1.5 openvino-genai==2026.4.1
    python3 bench/peers/compare.py --model FILE --peer DIR --venv VENV/bin/python [--measures short,start] [--json OUT]

Measures: short (a prompt of -p, -n tokens after it; with the memory it took), long (the same with a
prompt of --long and f16 keys and values), long-q8 (q8_0 keys and values), start (a first token of a
short prompt when the file is in the page cache; from the start of the process for Hadal, from the
load of the library for peers, whose interpreter is not theirs).

Engines take turns (llama.cpp, ik_llama.cpp, ..., Hadal, llama.cpp, ...), so that a change of the machine's
load hits all; figures are medians, the spread is (max - min) / 2 median. A run during which the
hypervisor took more than 2 % of the machine's time, or other processes more than 5 %, is repeated up
to --retries times and counts with a mark (*) after that.
"""
import argparse
import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MAX_STEAL, MAX_OTHERS = 0.02, 0.05
MEASURES = ["short", "long", "long-q8", "start"]
START_PROMPT = 16


class Refused(Exception):
    """The engine cannot do this measure; the text says why."""


class Load:
    """What else the machine did since this was made, as shares of its time."""

    def __init__(self):
        self.start = self.read()

    @staticmethod
    def read():
        # user nice system idle iowait irq softirq steal
        machine = [int(word) for word in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        ours = sum(usage.ru_utime + usage.ru_stime for usage in own) * os.sysconf("SC_CLK_TCK")
        return machine, ours

    def shares(self):
        (before, ours_before), (after, ours_after) = self.start, self.read()
        spent = [b - a for a, b in zip(before, after)]
        busy = sum(spent) - spent[3] - spent[4] - spent[7]
        total = max(sum(spent), 1)
        return {"steal": spent[7] / total, "others": max(0.0, (busy - (ours_after - ours_before)) / total)}


def last_json(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        reasons = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise Refused(reasons[-1][:200] if reasons else f"exit code {done.returncode}")
    return json.loads(lines[-1])


def request_of(measure, args):
    """What the drivers of peers are asked."""
    request = {"mode": "speed", "model": str(args.model.resolve()), "threads": args.t, "kv": "f16",
               "prompt": args.p, "decode": args.n}
    if measure.startswith("long"):
        request["prompt"] = args.long
    if measure == "long-q8":
        request["kv"] = "q8_0"
    if measure == "start":
        request.update(mode="first_token", prompt=START_PROMPT, decode=1)
    return request


def hadal(measure, args):
    request = request_of(measure, args)
    command = [args.binary, "bench", "--model", request["model"], "-t", args.t, "--json"]
    if measure == "start":
        return last_json(command + ["--first-token"])
    batch = "8" if measure == "short" else "1"
    return last_json(command + ["-p", request["prompt"], "-n", request["decode"], "-b", batch, "-r", 1, "--kv-type", request["kv"]])


def engines_of(args):
    """name -> function of a measure; Hadal last."""
    drivers = {}
    if args.peer:
        drivers["llama.cpp"] = ["node", HERE / "llama_cpp.mjs", args.peer]
    if args.venv:
        drivers["ik_llama.cpp"] = [args.venv, HERE / "ik_llama_cpp_peer.py"]
        drivers["openvino-genai"] = [args.venv, HERE / "openvino_peer.py"]
    wanted = args.engines.split(",") if args.engines else list(drivers)
    engines = {name: lambda measure, command=command: last_json(command + [json.dumps(request_of(measure, args))])
               for name, command in drivers.items() if name in wanted}
    engines["Hadal"] = lambda measure: hadal(measure, args)
    return engines


def warm_up(engines):
    """Brings the file into the page cache and, for engines that keep one, the prepared image to disk.
    Yields (engine, reason) of those that refuse."""
    for name, engine in engines.items():
        try:
            engine("start")
        except Refused as reason:
            yield name, reason


def run_quietly(engine, measure, retries):
    """One run with the machine's load beside it; repeated while something else disturbs it."""
    for attempt in range(retries + 1):
        load = Load()
        values = engine(measure)
        values.update(load.shares())
        values["quiet"] = values["steal"] <= MAX_STEAL and values["others"] <= MAX_OTHERS
        if values["quiet"]:
            break
        print(f"disturbed: {values['steal']:.1%} stolen, {values['others']:.1%} others", file=sys.stderr)
    return values


def take_runs(engines, measures, args):
    """{measure: {engine: [values]}} and {(measure, engine): why not}"""
    runs, refused = {measure: {} for measure in measures}, {}
    for measure in measures:
        if measure == "start":
            refused |= {(measure, name): str(reason) for name, reason in warm_up(engines)}
        for turn in range(args.r):
            for name, engine in engines.items():
                if (measure, name) in refused:
                    continue
                try:
                    runs[measure].setdefault(name, []).append(run_quietly(engine, measure, args.retries))
                except Refused as reason:
                    refused[measure, name] = str(reason)
            print(f"{measure}: turn {turn + 1} of {args.r} done", file=sys.stderr)
    return runs, refused


def lines_of(measure, args):
    """(label, field of a run, format, whether less is better) of each line of the table."""
    if measure == "start":
        return [("warm start to first token, ms", "first_token_ms", "{:.0f}", True)]
    prompt = args.p if measure == "short" else args.long
    kv = ", q8_0 keys and values" if measure == "long-q8" else ""
    lines = [(f"prefill {prompt}{kv}", "prefill_tps", "{:.1f}", False),
             (f"decode {args.n} after {prompt}{kv}", "decode_tps", "{:.1f}", False)]
    if measure == "short":
        lines.append(("decode, batch of 8", "batch_decode_tps", "{:.1f}", False))
    lines.append((f"peak memory beyond the file, MB (prompt {prompt}{kv})", "beyond_file_mb", "{:.0f}", True))
    lines.append((f"memory not backed by a file, MB (prompt {prompt}{kv})", "anonymous_mb", "{:.0f}", True))
    return lines


def cell(values, quiet, form):
    middle = statistics.median(values)
    spread = 50 * (max(values) - min(values)) / abs(middle) if middle else 0
    return form.format(middle) + (f" ±{spread:.0f} %" if len(values) > 1 else "") + ("" if quiet else " *")


def table_of(runs, engines, args):
    """Rows of {label, engine: cell, ratio} for every line that somebody has a figure for."""
    rows = []
    for measure, by_engine in runs.items():
        for label, field, form, less in lines_of(measure, args):
            row, middles = {"label": label}, {}
            for name in engines:
                taken = [run for run in by_engine.get(name, []) if field in run]
                if taken:
                    row[name] = cell([run[field] for run in taken], all(run["quiet"] for run in taken), form)
                    middles[name] = statistics.median(run[field] for run in taken)
            ours = middles.pop("Hadal", None)
            if ours and middles:
                best = min(middles.values()) if less else max(middles.values())
                row["ratio"] = best / ours if less else ours / best
            if len(row) > 1:
                rows.append(row)
    return rows


def add_memory(runs, file_bytes):
    for by_engine in runs.values():
        for taken in by_engine.values():
            for run in taken:
                if "peak_bytes" in run:
                    run["beyond_file_mb"] = (run["peak_bytes"] - file_bytes) / 1e6
                    run["anonymous_mb"] = run["anonymous_bytes"] / 1e6


def print_bounds(runs):
    taken = runs.get("short", {}).get("Hadal", [])
    phases = [run["phases"] for run in taken if "phases" in run]
    if not phases:
        return

    def median(phase, field):
        return statistics.median(run[phase][field] for run in phases)

    bandwidth = statistics.median(run["read_bandwidth_gbps"] for run in taken)
    ceiling = statistics.median(run["mac_ceiling_gps"] for run in taken)
    print(f"\nHadal against the machine ({bandwidth:.1f} GB/s, {ceiling:.0f} G multiply-adds/s, both measured): "
          f"prefill {median('prefill', 'mac_per_cycle'):.1f} multiply-adds per core and cycle, "
          f"{median('prefill', 'arithmetic_fraction'):.0%} of the peak; decode {median('decode', 'bandwidth_fraction'):.0%} "
          f"and a batch of 8 {median('batch_decode', 'bandwidth_fraction'):.0%} of the bandwidth.")


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=pathlib.Path, help="a .gguf file")
    parser.add_argument("--peer", help="directory that node-llama-cpp is installed in")
    parser.add_argument("--venv", help="a Python that has ik-llama-cpp-python and openvino-genai")
    parser.add_argument("--engines", help="peers to run, with commas (default: all that --peer and --venv give)")
    parser.add_argument("--measures", default="short,start", help=f"of {','.join(MEASURES)} (default short,start)")
    parser.add_argument("--binary", default=ROOT / "build" / "release" / "hadal")
    parser.add_argument("-p", type=int, default=512, help="prompt tokens (default 512)")
    parser.add_argument("-n", type=int, default=48, help="tokens to decode (default 48)")
    parser.add_argument("--long", type=int, default=8192, help="prompt tokens of the long measures (default 8192)")
    parser.add_argument("-t", type=int, default=2, help="threads (default 2)")
    parser.add_argument("-r", type=int, default=3, help="runs of each (default 3)")
    parser.add_argument("--retries", type=int, default=2, help="of a disturbed run (default 2)")
    parser.add_argument("--json", type=pathlib.Path, help="write all runs to this file, too")
    args = parser.parse_args()
    measures = args.measures.split(",")
    if unknown := [measure for measure in measures if measure not in MEASURES]:
        parser.error(f"unknown measure {unknown[0]}")

    engines = engines_of(args)
    runs, refused = take_runs(engines, measures, args)
    add_memory(runs, args.model.stat().st_size)
    rows = table_of(runs, engines, args)
    print(f"{args.model.name}, {args.t} threads of {processor()}, medians of {args.r}; tokens/s where no unit is named\n")
    print("| | " + " | ".join(engines) + " | against the better peer |")
    print("|---" * (len(engines) + 2) + "|")
    for row in rows:
        ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
        print(f"| {row['label']} | " + " | ".join(row.get(name, "") for name in engines) + f" | {ratio} |")
    print_bounds(runs)
    for (measure, name), reason in refused.items():
        print(f"\n{name} has no figure for {measure}: {reason}")
    if args.json:
        args.json.write_text(json.dumps({"processor": processor(), "threads": args.t, "model": args.model.name,
                                         "rows": rows, "runs": runs}, indent=2) + "\n")


if __name__ == "__main__":
    main()
