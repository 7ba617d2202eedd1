"""Oracle: the forward pass of DeepSeek V4 (GGUF `deepseek4`) in plain numpy float64.

Written from the published description of the architecture, apart from the C++ code: four residual
streams with hyper-connections, window attention with compressed rows (ratios 4 and 128), indexer,
sinks, inverse rope, grouped output projection, hash routing, clamped experts, and the prediction
block of a file of its own. All positions of a sequence are computed at once; nothing is cached.
"""
import math

import gguf
import numpy as np


class GgufModel:
    """Keys and decoded tensors (rows first: W[out, in]) of one file; integer tensors stay integers."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.keys = {name: field.contents() for name, field in reader.fields.items()
                     if not name.startswith("tokenizer.")}
        self.arch = self.keys["general.architecture"]
        self.tensors = {}
        for tensor in reader.tensors:
            shape = [int(n) for n in tensor.shape][::-1]
            if tensor.tensor_type == gguf.GGMLQuantizationType.I32:
                self.tensors[tensor.name] = np.array(tensor.data).reshape(shape)
            else:
                flat = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
                self.tensors[tensor.name] = flat.reshape(shape).astype(np.float64)

    def key(self, name, default=None):
        return self.keys.get(f"{self.arch}.{name}", default)


def rms(x, weight, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def frequencies(model, compressed):
    dims = model.key("rope.dimension_count")
    base = float(model.key("attention.compress_rope_freq_base" if compressed else "rope.freq_base"))
    freq = base ** (-np.arange(0, dims, 2, dtype=np.float64) / dims)
    if not compressed or model.key("rope.scaling.type") != "yarn":
        return freq
    original = model.key("rope.scaling.original_context_length", model.key("context_length"))

    def pair_of(turns):
        return dims * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low = max(0, math.floor(pair_of(model.key("rope.scaling.yarn_beta_fast", 32))))
    high = min(dims - 1, math.ceil(pair_of(model.key("rope.scaling.yarn_beta_slow", 1))))
    ramp = np.clip((np.arange(dims // 2) - low) / max(high - low, 0.001), 0, 1)
    return freq * (1 - ramp) + freq / model.key("rope.scaling.factor") * ramp


def rotate_last(x, positions, freq):
    """x: [positions, ..., width]; the last 2 * len(freq) columns turn in neighbouring pairs."""
    angle = np.asarray(positions, np.float64)[:, None] * freq
    turn = np.exp(1j * angle).reshape((len(x),) + (1,) * (x.ndim - 2) + (len(freq),))
    tail = x[..., -2 * len(freq):]
    turned = (tail[..., 0::2] + 1j * tail[..., 1::2]) * turn
    out = x.copy()
    out[..., -2 * len(freq)::2], out[..., -2 * len(freq) + 1::2] = turned.real, turned.imag
    return out


class HyperConnection:
    """Weights of one site from the state X [positions, streams, d]."""

    def __init__(self, model, name, eps):
        self.fn, self.base, self.scale = (model.tensors[f"{name}_{part}.weight"] for part in ("fn", "base", "scale"))
        self.rms_eps, self.eps = eps, float(model.key("hyper_connection.epsilon"))
        self.iterations = model.key("hyper_connection.sinkhorn_iterations")

    def mix(self, state):
        flat = state.reshape(len(state), -1)
        return flat @ self.fn.T / np.sqrt(np.mean(flat * flat, -1, keepdims=True) + self.rms_eps)

    def pre(self, state, mix):
        n = state.shape[1]
        gate = sigmoid(mix[:, :n] * self.scale[0] + self.base[:n]) + self.eps
        return np.einsum("ps,psd->pd", gate, state)

    def enter(self, state):
        """Block input, post weights, comb [position, source, target]."""
        n, mix = state.shape[1], self.mix(state)
        post = 2 * sigmoid(mix[:, n:2 * n] * self.scale[1] + self.base[n:2 * n])
        comb = (mix[:, 2 * n:] * self.scale[2] + self.base[2 * n:]).reshape(-1, n, n)
        comb = softmax(comb, 2) + self.eps
        comb = comb / (comb.sum(1, keepdims=True) + self.eps)
        for _ in range(self.iterations - 1):
            comb = comb / (comb.sum(2, keepdims=True) + self.eps)
            comb = comb / (comb.sum(1, keepdims=True) + self.eps)
        return self.pre(state, mix), post, comb

    def leave(self, state, y, post, comb):
        return post[:, :, None] * y[:, None, :] + np.einsum("pst,psd->ptd", comb, state)

    def head(self, state):
        return self.pre(state, self.mix(state))


def compress(model, prefix, h, ratio, freq, eps):
    """One row per whole window of `ratio` positions."""
    t = model.tensors
    norm, ape = t[f"{prefix}_norm.weight"], t[f"{prefix}_ape.weight"]
    width, n = len(norm), len(h) // ratio
    a = h @ t[f"{prefix}_kv.weight"].T
    b = h @ t[f"{prefix}_gate.weight"].T + ape[np.arange(len(h)) % ratio]
    rows = np.zeros((n, width))
    for w in range(n):
        own = slice(w * ratio, (w + 1) * ratio)
        values, gates = a[own, -width:], b[own, -width:]
        if a.shape[1] == 2 * width and w > 0:  # overlapping: the window before gives its first half
            before = slice((w - 1) * ratio, w * ratio)
            values = np.concatenate([a[before, :width], values])
            gates = np.concatenate([b[before, :width], gates])
        rows[w] = (softmax(gates, 0) * values).sum(0)
    return rotate_last(rms(rows, norm, eps), np.arange(n) * ratio, freq)


class Report:
    """How close the choices were: a test file wants clear ones."""

    def __init__(self):
        self.index_gap = self.expert_gap = math.inf
        self.sparse_rows = 0

    def gap(self):
        return min(self.index_gap, self.expert_gap)


def chosen_rows(model, block, h, qr, freq, n_rows, eps, report):
    """[positions, n_rows]: which compressed rows each position attends in a layer of ratio 4."""
    t, n = model.tensors, len(h)
    heads, width = model.key("attention.indexer.head_count"), model.key("attention.indexer.key_length")
    k = model.key("attention.indexer.top_k")
    keys = compress(model, block + "indexer_compressor", h, 4, freq, eps)
    q = rotate_last((qr @ t[block + "indexer.attn_q_b.weight"].T).reshape(n, heads, width), np.arange(n), freq)
    weight = h @ t[block + "indexer.proj.weight"].T / math.sqrt(heads * width)
    score = np.einsum("ph,phr->pr", weight, np.maximum(np.einsum("phd,rd->phr", q, keys), 0))
    seen = np.zeros((n, n_rows), bool)
    for p in range(n):
        visible = (p + 1) // 4
        order = np.argsort(-score[p, :visible], kind="stable")  # of equal scores the lower index first
        seen[p, order[:k]] = True
        if visible > k:
            report.sparse_rows += 1
            report.index_gap = min(report.index_gap, score[p, order[k - 1]] - score[p, order[k]])
    return seen


def attention(model, layer, ratio, h, eps, report):
    t, block, n = model.tensors, f"blk.{layer}.", len(h)
    heads, width = model.key("attention.head_count"), model.key("attention.key_length")
    window, positions = model.key("attention.sliding_window"), np.arange(n)
    freq = frequencies(model, ratio > 0)
    qr = rms(h @ t[block + "attn_q_a.weight"].T, t[block + "attn_q_a_norm.weight"], eps)
    q = rms((qr @ t[block + "attn_q_b.weight"].T).reshape(n, heads, width), 1.0, eps)
    q = rotate_last(q, positions, freq)
    kv = rotate_last(rms(h @ t[block + "attn_kv.weight"].T, t[block + "attn_kv_a_norm.weight"], eps), positions, freq)
    distance = positions[:, None] - positions[None, :]
    seen = (distance >= 0) & (distance < window)
    if ratio > 0:
        rows = compress(model, block + "attn_compressor", h, ratio, freq, eps)
        visible = np.arange(len(rows))[None, :] < ((positions + 1) // ratio)[:, None]
        if ratio == 4:
            visible &= chosen_rows(model, block, h, qr, freq, len(rows), eps, report)
        kv, seen = np.concatenate([kv, rows]), np.concatenate([seen, visible], axis=1)
    score = np.einsum("phd,kd->hpk", q, kv) / math.sqrt(width)
    score = np.where(seen[None], score, -np.inf)
    sink = t[block + "attn_sinks.weight"][:, None, None]
    top = np.maximum(score.max(-1, keepdims=True), sink)
    e = np.exp(score - top)
    e /= e.sum(-1, keepdims=True) + np.exp(sink - top)
    out = rotate_last(np.einsum("hpk,kd->phd", e, kv), -positions, freq)
    groups, rank = model.key("attention.output_group_count"), model.key("attention.output_lora_rank")
    w_a = t[block + "attn_output_a.weight"].reshape(groups, rank, -1)
    z = np.einsum("gri,pgi->pgr", w_a, out.reshape(n, groups, -1)).reshape(n, -1)
    return z @ t[block + "attn_output_b.weight"].T


def clamp_of(model, name, layer, fallback):
    value = model.key(name, fallback)
    return value[layer] if isinstance(value, (list, tuple)) else value


def expert(h, w_gate, w_up, w_down, limit):
    gate, up = np.minimum(h @ w_gate.T, limit), np.clip(h @ w_up.T, -limit, limit)
    return (gate * sigmoid(gate) * up) @ w_down.T


def moe(model, layer, h, ids, report):
    t, block = model.tensors, f"blk.{layer}."
    k = model.key("expert_used_count")
    logits = h @ t[block + "ffn_gate_inp.weight"].T
    s = np.sqrt(np.logaddexp(0, logits))
    if layer < model.key("hash_layer_count"):
        index = t[block + "ffn_gate_tid2eid.weight"][np.asarray(ids)]
    else:
        biased = s + t[block + "exp_probs_b.bias"]
        order = np.argsort(-biased, axis=1, kind="stable")
        index = order[:, :k]
        ranked = np.take_along_axis(biased, order, 1)
        if k < ranked.shape[1]:
            report.expert_gap = min(report.expert_gap, (ranked[:, k - 1] - ranked[:, k]).min())
    weight = np.take_along_axis(s, index, 1)
    if model.key("expert_weights_norm", False):
        weight = weight / (weight.sum(1, keepdims=True) + 1e-20)
    weight = weight * model.key("expert_weights_scale", 1.0)
    limit = clamp_of(model, "swiglu_clamp_exp", layer, math.inf)
    shared_limit = clamp_of(model, "swiglu_clamp_shexp", layer, limit)
    out = expert(h, *(t[f"{block}ffn_{n}_shexp.weight"] for n in ("gate", "up", "down")), shared_limit)
    for p in range(len(h)):
        for j, e in enumerate(index[p]):
            w = (t[f"{block}ffn_{n}_exps.weight"][e] for n in ("gate", "up", "down"))
            out[p] += weight[p, j] * expert(h[p:p + 1], *w, limit)[0]
    return out


def run_block(model, layer, ratio, state, ids, eps, report):
    t, block = model.tensors, f"blk.{layer}."
    site = HyperConnection(model, block + "hc_attn", eps)
    x, post, comb = site.enter(state)
    state = site.leave(state, attention(model, layer, ratio, rms(x, t[block + "attn_norm.weight"], eps), eps, report),
                       post, comb)
    site = HyperConnection(model, block + "hc_ffn", eps)
    x, post, comb = site.enter(state)
    return site.leave(state, moe(model, layer, rms(x, t[block + "ffn_norm.weight"], eps), ids, report), post, comb)


def forward(model, ids, report=None):
    """(logits [positions, n_vocab], the streams before the head [positions, streams, d])."""
    report = report or Report()
    t, eps = model.tensors, float(model.key("attention.layer_norm_rms_epsilon"))
    ratios = model.key("attention.compress_ratios")
    state = np.repeat(t["token_embd.weight"][np.asarray(ids)][:, None, :], model.key("hyper_connection.count"), axis=1)
    for layer in range(model.key("block_count") - model.key("nextn_predict_layers", 0)):
        state = run_block(model, layer, ratios[layer], state, ids, eps, report)
    x = HyperConnection(model, "output_hc", eps).head(state)
    return rms(x, t["output_norm.weight"], eps) @ t["output.weight"].T, state


def predict(model, main, ids, state, report=None):
    """The prediction block of a file of its own, with embedding and head of the main model: `state` are its streams
    at positions 0..n-1 and `ids` the tokens at 1..n. Row p predicts the token at p + 2."""
    report = report or Report()
    t, eps = model.tensors, float(model.key("attention.layer_norm_rms_epsilon"))
    layer = model.key("block_count") - 1
    block = f"blk.{layer}.nextn."
    embedding = rms(main.tensors["token_embd.weight"][np.asarray(ids)], t[block + "enorm.weight"], eps)
    hidden = rms(state, t[block + "hnorm.weight"], eps)
    both = np.concatenate([np.repeat(embedding[:, None], state.shape[1], axis=1), hidden], axis=2)
    state = both @ t[block + "eh_proj.weight"].T
    state = run_block(model, layer, 0, state, ids, eps, report)
    x = HyperConnection(model, "output_hc", eps).head(state)
    return rms(x, t[block + "shared_head_norm.weight"], eps) @ main.tensors["output.weight"].T, state
