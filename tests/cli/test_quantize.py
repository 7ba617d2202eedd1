"""hadal convert, quantize, imatrix and eval report: files, errors, interruptions, quality."""
import json
import os
import pathlib
import resource
import signal
import struct
import subprocess
import tempfile
import time

import gguf_files as files
from harness import BINARY, ROOT, Skip, environment, fails, hadal, main

SCRATCH = tempfile.TemporaryDirectory(prefix="hadal-quantize-")
DIR = pathlib.Path(SCRATCH.name)
MODEL = files.write_model(DIR / "tiny.gguf")
TEXT = ROOT / "tests/golden/text/english.txt"


def real_model():
    path = os.environ.get("HADAL_TEST_MODEL", "")
    if not path or not pathlib.Path(path).exists():
        raise Skip("HADAL_TEST_MODEL names no model file; `python3 tools/fetch_test_data.py` brings one, ./test names it")
    return path


def one_object(run):
    assert run.code == 0, run
    return json.loads(run.out)


def nothing_left(path):
    found = [p.name for p in path.parent.iterdir() if p.name.startswith(path.name)]
    assert not found, f"left behind: {found}"


def wide_model(name, tensors=24, width=512, rows=1024, poison=False):
    """A file that takes a while to quantise; its tensors repeat some floats."""
    metadata = [("general.architecture", files.STRING, "llama"), ("llama.block_count", files.U32, tensors)]
    floats = [((i * 7919) % 2003 - 1001) / 5000 for i in range(width)]
    row = struct.pack(f"<{width}f", *floats)
    out = b"GGUF" + struct.pack("<IQQ", 3, tensors, len(metadata))
    for key, kind, content in metadata:
        out += files.string(key) + struct.pack("<I", kind) + files.value(kind, content)
    for i in range(tensors):
        out += files.string(f"blk.{i}.ffn_up.weight") + struct.pack("<IQQIQ", 2, width, rows, 0, i * len(row) * rows)
    data = bytearray(row * rows * tensors)
    if poison:
        struct.pack_into("<f", data, len(data) - 4 * width + 4 * 7, float("inf"))
    path = DIR / name
    path.write_bytes(out + b"\0" * (-len(out) % 32) + bytes(data))
    return path


def test_convert_and_back():
    """A converted file computes what its source does; what exists is replaced only when asked to."""
    out = DIR / "copy.gguf"
    done = hadal("convert", "--model", MODEL, "--output", out)
    assert done.code == 0 and "bits per weight" in done.out, done
    ids = ("--ids", "1 2 3", "--all", "--json")
    assert hadal("logits", "--model", out, *ids).out == hadal("logits", "--model", MODEL, *ids).out
    fails(hadal("convert", "--model", MODEL, "--output", out), 1, "exists already", "--overwrite")
    again = one_object(hadal("convert", "--model", MODEL, "--output", out, "--type", "bf16", "--overwrite", "--json"))
    assert again["type"] == "bf16" and 16 <= again["bits_per_weight"] < 17, again
    kld = one_object(hadal("eval", "kld", "--model", out, "--base", MODEL, "--file", TEXT, "--ctx", "32", "--json"))
    assert kld["mean_kld"] < 1e-4, kld
    fails(hadal("convert", "--model", out, "--output", out, "--overwrite"), 1, "is the source itself")
    assert hadal("logits", "--model", out, "--ids", "1").code == 0


def test_convert_checkpoints():
    """A directory of safetensors becomes the file that other converters make: the same logits, to the bit."""
    ids = ("--ids", "1 2 3 4 5", "--all", "--json", "-t", "1")
    for name in ("llama_linear_bias", "llama_rope_freqs", "qwen2_bias", "deepseek_v1_bf16", "deepseek_v2_lite", "deepseek_v3"):
        out = DIR / f"{name}.gguf"
        done = hadal("convert", "--model", ROOT / "tests/golden/checkpoints" / name, "--output", out)
        assert done.code == 0, done
        found, wanted = hadal("logits", "--model", out, *ids), hadal("logits", "--model", ROOT / f"tests/golden/tiny/{name}.gguf", *ids)
        assert found.code == 0 and found.out == wanted.out, name
    done = hadal("quantize", "--model", ROOT / "tests/golden/checkpoints/deepseek_v4", "--output", DIR / "v4.gguf",
                 "--type", "MXFP4_MOE", "--dry-run")
    assert done.code == 0 and "ffn_up_exps.weight" in done.out and "F4_E2M1 -> MXFP4" in done.out, done
    assert "prediction layer is left out" in done.err and "nextn" not in done.out, done
    done = hadal("convert", "--model", ROOT / "tests/golden/checkpoints/deepseek_v4", "--output", DIR / "v4.gguf")
    assert done.code == 0 and "prediction layer is left out" in done.err, done
    assert hadal("logits", "--model", DIR / "v4.gguf", *ids).code == 0


