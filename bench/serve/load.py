#!/usr/bin/env python3
"""Load on a server that speaks streaming OpenAI completions. Needs Python 3.10 and nothing else.

    python3 bench/serve/load.py closed  --url http://127.0.0.1:8000 --clients 32 --turns 4 --csv OUT.csv
    python3 bench/serve/load.py open    --url ... --rate 2 --requests 60 --csv OUT.csv
    python3 bench/serve/load.py sweep   --url ... --rates 0.5,1,2,4 --requests 60 --json OUT.json
    python3 bench/serve/load.py arrival --url ... --clients 8 --long 8000
    python3 bench/serve/load.py prefix  --url ... --long 2000
    python3 bench/serve/load.py same    --url ... --clients 8
    python3 bench/serve/plot.py OUT.json ... --svg OUT.svg

closed   N clients, each sends its next request when the last one is answered.
open     requests arrive at random (Poisson, --rate a second) whether or not others are answered.
sweep    open at several rates, for the plot of latency against load.
arrival  N clients read long answers; then a prompt of --long tokens arrives: the gaps between tokens
         of the others before, and until its first token.
prefix   a new prompt, then one that shares its first 90 %: times to the first token.
same     greedy answers of one request after the other, and of all at once: are they equal?

The workload comes from --seed; clients take the kinds of --mix in turn:
chat      a system prompt of 500 tokens that all share, then turns of 40; answers of 64.
document  a prompt of 1000 tokens that nobody shares; an answer of 48.
agent     a prompt of 600 tokens that all share, then tool results of 120; answers of 32; every
          request sends the whole history again.
Histories carry a text of the corpus in the place of each answer, so that all servers get the same
requests. Answers have fixed lengths (ignore_eos), sampling is greedy. Texts are made of
tests/golden/text (English, Chinese, code), with numbers so that no two are alike; lengths in tokens
are estimates then. --ids N sends token ids below N instead, with exact lengths: for models whose
vocabulary is no language. --scale stretches all lengths.

Times are seconds since the start of the run, on the client's clock. A gap is the time between two
events with text; a server that cannot show half a character sends none for it.
"""
import argparse
import asyncio
import csv
import dataclasses
import json
import pathlib
import random
import sys
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TIMEOUT_S = 600
KINDS = ("chat", "document", "agent")
MIX = "chat,agent,chat,document"


# --- one request ---------------------------------------------------------------------------------

@dataclasses.dataclass
class Ask:
    kind: str
    prompt: "str | list[int]"
    max_tokens: int


@dataclasses.dataclass
class Answer:
    client: int
    kind: str
    arrival: float
    first: float = 0.0
    end: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    error: str = ""
    text: str = ""
    events: list = dataclasses.field(default_factory=list)

    def gaps(self):
        return [b - a for a, b in zip(self.events, self.events[1:])]

    def ttft(self):
        return self.first - self.arrival


async def body_lines(reader, chunked):
    """Lines of a body that comes in chunks or ends with the connection."""
    rest = b""
    while True:
        if chunked:
            size = int((await reader.readline()).split(b";")[0] or b"0", 16)
            data = await reader.readexactly(size)
            await reader.readline()
        else:
            data = await reader.read(65536)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line
    if rest:
        yield rest


async def post(url, path, body):
    """Lines of the answer's body, and the connection, which the caller closes. ValueError unless 200."""
    parts = urllib.parse.urlsplit(url)
    data = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    writer.write(f"POST {parts.path.rstrip('/')}{path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
                 f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
                 "Connection: close\r\n\r\n".encode() + data)
    status = (await reader.readline()).split(b" ")[1:2]
    chunked = False
    while (line := (await reader.readline()).strip().lower()):
        chunked = chunked or line == b"transfer-encoding: chunked"
    if status != [b"200"]:
        problem = (await reader.read(300)).decode(errors="replace")
        writer.close()
        raise ValueError(f"status {status}: {problem}")
    return body_lines(reader, chunked), writer


