"""Oracle: DeepSeek V2 and V3 GGUF files in Hugging Face transformers' classes, float64."""
import numpy as np
import torch
import transformers
from deepseek_model import Widths

PARTS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
         "attn_q_a": "self_attn.q_a_proj", "attn_q_a_norm": "self_attn.q_a_layernorm", "attn_q_b": "self_attn.q_b_proj",
         "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa", "attn_kv_a_norm": "self_attn.kv_a_layernorm",
         "attn_kv_b": "self_attn.kv_b_proj", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj",
         "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "ffn_gate_inp": "mlp.gate",
         "ffn_gate_shexp": "mlp.shared_experts.gate_proj", "ffn_up_shexp": "mlp.shared_experts.up_proj",
         "ffn_down_shexp": "mlp.shared_experts.down_proj", "indexer.attn_q_b": "self_attn.indexer.wq_b",
         "indexer.attn_k": "self_attn.indexer.wk", "indexer.k_norm": "self_attn.indexer.k_norm",
         "indexer.proj": "self_attn.indexer.weights_proj"}


def config(model):
    w, v3 = Widths(model), model.key("expert_gating_func", 1) == 2
    rope = {"rope_type": "default", "rope_theta": float(model.key("rope.freq_base"))}
    if model.key("rope.scaling.type") == "yarn":
        mscale = float(model.key("rope.scaling.yarn_log_multiplier")) * 10
        rope.update(rope_type="yarn", factor=float(model.key("rope.scaling.factor")), mscale=mscale, mscale_all_dim=mscale,
                    beta_fast=32, beta_slow=1,
                    original_max_position_embeddings=model.key("rope.scaling.original_context_length"))
    groups = model.key("expert_group_count", 1)
    method = dict(topk_method="group_limited_greedy" if groups > 1 else "greedy")
    kinds = {"deepseek32": transformers.DeepseekV32Config}
    extra = {} if v3 else method
    if model.arch == "deepseek32":
        extra = dict(index_n_heads=model.key("attention.indexer.head_count"),
                     index_head_dim=model.key("attention.indexer.key_length"),
                     index_topk=model.key("attention.indexer.top_k"))
    return kinds.get(model.arch, transformers.DeepseekV3Config if v3 else transformers.DeepseekV2Config)(
        vocab_size=model.tensors["token_embd.weight"].shape[0], hidden_size=model.key("embedding_length"),
        num_hidden_layers=model.key("block_count") - model.key("nextn_predict_layers", 0),
        num_attention_heads=w.heads, num_key_value_heads=w.heads, intermediate_size=model.key("feed_forward_length"),
        moe_intermediate_size=model.key("expert_feed_forward_length"), n_routed_experts=model.key("expert_count"),
        n_shared_experts=model.key("expert_shared_count"), num_experts_per_tok=model.key("expert_used_count"),
        first_k_dense_replace=model.key("leading_dense_block_count"), n_group=groups,
        topk_group=model.key("expert_group_used_count", 1), norm_topk_prob=bool(model.key("expert_weights_norm")),
        routed_scaling_factor=float(model.key("expert_weights_scale")), q_lora_rank=model.key("attention.q_lora_rank"),
        kv_lora_rank=w.rank, qk_nope_head_dim=w.nope, qk_rope_head_dim=w.rope, v_head_dim=w.value,
        rms_norm_eps=float(model.key("attention.layer_norm_rms_epsilon")), rope_parameters=rope,
        max_position_embeddings=model.key("context_length"), tie_word_embeddings=False,
        attn_implementation="eager", experts_implementation="eager", **extra)


def state_dict(model):
    t, w, out = model.tensors, Widths(model), {}
    layers = model.key("block_count") - model.key("nextn_predict_layers", 0)
    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    for name, data in t.items():
        if not name.startswith("blk."):
            out[names[name.removesuffix(".weight")] + ".weight"] = data
            continue
        _, layer, rest = name.split(".", 2)
        part, suffix = rest.rsplit(".", 1)
        if int(layer) >= layers:
            continue
        prefix = f"model.layers.{layer}."
        if part in PARTS:
            out[f"{prefix}{PARTS[part]}.{suffix}"] = data
        elif part == "exp_probs_b":
            out[prefix + "mlp.gate.e_score_correction_bias"] = data
        elif part == "ffn_gate_up_exps":
            out[prefix + "mlp.experts.gate_up_proj"] = data
        elif part == "ffn_gate_exps":
            both = np.concatenate([data, t[f"blk.{layer}.ffn_up_exps.weight"]], axis=1)
            out[prefix + "mlp.experts.gate_up_proj"] = both
        elif part == "ffn_down_exps":
            out[prefix + "mlp.experts.down_proj"] = data
        elif part == "attn_k_b":
            both = np.concatenate([data.swapaxes(1, 2), t[f"blk.{layer}.attn_v_b.weight"]], axis=1)
            out[prefix + "self_attn.kv_b_proj.weight"] = both.reshape(-1, w.rank)
    return {name: torch.from_numpy(np.ascontiguousarray(data)) for name, data in out.items()}


@torch.no_grad()
def logits(model, ids):
    """[len(ids), n_vocab] as numpy."""
    shape = config(model)
    net_class = getattr(transformers, type(shape).__name__.replace("Config", "ForCausalLM"))
    net = net_class._from_config(shape, dtype=torch.float64).to(torch.float64)
    missing, unexpected = net.load_state_dict(state_dict(model), strict=False)
    missing = [name for name in missing if ".rotary_emb." not in name]
    if missing or unexpected:
        raise SystemExit(f"weights do not fit: missing {missing}, unexpected {unexpected}")
    return net.eval()(torch.tensor([list(map(int, ids))])).logits[0].numpy()
