"""Runs what README.md and README.zh-CN.md show in ```sh blocks, on a release build.

./run runs as `./run --check`; ./test is what runs this; the other blocks run with a server on port
8000, as the text promises.
"""
import pathlib
import re
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SECONDS_TO_READY = 5


def blocks():
    for name in ("README.md", "README.zh-CN.md"):
        for block in re.findall(r"^```sh\n(.*?)^```", (ROOT / name).read_text(), re.M | re.S):
            yield name, block


def shell(script):
    return subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=ROOT, timeout=1500,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")


def start_server():
    """./run once more: the second start must be ready quickly. Returns the process."""
    begun = time.monotonic()
    process = subprocess.Popen(["./run"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while time.monotonic() - begun < 60:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", 8000)) == 0:
                return process, time.monotonic() - begun
        time.sleep(0.05)
    process.terminate()
    raise SystemExit("README: ./run did not serve on port 8000 within 60 s")


def main():
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8000)) == 0:
            print("SKIPPED: port 8000 is in use, the README's commands need it")
            print("0 passed, 0 failed, 1 skipped")
            return
    first = shell("./run --check")
    print(first.stdout[-1500:])
    failed = first.returncode != 0
    passed = 0 if failed else 1
    server, seconds = start_server()
    print(f"second start: serving after {seconds:.1f} s (aim: {SECONDS_TO_READY} s)")
    try:
        for name, block in blocks():
            if block.strip() in ("./run", "./test"):
                continue
            done = shell(block)
            ok = done.returncode == 0
            print(f"{'ok' if ok else 'FAILED'} {name}: {block.strip().splitlines()[0]} ...")
            if not ok:
                print(done.stdout[-3000:])
            passed, failed = passed + ok, failed + (not ok)
    finally:
        server.terminate()
        server.wait(timeout=20)
    print(f"{passed} passed, {int(failed)} failed, 0 skipped")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