async def complete(url, ask, answer, clock):
    """Sends `ask` and fills `answer` in. Failures go to answer.error."""
    writer = None
    try:
        body = {"prompt": ask.prompt, "max_tokens": ask.max_tokens, "temperature": 0, "ignore_eos": True,
                "stream": True, "stream_options": {"include_usage": True}}
        lines, writer = await post(url, "/v1/completions", body)
        async for line in lines:
            if line.startswith(b"data: {"):
                take_event(json.loads(line[6:]), answer, clock())
        if answer.output_tokens == 0:
            answer.error = answer.error or "the stream ended early"
    except (OSError, ValueError, EOFError) as problem:
        answer.error = f"{type(problem).__name__}: {problem}"
    finally:
        answer.end = clock()
        if writer is not None:
            writer.close()


def take_event(event, answer, now):
    if "error" in event:
        answer.error = str(event["error"])
    for choice in event.get("choices", []):
        answer.first = answer.first or now
        if choice["text"]:
            answer.events.append(now)
            answer.text += choice["text"]
    usage = event.get("usage")
    if usage:
        answer.prompt_tokens = usage["prompt_tokens"]
        answer.output_tokens = usage["completion_tokens"]
        answer.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)


# --- workloads -----------------------------------------------------------------------------------

class Words:
    """Pieces of text (or of ids) of about so many tokens; a generator of its own per client."""

    def __init__(self, options, name, texts=("english", "chinese", "code"), weights=(6, 2, 2)):
        self.random = random.Random(f"{options.seed} {name}")
        self.ids = options.ids
        folder = ROOT / "tests/golden/text"
        self.texts = [(folder / f"{name}.txt").read_text("utf-8") for name in texts]
        self.weights = weights

    def take(self, tokens):
        if self.ids:
            return [self.random.randrange(1000, self.ids) for _ in range(tokens)]
        out, left = "", float(tokens)
        while left > 0:
            text = self.random.choices(self.texts, self.weights)[0]
            begin = self.random.randrange(len(text))
            piece = f"\n{self.random.randrange(1000)}. {text[begin:begin + 200]}"
            for i, letter in enumerate(piece):
                left -= 0.28 if letter.isascii() else 1.0
                if left <= 0:
                    piece = piece[:i + 1]
                    break
            out += piece
        return out


async def exact(url, words, tokens):
    """A prompt of exactly so many ids; of a text the server tells them (POST /tokenize)."""
    ids = []
    while len(ids) < tokens:
        piece = words.take(tokens)
        if not words.ids:
            lines, writer = await post(url, "/tokenize", {"content": piece})
            piece = json.loads(b"".join([line async for line in lines]))["tokens"]
            writer.close()
        ids += piece
    return ids[:tokens]


def session(kind, options, own, shared):
    """The requests of one conversation."""
    size = lambda tokens: max(1, round(tokens * options.scale))
    asks = []

    def turns(count, history, said, answered):
        for _ in range(count):
            history = history + own.take(size(said))
            asks.append(Ask(kind, history, size(answered)))
            history = history + own.take(size(answered))

    if kind == "chat":
        turns(4, shared["chat"], 40, 64)
    elif kind == "document":
        turns(1, own.take(size(1000)), 1, 48)
    else:
        turns(6, shared["agent"], 120, 32)
    return asks


def plans(options, clients, turns):
    """For each client `turns` requests."""
    system = Words(options, "system")
    shared = {"chat": system.take(max(1, round(500 * options.scale))),
              "agent": system.take(max(1, round(600 * options.scale)))}
    kinds = options.mix.split(",")
    out = []
    for client in range(clients):
        own = Words(options, f"client {client}")
        asks = []
        for i in range(turns):  # every session has at least one
            if len(asks) >= turns:
                break
            asks += session(kinds[(client + i) % len(kinds)], options, own, shared)
        out.append(asks[:turns])
    return out


# --- runs ----------------------------------------------------------------------------------------

def new_clock():
    start = time.perf_counter()
    return lambda: time.perf_counter() - start


async def closed(options):
    clock = new_clock()
    answers = []

    async def client(number, asks):
        for ask in asks:
            answer = Answer(number, ask.kind, clock())
            answers.append(answer)
            await complete(options.url, ask, answer, clock)

    await asyncio.gather(*(client(i, asks) for i, asks in
                           enumerate(plans(options, options.clients, options.turns))))
    return answers


