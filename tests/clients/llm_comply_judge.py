"""llm-comply, a judge from outside: every answer and event against the published schemas of Open Responses,
of OpenAI's chat and of Anthropic's Messages. The model is scripted, so that only shapes are judged.

What is not asked of us is in FORMATS with the reason; anything else that it finds is a failure.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import coding_agents

NO_IMAGES = "models here read no images"
DEFAULT_MODEL = "a request without a model gets the default one"
OTHER_FAMILY = "llm-comply asks it of certain names of models only"
NO_COMPACTION = "there is no compaction of conversations"
# Format: tests that do not count, and texts of findings that are no faults.
FORMATS = {
    "open-responses": ({"image-input": NO_IMAGES, "error-handling": DEFAULT_MODEL, "reasoning-summary": OTHER_FAMILY,
                        "compact-response": NO_COMPACTION, "compact-missing-model": NO_COMPACTION},
                       # OpenAI's own name, which its SDKs look for; Open Responses says response.reasoning.delta.
                       ["unknown SSE event type: response.reasoning_text."]),
    "openai-chat": ({"chat-image-input": NO_IMAGES, "chat-error-handling": DEFAULT_MODEL,
                     "chat-reasoning-summary": OTHER_FAMILY}, []),
    "anthropic": ({"anth-image-input": NO_IMAGES, "anth-thinking-display": OTHER_FAMILY}, []),
}
RULES = [{"when": "get_weather", "say": coding_agents.call("get_weather", location="San Francisco")},
         {"when": "", "say": "Hm.</think>Hello there, friend."}]


def judge(url, name):
    """(passed, failed) of one format; prints what it finds."""
    left_out, no_faults = FORMATS[name]
    command = [str(pathlib.Path(sys.executable).parent / "llm-comply"), "-u", url + "/v1", "-k", "none", "-m", "scripted",
               "--format", name, "--json"]
    if name == "anthropic":
        command += ["--auth-header", "x-api-key", "--no-bearer", "-H", "anthropic-version:2023-06-01"]
    if no_faults:
        command += ["--ignore", ",".join(no_faults)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    results = json.loads(done.stdout)["results"]
    passed = failed = 0
    for result in results:
        if result["id"] in left_out:
            continue
        if result["status"] == "passed":
            passed += 1
            continue
        failed += 1
        print(f"FAILED {name} {result['id']}: {result['status']}: {result.get('errors')}")
    return passed, failed


def main():
    with tempfile.TemporaryDirectory() as directory, coding_agents.scripted(pathlib.Path(directory), RULES) as (url, _):
        counts = [judge(url, name) for name in FORMATS]
    passed, failed = (sum(column) for column in zip(*counts))
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
