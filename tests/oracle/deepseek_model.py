"""Oracle: DeepSeek V1 (MoE), V2 and V3 from GGUF files in plain numpy float64.

Written from the papers (2401.06066, 2405.04434, 2412.19437) and the GGUF key table, apart from the
C++ code. Latent attention is computed in its expanded form: keys and values of all heads.
"""
import math

import numpy as np
from dense_model import rms, rope_frequencies, rotate


def silu(x):
    return x / (1 + np.exp(-x))


def feed_forward(x, gate, up, down):
    return (silu(x @ gate.T) * (x @ up.T)) @ down.T


def scores_of(logits, gating):
    """1 softmax, 2 sigmoid, 4 square root of softplus."""
    if gating == 2:
        return 1 / (1 + np.exp(-logits))
    if gating == 4:
        return np.sqrt(np.log1p(np.exp(logits)))
    e = np.exp(logits - logits.max())
    return e / e.sum()


def choose(model, layer, h):
    """(experts, weights) of one token."""
    logits = model.tensors[f"blk.{layer}.ffn_gate_inp.weight"] @ h
    gating = model.key("expert_gating_func", 1)
    scores = scores_of(logits, gating)
    bias = model.tensors.get(f"blk.{layer}.exp_probs_b.bias")
    choice = scores if bias is None else scores + bias
    groups, used = model.key("expert_group_count", 1), model.key("expert_group_used_count", 1)
    if groups > 1:
        grouped = choice.reshape(groups, -1)
        rank = grouped.max(-1) if gating == 1 and bias is None else np.sort(grouped, -1)[:, -2:].sum(-1)
        kept = np.argsort(-rank, kind="stable")[:used]
        mask = np.full(groups, -np.inf)
        mask[kept] = 0
        choice = (grouped + mask[:, None]).reshape(-1)
    experts = np.argsort(-choice, kind="stable")[:model.key("expert_used_count")]
    weights = scores[experts]
    if model.key("expert_weights_norm", False):
        weights = weights / (weights.sum() + 1e-20)
    return experts, weights * float(model.key("expert_weights_scale", 1.0))


def experts_layer(model, layer, h):
    t, block = model.tensors, f"blk.{layer}."
    if block + "ffn_gate_up_exps.weight" in t:
        gate, up = np.split(t[block + "ffn_gate_up_exps.weight"], 2, axis=1)
    else:
        gate, up = t[block + "ffn_gate_exps.weight"], t[block + "ffn_up_exps.weight"]
    down = t[block + "ffn_down_exps.weight"]
    out = np.zeros_like(h)
    for row, x in enumerate(h):
        for expert, weight in zip(*choose(model, layer, x)):
            out[row] += weight * feed_forward(x, gate[expert], up[expert], down[expert])
    if block + "ffn_gate_shexp.weight" in t:
        out += feed_forward(h, *(t[f"{block}ffn_{n}_shexp.weight"] for n in ("gate", "up", "down")))
    return out


def feed_forward_layer(model, layer, h):
    t, block = model.tensors, f"blk.{layer}."
    if block + "ffn_gate_inp.weight" in t:
        return experts_layer(model, layer, h)
    return feed_forward(h, *(t[f"{block}ffn_{n}.weight"] for n in ("gate", "up", "down")))


def attend(q, k, v, scale, allowed):
    """q, k: [positions, heads, d]; allowed: [positions, positions] of booleans."""
    scores = np.einsum("phd,thd->hpt", q, k) * scale
    scores = np.where(allowed, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("hpt,thd->phd", weights, v).reshape(len(q), -1)


def yarn_scale(model, d_query):
    """Scale of the scores: YaRN's magnitude enters squared, and not through cos and sin."""
    scale = 1 / math.sqrt(d_query)
    factor = float(model.key("rope.scaling.factor", 1.0))
    if model.key("rope.scaling.type", "none") == "yarn" and factor > 1:
        scale *= (1 + float(model.key("rope.scaling.yarn_log_multiplier")) * math.log(factor)) ** 2
    return scale


class Widths:
    def __init__(self, model):
        newer = model.key("attention.key_length_mla") is not None
        self.heads = model.key("attention.head_count")
        self.rope = model.key("rope.dimension_count")
        self.query = model.key("attention.key_length_mla" if newer else "attention.key_length")
        self.value = model.key("attention.value_length_mla" if newer else "attention.value_length")
        self.nope = self.query - self.rope
        self.rank = model.key("attention.kv_lora_rank")


def latent_queries(model, block, h, w, eps):
    """(queries after rope, normed query rank or None)"""
    t = model.tensors
    if block + "attn_q.weight" in t:
        rank, q = None, h @ t[block + "attn_q.weight"].T
    else:
        rank = rms(h @ t[block + "attn_q_a.weight"].T, t[block + "attn_q_a_norm.weight"], eps)
        q = rank @ t[block + "attn_q_b.weight"].T
    return q.reshape(len(h), w.heads, w.query), rank


def keys_and_values(model, block, c, w):
    t = model.tensors
    if block + "attn_kv_b.weight" in t:
        kv = (c @ t[block + "attn_kv_b.weight"].T).reshape(len(c), w.heads, w.nope + w.value)
        return kv[..., :w.nope], kv[..., w.nope:]
    return (np.einsum("tr,hrn->thn", c, t[block + "attn_k_b.weight"]),
            np.einsum("tr,hvr->thv", c, t[block + "attn_v_b.weight"]))


def layer_norm(x, weight, bias):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + 1e-6) * weight + bias


