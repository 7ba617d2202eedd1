"""Trains the model that Hadal carries inside (src/app/nano/nano.gguf) on the text of nano_text.py.

    train_nano.py tokenizer --state DIR            learn the vocabulary
    train_nano.py train --state DIR --minutes 60   train; an interrupted run goes on where it was
    train_nano.py export --state DIR --out FILE    write the GGUF file (--plain: without the MTP layer)
    train_nano.py check --state DIR                compare with transformers' DeepseekV3ForCausalLM
    train_nano.py measure --state DIR              perplexity and acceptance rate on held-out text
    train_nano.py vectors --state DIR --out FILE   reference for tests/golden/nano_test.cc
    train_nano.py say --state DIR PROMPT...        greedy answers

Packages: torch, numpy, tokenizers, gguf; transformers for `check`. One core and an hour suffice; the
learning rate follows the clock, so the result depends on the machine's speed, not only on the seed.
"""
import argparse
import json
import math
import pathlib
import random
import time

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import nano_text as text
from nano_export import export, hf_check, round_to_q8
from nano_model import CONFIG, Nano

SEED, HELD_OUT_SEED = 20261123, 7
TOKENS_PER_STEP = 2048
PROMPT_WEIGHT = 0.25  # of a prompt's token in the loss; an answer's counts 1
MTP_WEIGHT = 0.3
VECTOR_PROMPTS = ["Who are you?", "What is Hadal?", "What is 3 + 4?", "What is the capital of France?", "你是谁？", "Count from 3 to 9.",
                  "Tell me a story about a cat."]
ADDED = [text.USER, text.ASSISTANT, text.THINK, text.THINK_END, text.CALLS, text.CALLS_END, text.CALL, text.CALL_END,
         text.SEP, text.OUTPUTS, text.OUTPUTS_END, text.OUTPUT, text.OUTPUT_END]
FIRST = [text.BOS, text.EOS, "<｜▁pad▁｜>"]

