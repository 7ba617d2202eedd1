"""Bad input of every kind, generated: from the table of endpoints (/openapi.json), from the grammar of
JSON, and large, deep or broken bodies.

    python3 tests/api/bad_input.py      needs HADAL_BINARY or build/dev/hadal

What a schema allows must not be a 5xx; what it forbids must be a 4xx in the documented error shape that
names the field. Memory must stay where it was. Only the standard library is used.
"""
import http.client
import itertools
import json
import random
import re
import socket
import sys

import run

RESIDENT_GROWTH = 64 << 20

DEEP = json.loads("[" * 100 + "]" * 100)
VALUES = [None, True, False, 0, 1, -1, 2.5, 1e300, -1e300, 10**30, -10**30, 2**63, -2**63 - 1, "", "text", "\u0000", "x" * 10000,
          [], [None], [True], [-1], [2.5], ["a", 1], [[]], [{}], {}, {"a": 1}, {"": None}, {"type": 5}, DEEP]


class Schema:
    """As much of JSON Schema as the description uses."""

    def __init__(self, document):
        self.document = document

    def allows(self, schema, value):
        if "$ref" in schema:
            target = self.document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            return self.allows(target, value)
        if "anyOf" in schema and not any(self.allows(choice, value) for choice in schema["anyOf"]):
            return False
        if "const" in schema and not same(schema["const"], value):
            return False
        if "enum" in schema and not any(same(choice, value) for choice in schema["enum"]):
            return False
        if "type" in schema:
            types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
            if not any(has_type(value, name) for name in types):
                return False
        if is_number(value) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            return False
        if isinstance(value, list):
            if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
                return False
            return all(self.allows(schema.get("items", {}), entry) for entry in value)
        if isinstance(value, dict):
            if any(name not in value for name in schema.get("required", [])):
                return False
            members = schema.get("properties", {})
            return all(self.allows(members[name], entry) for name, entry in value.items() if name in members)
        return True


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def same(a, b):
    return type(a) is type(b) and a == b


def has_type(value, name):
    return {"null": value is None, "boolean": isinstance(value, bool), "number": is_number(value),
            "integer": is_number(value) and value == int(value), "string": isinstance(value, str),
            "array": isinstance(value, list), "object": isinstance(value, dict)}[name]


class Client:
    """Requests one after another; a connection that the server closed is opened anew."""

    def __init__(self, port):
        self.port = port
        self.connection = None

    def ask(self, method, path, body=None, headers=None):
        for attempt in (0, 1):
            try:
                if self.connection is None:
                    self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                self.connection.request(method, path, body, headers or {})
                answer = self.connection.getresponse()
                data = answer.read()
                if answer.will_close:
                    self.connection = None
                return answer.status, data
            except (http.client.HTTPException, OSError):
                self.connection = None
                if attempt:
                    raise
        return None


class Tally:
    def __init__(self):
        self.passed, self.problems = 0, []

    def note(self, problem):
        if problem is None:
            self.passed += 1
        else:
            self.problems.append(problem)


# Every field of every endpoint, with values of every kind.

def operations(document, model):
    """(path, operation, media) of what takes a body; of endpoints under several paths the first."""
    seen = set()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            media = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            path = path.replace("{model}", model)
            if method != "post" or "example" not in media or "{" in path or "/unload" in path:
                continue
            if media["example"].get("model") == "MODEL":
                media["example"]["model"] = model
            key = json.dumps([operation["summary"], media], sort_keys=True)
            if key not in seen:
                seen.add(key)
                yield path, operation, media


def bases(media):
    """Bodies that work: the example, and one for each other way to ask."""
    yield media["example"]
    if "content" in media["example"]:
        yield {"prompt": "Hello"}
    if "messages" in media["schema"]["properties"] and "messages" not in media["example"]:
        rest = {name: value for name, value in media["example"].items() if name not in ("prompt", "content")}
        yield {"messages": [{"role": "user", "content": "Hello"}], **rest}


