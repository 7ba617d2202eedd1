"""hadal serve --allow-pull: what clients may bring into the store, copy and remove, and what they may not."""
import contextlib
import http.client
import json
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import gguf_files as files
from harness import BINARY, environment, fails, hadal, main
from test_pull import HF_FILE, HF_PATH, Stub

SCRATCH = tempfile.TemporaryDirectory(prefix="hadal-cli-")
TINY = files.write_model(pathlib.Path(SCRATCH.name) / "tiny.gguf")
REFERENCE = "hf:" + HF_FILE


def hub(**options):
    return Stub(**{"files": {HF_PATH: TINY.read_bytes()}, **options})


class Server:
    """A server with nano and its store; requests give (status, lines or object)."""

    def __init__(self, port, home, process):
        self.port, self.home, self.process = port, home, process

    def store(self):
        return self.home / "hadal" / "models"

    def open(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, None if body is None else json.dumps(body))
        return connection, connection.getresponse()

    def call(self, method, path, body=None):
        connection, response = self.open(method, path, body)
        data = response.read().decode()
        connection.close()
        assert str(self.home) not in data, data
        if "ndjson" in (response.headers.get("Content-Type") or ""):
            return response.status, [json.loads(line) for line in data.splitlines()]
        return response.status, json.loads(data) if data else None

    def pull(self, model, **more):
        return self.call("POST", "/api/pull", {"model": model, **more})

    def complete(self, model):
        return self.call("POST", "/v1/completions", {"model": model, "prompt": "a", "max_tokens": 2})[0]


@contextlib.contextmanager
def serving(*options, **variables):
    with tempfile.TemporaryDirectory() as home, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        log = tempfile.TemporaryFile("w+")
        process = subprocess.Popen([BINARY, "serve", "--model", "nano", "--ctx", "64", "--port", str(port), *options],
                                   env=environment(home, **variables), stdout=subprocess.DEVNULL, stderr=log)
        server = Server(port, pathlib.Path(home), process)
        try:
            for _ in range(200):
                assert process.poll() is None, "the server ended"
                with contextlib.suppress(OSError):
                    if server.call("GET", "/ready")[0] == 200:
                        break
                time.sleep(0.05)
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(20)
            log.seek(0)
            assert code == 0, log.read()


def wait_for(condition, what):
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(what)


def test_pull_use_copy_delete():
    """A model comes, is used under both its names, gets a further one, and goes with the last."""
    stub = hub()
    with serving("--allow-pull", "1MiB", HF_ENDPOINT=stub.url, HF_TOKEN="secret") as server:
        status, lines = server.pull(REFERENCE)
        assert status == 200 and [line["status"] for line in (lines[0], lines[-1])] == ["pulling manifest", "success"], lines
        fetched = [line for line in lines if "total" in line]
        assert fetched and fetched[-1]["completed"] == fetched[-1]["total"] == TINY.stat().st_size, lines
        assert all("authorization" not in request for request in stub.requests), "the token was used for a client"
        assert server.pull(REFERENCE, stream=False) == (200, {"status": "success", "model": REFERENCE})
        assert server.complete("Model-Q4:latest") == 200 and server.complete(REFERENCE) == 200
        assert server.call("POST", "/api/copy", {"source": "Model-Q4", "destination": "mine:latest"}) == (200, None)
        for bad in ["../up", "a/b", "nano", "mine", ".hidden", ""]:
            assert server.call("POST", "/api/copy", {"source": "Model-Q4", "destination": bad})[0] == 400, bad
        assert server.call("POST", "/api/copy", {"source": "nobody", "destination": "b"})[0] == 404
        assert server.call("DELETE", "/api/delete", {"model": "Model-Q4:latest"}) == (200, None)
        assert server.complete("mine") == 200
        wait_for(lambda: server.complete("Model-Q4") == 404, "the model stays")
        assert server.call("DELETE", "/api/delete", {"name": "mine"})[0] == 200
        assert not [path for path in server.store().iterdir() if path.suffix != ".lock"], list(server.store().iterdir())
        assert server.call("DELETE", "/api/delete", {"model": "mine"})[0] == 404