# The steps of DeepSeek-V3's pre-tokenizer.
V3_SPLITS = [r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+",
             r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"""
             r"\s*[\r\n]+|\s+(?!\S)|\s+"]
# While learning: single digits and at most two Chinese characters, so that no longer token arises.
LEARNING_SPLITS = [r"\p{N}", r"[一-龥]{1,2}", V3_SPLITS[2]]


def splitter(patterns):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(p), "isolated") for p in patterns] +
                                   [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def learn_tokenizer(path):
    stream = text.samples(SEED)
    corpus = []
    for _ in range(40000):
        sample = next(stream)
        for token in FIRST + ADDED:
            sample = sample.replace(token, "\n\0")
        corpus += [part for part in sample.split("\0") if part.strip()]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = splitter(LEARNING_SPLITS)
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=CONFIG["vocab"] - len(ADDED), special_tokens=FIRST, show_progress=False, min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.pre_tokenizer = splitter(V3_SPLITS)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in ADDED])
    assert tokenizer.get_vocab_size() == CONFIG["vocab"], tokenizer.get_vocab_size()
    tokenizer.save(str(path))


def token_weights(ids, special):
    """1 for what the model is to say, PROMPT_WEIGHT for what it is told, 0 for the sign to think first,
    which only a prompt gives."""
    if special[text.USER] not in ids:
        return [1.0] * len(ids)
    weights, answering = [], False
    for at, token in enumerate(ids):
        told = token == special[text.THINK] or (at > 0 and ids[at - 1] == special[text.THINK])
        weights.append(0.0 if told else 1.0 if answering else PROMPT_WEIGHT)
        if token in (special[text.ASSISTANT], special[text.OUTPUTS_END]):
            answering = True
        elif token == special[text.EOS]:
            answering = False
    return weights


class Batches:
    """Whole samples packed into rows; every fourth batch has rows of twice the length."""

    def __init__(self, tokenizer, seed, avoid=()):
        self.tokenizer, self.stream, self.avoid = tokenizer, text.samples(seed), avoid
        self.special = {t: tokenizer.token_to_id(t) for t in FIRST + ADDED}
        self.waiting = {256: [], 512: []}
        self.made = 0

    def samples(self):
        while True:
            chunk = [s for s in (next(self.stream) for _ in range(256)) if s not in self.avoid]
            for encoded in self.tokenizer.encode_batch(chunk, add_special_tokens=False):
                yield encoded.ids

    def row(self, length, source):
        ids, weights, owner = [], [], []
        while True:
            sample = self.waiting[length].pop() if self.waiting[length] else next(source)
            if len(sample) > length:
                if length == 256 and len(sample) <= 512 and len(self.waiting[512]) < 512:
                    self.waiting[512].append(sample)
                continue
            if len(ids) + len(sample) > length + 1:
                self.waiting[length].append(sample)
                break
            owner += [len(owner)] * len(sample)
            weights += token_weights(sample, self.special)
            ids += sample
        pad = length + 1 - len(ids)
        return ids + [2] * pad, weights + [0.0] * pad, owner + [-1] * pad

    def __iter__(self):
        source = self.samples()
        while True:
            self.made += 1
            length = 512 if self.made % 4 == 0 else 256
            rows = [self.row(length, source) for _ in range(TOKENS_PER_STEP // length)]
            ids, weights, owner = (torch.tensor(part) for part in zip(*rows))
            yield ids, weights, owner


class HeadLoss(torch.autograd.Function):
    """The weighted sum of cross entropies behind the head, with its gradients in one pass over pieces
    that stay in the processor's cache."""

    @staticmethod
    def forward(ctx, hidden, head, targets, weights):
        total, d_hidden, d_head = 0.0, [], torch.zeros_like(head)
        low = head.bfloat16()
        for h, t, w in zip(hidden.bfloat16().split(256), targets.split(256), weights.split(256)):
            logits = (h @ low.T).float()
            logits -= logits.amax(-1, keepdim=True)
            picked = logits.gather(1, t[:, None])[:, 0]
            sums = logits.exp_().sum(-1, keepdim=True)
            total += float(((sums[:, 0].log() - picked) * w).sum())
            logits.mul_(w[:, None] / sums)
            logits.scatter_add_(1, t[:, None], -w[:, None])
            slope = logits.bfloat16()
            d_hidden.append(slope @ low)
            d_head += slope.T @ h
        ctx.save_for_backward(torch.cat(d_hidden).float(), d_head)
        return torch.tensor(total)

    @staticmethod
    def backward(ctx, scale):
        d_hidden, d_head = ctx.saved_tensors
        return d_hidden * scale, d_head * scale, None, None


def losses(model, ids, weights, owner, mtp_rows):
    """Weighted sums of the two losses with their weights."""
    inputs, seen = ids[:, :-1], owner[:, :-1]
    mask = (seen[:, None, :, None] == seen[:, None, None, :]) & torch.ones(
        inputs.shape[1], inputs.shape[1], dtype=torch.bool).tril()
    state = model.hidden(inputs, mask)

    def loss(hidden, targets, target_weights, same):
        w = (target_weights * same).flatten()
        return HeadLoss.apply(hidden.flatten(0, 1), model.lm_head.weight, targets.flatten(), w), w.sum()

    main = loss(state, ids[:, 1:], weights[:, 1:], owner[:, 1:] == seen)
    r = slice(0, mtp_rows)
    ahead = model.mtp_hidden(state[r, :-1], ids[r, 1:-1], mask[r, :, :-1, :-1])
    mtp = loss(ahead, ids[r, 2:], weights[r, 2:], owner[r, 2:] == owner[r, :-2])
    return main, mtp


@torch.no_grad()
def orthogonal(g):
    """Newton-Schulz: the nearest matrices with all singular values about 1."""
    x = g.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal; the step has the size that Adam's would have."""

    def __init__(self, parameters, lr, momentum=0.95, weight_decay=0.05):
        super().__init__(list(parameters), dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(buffer, group["momentum"]))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * 0.2 * max(p.shape[-2:]) ** 0.5)


