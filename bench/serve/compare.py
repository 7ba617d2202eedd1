#!/usr/bin/env python3
"""`hadal serve` next to llama.cpp under the same load, as a Markdown table.

    ./dev build release hadal
    npm install --prefix build/peer node-llama-cpp@3.22.1
    python3 bench/serve/compare.py --model FILE.gguf --peer build/peer [--clients 1,8,32] [--json OUT]

Both servers get the same file, threads, context per client and number of clients, one after the
other, turn by turn (a change of the machine's load hits both); figures are medians over turns. The
client (load.py) runs on the same machine. llama.cpp is its library behind llama_cpp_server.mjs, which
does what llama-server does; it is not llama-server.

Scenarios (--scenarios): mixed (closed loop, at each of --clients), arrival (8 readers while a long
prompt comes), prefix (nine tenths of a prompt known), restart (the same with Hadal's disk tier and a
restart between; Hadal only), sweep (open loop, for plot.py), same (are Hadal's answers in a crowd
those given alone?).
"""
import argparse
import asyncio
import copy
import json
import pathlib
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import load

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
READY_S = 120
SCENARIOS = ("mixed", "arrival", "prefix", "restart", "sweep", "same")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A running server; `with` ends it."""

    def __init__(self, name, args, clients, context, extra=()):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.health = "/ready" if name == "Hadal" else "/health"
        self.command = (hadal if name == "Hadal" else llama_cpp)(args, self.port, clients, context) + list(extra)

    def __enter__(self):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)
        until = time.monotonic() + READY_S
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > until:
                self.__exit__()
                self.log.seek(0)
                sys.exit(f"{self.command[0]} did not start: {self.log.read()[-500:].decode(errors='replace')}")
            time.sleep(0.05)
        return self

    def ready(self):
        try:
            with urllib.request.urlopen(self.url + self.health, timeout=1) as reply:
                return reply.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def peak_mb(self):
        lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def hadal(args, port, clients, context):
    return [str(args.hadal), "serve", "--model", str(args.model), "--port", str(port), "--threads",
            str(args.threads), "--ctx", str(context), "--parallel", str(clients), "--log-level", "warn",
            *shlex.split(args.hadal_options)]


def llama_cpp(args, port, clients, context):
    return ["node", str(HERE / "llama_cpp_server.mjs"), str(args.peer),
            json.dumps({"model": str(args.model), "threads": args.threads, "context": context,
                        "sequences": clients, "port": port, "batch": args.batch})]


def load_options(args, mode, url, turn, **more):
    """As the command line of load.py would give them."""
    options = load.parser().parse_args([mode, "--url", url])
    options.ids, options.scale, options.mix = args.ids, args.scale, args.mix
    options.seed = 1000 * turn + 1
    vars(options).update(more)
    return options


def run_load(options):
    """After a request that wakes everything up."""
    warm = copy.copy(options)
    warm.ids, warm.long, warm.repeat, warm.mode, warm.seed = options.ids, 100, 1, "prefix", -1
    asyncio.run(load.run(warm))
    return asyncio.run(load.run(options))


def steal_ticks():
    words = [int(word) for word in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return words[7], sum(words)


def measure(name, args, clients, context, make, extra=()):
    with Server(name, args, clients, context, extra) as server:
        stolen, total = steal_ticks()
        result = run_load(make(server.url))
        stolen_after, total_after = steal_ticks()
        result["steal"] = (stolen_after - stolen) / max(total_after - total, 1)
        result["peak_mb"] = server.peak_mb()
        print(f"# {name}, {clients} clients: {json.dumps(result)[:400]}", file=sys.stderr, flush=True)
        return result


def restart(args, turn):
    """The first tokens of cold prompts, and of the same beginnings after a restart, from disk."""
    with tempfile.TemporaryDirectory() as folder:
        extra = ["--kv-cache-disk", "4GiB", "--kv-cache-dir", folder]
        runs = []
        for ends in (1, 2):  # the same beginnings: the second run finds what the first one left
            make = lambda url: load_options(args, "prefix", url, turn, long=args.prefix, repeat=3, ends=ends)
            runs.append(measure("Hadal", args, 1, args.context, make, extra))
        cold, warm = (run["cold_ttft"] for run in runs)
        return {"cold_ttft": cold, "warm_ttft": warm, "hit": runs[1]["cold_hit"], "ratio": warm / cold}


def run_turn(args, turn, engines, results):
    def keep(key, name, value):
        results.setdefault(key, {}).setdefault(name, []).append(value)

    for name in engines:
        if "mixed" in args.scenarios:
            for clients in args.clients:
                make = lambda url: load_options(args, "closed", url, turn, clients=clients,
                                                turns=args.turns * (3 if clients == 1 else 1))
                keep(f"mixed {clients}", name, measure(name, args, clients, args.context, make))
        if "arrival" in args.scenarios:
            make = lambda url: load_options(args, "arrival", url, turn, clients=args.readers, long=args.long)
            context = args.long + 192
            keep("arrival", name, measure(name, args, args.readers + 1, context, make))
        if "prefix" in args.scenarios:
            make = lambda url: load_options(args, "prefix", url, turn, long=args.prefix, repeat=3)
            keep("prefix", name, measure(name, args, 1, args.context, make))
        if "sweep" in args.scenarios:
            make = lambda url: load_options(args, "sweep", url, turn, clients=args.clients[-1], name=name,
                                            rates=args.rates, requests=args.requests)
            keep("sweep", name, measure(name, args, args.clients[-1], args.context, make))
    if "restart" in args.scenarios:
        keep("restart", "Hadal", restart(args, turn))
    if "same" in args.scenarios:
        make = lambda url: load_options(args, "same", url, turn, clients=8, turns=3)
        keep("same", "Hadal", measure("Hadal", args, 8, args.context, make))


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def table(results):
    lines = ["| | llama.cpp | Hadal | Hadal / llama.cpp |", "|---|---|---|---|"]

    def row(title, key, field, form):
        runs = results[key]
        values = {name: median(runs[name], field) for name in runs}
        peer, own = values.get("llama.cpp"), values.get("Hadal")
        ratio = f"{own / peer:.2f}" if peer and own is not None else ""
        lines.append(f"| {title} | {form(peer) if peer is not None else ''} | "
                     f"{form(own) if own is not None else ''} | {ratio} |")

    ms = lambda seconds: f"{1000 * seconds:.0f}"
    number = lambda value: f"{value:.0f}"
    share = lambda value: f"{value:.2f}"
    for key in results:
        if key.startswith("mixed"):
            clients = f"{key.split()[1]} clients"
            row(f"{clients}: all tokens/s", key, "tokens_per_s", number)
            row(f"{clients}: tokens of answers/s", key, "output_tokens_per_s", number)
            row(f"{clients}: first token p50, ms", key, "ttft_p50", ms)
            row(f"{clients}: first token p99, ms", key, "ttft_p99", ms)
            row(f"{clients}: between tokens p50, ms", key, "gap_p50", ms)
            row(f"{clients}: between tokens p99, ms", key, "gap_p99", ms)
        elif key == "arrival":
            row("between tokens before a long prompt, p50, ms", key, "before_p50", ms)
            row("while it arrives, p50, ms", key, "during_p50", ms)
            row("while it arrives, p99, ms", key, "during_p99", ms)
            row("p99 / p50", key, "ratio", share)
            row("first token of the long prompt, ms", key, "long_ttft", ms)
        elif key in ("prefix", "restart"):
            row(f"{key}: first token cold, ms", key, "cold_ttft", ms)
            row(f"{key}: first token, nine tenths known, ms" if key == "prefix" else
                "restart: first token, from disk, ms", key, "warm_ttft", ms)
            row(f"{key}: known / cold", key, "ratio", share)
        elif key == "same":
            row("answers in a crowd that differ", key, "different", number)
    return "\n".join(lines)


def main():
    cli = argparse.ArgumentParser(description="hadal serve next to llama.cpp under the same load")
    cli.add_argument("--model", type=pathlib.Path, required=True)
    cli.add_argument("--peer", type=pathlib.Path, help="where node-llama-cpp is installed; without: Hadal alone")
    cli.add_argument("--hadal", type=pathlib.Path, default=ROOT / "build/release/hadal")
    cli.add_argument("--hadal-options", default="", help="further options of hadal serve")
    cli.add_argument("--scenarios", default="mixed,arrival,prefix", help=", ".join(SCENARIOS))
    cli.add_argument("--clients", default="1,8,32")
    cli.add_argument("--rounds", type=int, default=3, help="turns of each server")
    cli.add_argument("--turns", type=int, default=4,
                     help="requests of each client; a single one sends three times as many")
    cli.add_argument("--threads", type=int, default=2)
    cli.add_argument("--context", type=int, default=4096, help="tokens per client")
    cli.add_argument("--batch", type=int, default=512, help="llama.cpp: tokens of a pass")
    cli.add_argument("--readers", type=int, default=8, help="arrival: clients that read answers")
    cli.add_argument("--long", type=int, default=8000, help="arrival: tokens of the long prompt")
    cli.add_argument("--prefix", type=int, default=2000, help="prefix, restart: tokens of a prompt")
    cli.add_argument("--rates", default="1,2,4", help="sweep: requests a second")
    cli.add_argument("--requests", type=int, default=40, help="sweep: requests per rate")
    cli.add_argument("--ids", type=int, default=0, help="token ids below this instead of text")
    cli.add_argument("--scale", type=float, default=1.0, help="factor of all lengths of the mixed workload")
    cli.add_argument("--mix", default=load.MIX)
    cli.add_argument("--json", type=pathlib.Path)
    args = cli.parse_args()
    args.clients = [int(count) for count in args.clients.split(",")]
    args.scenarios = args.scenarios.split(",")
    if unknown := set(args.scenarios) - set(SCENARIOS):
        cli.error(f"no such scenario: {', '.join(unknown)}")
    engines = (["llama.cpp"] if args.peer else []) + ["Hadal"]
    results = {}
    for turn in range(args.rounds):
        run_turn(args, turn, engines, results)
        if args.json:
            args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