def check_field(client, schema, path, operation, media, name, value):
    """What is forbidden must be refused in one way to ask at least."""
    problems = [check_body(client, schema, path, operation, media, dict(base), name, value) for base in bases(media)]
    if schema.allows(media["schema"]["properties"][name], value):
        return next(filter(None, problems), None)
    return None if None in problems else problems[0]


def check_body(client, schema, path, operation, media, body, name, value):
    body[name] = value
    what = f"POST {path} with {json.dumps(name)}: {json.dumps(value)[:60]}"
    status, data = client.ask("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    members = media["schema"]["properties"]
    allowed = schema.allows(members[name], value)
    if status == 503 and name == "queue_timeout_ms" and b"queue_timeout" in data:
        return None  # a wait that is over before its turn is no mistake of either side
    if status >= 500:
        return f"{what}: status {status}: {data[:200]!r}"
    if status < 400:
        return None if allowed else f"{what} is not allowed, but the status is {status}"
    if str(status) not in operation["responses"]:
        return f"{what}: the description lacks status {status}"
    try:
        error = json.loads(data)
    except ValueError:
        return f"{what}: the error is no JSON: {data[:200]!r}"
    shape = operation["responses"][str(status)]["content"]["application/json"]["schema"]
    if not schema.allows(shape, error):
        return f"{what}: the error has another shape: {data[:200]!r}"
    if not allowed and status != 413 and name not in json.dumps(error):  # 413: no field was read
        return f"{what}: the error does not name the field: {data[:200]!r}"
    return None


def field_cases(client, tally):
    document = json.loads(client.ask("GET", "/openapi.json")[1])
    schema = Schema(document)
    model = json.loads(client.ask("GET", "/v1/models")[1])["data"][0]["id"]
    for path, operation, media in operations(document, model):
        for name in media["schema"]["properties"]:
            for value in VALUES:
                tally.note(check_field(client, schema, path, operation, media, name, value))


# The grammar of JSON.

STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


class Grammar:
    """RFC 8259 to the letter, for short texts."""

    def __init__(self, text):
        self.text, self.at = text, 0

    def valid(self):
        try:
            self.space()
            self.value()
            self.space()
        except IndexError:
            return False
        return self.at == len(self.text)

    def space(self):
        while self.text[self.at:self.at + 1] in (" ", "\t", "\n", "\r"):
            self.at += 1

    def take(self, pattern):
        match = pattern.match(self.text, self.at)
        if not match:
            raise IndexError
        self.at = match.end()

    def literal(self, word):
        if not self.text.startswith(word, self.at):
            raise IndexError
        self.at += len(word)

    def value(self):
        first = self.text[self.at]
        if first in "{[":
            self.list("}" if first == "{" else "]", first == "{")
        elif first == '"':
            self.take(STRING)
        elif first in "tfn":
            self.literal({"t": "true", "f": "false", "n": "null"}[first])
        else:
            self.take(NUMBER)

    def list(self, end, named):
        self.at += 1
        self.space()
        if self.text[self.at] == end:
            self.at += 1
            return
        while True:
            if named:
                self.take(STRING)
                self.space()
                self.literal(":")
                self.space()
            self.value()
            self.space()
            if self.text[self.at] == end:
                self.at += 1
                return
            self.literal(",")
            self.space()


SEEDS = ['{"a":[1,2.5,-0,1e3,1E-2,0.1e+5],"b":{"c":null,"d":true}}', '["\\u00e9\\n\\"\\\\\\/", "世界", ""]', "[[[]],{},[{}]]",
         "-12.5e-3", '"\\ud83d\\ude00 \\u0000"', " \t\n\r[ 1 , 2 ]\r\n", '{"":"","x y":false}', "null", "0"]
CHANGES = list('{}[]:,"\\-+.eE019 aunt/\t\n\x00\x1f\x7f') + ["\u00a0", "\ufeff", "\\u", "\\x", "//", "/**/", "'", "NaN", "Infinity",
                                                           "True", "0x1", "01", "1.", ".5", "é", "\u2028"]


def json_texts():
    """Each seed, and each seed with one change at each place."""
    texts = set(SEEDS)
    for seed in SEEDS:
        for at in range(len(seed) + 1):
            texts.add(seed[:at] + seed[at + 1:])
            texts.add(seed[:at])
            for change in CHANGES:
                texts.add(seed[:at] + change + seed[at:])
                texts.add(seed[:at] + change + seed[at + 1:])
    # RFC 8259 leaves halves of surrogate pairs, and how large a number may be, to the implementation.
    free = re.compile(r"\\u[dD][89a-fA-F]|[eE][+]?[0-9]{3,}")
    chosen = sorted(text for text in texts if not free.search(text))
    return random.Random(8259).sample(chosen, min(len(chosen), 6000))


def json_cases(client, tally):
    for text in json_texts():
        # Within an object the text decides alone: "content" is what the endpoint needs.
        status, data = client.ask("POST", "/tokenize", b'{"content":"a","x":' + text.encode() + b"}")
        valid = Grammar('{"content":"a","x":' + text + "}").valid()
        if status == 200 and valid or status == 400 and not valid and b"invalid_json" in data:
            tally.note(None)
        else:
            tally.note(f"JSON {text!r} is {'valid' if valid else 'invalid'}, status {status}: {data[:120]!r}")


# Bodies that are broken, large or deep.

BROKEN_UTF8 = [b"\x80", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xff", b"\xfe\xff", b"\xc3", b"\xf0\x9f\x91"]


def broken_bodies():
    """(name, path, body, statuses)"""
    for text in ("", " ", "null", "[]", "5", '"text"', "{", "}", "{}}", "\ufeff{}", "{}\x00", "[" * 1000000, '{"a":' * 200000,
                 "[" * 127 + "]" * 127, "9" * 1000000, "-" * 1000, '"' + "\\" * 99999, "{" + '"a":1,' * 100000 + '"a":2}'):
        for path in ("/v1/chat/completions", "/v1/completions", "/generate", "/tokenize", "/completion"):
            yield f"body {text[:20]!r} of {len(text)}", path, text.encode(), (400,)
    for bad in BROKEN_UTF8:
        for body in (b'{"prompt":"' + bad + b'"}', b'{"' + bad + b'":1,"prompt":"a"}', b'{"prompt":"a"' + bad + b"}", bad,
                     b'{"prompt":"a","stop":["' + bad + b'"]}', b'{"messages":[{"role":"user","content":"' + bad + b'"}]}'):
            for path in ("/v1/completions", "/generate", "/v1/chat/completions"):
                yield f"body {body!r}", path, body, (400,)


def large_bodies():
    million = 10**6
    chat = '{"messages":[{"role":"user","content":"a"}],"max_tokens":1,%s}'
    for name, member in [("logit_bias", '"logit_bias":{%s}' % ",".join(f'"{i}":1' for i in range(million))),
                         ("logit_bias", '"logit_bias":{%s}' % ",".join(f'"x{i}":1' for i in range(1000))),
                         ("stop", '"stop":[%s"a"]' % ('"a",' * million)),
                         ("stop", '"stop":"%s"' % ("a" * million)),
                         ("stop_token_ids", '"stop_token_ids":[%s1]' % ("1," * million)),
                         ("cache_salt", '"cache_salt":"%s"' % ("a" * million)),
                         ("reasoning_effort", '"reasoning_effort":"%s"' % ("a" * million)),
                         ("tool_choice", '"tool_choice":"%s"' % ("a" * million)),
                         ("max_tokens", '"max_tokens":%s' % ("9" * 100000)),
                         ("temperature", '"temperature":1%s' % ("0" * 100000)),
                         ("top_k", '"top_k":-1e99999')]:
        yield name, "/v1/chat/completions", (chat % member).encode(), (400,)
    yield "messages", "/v1/chat/completions", ('{"messages":[%s1]}' % ("{}," * million)).encode(), (400,)
    yield "messages", "/v1/chat/completions", ('{"messages":[%s]}' % ",".join(['{"role":"user","content":"a"}'] * 20000)).encode(), (400,)
    yield "prompt", "/v1/completions", ('{"prompt":[%s1]}' % ("1," * million)).encode(), (400,)
    yield "prompt", "/v1/completions", ('{"prompt":[%s"a"]}' % ('"a",' * 300)).encode(), (400,)
    yield "prompt", "/v1/completions", ('{"prompt":"%s"}' % ("word " * million)).encode(), (400,)
    yield "prompt", "/completion", ('{"prompt":[%s1]}' % ('"a",1,' * 200000)).encode(), (400,)
    yield "", "/tokenize", ('{"content":"a","x":"%s"}' % ("a" * (33 << 20))).encode(), (413,)
    yield "", "/v1/models", b"", (405,)


def body_cases(client, tally):
    for name, path, body, statuses in itertools.chain(broken_bodies(), large_bodies()):
        try:
            status, data = client.ask("POST", path, body)
        except (OSError, http.client.HTTPException) as problem:
            # A body that is refused early may be cut off before the answer is read.
            tally.note(None if 413 in statuses else f"POST {path}, {name}: {type(problem).__name__}: {problem}")
            continue
        shown = f"POST {path}, {name}: status {status}, expected {statuses}: {data[:200]!r}"
        named = name.startswith("body ") or name in data.decode("utf-8", "replace")
        tally.note(None if status in statuses and named else shown)


def raw_cases(port, tally):
    """Bytes that http.client would not send: broken UTF-8 and worse in the head."""
    for bad in BROKEN_UTF8 + [b"\x00", b"\x7f", b"\x01", b"\t"]:
        for head in (b"GET /v1/models/" + bad + b" HTTP/1.1\r\nHost: localhost\r\n", b"GET /health?" + bad + b" HTTP/1.1\r\nHost: localhost\r\n",
                     b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-" + bad + b": 1\r\n",
                     b"GET /health HTTP/1.1\r\nHost: localhost\r\nx-request-id: " + bad + b"\r\n",
                     b"GET /health HTTP/1.1\r\nHost: " + bad + b"\r\n", b"G" + bad + b"T /health HTTP/1.1\r\nHost: localhost\r\n",
                     b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + bad + b"\r\n"):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as peer:
                peer.sendall(head + b"Connection: close\r\n\r\n")
                data = b""
                while part := peer.recv(65536):
                    data += part
            status = int(data[9:12]) if data[9:12].isdigit() else 0
            good = (200 <= status < 500) and bad not in data.partition(b"\r\n\r\n")[0].replace(b"\t", b"")
            tally.note(None if good or bad == b"\t" and status else f"head {head!r}: {data[:200]!r}")


def main():
    tally = Tally()
    with run.serving("--model", "nano", "--ctx", "512", "--log-level", "error") as (port, process):
        client = Client(port)
        field_cases(client, tally)
        json_cases(client, tally)
        raw_cases(port, tally)
        body_cases(client, tally)
        before = run.resident_bytes(process.pid)
        body_cases(client, Tally())
        grown = run.resident_bytes(process.pid) - before
        tally.note(f"memory grew by {grown >> 20} MiB" if grown > RESIDENT_GROWTH else None)
        status, _ = client.ask("GET", "/ready")
        tally.note(None if status == 200 else f"the server is not ready any more: {status}")
    for problem in tally.problems[:60]:
        print("FAILED", problem)
    print(f"{tally.passed} passed, {len(tally.problems)} failed, 0 skipped")
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main())
