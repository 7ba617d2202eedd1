"""schemathesis over /openapi.json of a running server with the tiny embedded model: every answer has a
described status and type, and none is a 5xx.

    python openapi_fuzz.py      needs HADAL_BINARY, and schemathesis installed
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request

import with_server

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance"
# What a WebSocket says is no HTTP answer, readiness is a 503 by its protocol, what is not implemented a
# 501, and an unloaded model would only be loaded again.
LEFT_OUT = r"^/stream$|/ready$|/unload$|^/api/(create|push|blobs)"
SECONDS = 60
KEY = "fuzz-key"


def description(url, scratch):
    """Without the field that asks for a wait which may be over before its turn: that is a 503."""
    text = urllib.request.urlopen(url + "/openapi.json").read()
    document = json.loads(text, object_hook=lambda o: {k: v for k, v in o.items() if k != "queue_timeout_ms"})
    path = os.path.join(scratch, "openapi.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file)
    return path


def main():
    program = os.path.join(os.path.dirname(sys.executable), "schemathesis")
    if not os.path.exists(program):
        print("SKIPPED: schemathesis could not be installed")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    with tempfile.TemporaryDirectory() as scratch, with_server.server("--ctx", "256", "--api-key", KEY, "--log-level", "error", model="nano") as url:
        done = subprocess.run([program, "run", description(url, scratch), "--url", url, "--checks", CHECKS, "--header", f"Authorization: Bearer {KEY}",
                               "--exclude-path-regex", LEFT_OUT, "--phases", "examples,coverage,fuzzing", "--max-examples", "15",
                               "--max-time", str(SECONDS), "--seed", "31", "--no-shrink", "--continue-on-failure",
                               "--suppress-health-check", "all", "--warnings", "off", "--request-timeout", "30"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS + 120,
                              cwd=scratch)
    counted = re.search(r"(\d+) (?:generated|test cases)", done.stdout)
    if done.returncode != 0 or not counted:
        print(done.stdout[-8000:])
        print("0 passed, 1 failed, 0 skipped")
        return 1
    print(f"schemathesis: {counted[0]}, no failures")
    print("1 passed, 0 failed, 0 skipped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
