"""The nano model in torch: the architecture of DeepSeek-V3 with small numbers.

Latent attention with ranks for queries and keys, a dense first layer, then layers of experts chosen
by sigmoid scores with a bias per expert and groups, a shared expert, and one layer that predicts
the token after the next. Names of parameters are those of the published checkpoints, except that
the experts of a layer are stacked (`mlp.experts.gate`, axis 0).
"""
import torch
import torch.nn.functional as F
from torch import nn

CONFIG = dict(
    vocab=2048, d=192, layers=4, dense_layers=1, heads=4, q_lora=96, kv_lora=64, nope=32, rope=16, v_head=32, ff=512,
    experts=16, used=4, groups=4, groups_used=2, shared=1, expert_ff=64, routed_scale=2.5, theta=10000.0, eps=1e-6,
    context=2048)


class Norm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        x = x.float()
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


def rotate(x, angles):
    """Interleaved pairs; x [..., positions, rope], angles [positions, rope / 2]."""
    a, b = x.float()[..., 0::2], x.float()[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.q_a_proj = nn.Linear(c["d"], c["q_lora"], bias=False)
        self.q_a_layernorm = Norm(c["q_lora"], c["eps"])
        self.q_b_proj = nn.Linear(c["q_lora"], c["heads"] * (c["nope"] + c["rope"]), bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(c["d"], c["kv_lora"] + c["rope"], bias=False)
        self.kv_a_layernorm = Norm(c["kv_lora"], c["eps"])
        self.kv_b_proj = nn.Linear(c["kv_lora"], c["heads"] * (c["nope"] + c["v_head"]), bias=False)
        self.o_proj = nn.Linear(c["heads"] * c["v_head"], c["d"], bias=False)

    def forward(self, x, mask, angles):
        c, (batch, length) = self.c, x.shape[:2]
        q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        q = q.view(batch, length, c["heads"], -1).transpose(1, 2)
        latent, k_rope = self.kv_a_proj_with_mqa(x).split([c["kv_lora"], c["rope"]], -1)
        kv = self.kv_b_proj(self.kv_a_layernorm(latent)).view(batch, length, c["heads"], -1).transpose(1, 2)
        k_nope, v = kv.split([c["nope"], c["v_head"]], -1)
        q_nope, q_rope = q.split([c["nope"], c["rope"]], -1)
        k_rope = rotate(k_rope[:, None], angles).to(k_nope.dtype).expand(-1, c["heads"], -1, -1)
        q = torch.cat([q_nope, rotate(q_rope, angles).to(q_nope.dtype)], -1)
        k = torch.cat([k_nope, k_rope], -1)
        # Values as wide as keys: the fused kernel asks for it.
        v = F.pad(v, (0, c["nope"] + c["rope"] - c["v_head"]))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)[..., :c["v_head"]]
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, -1))