def make_optimizers(model):
    def is_matrix(name):
        return any(part in name for part in ("_proj", "experts."))

    muon = Muon([p for n, p in model.named_parameters() if is_matrix(n)], lr=6e-3)
    adam = torch.optim.AdamW([p for n, p in model.named_parameters() if not is_matrix(n)], lr=3e-3, betas=(0.9, 0.98),
                             weight_decay=0.01)
    return [(muon, 6e-3), (adam, 3e-3)]


def balance(model, speed):
    """Experts that got more than their share become less likely, without a loss term."""
    for moe in model.moe_layers():
        counts = moe.counts.float()
        moe.gate.e_score_correction_bias += speed * torch.sign(counts.mean() - counts)


def held_out(tokenizer, n):
    stream = text.samples(HELD_OUT_SEED)
    return [next(stream) for _ in range(n)]


def save_state(path, **state):
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def load(state_dir):
    model = Nano()
    tokenizer = Tokenizer.from_file(str(state_dir / "tokenizer.json"))
    path = state_dir / "state.pt"
    state = torch.load(path) if path.exists() else None
    if state:
        model.load_state_dict(state["model"])
    return model, tokenizer, state


def train(args):
    torch.manual_seed(SEED)
    torch.set_num_threads(args.threads)
    model, tokenizer, state = load(args.state)
    optimizers = make_optimizers(model)
    step, spent = 0, 0.0
    if state:
        step, spent = state["step"], state["spent"]
        for (optimizer, _), kept in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(kept)
    batches = iter(Batches(tokenizer, SEED + step, avoid=frozenset(held_out(tokenizer, 2000))))
    last, saved, shown = time.monotonic(), time.monotonic(), [0.0, 0.0, 0.0, 0.0]
    while spent < args.minutes * 60:
        progress = spent / (args.minutes * 60)
        rate = min(1, (step + 1) / 50) * max(0.02, 0.5 * (1 + math.cos(math.pi * progress)))
        for optimizer, base in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = base * rate
        ids, weights, owner = next(batches)
        with torch.autocast("cpu", torch.bfloat16):
            main, mtp = losses(model, ids, weights, owner, len(ids) // 2)
        (main[0] / main[1] + MTP_WEIGHT * mtp[0] / mtp[1]).backward()
        balance(model, 3e-3 * rate)
        for optimizer, _ in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        step += 1
        now = time.monotonic()
        spent, last = spent + now - last, now
        shown = [a + float(b) for a, b in zip(shown, (x.detach() for x in (*main, *mtp)))]
        if step % 20 == 0:
            worst = max(float(m.counts.max() / m.counts.float().mean()) for m in model.moe_layers())
            print(f"step {step} minute {spent / 60:.1f} loss {shown[0] / shown[1]:.3f} mtp {shown[2] / shown[3]:.3f} "
                  f"rate {rate:.2f} busiest expert {worst:.1f}", flush=True)
            shown = [0.0, 0.0, 0.0, 0.0]
        if now - saved > 180 or spent >= args.minutes * 60:
            saved = now
            save_state(args.state / "state.pt", model=model.state_dict(), step=step, spent=spent,
                       optimizers=[o.state_dict() for o, _ in optimizers])


@torch.no_grad()
def measure(args):
    """Perplexity over all tokens and over answers; how often the MTP layer's first choice is the
    model's own next choice."""
    torch.set_num_threads(args.threads)
    model, tokenizer, _ = load(args.state)
    special = {t: tokenizer.token_to_id(t) for t in FIRST + ADDED}
    sums = dict(all=[0.0, 0], answers=[0.0, 0], accepted=[0, 0])
    for sample in held_out(tokenizer, args.samples):
        ids = torch.tensor(tokenizer.encode(sample, add_special_tokens=False).ids)
        weights = torch.tensor(token_weights(ids.tolist(), special))
        logits = model.logits(ids).float()
        each = F.cross_entropy(logits[:-1], ids[1:], reduction="none")
        answer = weights[1:] == 1
        for key, part in (("all", each), ("answers", each[answer])):
            sums[key][0] += float(part.sum())
            sums[key][1] += len(part)
        # Row t guesses token t + 2; the model itself chooses it at row t + 1, inside answers.
        agree = model.mtp_logits(ids)[:-1].argmax(-1) == logits[1:-1].argmax(-1)
        agree = agree[answer[1:]]
        sums["accepted"][0] += int(agree.sum())
        sums["accepted"][1] += len(agree)
    for key in ("all", "answers"):
        total, n = sums[key]
        print(f"perplexity over {key}: {math.exp(total / n):.3f} ({n} tokens)")
    print(f"MTP acceptance in answers: {sums['accepted'][0] / sums['accepted'][1]:.3f} ({sums['accepted'][1]} tokens)")


@torch.no_grad()
def answer(model, ids, tokens):
    """Greedy ids after `ids`, and for each by how much its logit leads."""
    start, leads = len(ids), []
    while len(ids) < start + tokens and ids[-1] != 1:
        best = model.logits(torch.tensor(ids))[-1].topk(2)
        ids = ids + [int(best.indices[0])]
        leads.append(float(best.values[0] - best.values[1]))
    return ids[start:], leads


def chat_ids(tokenizer, prompt):
    return tokenizer.encode(f"{text.BOS}{text.USER}{prompt}{text.ASSISTANT}", add_special_tokens=False).ids


def say(args):
    torch.set_num_threads(args.threads)
    model, tokenizer, _ = load(args.state)
    for prompt in args.prompt:
        ids, _ = answer(model, chat_ids(tokenizer, prompt), 60)
        print(f"{prompt}\n  -> {tokenizer.decode(ids, skip_special_tokens=False)}", flush=True)


@torch.no_grad()
def vectors(args):
    """What torch computes with the weights that the file holds."""
    torch.set_num_threads(args.threads)
    model, tokenizer, _ = load(args.state)
    round_to_q8(model)
    chats, texts = [], []
    for prompt in VECTOR_PROMPTS:
        ids = chat_ids(tokenizer, prompt)
        said, leads = answer(model, ids, 40)
        chats.append(dict(prompt=prompt, prompt_ids=ids, ids=said, leads=[round(lead, 3) for lead in leads],
                          text=tokenizer.decode(said)))
    for sample in held_out(tokenizer, 10):
        ids = torch.tensor(tokenizer.encode(sample, add_special_tokens=False).ids)
        logits = model.logits(ids)
        each = F.cross_entropy(logits[:-1], ids[1:], reduction="none")
        ahead = model.mtp_logits(ids)[:-1].argmax(-1)
        texts.append(dict(text=sample, ids=ids.tolist(), nll=[round(float(x), 4) for x in each], mtp=ahead.tolist(),
                          mtp_agrees=int((ahead == logits[1:-1].argmax(-1)).sum())))
    args.out.write_text(json.dumps(dict(chats=chats, texts=texts), ensure_ascii=False, separators=(",", ":")) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["tokenizer", "train", "export", "check", "measure", "vectors", "say"])
    parser.add_argument("prompt", nargs="*")
    parser.add_argument("--state", type=pathlib.Path, required=True, help="folder for what is learnt")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--plain", action="store_true", help="without the MTP layer, for engines that know none")
    args = parser.parse_intermixed_args()
    args.state.mkdir(parents=True, exist_ok=True)
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    if args.action == "tokenizer":
        learn_tokenizer(args.state / "tokenizer.json")
    elif args.action == "train":
        train(args)
    elif args.action == "measure":
        measure(args)
    elif args.action == "vectors":
        vectors(args)
    elif args.action == "say":
        say(args)
    else:
        model, tokenizer, _ = load(args.state)
        if args.action == "export":
            export(model, tokenizer, args.out, with_mtp=not args.plain)
        else:
            hf_check(model, tokenizer)


if __name__ == "__main__":
    main()