async def open_loop(options, rate):
    """Users take turns in order; arrivals do not wait for answers."""
    per_user = -(-options.requests // options.clients)
    users = plans(options, options.clients, per_user)
    asks = [(i, asks[turn]) for turn in range(per_user) for i, asks in enumerate(users)][:options.requests]
    arrivals = random.Random(f"{options.seed} arrivals")
    clock = new_clock()
    answers, tasks, at = [], [], 0.0
    for number, ask in asks:
        at += arrivals.expovariate(rate)
        await asyncio.sleep(max(0.0, at - clock()))
        answers.append(Answer(number, ask.kind, clock()))
        tasks.append(asyncio.create_task(complete(options.url, ask, answers[-1], clock)))
    await asyncio.gather(*tasks)
    return answers


async def arrival(options):
    """Readers of long answers, and a long prompt that comes in between. All English: a character
    that takes three tokens would look like a gap of three."""
    words = Words(options, "arrival", ("english",), (1,))
    clock = new_clock()
    readers = [Answer(i, "reader", clock()) for i in range(options.clients)]
    tasks = [asyncio.create_task(complete(options.url, Ask("reader", words.take(100), options.reader_tokens),
                                          reader, clock)) for reader in readers]
    while any(len(reader.events) < 16 for reader in readers):
        if all(task.done() for task in tasks):
            raise SystemExit(f"readers ended early: {readers[0].error}")
        await asyncio.sleep(0.02)
    calm = max(reader.events[15] for reader in readers)
    await asyncio.sleep(options.calm_s)
    prompt = await exact(options.url, words, options.long)
    late = Answer(options.clients, "long", clock())
    await complete(options.url, Ask("long", prompt, 1), late, clock)
    await asyncio.sleep(0.2)
    if late.error:
        raise SystemExit(late.error)
    ended = sum(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    def gaps(begin, end):
        return [b - a for r in readers for a, b in zip(r.events, r.events[1:]) if b > begin and a < end]

    before = gaps(calm, late.arrival)
    during = gaps(late.arrival, late.first)
    tokens = sum(late.arrival <= event < late.first for r in readers for event in r.events)
    return {"long_tokens": late.prompt_tokens, "long_ttft": late.ttft(),
            "before_p50": quantile(before, 0.5), "before_p99": quantile(before, 0.99),
            "during_p50": quantile(during, 0.5), "during_p99": quantile(during, 0.99),
            "during_max": max(during, default=0.0),
            "ratio": quantile(during, 0.99) / max(quantile(during, 0.5), 1e-9),
            "reader_tokens_per_s": tokens / max(late.ttft(), 1e-9), "readers_ended": ended}


async def prefix(options):
    """Times to the first token of new prompts, and of those that share nine tenths with one before."""
    begins, ends = Words(options, "prefix"), Words(options, f"prefix {options.ends}")
    clock = new_clock()
    cold, warm, hits = [], [], []
    for _ in range(options.repeat):
        begin = await exact(options.url, begins, options.long * 9 // 10)
        for times in (cold, warm):
            prompt = begin + await exact(options.url, ends, options.long // 10)
            answer = Answer(0, "prefix", clock())
            await complete(options.url, Ask("prefix", prompt, 1), answer, clock)
            if answer.error:
                raise SystemExit(answer.error)
            times.append(answer.ttft())
            hits.append(answer.cached_tokens / answer.prompt_tokens)
    middle = lambda values: quantile(values, 0.5)
    return {"cold_ttft": middle(cold), "warm_ttft": middle(warm), "cold_hit": middle(hits[::2]),
            "hit": middle(hits[1::2]),
            "ratio": middle([w / c for w, c in zip(warm, cold)])}


async def same(options):
    """Alone first (cold and with a filled cache), then all at once; twice, so hits are in it."""
    asks = [ask for plan in plans(options, options.clients, options.turns) for ask in plan]
    clock = new_clock()

    async def one(ask):
        answer = Answer(0, ask.kind, clock())
        await complete(options.url, ask, answer, clock)
        return answer.text if not answer.error else f"ERROR {answer.error}"

    alone = [await one(ask) for ask in asks]
    differ = []
    for _ in range(2):
        crowd = await asyncio.gather(*(one(ask) for ask in asks))
        differ += [i for i, (a, b) in enumerate(zip(alone, crowd)) if a != b or a.startswith("ERROR")]
    return {"requests": len(asks), "different": len(differ), "which": differ[:10]}


# --- results -------------------------------------------------------------------------------------

def quantile(values, q):
    """The value below which a share q lies (nearest rank); 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0


def summary(answers):
    good = [a for a in answers if not a.error]
    wall = max((a.end for a in answers), default=0.0) - min((a.arrival for a in answers), default=0.0)
    wall = max(wall, 1e-9)
    gaps = [gap for a in good for gap in a.gaps()]
    ttft = [a.ttft() for a in good]
    prompt, output = sum(a.prompt_tokens for a in good), sum(a.output_tokens for a in good)
    return {"requests": len(answers), "errors": len(answers) - len(good), "seconds": wall,
            "prompt_tokens": prompt, "cached_tokens": sum(a.cached_tokens for a in good),
            "output_tokens": output, "tokens_per_s": (prompt + output) / wall,
            "output_tokens_per_s": output / wall, "requests_per_s": len(good) / wall,
            "ttft_p50": quantile(ttft, 0.5), "ttft_p99": quantile(ttft, 0.99),
            "gap_p50": quantile(gaps, 0.5), "gap_p99": quantile(gaps, 0.99),
            "latency_p50": quantile([a.end - a.arrival for a in good], 0.5)}


def write_csv(answers, path):
    with open(path, "w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["client", "kind", "arrival_s", "first_token_s", "end_s", "prompt_tokens", "cached_tokens",
                       "output_tokens", "gap_p50_s", "gap_p99_s", "error"])
        for a in sorted(answers, key=lambda a: a.arrival):
            rows.writerow([a.client, a.kind, f"{a.arrival:.4f}", f"{a.first:.4f}", f"{a.end:.4f}", a.prompt_tokens,
                           a.cached_tokens, a.output_tokens, f"{quantile(a.gaps(), 0.5):.5f}",
                           f"{quantile(a.gaps(), 0.99):.5f}", a.error])


async def run(options):
    """The result of options.mode as a dictionary."""
    if options.mode == "sweep":
        points = []
        for rate in (float(rate) for rate in options.rates.split(",")):
            options.seed += 1  # no run finds the prompts of the one before
            points.append({"rate": rate, **summary(await open_loop(options, rate))})
        return {"name": options.name, "points": points}
    if options.mode in ("arrival", "prefix", "same"):
        return await {"arrival": arrival, "prefix": prefix, "same": same}[options.mode](options)
    answers = await (closed(options) if options.mode == "closed" else open_loop(options, options.rate))
    if options.csv:
        write_csv(answers, options.csv)
    return summary(answers)


def parser():
    out = argparse.ArgumentParser(description="Load on a server of streaming OpenAI completions.")
    out.add_argument("mode", choices=("closed", "open", "sweep", "arrival", "prefix", "same"))
    out.add_argument("--url", required=True, help="base address, without /v1")
    out.add_argument("--clients", type=int, default=8, help="clients; users between whom open requests rotate")
    out.add_argument("--turns", type=int, default=4, help="closed, same: requests of each client")
    out.add_argument("--rate", type=float, default=1.0, help="open: requests a second")
    out.add_argument("--rates", default="0.5,1,2,4", help="sweep: requests a second, one run each")
    out.add_argument("--requests", type=int, default=40, help="open, sweep: how many")
    out.add_argument("--mix", default=MIX, help="kinds, in the order in which clients get them")
    out.add_argument("--scale", type=float, default=1.0, help="factor of all lengths")
    out.add_argument("--ids", type=int, default=0, help="send token ids below this instead of text")
    out.add_argument("--seed", type=int, default=1)
    out.add_argument("--long", type=int, default=8000, help="arrival, prefix: tokens of the long prompt")
    out.add_argument("--reader-tokens", type=int, default=2000, help="arrival: an answer's length")
    out.add_argument("--calm-s", type=float, default=2.0, help="arrival: seconds before the long prompt")
    out.add_argument("--repeat", type=int, default=5, help="prefix: pairs")
    out.add_argument("--ends", type=int, default=1, help="prefix: other ends to the same beginnings")
    out.add_argument("--name", default="server", help="sweep: the name in the plot")
    out.add_argument("--csv", help="a row per request")
    out.add_argument("--json", help="the summary")
    return out


def main():
    options = parser().parse_args()
    if any(kind not in KINDS for kind in options.mix.split(",")):
        sys.exit(f"--mix: kinds are {', '.join(KINDS)}")
    result = asyncio.run(run(options))
    text = json.dumps(result, indent=1)
    if options.json:
        pathlib.Path(options.json).write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