class Mlp(nn.Module):
    def __init__(self, d, ff):
        super().__init__()
        self.gate_proj = nn.Linear(d, ff, bias=False)
        self.up_proj = nn.Linear(d, ff, bias=False)
        self.down_proj = nn.Linear(ff, d, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Gate(nn.Module):
    """Which experts a token uses: by score plus bias, first the groups, then the experts in them."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        self.weight = nn.Parameter(torch.empty(c["experts"], c["d"]))
        self.register_buffer("e_score_correction_bias", torch.zeros(c["experts"]))

    def forward(self, x):
        c = self.c
        with torch.autocast("cpu", enabled=False):
            scores = F.linear(x.float(), self.weight).sigmoid()
        choice = (scores.detach() + self.e_score_correction_bias).view(-1, c["groups"], c["experts"] // c["groups"])
        best_groups = choice.topk(2, -1).values.sum(-1).topk(c["groups_used"], -1).indices
        keep = torch.zeros(choice.shape[:2], dtype=torch.bool).scatter_(1, best_groups, True)
        chosen = choice.masked_fill(~keep[..., None], -torch.inf).flatten(1).topk(c["used"], -1).indices
        weights = scores.gather(1, chosen)
        return chosen, weights / (weights.sum(-1, keepdim=True) + 1e-20) * c["routed_scale"]


class Experts(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate = nn.Parameter(torch.empty(c["experts"], c["expert_ff"], c["d"]))
        self.up = nn.Parameter(torch.empty(c["experts"], c["expert_ff"], c["d"]))
        self.down = nn.Parameter(torch.empty(c["experts"], c["d"], c["expert_ff"]))

    def forward(self, x, chosen, weights):
        """Tokens in the order of their experts, one product per expert and matrix."""
        order = chosen.flatten().argsort(stable=True)
        counts = chosen.flatten().bincount(minlength=self.gate.shape[0])
        token = order // chosen.shape[1]
        parts = x[token].split(counts.tolist())
        out = [F.linear(F.silu(F.linear(part, gate)) * F.linear(part, up), down)
               for part, gate, up, down in zip(parts, self.gate.unbind(), self.up.unbind(), self.down.unbind())]
        out = torch.cat(out).float() * weights.flatten()[order, None]
        return torch.zeros(x.shape, dtype=torch.float32).index_add(0, token, out), counts


class Moe(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate = Gate(c)
        self.experts = Experts(c)
        self.shared_experts = Mlp(c["d"], c["shared"] * c["expert_ff"])
        self.counts = None  # of the last batch, for the balance of the experts

    def forward(self, x):
        flat = x.flatten(0, 1)
        chosen, weights = self.gate(flat)
        routed, self.counts = self.experts(flat.to(torch.bfloat16) if torch.is_autocast_enabled("cpu") else flat,
                                           chosen, weights)
        return routed.view(x.shape) + self.shared_experts(x)


class Layer(nn.Module):
    def __init__(self, c, dense):
        super().__init__()
        self.input_layernorm = Norm(c["d"], c["eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = Norm(c["d"], c["eps"])
        self.mlp = Mlp(c["d"], c["ff"]) if dense else Moe(c)

    def forward(self, x, mask, angles):
        x = x + self.self_attn(self.input_layernorm(x), mask, angles)
        return x + self.mlp(self.post_attention_layernorm(x))


class MtpLayer(Layer):
    """Predicts the token after the next from the final state of a token and the next token."""

    def __init__(self, c):
        super().__init__(c, dense=False)
        self.enorm = Norm(c["d"], c["eps"])
        self.hnorm = Norm(c["d"], c["eps"])
        self.eh_proj = nn.Linear(2 * c["d"], c["d"], bias=False)
        self.shared_head = nn.ModuleDict({"norm": Norm(c["d"], c["eps"])})


class Nano(nn.Module):
    def __init__(self, c=None):
        super().__init__()
        self.c = c = dict(c or CONFIG)
        self.embed_tokens = nn.Embedding(c["vocab"], c["d"])
        self.layers = nn.ModuleList([Layer(c, i < c["dense_layers"]) for i in range(c["layers"])])
        self.norm = Norm(c["d"], c["eps"])
        self.lm_head = nn.Linear(c["d"], c["vocab"], bias=False)
        self.mtp = MtpLayer(c)
        for name, parameter in self.named_parameters():
            if parameter.dim() >= 2:
                spread = 0.02 if "embed" in name else 0.5 * parameter.shape[-1] ** -0.5
                nn.init.normal_(parameter, 0, spread)

    def angles(self, length):
        pair = torch.arange(0, self.c["rope"], 2, dtype=torch.float64) / self.c["rope"]
        return torch.outer(torch.arange(length, dtype=torch.float64), self.c["theta"] ** -pair).float()

    def hidden(self, ids, mask):
        """ids [batch, length], mask [batch or 1, 1, length, length] true where a key is seen. The state
        behind the final norm."""
        x, angles = self.embed_tokens(ids), self.angles(ids.shape[1])
        for layer in self.layers:
            x = layer(x, mask, angles)
        return self.norm(x)

    def mtp_hidden(self, state, next_ids, mask):
        """`state` of tokens t and the ids of tokens t + 1: the state that predicts tokens t + 2."""
        m = self.mtp
        x = m.eh_proj(torch.cat([m.enorm(self.embed_tokens(next_ids)), m.hnorm(state)], -1))
        return m.shared_head["norm"](m(x, mask, self.angles(next_ids.shape[1])))

    @torch.no_grad()
    def logits(self, ids):
        """[length] -> [length, vocab]; row t predicts token t + 1."""
        return self.lm_head(self.hidden(ids[None], causal(len(ids))))[0]

    @torch.no_grad()
    def mtp_logits(self, ids):
        """[length] -> [length - 1, vocab]; row t predicts token t + 2."""
        state = self.hidden(ids[None], causal(len(ids)))
        return self.lm_head(self.mtp_hidden(state[:, :-1], ids[None, 1:], causal(len(ids) - 1)))[0]

    def moe_layers(self):
        return [layer.mlp for layer in [*self.layers, self.mtp] if isinstance(layer.mlp, Moe)]


def causal(length):
    return torch.ones(length, length, dtype=torch.bool).tril()[None, None]
