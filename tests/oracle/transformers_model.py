"""Oracle: a GGUF file's decoded weights in the matching Hugging Face transformers class."""
import numpy as np
import torch
import transformers

CLASSES = {"llama": ("LlamaConfig", "LlamaForCausalLM"), "qwen2": ("Qwen2Config", "Qwen2ForCausalLM"),
           "qwen3": ("Qwen3Config", "Qwen3ForCausalLM")}
PARTS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
         "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm", "ffn_gate": "mlp.gate_proj",
         "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def rope_parameters(model, llama3=None):
    """`llama3`: the block of the original config; a GGUF file only keeps its divisors."""
    rope = {"rope_type": "default", "rope_theta": float(model.key("rope.freq_base", 10000.0))}
    kind = model.key("rope.scaling.type", "none")
    if llama3:
        rope.update(rope_type="llama3", **llama3)
    elif kind == "linear":
        rope.update(rope_type="linear", factor=float(model.key("rope.scaling.factor")))
    elif kind == "yarn":
        factor = float(model.key("rope.scaling.factor"))
        attn = float(model.key("rope.scaling.attn_factor", 1.0))
        rope.update(rope_type="yarn", factor=factor, attention_factor=(1 + 0.1 * np.log(factor)) * attn,
                    original_max_position_embeddings=model.key("rope.scaling.original_context_length"))
    return rope


def halves(rows, n_heads):
    """Interleaved rows of llama files back to the half-split order of the original checkpoint."""
    shape = rows.shape
    return rows.reshape(n_heads, shape[0] // n_heads // 2, 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def state_dict(model):
    _, _, heads, kv_heads, d_head = model.shape()
    out = {}
    for name, data in model.tensors.items():
        if name == "rope_freqs.weight":
            continue
        if name in ("token_embd.weight", "output_norm.weight", "output.weight"):
            out[{"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
                 "output.weight": "lm_head.weight"}[name]] = data
            continue
        _, layer, part, suffix = name.split(".")
        pieces = {part: data}
        if part == "attn_qkv":
            cuts = [heads * d_head, (heads + kv_heads) * d_head]
            pieces = dict(zip(("attn_q", "attn_k", "attn_v"), np.split(data, cuts)))
        for piece, rows in pieces.items():
            if model.arch == "llama" and piece in ("attn_q", "attn_k"):
                rows = halves(rows, heads if piece == "attn_q" else kv_heads)
            out[f"model.layers.{layer}.{PARTS[piece]}.{suffix}"] = rows
    out.setdefault("lm_head.weight", out["model.embed_tokens.weight"])
    return {name: torch.from_numpy(np.ascontiguousarray(data)) for name, data in out.items()}


def build(model, dtype=torch.float64, llama3=None):
    layers, d, heads, kv_heads, d_head = model.shape()
    config_class, model_class = (getattr(transformers, name) for name in CLASSES[model.arch])
    options = {}
    if model.arch == "llama":
        options["attention_bias"] = "blk.0.attn_output.bias" in model.tensors
    config = config_class(
        vocab_size=model.tensors["token_embd.weight"].shape[0], hidden_size=d, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=d_head,
        intermediate_size=model.key("feed_forward_length"), rms_norm_eps=float(model.key("attention.layer_norm_rms_epsilon")),
        max_position_embeddings=model.key("context_length"), rope_parameters=rope_parameters(model, llama3),
        tie_word_embeddings="output.weight" not in model.tensors, attn_implementation="eager", **options)
    net = getattr(model_class, "_from_config")(config, dtype=dtype) if hasattr(model_class, "_from_config") else model_class(config)
    net = net.to(dtype)
    missing, unexpected = net.load_state_dict({k: v.to(dtype) for k, v in state_dict(model).items()}, strict=False)
    if missing or unexpected:
        raise SystemExit(f"weights do not fit: missing {missing}, unexpected {unexpected}")
    return net.eval()


@torch.no_grad()
def logits(net, ids):
    """[len(ids), n_vocab] as numpy."""
    return net(torch.tensor([list(ids)])).logits[0].numpy()
