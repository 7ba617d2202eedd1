"""hadal serve with several models: loaded when asked for, unloaded, from the store, with mistakes named."""
import contextlib
import fcntl
import json
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import gguf_files as files
from harness import BINARY, environment, fails, hadal, main

SCRATCH = tempfile.TemporaryDirectory(prefix="hadal-cli-")
DIR = pathlib.Path(SCRATCH.name)
TINY = files.write_model(DIR / "tiny.gguf")
PORT = 18475


def call(path, body=None):
    """Status and JSON of an answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@contextlib.contextmanager
def serving(home, *options):
    server = subprocess.Popen([BINARY, "serve", "--port", str(PORT), *map(str, options)], env=environment(home),
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(200):
            assert server.poll() is None, server.stderr.read()
            try:
                if call("/ready")[0] == 200:
                    break
            except OSError:
                pass
            time.sleep(0.05)
        else:
            raise AssertionError("the server does not get ready")
        yield server
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0, server.stderr.read()
        server.stderr.close()


def states():
    return {model["id"]: model["state"] for model in call("/v1/models")[1]["data"]}


def wait_for_state(name, state):
    for _ in range(200):
        if states()[name] == state:
            return
        time.sleep(0.05)
    raise AssertionError(f"{name} does not get {state}: {states()}")


def complete(model):
    status, answer = call("/v1/completions", {"model": model, "prompt": "a", "max_tokens": 3, "temperature": 0})
    assert status == 200, answer
    return answer["model"]


def test_two_models():
    """The first is there from the start, the second when it is named; an alias of the table finds it, too."""
    with tempfile.TemporaryDirectory() as home, serving(home, "--model", "nano", "--model", TINY, "--map", "claude-*=tiny"):
        assert states() == {"nano": "loaded", "tiny": "unloaded"}, states()
        assert complete("nano") == "nano" and states()["tiny"] == "unloaded"
        assert complete("claude-opus-5") == "tiny" and states()["tiny"] == "loaded"
        assert call("/v1/models/unload", {"model": "tiny"})[0] == 200
        wait_for_state("tiny", "unloaded")
        assert complete("tiny:latest") == "tiny"
        assert call("/v1/completions", {"model": "other", "prompt": "a"})[0] == 404


def test_config_file():
    """Models with settings of their own, a table of aliases, a time after which they go."""
    config = DIR / "serve.yaml"
    config.write_text(f"""
ctx: 256
models:
  - nano
  - model: {TINY}
    alias: [small, smaller]
    ctx: 64
    parallel: 2
    keep-alive: 500ms
aliases:
  gpt-*: small
""")
    with tempfile.TemporaryDirectory() as home, serving(home, "--config", config):
        assert states() == {"nano": "loaded", "small": "unloaded", "smaller": "unloaded", "tiny": "unloaded"}, states()
        assert complete("gpt-4o") == "small"
        lengths = {model["id"]: model["max_model_len"] for model in call("/v1/models")[1]["data"]}
        assert lengths["nano"] == 256, lengths
        assert call("/v2/models/small/config")[1]["max_batch_size"] in (2, 8)
        wait_for_state("small", "unloaded")
    for text, word in [("models: 7", "models"), ("models: [{ctx: 64}]", "model"), ("models: [{model: nano, cxt: 64}]", "ctx"),
                       ("models: [{model: nano, ctx: few}]", "ctx"), ("aliases: [a]", "aliases")]:
        config.write_text(text)
        fails(hadal("serve", "--config", config, "--port", PORT), 1, word)


def test_store():
    """Models of the store can be named where that is allowed; a broken one is an error, not the end."""
    with tempfile.TemporaryDirectory() as home:
        store = pathlib.Path(home) / "hadal" / "models"
        store.mkdir(parents=True)
        shutil.copy(TINY, store / "stored.gguf")
        (store / "broken.gguf").write_bytes(TINY.read_bytes()[:5000])
        with serving(home, "--model", "nano"):
            assert call("/v1/completions", {"model": "stored", "prompt": "a"})[0] == 404
        with serving(home, "--model", "nano", "--allow-store", "--keep-alive", "0"):
            assert states()["stored"] == "unloaded"
            assert complete("stored") == "stored"
            status, answer = call("/v1/completions", {"model": "broken", "prompt": "a"})
            assert status == 500 and answer["error"]["code"] == "model_load_failed", answer
            assert str(home) not in json.dumps(answer)
            (store / "stored.gguf").unlink()
            wait_for_state("nano", "unloaded")
            assert call("/v1/completions", {"model": "stored", "prompt": "a"})[0] == 404
            assert complete("nano") == "nano"


def test_memory():
    """A budget that holds one model at a time."""
    with tempfile.TemporaryDirectory() as home:
        options = ("--model", "nano", "--model", TINY, "--ctx", "64", "--parallel", "1")
        with serving(home, *options, "--model-memory", "4650KB"):
            assert complete("tiny") == "tiny"
            assert states() == {"nano": "unloaded", "tiny": "loaded"}, states()
            assert complete("nano") == "nano"
            assert states() == {"nano": "loaded", "tiny": "unloaded"}, states()
        fails(hadal("serve", *options, "--model-memory", "10KB", "--port", PORT), 1, "--model-memory")


def test_nobody_reads_the_log():
    """Standard error is a pipe that is full and that nobody reads: requests are answered, the end is orderly."""
    with tempfile.TemporaryDirectory() as home, serving(home, "--model", TINY) as server:
        fcntl.fcntl(server.stderr, fcntl.F_SETPIPE_SZ, 8192)
        for i in range(100):  # each a line of 200 bytes
            assert call(f"/there-is-no-{'such-' * 10}path/{i}")[0] == 404
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=10) as reply:
            assert "hadal_log_lines_dropped_total 0" in reply.read().decode()
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
        assert "path/0 status=404" in server.stderr.read()


def test_mistakes():
    """Names that mean two models or none, wrong options."""
    fails(hadal("serve", "--model", TINY, "--model", TINY, "--port", PORT), 1, "'tiny'", "--alias")
    fails(hadal("serve", "--model", TINY, "--model", "nobody", "--port", PORT), 1, "nobody")
    fails(hadal("serve", "--model", TINY, "--map", "a=tyni", "--port", PORT), 1, "tyni", "tiny")
    fails(hadal("serve", "--model", TINY, "--map", "a", "--port", PORT), 2, "PATTERN=MODEL")
    fails(hadal("serve", "--model", TINY, "--keep-alive", "soon", "--port", PORT), 2, "soon")
    fails(hadal("serve", "--port", PORT), 2, "--model")


if __name__ == "__main__":
    main([test for name, test in list(globals().items()) if name.startswith("test_")])
