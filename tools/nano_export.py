"""The nano model as a GGUF file, and its comparison with transformers."""
import json
import re

import gguf
import numpy as np
import torch

Q = gguf.GGMLQuantizationType

# The prompt format of DeepSeek-V3 (R1's when `thinking` is set), tools by name in the system text.
CHAT_TEMPLATE = """\
{%- set ns = namespace(system='', user=false) -%}
{%- for m in messages if m.role == 'system' -%}
{%- set ns.system = ns.system + ('\\n\\n' if ns.system else '') + m.content -%}
{%- endfor -%}
{%- if tools -%}
{%- set ns.system = ns.system + ('\\n\\n' if ns.system else '') + 'Tools: ' -%}
{%- for t in tools -%}{%- set ns.system = ns.system + ('' if loop.first else ', ') + t.function.name -%}{%- endfor -%}
{%- endif -%}
{{- bos_token + ns.system -}}
{%- for m in messages -%}
{%- if m.role == 'user' -%}{{- '<｜User｜>' + m.content -}}
{%- elif m.role == 'assistant' and m.tool_calls -%}
{{- '<｜Assistant｜><｜tool▁calls▁begin｜>' -}}
{%- for call in m.tool_calls -%}
{{- ('' if loop.first else '\\n') + '<｜tool▁call▁begin｜>function<｜tool▁sep｜>' + call.function.name + '\\n```json\\n' -}}
{{- (call.function.arguments if call.function.arguments is string else call.function.arguments | tojson) -}}
{{- '\\n```<｜tool▁call▁end｜>' -}}
{%- endfor -%}
{{- '<｜tool▁calls▁end｜><｜end▁of▁sentence｜>' -}}
{%- elif m.role == 'assistant' -%}
{{- ('' if loop.index0 > 0 and messages[loop.index0 - 1].role == 'tool' else '<｜Assistant｜>') -}}
{{- m.content.split('</think>')[-1] + '<｜end▁of▁sentence｜>' -}}
{%- elif m.role == 'tool' -%}
{{- ('\\n' if loop.index0 > 0 and messages[loop.index0 - 1].role == 'tool' else '<｜tool▁outputs▁begin｜>') -}}
{{- '<｜tool▁output▁begin｜>' + m.content + '<｜tool▁output▁end｜>' -}}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}{{- '<｜tool▁outputs▁end｜>' -}}{%- endif -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and messages[-1].role != 'tool' -%}
{{- '<｜Assistant｜>' + ('<think>\\n' if thinking else '') -}}
{%- endif -%}
"""


def add_metadata(writer, c, blocks, mtp_layers):
    writer.add_name("Hadal nano")
    writer.add_type("model")
    writer.add_size_label("4M")
    writer.add_license("Apache-2.0")
    writer.add_description("A tiny model of the DeepSeek-V3 architecture, for trying out Hadal without a network")
    writer.add_sampling_temp(0.3)  # so small a model draws nonsense at 1
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(blocks)
    writer.add_context_length(c["context"])
    writer.add_embedding_length(c["d"])
    writer.add_feed_forward_length(c["ff"])
    writer.add_head_count(c["heads"])
    writer.add_head_count_kv(1)
    writer.add_vocab_size(c["vocab"])
    writer.add_layer_norm_rms_eps(c["eps"])
    writer.add_leading_dense_block_count(c["dense_layers"])
    writer.add_q_lora_rank(c["q_lora"])
    writer.add_kv_lora_rank(c["kv_lora"])
    writer.add_key_length(c["kv_lora"] + c["rope"])
    writer.add_value_length(c["kv_lora"])
    writer.add_key_length_mla(c["nope"] + c["rope"])
    writer.add_value_length_mla(c["v_head"])
    writer.add_rope_dimension_count(c["rope"])
    writer.add_rope_freq_base(c["theta"])
    writer.add_expert_count(c["experts"])
    writer.add_expert_used_count(c["used"])
    writer.add_expert_shared_count(c["shared"])
    writer.add_expert_feed_forward_length(c["expert_ff"])
    writer.add_expert_weights_scale(c["routed_scale"])
    writer.add_expert_weights_norm(True)
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    writer.add_expert_group_count(c["groups"])
    writer.add_expert_group_used_count(c["groups_used"])
    if mtp_layers:
        writer.add_nextn_predict_layers(mtp_layers)


