#!/usr/bin/env python3
"""Compares Hadal with transformers on SmolLM2-135M-Instruct (or any llama, qwen2, qwen3 GGUF file with a byte-level BPE).

    tools/compare_logits.py make MODEL.gguf        writes tests/golden/smollm2_reference.bin, which the golden test reads
    tools/compare_logits.py compare MODEL.gguf     runs the golden test, which leaves its logits, and prints the table
        --program build/release/golden_test
        --peer 'COMMAND'    another engine: COMMAND N PROMPT prints one JSON line {"ids": [...]}, greedy

The reference is the transformers model in float64 on the file's decoded weights (tests/oracle).
Needs numpy, gguf, tokenizers, torch, transformers; two cores take about two minutes.

smollm2_reference.bin, little-endian: "HADALREF", u32 n_texts, n_top, n_prompts, n_new; per text: name (16 bytes, zero
padded), u32 n, u16 ids[n], u16 top_ids[n][n_top], u16 top_logprobs[n][n_top] (-logprob * 2048), f32 next_logprob[n]
(of the id that follows; 0 for the last); per prompt: u32 n, u16 ids[n], u16 new_ids[n_new], f32 gap[n_new] (reference
logit of the chosen id minus the second).
"""
import argparse
import json
import os
import pathlib
import shlex
import struct
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "oracle"))
REFERENCE = ROOT / "tests" / "golden" / "smollm2_reference.bin"
TEXTS = ["english", "chinese", "code"]
N_TOP, N_NEW, LOGPROB_STEPS = 20, 64, 2048
PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "Water boils at 100 degrees Celsius because",
    "The three most important inventions of the nineteenth century were",
    "Dear Sir or Madam,\n\nI am writing to",
    "Q: What is the difference between speed and velocity?\nA:",
    "1, 1, 2, 3, 5, 8, 13,",
    "To bake bread you need flour, water, salt and",
    "In machine learning, a neural network is",
    "def fibonacci(n):\n    \"\"\"Returns the n-th Fibonacci number.\"\"\"\n",
    "#include <stdio.h>\n\nint main(void) {\n",
    "SELECT name, age FROM users WHERE",
    "function sum(values) {\n  let total = 0;\n",
    "<|im_start|>user\nWrite a short poem about the moon.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nExplain gravity to a child.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nList five fruits.<|im_end|>\n<|im_start|>assistant\n",
    "人工智能是",
    "北京是中国的",
    "学而时习之,",
    "请用一句话介绍你自己。",
]


def tokenizer_of(path):
    """The file's own vocabulary and merges in the `tokenizers` library (pre-tokeniser of SmolLM)."""
    import gguf
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    fields = gguf.GGUFReader(path).fields
    tokens, kinds = (fields[f"tokenizer.ggml.{n}"].contents() for n in ("tokens", "token_type"))
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                       pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t, k in zip(tokens, kinds) if k == 3])
    return tokenizer


class Reference:
    """transformers on the decoded weights."""

    def __init__(self, path):
        import dense_model
        import torch
        import transformers_model
        self.torch = torch
        self.net = transformers_model.build(dense_model.GgufModel(path))

    def logprobs(self, ids):
        """[len(ids), n_vocab], float64."""
        with self.torch.no_grad():
            logits = self.net(self.torch.tensor([ids])).logits[0]
            return self.torch.log_softmax(logits, -1).numpy()

    def greedy(self, prompts):
        """[(N_NEW ids, gaps between the best and the second logit)] of every prompt.

        Drafted together in float32, then checked in one float64 pass each; a draft is only as good
        as its agreement with that pass, so after a difference the rest is drafted again."""
        draft_net = type(self.net)(self.net.config).to(self.torch.float32).eval()
        draft_net.load_state_dict({k: v.float() for k, v in self.net.state_dict().items()})
        return [self.verified(ids, draft, draft_net) for ids, draft in zip(prompts, self.drafts(draft_net, prompts))]

    def drafts(self, net, prompts, count=N_NEW):
        longest = max(map(len, prompts))
        ids = self.torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
        mask = self.torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
        net.generation_config.eos_token_id = None
        out = net.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=count, pad_token_id=0)
        return out[:, longest:].tolist()

    def verified(self, ids, draft, draft_net):
        while True:
            logprobs = self.logprobs(ids + draft)[len(ids) - 1:-1]
            best = np.argsort(-logprobs, axis=1, kind="stable")[:, :2]
            wrong = next((i for i in range(N_NEW) if best[i, 0] != draft[i]), None)
            if wrong is None:
                rows = np.arange(N_NEW)
                return draft, (logprobs[rows, best[:, 0]] - logprobs[rows, best[:, 1]]).tolist()
            draft = draft[:wrong] + [int(best[wrong, 0])]
            if len(draft) < N_NEW:
                draft += self.drafts(draft_net, [ids + draft], N_NEW - len(draft))[0]


def read_texts(tokenizer):
    folder = ROOT / "tests" / "golden" / "text"
    return {n: tokenizer.encode((folder / f"{n}.txt").read_text(encoding="utf-8")).ids for n in TEXTS}