def test_leaving_and_coming_back():
    """A client that leaves ends its pull; the next one goes on where that stopped."""
    content = TINY.read_bytes() + bytes(2 << 20)
    stub = hub(files={HF_PATH: content}, slow=0.1)
    with serving("--allow-pull", "8MiB", HF_ENDPOINT=stub.url) as server:
        connection, response = server.open("POST", "/api/pull", {"model": REFERENCE})
        while b"completed" not in response.readline():
            pass
        connection.close()
        response.close()
        part = server.store() / "Model-Q4.part"
        sizes = []
        wait_for(lambda: sizes.append(part.stat().st_size) or (len(sizes) > 12 and sizes[-1] == sizes[-12]), "it goes on")
        assert 0 < sizes[-1] < len(content)
        stub.slow = 0
        assert server.pull(REFERENCE)[1][-1]["status"] == "success"
        assert stub.gets()[-1]["range"] == f"bytes={sizes[-1]}-", stub.gets()[-1]
        assert (server.store() / "Model-Q4.gguf").read_bytes() == content


def test_budget():
    """The store never holds more than was allowed, whatever a hub says about sizes; what is left over counts."""
    large = TINY.read_bytes() + bytes(1 << 20)
    for known in (True, False):
        stub = hub(files={HF_PATH: large}, length_known=known, etag=None)
        with serving("--allow-pull", "1000KB", HF_ENDPOINT=stub.url) as server:
            status, lines = server.pull(REFERENCE)
            assert status == 200 and "room" in lines[-1]["error"], lines
            assert sum(path.stat().st_size for path in server.store().iterdir()) <= 1_024_000
            assert server.pull(REFERENCE, stream=False)[0] == 507
            stub.files[HF_PATH] = TINY.read_bytes()
            (server.store() / "other.part").write_bytes(bytes(1_000_000))
            assert server.pull(REFERENCE, stream=False)[0] == 507
            assert server.call("DELETE", "/api/delete", {"model": "other"})[0] == 200
            assert server.pull(REFERENCE, stream=False)[0] == 200


def test_what_is_refused():
    """Addresses, paths, names that nobody knows, models of the server itself; a closed server says how to open it."""
    stub = hub()
    with serving("--allow-pull", "1MiB", HF_ENDPOINT=stub.url) as server:
        for name in [stub.url + HF_PATH, str(TINY), "../nano", "llama3.2", "hf:a/b", "hf:ORG/REPO/../../x.gguf", "ms:x"]:
            status, answer = server.pull(name, stream=False)
            assert status in (400, 404), (name, answer)
        assert server.pull("hf:ORG/REPO/none.gguf", stream=False)[0] == 404
        assert server.call("DELETE", "/api/delete", {"model": "nano"})[0] == 404
    with serving(HF_ENDPOINT=stub.url) as server:
        status, answer = server.pull(REFERENCE)
        assert status == 403 and "--allow-pull" in answer["error"], answer
        assert server.call("DELETE", "/api/delete", {"model": "nano"})[0] == 403
    fails(hadal("serve", "--model", "nano", "--allow-pull", "much"), 2, "much")


def test_models_of_the_server_stay():
    """A model of the store that the server was started with cannot be removed by a client."""
    with tempfile.TemporaryDirectory() as other:
        models = pathlib.Path(other) / "models"
        models.mkdir()
        shutil.copy(TINY, models / "own.gguf")
        with serving("--model", "own", "--allow-pull", "1MiB", HADAL_HOME=other) as server:
            assert server.call("DELETE", "/api/delete", {"model": "own"})[0] == 403
            assert server.call("POST", "/api/copy", {"source": "own", "destination": "copy"})[0] == 200
            assert server.call("DELETE", "/api/delete", {"model": "copy"})[0] == 200
        assert (models / "own.gguf").exists()


def test_shutdown_while_a_hub_is_silent():
    """A pull that hangs does not keep the server from ending, and its client hears of it."""
    stub = hub(files={HF_PATH: TINY.read_bytes() + bytes(8 << 20)}, slow=5.0)
    with serving("--allow-pull", "1GiB", HF_ENDPOINT=stub.url) as server:
        connection, response = server.open("POST", "/api/pull", {"model": REFERENCE})
        response.readline()
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert b"shutting down" in response.read()
        server.process.wait(20)
        assert time.monotonic() - begun < 8
        connection.close()


if __name__ == "__main__":
    main([test for name, test in list(globals().items()) if name.startswith("test_")])