def test_quantize_types():
    """Every recipe writes a file that runs; narrow rows fall back; rules change single tensors."""
    for name in "F32 F16 Q8_0 Q6_K Q5_K_M Q5_1 Q5_0 Q4_K_M Q4_K_S Q4_1 Q4_0 IQ4_NL IQ4_XS MXFP4_MOE Q3_K_M Q2_K".split():
        out = DIR / f"{name}.gguf"
        done = hadal("quantize", "--model", MODEL, "--output", out, "--type", name)
        assert done.code == 0, done
        assert ("multiple of 256" in done.err) == (name in "Q6_K Q5_K_M Q4_K_M Q4_K_S IQ4_XS Q3_K_M Q2_K Q4_0 Q4_1 "
                                                   "Q5_0 Q5_1 IQ4_NL".split()), done
        assert hadal("logits", "--model", out, "--ids", "1 2").code == 0
    plan = hadal("quantize", "--model", MODEL, "--output", DIR / "none.gguf", "--type", "q8_0", "--dry-run",
                 "--tensor-type", "ffn_down=Q4_0", "--tensor-type", "blk.*.attn_?=F16", "--tensor-type", "blk.*.attn_q.*=F16")
    fails(plan, 1, "no tensor's name matches 'blk.*.attn_?'")
    plan = hadal("quantize", "--model", MODEL, "--output", DIR / "none.gguf", "--type", "q8_0", "--dry-run",
                 "--tensor-type", "ffn_down=Q4_0", "--tensor-type", "blk.*.attn_q.*=F16")
    assert plan.code == 0 and not (DIR / "none.gguf").exists(), plan
    types = {line.split()[0]: line.split()[-1] for line in plan.out.splitlines() if "->" in line}
    assert types["blk.0.ffn_down.weight"] == "Q4_0" and types["blk.0.attn_q.weight"] == "F16", types
    assert types["blk.0.ffn_up.weight"] == "Q8_0" and types["output_norm.weight"] == "F32", types


def test_wrong_usage():
    """Unknown types and rules, missing folders, unusable matrices: named, nothing written."""
    out = DIR / "bad.gguf"
    to = ("quantize", "--model", MODEL, "--output", out)
    fails(hadal(*to, "--type", "Q4_X"), 1, "'Q4_X' is no known type", "Q4_K_M")
    fails(hadal(*to), 2, "--type")
    fails(hadal(*to, "--type", "Q8_0", "--tensor-type", "ffn_down"), 2, "PATTERN=TYPE")
    fails(hadal(*to, "--type", "Q8_0", "--tensor-type", "ffn_down=Q9"), 2, "'Q9' is no type", "Q6_K")
    fails(hadal(*to, "--type", "Q8_0", "--tensor-type", "ffn_down=Q6_K"), 1, "blk.0.ffn_down.weight", "Q8_0 can")
    fails(hadal("quantize", "--model", MODEL, "--output", DIR / "no/such/out.gguf", "--type", "Q8_0"), 1, "does not exist")
    fails(hadal("quantize", "--model", MODEL, "--output", DIR, "--type", "Q8_0"), 1, "is a directory")
    fails(hadal("quantize", "--model", DIR / "none.gguf", "--output", out, "--type", "Q8_0"), 1, "none.gguf")
    fails(hadal(*to, "--type", "Q8_0", "--imatrix", MODEL), 1, "is no importance matrix")
    fails(hadal(*to, "--type", "Q8_0", "--imatrix", DIR / "none"), 1, "none")
    vocabulary = files.write_vocabulary(DIR / "vocab.gguf")
    fails(hadal("quantize", "--model", vocabulary, "--output", out, "--type", "Q8_0"), 1, "holds no tensors")
    nothing_left(out)


