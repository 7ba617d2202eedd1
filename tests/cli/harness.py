"""Runs the built program for tests: HADAL_BINARY names it, else the dev build. No dependencies."""
import os
import pathlib
import subprocess
import sys
import tempfile
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BINARY = pathlib.Path(os.environ.get("HADAL_BINARY") or ROOT / "build" / "dev" / "hadal")
SECONDS = 240


class Skip(Exception):
    """Raised by a test that cannot run here; the text says why."""


class Run:
    """One finished run of the program."""

    def __init__(self, code, out, err):
        self.code, self.out_bytes, self.err = code, out, err.decode(errors="replace")
        self.out = out.decode(errors="replace")

    def __repr__(self):
        return f"exit code {self.code}\n--- out\n{self.out[-2000:]}\n--- err\n{self.err[-2000:]}"


def environment(home, **variables):
    """Only what a test names: nothing of the caller's hubs and caches."""
    home = pathlib.Path(home)
    kept = {key: os.environ[key] for key in ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS") if key in os.environ}
    return {**kept, "HOME": str(home), "HADAL_HOME": str(home / "hadal"), "LANG": "C.UTF-8",
            "HF_ENDPOINT": "http://127.0.0.1:9", "MODELSCOPE_ENDPOINT": "http://127.0.0.1:9", **variables}


def hadal(*arguments, home=None, stdin=b"", env=None, **variables):
    if isinstance(stdin, str):
        stdin = stdin.encode()
    with tempfile.TemporaryDirectory(prefix="hadal-test-") as scratch:
        home = pathlib.Path(home or scratch)
        done = subprocess.run([str(BINARY), *map(str, arguments)], input=stdin, capture_output=True, timeout=SECONDS,
                              cwd=ROOT, env=env or environment(home, **variables))
    return Run(done.returncode, done.stdout, done.stderr)


def fails(run, code, *words):
    """The error names every word; nothing is on standard output; a message, not a crash."""
    assert run.code == code, run
    assert run.out == "", run
    assert run.err.startswith("hadal: ") or "\nhadal: " in run.err, run
    for word in words:
        assert word in run.err, f"{word!r} is missing in: {run!r}"


def main(tests):
    """Runs the functions; prints one line each and the counts that ./test adds up."""
    if not BINARY.exists():
        sys.exit(f"{BINARY} does not exist: ./dev build dev hadal")
    wanted = sys.argv[1:]
    passed = failed = skipped = 0
    for test in tests:
        if wanted and not any(word in test.__name__ for word in wanted):
            continue
        try:
            test()
            passed += 1
            print(f"ok      {test.__name__}", flush=True)
        except Skip as reason:
            skipped += 1
            print(f"SKIPPED {test.__name__}: {reason}", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED  {test.__name__}: {test.__doc__}\n{traceback.format_exc()}", flush=True)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed or passed + skipped == 0 else 0)
