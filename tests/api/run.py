"""Runs the scenarios of tests/api/*.t against the real program with a real model.

    python3 tests/api/run.py [NAME ...]      all scenarios, or the files named (without .t)

HADAL_BINARY is the program (default build/dev/hadal), HADAL_TEST_MODEL the model; without a model
the run is a loud skip. Only the standard library is used.

A .t file is a list of requests, each followed by what must come back:

    # comment
    POST /v1/chat/completions          method and path; WS opens a WebSocket
    Header-Name: value                 optional headers
    {"messages": ...}                  optional body, may span lines; {{REPEAT text count}} expands
    = status 200
    = header content-type application/json      the header contains the text
    = json usage.prompt_tokens > 0     path op value; ops: = != > >= contains has-not
    = json data.0.id exists
    = line 0 done = false              n-th line of an NDJSON answer (negative from the end)
    = body contains text
    = event 0 choices.0.delta.role = "assistant"   n-th data: event (negative from the end)
    = events ordered                   SSE: each event is JSON, [DONE] is last, one id, one created
    = names a b c                      SSE: names of the events, each run of the same once
    = save NAME path                   keeps a value of the JSON (SSE: of the first event); {{NAME}} in later requests is it
    > text                             WS: send a text message
    < done = true                      WS: read messages until one fits; it must not take 60 s

A file that begins with "# model: PATH" (from the root) is run against a server of that model instead.
"""
import base64
import contextlib
import http.client
import json
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BINARY = os.environ.get("HADAL_BINARY") or str(ROOT / "build/dev/hadal")
MODEL = os.environ.get("HADAL_TEST_MODEL", "")
KEY = "scenario-key"
FORBIDDEN = re.compile(r"0x[0-9a-f]{6,}|/(home|usr|root|tmp|work|var)/|std::|\.cc\b")


SAVED = {}


class Mismatch(Exception):
    """What came back is not what the scenario says."""


def lookup(value, path):
    for part in path.split("."):
        if isinstance(value, list):
            value = value[int(part)]
        elif isinstance(value, dict):
            value = value[part]
        else:
            raise KeyError(part)
    return value


def check_value(value, expression):
    """`path op value` over parsed JSON."""
    words = expression.split(" ", 2)
    path, op = words[0], words[1]
    want = json.loads(words[2]) if len(words) > 2 else None
    try:
        found = lookup(value, path)
    except (KeyError, IndexError, ValueError):
        if op == "has-not":
            return
        raise Mismatch(f"{path} is missing") from None
    results = {"=": lambda: found == want, "!=": lambda: found != want, ">": lambda: found > want,
               ">=": lambda: found >= want, "contains": lambda: want in found, "exists": lambda: True,
               "has-not": lambda: False}
    if not results[op]():
        raise Mismatch(f"{path} is {json.dumps(found, ensure_ascii=False)[:300]}, expected {op} {want!r}")