def make(args):
    tokenizer, reference = tokenizer_of(args.model), Reference(args.model)
    texts = read_texts(tokenizer)
    out = bytearray(b"HADALREF" + struct.pack("<4I", len(texts), N_TOP, len(PROMPTS), N_NEW))
    for name, ids in texts.items():
        logprobs = reference.logprobs(ids)
        top = np.argsort(-logprobs, axis=1, kind="stable")[:, :N_TOP]
        values = np.take_along_axis(logprobs, top, 1)
        following = np.append(logprobs[np.arange(len(ids) - 1), ids[1:]], 0)
        out += struct.pack("<16sI", name.encode(), len(ids)) + np.array(ids, "<u2").tobytes() + top.astype("<u2").tobytes()
        out += np.clip(np.round(-values * LOGPROB_STEPS), 0, 65535).astype("<u2").tobytes()
        out += following.astype("<f4").tobytes()
        print(f"{name:8} {len(ids)} ids, perplexity {np.exp(-following[:-1].mean()):.4f}")
    prompts = [tokenizer.encode(prompt).ids for prompt in PROMPTS]
    for prompt, ids, (new, gaps) in zip(PROMPTS, prompts, reference.greedy(prompts)):
        out += struct.pack("<I", len(ids)) + np.array(ids + new, "<u2").tobytes() + np.array(gaps, "<f4").tobytes()
        print(f"{prompt!r}: {tokenizer.decode(new)!r}, smallest gap {min(gaps):.5f}")
    REFERENCE.write_bytes(out)
    print(f"wrote {REFERENCE} ({len(out)} bytes)")


def run_golden_test(args, n_rows):
    """Our logits of every position of the texts, in order, float32."""
    with tempfile.TemporaryDirectory() as folder:
        dump = pathlib.Path(folder) / "logits.f32"
        environment = {**os.environ, "HADAL_TEST_MODEL": str(args.model), "HADAL_DUMP_LOGITS": str(dump)}
        done = subprocess.run([args.program, "--gtest_filter=SmolLm2.*"], env=environment, capture_output=True, text=True)
        print(done.stdout)
        if not dump.exists():
            sys.exit(f"{args.program} left no logits: {done.stderr}")
        return np.fromfile(dump, np.float32).reshape(n_rows, -1)


def print_row(name, ids, expected, found):
    """KL(reference || ours) over the whole vocabulary and the figures beside it."""
    kl = (np.exp(expected) * (expected - found)).sum(1)
    rows = np.arange(len(ids) - 1)
    ours, theirs = (np.exp(-x[rows, ids[1:]].mean()) for x in (found, expected))
    agree = (expected.argmax(1) == found.argmax(1))
    sorted_two = np.sort(np.partition(expected, -2, axis=1)[:, -2:], axis=1)
    gaps = (sorted_two[:, 1] - sorted_two[:, 0])[~agree]
    print(f"{name:8} {len(ids):9} {agree.mean():9.3%} {kl.mean():10.2e} {np.quantile(kl, 0.99):10.2e} {kl.max():10.2e} "
          f"{theirs:10.4f} {ours:10.4f} {ours / theirs - 1:+9.4%}   gaps where they differ: {np.round(gaps, 5).tolist()}")
    return agree, kl


def compare_peer(command, tokenizer):
    """Greedy continuations of another engine against the committed reference."""
    for prompt, (ids, new, gaps) in zip(PROMPTS, read_continuations()):
        done = subprocess.run(shlex.split(command) + [str(N_NEW), prompt], capture_output=True, text=True)
        answer = json.loads(done.stdout.strip().splitlines()[-1])
        if "prompt_ids" in answer and answer["prompt_ids"] != ids:
            print(f"{prompt!r}: other prompt ids, not compared")
            continue
        got = answer["ids"]
        same = next((i for i, (a, b) in enumerate(zip(got, new)) if a != b), None)
        verdict = f"equal ({len(got)} ids)" if same is None else f"differs at {same}, reference gap {gaps[same]:.5f}"
        print(f"{prompt!r}: {verdict}")


def read_continuations():
    """[(prompt ids, new ids, gaps)] of the committed file."""
    data = REFERENCE.read_bytes()
    n_texts, n_top, n_prompts, n_new = struct.unpack_from("<4I", data, 8)
    at = 24
    for _ in range(n_texts):
        n = struct.unpack_from("<I", data, at + 16)[0]
        at += 20 + n * (2 + 4 * n_top + 4)
    out = []
    for _ in range(n_prompts):
        n = struct.unpack_from("<I", data, at)[0]
        ids = np.frombuffer(data, "<u2", n + n_new, at + 4).tolist()
        gaps = np.frombuffer(data, "<f4", n_new, at + 4 + 2 * (n + n_new)).tolist()
        out.append((ids[:n], ids[n:], gaps))
        at += 4 + 2 * (n + n_new) + 4 * n_new
    return out


def compare(args):
    tokenizer = tokenizer_of(args.model)
    if args.peer:
        compare_peer(args.peer, tokenizer)
    texts = read_texts(tokenizer)
    logits = run_golden_test(args, sum(len(ids) for ids in texts.values()))
    reference, at, every_agree, every_kl = Reference(args.model), 0, [], []
    print(f"{'text':8} {'positions':>9} {'top-1':>9} {'mean KL':>10} {'p99 KL':>10} {'max KL':>10} {'ppl ref':>10} {'ppl ours':>10}")
    for name, ids in texts.items():
        ours = logits[at:at + len(ids)].astype(np.float64)
        at += len(ids)
        ours -= ours.max(1, keepdims=True)
        ours -= np.log(np.exp(ours).sum(1, keepdims=True))
        agree, kl = print_row(name, ids, reference.logprobs(ids), ours)
        every_agree.append(agree)
        every_kl.append(kl)
    agree, kl = np.concatenate(every_agree), np.concatenate(every_kl)
    print(f"all      {len(agree):9} {agree.mean():9.3%} {kl.mean():10.2e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["make", "compare"])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--program", default=str(ROOT / "build" / "release" / "golden_test"))
    parser.add_argument("--peer", help="greedy command of another engine")
    args = parser.parse_args()
    make(args) if args.mode == "make" else compare(args)


if __name__ == "__main__":
    main()
