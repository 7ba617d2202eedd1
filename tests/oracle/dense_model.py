"""Oracle: the forward pass of dense GGUF decoders (llama, qwen2, qwen3) in plain numpy float64.

Written from the papers and the GGUF key table, apart from the C++ code. Reads a file with the
`gguf` package, decodes every tensor to float64 and computes all logits of a sequence at once.
"""
import math

import gguf
import numpy as np


class GgufModel:
    """Keys and decoded tensors (numpy, rows first: W[out, in]) of one file."""

    def __init__(self, path, dtype=np.float64):
        reader = gguf.GGUFReader(path)
        self.keys = {name: field.contents() for name, field in reader.fields.items()
                     if not name.startswith("tokenizer.")}
        self.arch = self.keys["general.architecture"]
        self.tensors = {}
        for tensor in reader.tensors:
            flat = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            shape = [int(n) for n in tensor.shape][::-1]
            self.tensors[tensor.name] = flat.reshape(shape).astype(dtype)

    def key(self, name, default=None):
        return self.keys.get(f"{self.arch}.{name}", default)

    def shape(self):
        """(layers, d_model, heads, kv_heads, d_head)"""
        d, heads = self.key("embedding_length"), self.key("attention.head_count")
        return (self.key("block_count"), d, heads, self.key("attention.head_count_kv", heads),
                self.key("attention.key_length", d // heads))


def rope_frequencies(model):
    """(frequencies, factor on cos and sin)"""
    d_head = model.shape()[4]
    dims = model.key("rope.dimension_count", d_head)
    base = float(model.key("rope.freq_base", 10000.0))
    freq = base ** (-np.arange(0, dims, 2, dtype=np.float64) / dims)
    if "rope_freqs.weight" in model.tensors:
        freq = freq / model.tensors["rope_freqs.weight"]
    kind = model.key("rope.scaling.type", "none")
    factor = float(model.key("rope.scaling.factor", 1.0))
    if kind == "linear":
        return freq / factor, 1.0
    if kind != "yarn":
        return freq, 1.0
    original = model.key("rope.scaling.original_context_length", model.key("context_length"))

    def pair_of(turns):
        return dims * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low = max(0, math.floor(pair_of(32)))
    high = min(dims - 1, math.ceil(pair_of(1)))
    ramp = np.clip((np.arange(dims // 2) - low) / max(high - low, 0.001), 0, 1)
    magnitude = (1 + 0.1 * math.log(factor)) * float(model.key("rope.scaling.attn_factor", 1.0))
    return freq * (1 - ramp) + freq / factor * ramp, magnitude


def rotate(x, freq, magnitude, interleaved):
    """x: [positions, heads, d_head]"""
    n = len(freq)
    angle = np.arange(x.shape[0])[:, None] * freq[None, :]
    cos, sin = (np.cos(angle) * magnitude)[:, None, :], (np.sin(angle) * magnitude)[:, None, :]
    first = slice(0, 2 * n, 2) if interleaved else slice(0, n)
    second = slice(1, 2 * n, 2) if interleaved else slice(n, 2 * n)
    out = x.copy()
    out[..., first] = x[..., first] * cos - x[..., second] * sin
    out[..., second] = x[..., first] * sin + x[..., second] * cos
    return out


def rms(x, weight, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def projections(model, block, h, widths):
    """q, k, v of a layer, from one fused tensor or three."""
    t = model.tensors
    if block + "attn_qkv.weight" in t:
        y = h @ t[block + "attn_qkv.weight"].T + t.get(block + "attn_qkv.bias", 0.0)
        return np.split(y, [widths[0], widths[0] + widths[1]], axis=-1)
    return [h @ t[f"{block}attn_{n}.weight"].T + t.get(f"{block}attn_{n}.bias", 0.0) for n in "qkv"]


def logits(model, ids):
    """Logits of every position: [len(ids), n_vocab], float64."""
    t = model.tensors
    layers, _, heads, kv_heads, d_head = model.shape()
    eps = float(model.key("attention.layer_norm_rms_epsilon"))
    freq, magnitude = rope_frequencies(model)
    interleaved = model.arch == "llama"
    n = len(ids)
    future = np.triu(np.full((n, n), -np.inf), 1)
    x = t["token_embd.weight"][np.asarray(ids)]
    for layer in range(layers):
        block = f"blk.{layer}."
        h = rms(x, t[block + "attn_norm.weight"], eps)
        q, k, v = projections(model, block, h, (heads * d_head, kv_heads * d_head))
        q, k, v = (y.reshape(n, -1, d_head) for y in (q, k, v))
        if block + "attn_q_norm.weight" in t:
            q = rms(q, t[block + "attn_q_norm.weight"], eps)
            k = rms(k, t[block + "attn_k_norm.weight"], eps)
        q, k = (rotate(y, freq, magnitude, interleaved) for y in (q, k))
        k, v = (np.repeat(y, heads // kv_heads, axis=1) for y in (k, v))
        scores = np.einsum("phd,thd->hpt", q, k) / math.sqrt(d_head) + future
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        attended = np.einsum("hpt,thd->phd", weights, v).reshape(n, -1)
        x = x + attended @ t[block + "attn_output.weight"].T + t.get(block + "attn_output.bias", 0.0)
        h = rms(x, t[block + "ffn_norm.weight"], eps)
        gate = h @ t[block + "ffn_gate.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ t[block + "ffn_up.weight"].T)) @ t[block + "ffn_down.weight"].T
    head = t.get("output.weight", t["token_embd.weight"])
    return rms(x, t["output_norm.weight"], eps) @ head.T