def add_vocabulary(writer, tokenizer):
    data = json.loads(tokenizer.to_str())
    added = {t["content"]: t["special"] for t in data["added_tokens"]}
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    control = re.compile(r"<｜.*｜>")
    kinds = [gguf.TokenType.NORMAL if t not in added else
             gguf.TokenType.CONTROL if control.fullmatch(t) else gguf.TokenType.USER_DEFINED for t in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("deepseek-v3")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in data["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def layer_tensors(layer, c):
    """{GGUF name behind "blk.N.": values} of one layer."""
    a, m = layer.self_attn, layer.mlp
    out = {"attn_norm": layer.input_layernorm.weight, "attn_q_a": a.q_a_proj.weight, "attn_q_a_norm": a.q_a_layernorm.weight,
           "attn_q_b": a.q_b_proj.weight, "attn_kv_a_mqa": a.kv_a_proj_with_mqa.weight,
           "attn_kv_a_norm": a.kv_a_layernorm.weight, "attn_output": a.o_proj.weight,
           "ffn_norm": layer.post_attention_layernorm.weight}
    k_b, v_b = a.kv_b_proj.weight.view(c["heads"], c["nope"] + c["v_head"], c["kv_lora"]).split([c["nope"], c["v_head"]], 1)
    out |= {"attn_k_b": k_b.mT, "attn_v_b": v_b}
    if hasattr(m, "gate_proj"):
        out |= {"ffn_gate": m.gate_proj.weight, "ffn_up": m.up_proj.weight, "ffn_down": m.down_proj.weight}
    else:
        shared = m.shared_experts
        out |= {"ffn_gate_inp": m.gate.weight, "exp_probs_b.bias": m.gate.e_score_correction_bias,
                "ffn_gate_exps": m.experts.gate, "ffn_up_exps": m.experts.up, "ffn_down_exps": m.experts.down,
                "ffn_gate_shexp": shared.gate_proj.weight, "ffn_up_shexp": shared.up_proj.weight,
                "ffn_down_shexp": shared.down_proj.weight}
    if hasattr(layer, "eh_proj"):
        out |= {"nextn.eh_proj": layer.eh_proj.weight, "nextn.enorm": layer.enorm.weight,
                "nextn.hnorm": layer.hnorm.weight, "nextn.shared_head_norm": layer.shared_head["norm"].weight}
    return out


def named_tensors(model, with_mtp):
    tensors = {"token_embd.weight": model.embed_tokens.weight, "output_norm.weight": model.norm.weight,
               "output.weight": model.lm_head.weight}
    for i, layer in enumerate([*model.layers, model.mtp] if with_mtp else model.layers):
        for name, values in layer_tensors(layer, model.c).items():
            tensors[f"blk.{i}.{name}" + ("" if name.endswith(".bias") else ".weight")] = values
    return {name: values.detach().float().contiguous().numpy() for name, values in tensors.items()}


def is_quantised(name, values):
    return values.ndim >= 2 and "ffn_gate_inp" not in name


def export(model, tokenizer, path, with_mtp=True):
    blocks = model.c["layers"] + (1 if with_mtp else 0)
    writer = gguf.GGUFWriter(path, "deepseek2")
    add_metadata(writer, model.c, blocks, 1 if with_mtp else 0)
    add_vocabulary(writer, tokenizer)
    for name, values in named_tensors(model, with_mtp).items():
        if is_quantised(name, values):
            writer.add_tensor(name, gguf.quants.quantize(values, Q.Q8_0), raw_dtype=Q.Q8_0)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{path}: {path.stat().st_size} bytes")


@torch.no_grad()
def round_to_q8(model):
    """Gives the weights the values that they have in the file."""
    def q8(values):
        return torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(values.contiguous().numpy(), Q.Q8_0), Q.Q8_0))

    c = model.c
    for name, p in model.named_parameters():
        if name.endswith("kv_b_proj.weight"):
            # The part for the keys lies transposed in the file, so its blocks run the other way.
            k_b, v_b = p.view(c["heads"], c["nope"] + c["v_head"], -1).split([c["nope"], c["v_head"]], 1)
            p.copy_(torch.cat([q8(k_b.mT).mT, q8(v_b)], 1).reshape(p.shape))
        elif p.dim() >= 2 and not name.endswith("mlp.gate.weight"):
            p.copy_(q8(p))
    return model


def hf_state(model):
    """The weights under the names of the published checkpoints, without the MTP layer."""
    out = {}
    for name, values in model.state_dict().items():
        if name.startswith("mtp."):
            continue
        stacked = re.fullmatch(r"(.*mlp\.experts)\.(gate|up|down)", name)
        if stacked:
            for e, expert in enumerate(values):
                out[f"model.{stacked[1]}.{e}.{stacked[2]}_proj.weight"] = expert
        else:
            out[name if name.startswith("lm_head") else "model." + name] = values
    return out


def hf_config(c):
    return dict(
        vocab_size=c["vocab"], hidden_size=c["d"], intermediate_size=c["ff"], moe_intermediate_size=c["expert_ff"],
        num_hidden_layers=c["layers"], num_attention_heads=c["heads"], num_key_value_heads=c["heads"],
        n_shared_experts=c["shared"], n_routed_experts=c["experts"], routed_scaling_factor=c["routed_scale"],
        kv_lora_rank=c["kv_lora"], q_lora_rank=c["q_lora"], qk_rope_head_dim=c["rope"], v_head_dim=c["v_head"],
        qk_nope_head_dim=c["nope"], n_group=c["groups"], topk_group=c["groups_used"], num_experts_per_tok=c["used"],
        first_k_dense_replace=c["dense_layers"], norm_topk_prob=True, max_position_embeddings=c["context"],
        rms_norm_eps=c["eps"], rope_theta=c["theta"], rope_interleave=True, tie_word_embeddings=False,
        bos_token_id=0, eos_token_id=1)


@torch.no_grad()
def hf_check(model, tokenizer):
    """The same weights in transformers' DeepseekV3ForCausalLM give the same logits."""
    import tempfile

    from safetensors.torch import save_file
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM
    with tempfile.TemporaryDirectory() as folder:
        DeepseekV3Config(**hf_config(model.c)).save_pretrained(folder)
        save_file({k: v.contiguous().clone() for k, v in hf_state(model).items()}, folder + "/model.safetensors",
                  metadata={"format": "pt"})
        other, info = DeepseekV3ForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    ids = torch.tensor(tokenizer.encode("<｜begin▁of▁sentence｜><｜User｜>Who are you?<｜Assistant｜>I am Hadal nano. 你好！"
                                        "One, two, three: 1 2 3.", add_special_tokens=False).ids)
    ours, theirs = model.logits(ids), other.eval()(ids[None]).logits[0]
    difference = float((ours - theirs).abs().max())
    print(f"largest difference to transformers: {difference:.2e} of {float(theirs.abs().max()):.2f}")
    assert difference < 1e-3 * float(theirs.abs().max()), "the models differ"
    assert bool((ours.argmax(-1) == theirs.argmax(-1)).all())