def best_positions(model, block, h, rank, freq, allowed):
    """What V3.2's indexer leaves of `allowed`: the top_k best of each row, the lower of equals."""
    t, heads = model.tensors, model.key("attention.indexer.head_count")
    width, top_k = model.key("attention.indexer.key_length"), model.key("attention.indexer.top_k")
    q = (rank @ t[block + "indexer.attn_q_b.weight"].T).reshape(len(h), heads, width)
    k = layer_norm(h @ t[block + "indexer.attn_k.weight"].T, t[block + "indexer.k_norm.weight"],
                   t[block + "indexer.k_norm.bias"])
    q, k = rotate(q, freq, 1.0, False), rotate(k[:, None], freq, 1.0, False)[:, 0]
    weights = h @ t[block + "indexer.proj.weight"].T / math.sqrt(heads * width)
    scores = np.einsum("ph,phs->ps", weights, np.maximum(np.einsum("phd,sd->phs", q, k), 0))
    out = np.zeros_like(allowed)
    for row, visible in enumerate(allowed):
        places = np.flatnonzero(visible)
        out[row, places[np.argsort(-scores[row, places], kind="stable")[:top_k]]] = True
    return out


def latent_attention(model, layer, h, allowed):
    t, block, w = model.tensors, f"blk.{layer}.", Widths(model)
    eps = float(model.key("attention.layer_norm_rms_epsilon"))
    freq, _ = rope_frequencies(model)
    q, rank = latent_queries(model, block, h, w, eps)
    layers = model.key("block_count") - model.key("nextn_predict_layers", 0)
    if model.key("attention.indexer.top_k") and layer < layers:
        allowed = best_positions(model, block, h, rank, freq, allowed)
    latent = h @ t[block + "attn_kv_a_mqa.weight"].T
    c = rms(latent[:, :w.rank], t[block + "attn_kv_a_norm.weight"], eps)
    k_pe = rotate(latent[:, None, w.rank:], freq, 1.0, True)
    q = np.concatenate([q[..., :w.nope], rotate(q[..., w.nope:], freq, 1.0, True)], -1)
    k_nope, v = keys_and_values(model, block, c, w)
    k = np.concatenate([k_nope, np.broadcast_to(k_pe, (len(h), w.heads, w.rope))], -1)
    return attend(q, k, v, yarn_scale(model, w.query), allowed) @ t[block + "attn_output.weight"].T


def ordinary_attention(model, layer, h, allowed):
    t, block = model.tensors, f"blk.{layer}."
    _, _, heads, kv_heads, d_head = model.shape()
    freq, magnitude = rope_frequencies(model)
    q, k, v = (h @ t[f"{block}attn_{n}.weight"].T for n in "qkv")
    q, k, v = (x.reshape(len(h), -1, d_head) for x in (q, k, v))
    q, k = (rotate(x, freq, magnitude, True) for x in (q, k))
    k, v = (np.repeat(x, heads // kv_heads, axis=1) for x in (k, v))
    return attend(q, k, v, 1 / math.sqrt(d_head), allowed) @ t[block + "attn_output.weight"].T


def layer_output(model, layer, x, allowed):
    t, block = model.tensors, f"blk.{layer}."
    eps = float(model.key("attention.layer_norm_rms_epsilon"))
    attention = latent_attention if model.key("attention.kv_lora_rank") else ordinary_attention
    x = x + attention(model, layer, rms(x, t[block + "attn_norm.weight"], eps), allowed)
    return x + feed_forward_layer(model, layer, rms(x, t[block + "ffn_norm.weight"], eps))


def hidden_states(model, ids):
    """After the last layer and its norm: [len(ids), d_model]."""
    t = model.tensors
    allowed = np.tril(np.ones((len(ids), len(ids)), bool))
    x = t["token_embd.weight"][np.asarray(ids)]
    for layer in range(model.key("block_count") - model.key("nextn_predict_layers", 0)):
        x = layer_output(model, layer, x, allowed)
    return rms(x, t["output_norm.weight"], float(model.key("attention.layer_norm_rms_epsilon")))


def head(model):
    return model.tensors.get("output.weight", model.tensors["token_embd.weight"])


def logits(model, ids):
    """Logits of every position: [len(ids), n_vocab], float64."""
    return hidden_states(model, ids) @ head(model).T


def next_logits(model, ids):
    """Of the prediction layer: row t, from the states of positions 0..t and the token t + 1, is
    about token t + 2: [len(ids) - 1, n_vocab] (2412.19437, 2.2)."""
    t, layer = model.tensors, model.key("block_count") - 1
    block, eps = f"blk.{layer}.", float(model.key("attention.layer_norm_rms_epsilon"))
    states = hidden_states(model, ids)[:-1]
    embedded = t.get(block + "nextn.embed_tokens.weight", t["token_embd.weight"])[np.asarray(ids[1:])]
    joined = np.concatenate([rms(embedded, t[block + "nextn.enorm.weight"], eps),
                             rms(states, t[block + "nextn.hnorm.weight"], eps)], -1)
    x = joined @ t[block + "nextn.eh_proj.weight"].T
    x = layer_output(model, layer, x, np.tril(np.ones((len(x), len(x)), bool)))
    norm = t.get(block + "nextn.shared_head_norm.weight", t["output_norm.weight"])
    return rms(x, norm, eps) @ t.get(block + "nextn.shared_head_head.weight", head(model)).T
