"""The second oracle for DeepSeek V4: transformers' own class, fed with the tensors of a GGUF file, in float64."""
import numpy as np
import torch
from transformers import DeepseekV4Config, DeepseekV4ForCausalLM

LAYER_TYPES = {0: "sliding_attention", 4: "compressed_sparse_attention", 128: "heavily_compressed_attention"}
LAYER = {"input_layernorm.weight": "attn_norm", "post_attention_layernorm.weight": "ffn_norm",
         "self_attn.q_a_proj.weight": "attn_q_a", "self_attn.q_a_norm.weight": "attn_q_a_norm",
         "self_attn.q_b_proj.weight": "attn_q_b", "self_attn.kv_proj.weight": "attn_kv",
         "self_attn.kv_norm.weight": "attn_kv_a_norm", "self_attn.sinks": "attn_sinks",
         "self_attn.o_a_proj.weight": "attn_output_a", "self_attn.o_b_proj.weight": "attn_output_b",
         "mlp.gate.weight": "ffn_gate_inp", "mlp.experts.down_proj": "ffn_down_exps",
         "mlp.shared_experts.gate_proj.weight": "ffn_gate_shexp", "mlp.shared_experts.up_proj.weight": "ffn_up_shexp",
         "mlp.shared_experts.down_proj.weight": "ffn_down_shexp",
         **{f"{site}_hc.{part}": f"hc_{site}_{part}" for site in ("attn", "ffn") for part in ("fn", "base", "scale")}}
COMPRESSOR = {"kv_proj.weight": "kv", "gate_proj.weight": "gate", "position_bias": "ape", "kv_norm.weight": "norm"}
INDEXER = {"q_b_proj.weight": "indexer.attn_q_b", "scorer.weights_proj.weight": "indexer.proj"}


def config_of(model):
    k = model.key
    layers = k("block_count") - k("nextn_predict_layers", 0)
    clamp = np.broadcast_to(k("swiglu_clamp_exp"), layers)
    rope = {"rope_type": "default"}
    if k("rope.scaling.type") == "yarn":
        rope = {"rope_type": "yarn", "factor": float(k("rope.scaling.factor")), "beta_fast": 32.0, "beta_slow": 1.0,
                "original_max_position_embeddings": k("rope.scaling.original_context_length")}
    config = DeepseekV4Config(
        vocab_size=k("vocab_size"), hidden_size=k("embedding_length"), num_hidden_layers=layers,
        moe_intermediate_size=k("expert_feed_forward_length"), num_attention_heads=k("attention.head_count"),
        head_dim=k("attention.key_length"), q_lora_rank=k("attention.q_lora_rank"),
        num_experts_per_tok=k("expert_used_count"), n_routed_experts=k("expert_count"),
        routed_scaling_factor=float(k("expert_weights_scale")), max_position_embeddings=k("context_length"),
        rope_theta=float(k("rope.freq_base")), compress_rope_theta=float(k("attention.compress_rope_freq_base")),
        compress_ratios=[int(r) for r in k("attention.compress_ratios")[:layers]],
        num_hash_layers=k("hash_layer_count"), qk_rope_head_dim=k("rope.dimension_count"),
        swiglu_limit=float(clamp[0]), sliding_window=k("attention.sliding_window"),
        o_groups=k("attention.output_group_count"), o_lora_rank=k("attention.output_lora_rank"),
        index_n_heads=k("attention.indexer.head_count"), index_head_dim=k("attention.indexer.key_length"),
        index_topk=k("attention.indexer.top_k"), hc_mult=k("hyper_connection.count"),
        hc_sinkhorn_iters=k("hyper_connection.sinkhorn_iterations"), hc_eps=float(k("hyper_connection.epsilon")),
        rms_norm_eps=float(k("attention.layer_norm_rms_epsilon")), rope_parameters=rope,
        attn_implementation="eager", experts_implementation="eager")
    return config


def state_of(model, layers):
    t = model.tensors
    out = {"model.embed_tokens.weight": t["token_embd.weight"], "model.norm.weight": t["output_norm.weight"],
           "lm_head.weight": t["output.weight"]}
    out |= {f"model.hc_head.hc_{part}": t[f"output_hc_{part}.weight"] for part in ("fn", "base", "scale")}
    for n in range(layers):
        block, prefix = f"blk.{n}.", f"model.layers.{n}."

        def take(names, under, file_prefix):
            for name, tensor in names.items():
                if f"{block}{file_prefix}{tensor}.weight" in t:
                    out[prefix + under + name] = t[f"{block}{file_prefix}{tensor}.weight"]

        take(LAYER, "", "")
        take(COMPRESSOR, "self_attn.compressor.", "attn_compressor_")
        take(COMPRESSOR, "self_attn.compressor.indexer.", "indexer_compressor_")
        take(INDEXER, "self_attn.compressor.indexer.", "")
        gate_up = [t[f"{block}ffn_{part}_exps.weight"] for part in ("gate", "up")]
        out[prefix + "mlp.experts.gate_up_proj"] = np.concatenate(gate_up, axis=1)
        if f"{block}exp_probs_b.bias" in t:
            out[prefix + "mlp.gate.e_score_correction_bias"] = t[f"{block}exp_probs_b.bias"]
        else:
            out[prefix + "mlp.gate.tid2eid"] = t[f"{block}ffn_gate_tid2eid.weight"]
    return {name: torch.tensor(np.asarray(value)) for name, value in out.items()}


def logits(model, ids):
    """Of every position. One clamp for all layers is all that this class knows, so each layer's is set."""
    config = config_of(model)
    net = DeepseekV4ForCausalLM(config).double().eval()
    missing, unexpected = net.load_state_dict(state_of(model, config.num_hidden_layers), strict=False)
    if missing or unexpected:
        raise SystemExit(f"missing {missing}, unexpected {unexpected}")
    exp = np.broadcast_to(model.key("swiglu_clamp_exp"), config.num_hidden_layers)
    shared = np.broadcast_to(model.key("swiglu_clamp_shexp", exp), config.num_hidden_layers)
    for layer, limit, shared_limit in zip(net.model.layers, exp, shared):
        layer.mlp.experts.limit, layer.mlp.shared_experts.limit = float(limit), float(shared_limit)
    with torch.no_grad():
        return net(torch.tensor(np.asarray(ids))[None], use_cache=False).logits[0].numpy()