def test_broken_source():
    """A cut file and values that are not finite end in an error that names the tensor and leave nothing."""
    out = DIR / "broken-out.gguf"
    source = wide_model("poisoned.gguf", tensors=3, rows=64, poison=True)
    fails(hadal("quantize", "--model", source, "--output", out, "--type", "Q4_K_M"), 1, "blk.2.ffn_up.weight, row 63",
          "column 7 is inf")
    nothing_left(out)
    cut = DIR / "cut.gguf"
    cut.write_bytes(source.read_bytes()[:-1000])
    fails(hadal("quantize", "--model", cut, "--output", out, "--type", "Q4_K_M"), 1, "blk.2.ffn_up.weight",
          "download is probably incomplete")
    nothing_left(out)


def test_full_disk():
    """Where no more can be written the error says what to do, and nothing is left."""
    out = DIR / "full.gguf"
    source = wide_model("wide-full.gguf", tensors=4)

    def little_room():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, 1 << 19))

    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run([str(BINARY), "quantize", "--model", str(source), "--output", str(out), "--type", "Q8_0"],
                              capture_output=True, text=True, env=environment(home), preexec_fn=little_room,
                              restore_signals=False)
    assert done.returncode == 1 and "File too large" in done.stderr and "make room" in done.stderr, done
    nothing_left(out)