class Answer:
    """A whole HTTP answer."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.text = body.decode("utf-8", "replace")

    def events(self):
        lines = [line for line in self.text.split("\n") if line.startswith("data: ")]
        return [line[6:] for line in lines]

    def names(self):
        names = [line[7:] for line in self.text.split("\n") if line.startswith("event: ")]
        return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]

    def check(self, expectation):
        kind, _, rest = expectation.partition(" ")
        if kind == "status":
            if self.status != int(rest):
                raise Mismatch(f"status {self.status}, expected {rest}: {self.text[:300]}")
        elif kind == "header":
            name, _, text = rest.partition(" ")
            if text not in (self.headers.get(name) or ""):
                raise Mismatch(f"header {name} is {self.headers.get(name)!r}, expected {text!r}")
        elif kind == "json":
            check_value(json.loads(self.text), rest)
        elif kind == "body":
            if rest.removeprefix("contains ") not in self.text:
                raise Mismatch(f"the body lacks {rest.removeprefix('contains ')!r}: {self.text[:300]}")
        elif kind == "event":
            number, _, expression = rest.partition(" ")
            check_value(json.loads(self.events()[int(number)]), expression)
        elif kind == "line":
            number, _, expression = rest.partition(" ")
            check_value(json.loads(self.text.splitlines()[int(number)]), expression)
        elif kind == "events":
            self.check_order()
        elif kind == "names":
            if self.names() != rest.split():
                raise Mismatch(f"the events are {' '.join(self.names())}")
        elif kind == "save":
            name, _, path = rest.partition(" ")
            SAVED[name] = str(lookup(json.loads((self.events() or [self.text])[0]), path))
        else:
            raise Mismatch(f"unknown expectation {expectation!r}")

    def check_order(self):
        events = self.events()
        if events[-1] != "[DONE]":
            raise Mismatch("the stream does not end with [DONE]")
        parsed = [json.loads(event) for event in events[:-1]]
        if len({(e["id"], e["created"], e["model"]) for e in parsed}) != 1:
            raise Mismatch("id, created or model change within the stream")
        if any("\ufffd" in event for event in events):
            raise Mismatch("a character was split")


class WebSocket:
    """A minimal RFC 6455 client: text messages both ways."""

    def __init__(self, port, path, headers):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        key = base64.b64encode(os.urandom(16)).decode()
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
               f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.socket.sendall(head.encode() + b"\r\n")
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        reply, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        if not reply.startswith(b"HTTP/1.1 101"):
            raise Mismatch("no upgrade: " + reply.decode("latin-1")[:200])

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise Mismatch("the WebSocket was closed")
        self.buffer += data

    def send(self, text):
        data = text.encode()
        length = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0xFE]) + struct.pack(">H", len(data))
        mask = os.urandom(4)
        self.socket.sendall(b"\x81" + length + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))

    def take(self, count):
        while len(self.buffer) < count:
            self.more()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def receive(self):
        first, length = self.take(2)
        if length == 126:
            (length,) = struct.unpack(">H", self.take(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self.take(8))
        data = self.take(length)
        if first & 15 != 1:
            raise Mismatch(f"frame of kind {first & 15} instead of text")
        return data.decode()

    def wait_for(self, expression):
        last = ""
        for _ in range(10000):
            last = self.receive()
            try:
                check_value(json.loads(last), expression)
                return
            except Mismatch:
                continue
        raise Mismatch(f"no message fits {expression!r}; the last was {last[:200]}")


class Scenario:
    """One request and its expectations."""

    def __init__(self, place, method, path):
        self.place, self.method, self.path = place, method, path
        self.headers, self.body, self.steps = {}, [], []

    def name(self):
        return f"{self.place}: {self.method} {self.path}"

    def run(self, port, model):
        if self.method == "WS":
            self.run_socket(port)
            return
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        body = expand("\n".join(self.body), model)
        headers = {"Authorization": "Bearer " + KEY, **self.headers}
        if body:
            headers.setdefault("Content-Type", "application/json")
        connection.request(self.method, expand(self.path, model), body.encode() or None, headers)
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        if answer.status >= 400 and FORBIDDEN.search(answer.text):
            raise Mismatch("the error shows something of the inside: " + answer.text[:300])
        for step in self.steps:
            answer.check(step)
        connection.close()

    def run_socket(self, port):
        client = WebSocket(port, self.path, {"Authorization": "Bearer " + KEY, **self.headers})
        for step in self.steps:
            if step.startswith("> "):
                client.send(step[2:])
            else:
                client.wait_for(step[2:])
        client.socket.close()


def expand(text, model):
    for name, value in {**SAVED, "MODEL": model}.items():
        text = text.replace("{{" + name + "}}", value)
    return re.sub(r"\{\{REPEAT (.*?) (\d+)\}\}", lambda m: m[1] * int(m[2]), text)


def read_scenarios(path):
    scenarios, current, in_body = [], None, False
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.startswith("# ") or line == "#":
            continue
        start = re.fullmatch(r"(GET|POST|HEAD|PUT|DELETE|OPTIONS|PATCH|WS) (/\S*)", line)
        if start:
            current, in_body = Scenario(f"{path.name}:{number}", *start.groups()), False
            scenarios.append(current)
        elif line.startswith("= "):
            current.steps.append(line[2:])
        elif line.startswith(("> ", "< ")):
            current.steps.append(line)
        elif not in_body and current and not current.steps and re.match(r"[A-Za-z-]+: ", line):
            name, _, value = line.partition(": ")
            current.headers[name] = value
        elif line.strip():
            in_body = True
            current.body.append(line)
    return scenarios


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_ready(port, process):
    for _ in range(1200):
        if process.poll() is not None:
            raise SystemExit("the server ended: " + process.stderr.read()[-2000:])
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2).read()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the server was not ready within 60 s")


def resident_bytes(pid):
    """Memory of a process that is in RAM."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


@contextlib.contextmanager
def serving(*options):
    """A server that is ready, as (port, process); it must end in order."""
    port = free_port()
    kept = tempfile.TemporaryDirectory()
    process = subprocess.Popen([BINARY, "serve", "--port", str(port), "--responses-dir", kept.name, *options],
                               stderr=subprocess.PIPE, text=True)
    try:
        wait_until_ready(port, process)
        yield port, process
        if process.poll() is not None:
            raise SystemExit(f"the server ended by itself with {process.returncode}")
    finally:
        process.terminate()
        code = process.wait(timeout=30)
        kept.cleanup()
    if code != 0:
        raise SystemExit(f"the server ended with {code} after SIGTERM")


def run_all(scenarios, port, model):
    failed = 0
    for scenario in scenarios:
        try:
            scenario.run(port, model)
        except (Mismatch, OSError, ValueError, KeyError, IndexError, http.client.HTTPException) as problem:
            failed += 1
            print(f"FAILED {scenario.name()}\n       {type(problem).__name__}: {problem}")
    return failed


def model_of(path):
    """The model that a file asks for, or the one of the environment."""
    first = path.read_text("utf-8").split("\n", 1)[0]
    return str(ROOT / first.removeprefix("# model: ")) if first.startswith("# model: ") else MODEL


def main():
    names = sys.argv[1:]
    by_model = {}
    for path in sorted(HERE.glob("*.t")):
        if not names or path.stem in names:
            by_model.setdefault(model_of(path), []).extend(read_scenarios(path))
    passed = failed = skipped = 0
    for model, scenarios in by_model.items():
        if not model or not os.path.exists(model):
            print(f"SKIPPED: there is no {model or 'HADAL_TEST_MODEL'}; tools/fetch_test_data.py brings the models")
            skipped += len(scenarios)
            continue
        more = ["--model", "nano", "--map", "gpt-4*=nano"] if model == MODEL else []
        with serving("--model", model, *more, "--alias", "test-model", "--ctx", "1024", "--api-key", KEY) as (port, _):
            wrong = run_all(scenarios, port, "test-model")
        failed += wrong
        passed += max(0, len(scenarios) - wrong)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
