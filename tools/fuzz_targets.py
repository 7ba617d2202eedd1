"""Runs the fuzz targets of fuzz/. Each starts from its committed corpus; what it finds on the way
goes to build/fuzz/corpus. A crash leaves its input in build/fuzz/crashes, to be kept as a seed."""
import concurrent.futures
import os
import pathlib
import subprocess

LIMITS = ["-rss_limit_mb=2048", "-timeout=10", "-max_len=65536", "-print_final_stats=0", "-verbosity=0"]


def targets(root):
    return sorted(path.name[:-8] for path in (root / "fuzz").glob("*_fuzz.cc"))


def fuzz(directory, root, name, seconds):
    """Fuzzes one target; True when nothing was found."""
    grown = root / "build" / "fuzz" / "corpus" / name
    crashes = root / "build" / "fuzz" / "crashes"
    grown.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(parents=True, exist_ok=True)
    seeds = root / "fuzz" / "corpus" / name
    command = [directory / f"{name}_fuzz", *LIMITS, f"-max_total_time={seconds}",
               f"-artifact_prefix={crashes}/{name}-", grown, *([seeds] if seeds.is_dir() else [])]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, errors="replace",
                          env=dict(os.environ, UBSAN_OPTIONS="print_stacktrace=1"))
    if done.returncode != 0 and name != "canary":
        print(done.stderr[-6000:])
    return done.returncode == 0


def run(directory, root, names, seconds):
    """Exit code: 0 when every target was quiet and the canary was not."""
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda name: fuzz(pathlib.Path(directory), root, name, seconds), names))
    for name, quiet in zip(names, results):
        good = quiet != (name == "canary")
        failed += not good
        print(f"fuzz {name}: {'ok' if good else 'FAILED'} ({seconds} s)", flush=True)
    print(f"{len(names) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0