def test_interrupted():
    """A killed run leaves nothing under the final name; the next one goes on and ends with the same bytes."""
    source = wide_model("wide.gguf")
    whole = DIR / "whole.gguf"
    assert hadal("quantize", "--model", source, "--output", whole, "--type", "Q4_K_M").code == 0
    out = DIR / "killed.gguf"
    journal = DIR / "killed.gguf.partial.journal"
    command = ["quantize", "--model", str(source), "--output", str(out), "--type", "Q4_K_M"]
    with tempfile.TemporaryDirectory() as home:
        running = subprocess.Popen([str(BINARY), *command], env=environment(home), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while time.monotonic() < end and running.poll() is None:
            if journal.exists() and journal.read_bytes().count(b"\n") >= 4:
                break
            time.sleep(0.002)
        if running.poll() is not None:
            raise Skip("the machine was done before it could be interrupted")
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert not out.exists() and journal.exists()
    done = hadal(*command)
    assert done.code == 0 and "went on after" in done.err, done
    assert out.read_bytes() == whole.read_bytes()
    nothing_left(DIR / "killed.gguf.partial")


def test_imatrix():
    """The matrix holds every product's inputs, fits its model only, and is written once."""
    out = DIR / "tiny.imatrix"
    make = ("imatrix", "--model", MODEL, "--file", TEXT, "--output", out, "--ctx", "32")
    found = one_object(hadal(*make, "--chunks", "3", "--json"))
    assert found["tensors"] == 8 and found["chunks"] == 3, found
    fails(hadal(*make), 1, "exists already", "--overwrite")
    small = DIR / "with.gguf"
    done = hadal("quantize", "--model", MODEL, "--output", small, "--type", "Q4_0", "--imatrix", out)
    assert done.code == 0, done
    plain = DIR / "without.gguf"
    assert hadal("quantize", "--model", MODEL, "--output", plain, "--type", "Q4_0").code == 0
    assert small.read_bytes() != plain.read_bytes()
    other = files.write_model(DIR / "other.gguf", width=64)
    fails(hadal("quantize", "--model", other, "--output", DIR / "x.gguf", "--type", "Q4_0", "--imatrix", out), 1,
          "made from another model")


def test_report():
    """A row per model with size, bits, quality; JSON has the same figures."""
    for name in ("Q8_0", "Q4_0"):
        hadal("quantize", "--model", MODEL, "--output", DIR / f"r{name}.gguf", "--type", name)
    models = f"{DIR}/rQ8_0.gguf,{DIR}/rQ4_0.gguf"
    base = ("eval", "report", "--models", models, "--reference", MODEL, "--file", TEXT, "--ctx", "32", "--no-speed")
    table = hadal(*base)
    assert table.code == 0 and "perplexity" in table.out and "rQ4_0" in table.out, table
    found = one_object(hadal(*base, "--json"))
    eight, four = found["models"]
    assert eight["bytes"] > four["bytes"] and 8 < eight["bits_per_weight"] < 10, found
    assert 0 < eight["mean_kld"] < four["mean_kld"] and eight["top1_agreement"] >= four["top1_agreement"], found
    assert [model["prefill_tps"] for model in found["models"]] == [0, 0], found
    fails(hadal("eval", "report", "--models", ",", "--reference", MODEL, "--file", TEXT), 2, "names no model")


def test_report_speed():
    """Both speeds of every model, positive numbers, in the table's own columns and in JSON."""
    for name in ("Q8_0", "Q4_0"):
        hadal("quantize", "--model", MODEL, "--output", DIR / f"s{name}.gguf", "--type", name, "--overwrite")
    command = ("eval", "report", "--models", f"{DIR}/sQ8_0.gguf,{DIR}/sQ4_0.gguf", "--reference", MODEL, "--file", TEXT,
               "--ctx", "32")
    table = hadal(*command)
    assert table.code == 0, table
    head, *rows = table.out.splitlines()[:3]
    columns = ("model", "size", "bits", "prefill", "decode", "perplexity", "mean KLD", "p99 KLD", "top-1")
    ends = [head.index(column) + len(column) for column in columns]  # values end where the headings end
    assert ends == sorted(ends), head
    for row, name in zip(rows, ("sQ8_0", "sQ4_0")):
        cells = {column: row[end:ends[i + 1]].strip() for i, (column, end) in enumerate(zip(columns[1:], ends))}
        assert row.startswith(name), row
        assert float(cells["prefill"]) > 0 and float(cells["decode"]) > 0, row
        assert float(cells["bits"]) > 4 and float(cells["perplexity"]) > 1 and cells["size"], row
        assert float(cells["mean KLD"]) > 0 and float(cells["p99 KLD"]) > 0 and cells["top-1"].endswith("%"), row
    found = one_object(hadal(*command, "--json"))
    assert [model["model"] for model in found["models"]] == ["sQ8_0", "sQ4_0"], found
    for model in found["models"]:
        for key in ("bytes", "bits_per_weight", "prefill_tps", "decode_tps", "perplexity", "mean_kld", "top1_agreement"):
            assert isinstance(model[key], (int, float)) and model[key] > 0, (key, model)


def test_quality_of_real_model():
    """SmolLM2 as F16, requantised: divergence within bounds, and an importance matrix lowers Q2_K's."""
    source = DIR / "f16.gguf"
    assert hadal("convert", "--model", real_model(), "--output", source, "--type", "F16").code == 0
    matrix = DIR / "smollm2.imatrix"
    calibration = DIR / "calibration.txt"
    calibration.write_text((ROOT / "docs/ARCHITECTURE.md").read_text() + (ROOT / "docs/API.md").read_text())
    assert hadal("imatrix", "--model", source, "--file", calibration, "--output", matrix, "--chunks", "6").code == 0
    made = []
    for name, recipe, extra in (("q8", "Q8_0", ()), ("q4", "Q4_K_M", ()), ("q2", "Q2_K", ()),
                                ("q2i", "Q2_K", ("--imatrix", matrix))):
        made.append(DIR / f"smollm2-{name}.gguf")
        assert hadal("quantize", "--model", source, "--output", made[-1], "--type", recipe, *extra).code == 0
    found = one_object(hadal("eval", "report", "--models", ",".join(map(str, made)), "--reference", source, "--file", TEXT,
                             "--no-speed", "--json", "--kv-type", "f32", "--activations", "int16"))
    kld = [model["mean_kld"] for model in found["models"]]
    # About twice what was measured (docs/QUANTISE.md): a worse search, a wrong recipe or a wrong bit shows.
    assert kld[0] < 0.0025 and kld[1] < 0.08, kld
    assert kld[3] < 0.9 * kld[2], kld


if __name__ == "__main__":
    main([test_convert_and_back, test_convert_checkpoints, test_quantize_types, test_wrong_usage, test_broken_source, test_full_disk,
          test_interrupted, test_imatrix, test_report, test_report_speed, test_quality_of_real_model])
