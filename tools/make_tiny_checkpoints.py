#!/usr/bin/env python3
"""Writes tests/golden/checkpoints: the tiny models of tests/golden/tiny as model hubs publish them.

    python3 tools/make_tiny_checkpoints.py        (needs numpy, gguf, torch, transformers, safetensors)

NAME/ is a directory with config.json and safetensors, most of them written by transformers itself
from the weights of NAME.gguf, so that both must give the same logits (NAME.ref). Others exist only
here, with NAME/logits.ref in the format of make_tiny_models.py: FP8 weights with F32 and with UE8M0
scales of 128 x 128 blocks, partial ones at the edges, beside logits of transformers on the decoded
weights; and DeepSeek V4 in the names and types that it is published in (FP4 experts too), beside
logits of the numpy oracle, with its prediction layer and that one's logits behind every token but the
first (NAME/next.ref); again with FP8 experts, as its base models have them, and all in BF16. The
prediction layers of deepseek_v3 and deepseek_v32, which transformers drops, are added with the names
that DeepSeek publishes.
"""
import argparse
import json
import pathlib
import shutil
import sys
import tempfile

import gguf
import numpy as np
import safetensors.torch
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "oracle"))
sys.path.insert(0, str(ROOT / "tools"))
import deepseek_transformers  # noqa: E402  (paths set above)
import deepseek4 as v4_oracle  # noqa: E402
import dense_model  # noqa: E402
import make_tiny_deepseek4  # noqa: E402
import make_tiny_models  # noqa: E402
import transformers_model  # noqa: E402

TINY = ROOT / "tests" / "golden" / "tiny"
N_TOKENS = 48
# name: type of the weights, bytes per shard
DENSE = {"llama_gqa_tied": (torch.float32, None), "llama_rope_freqs": (torch.float32, 40_000),
         "llama_linear_bias": (torch.float32, None), "llama_f16": (torch.float16, None),
         "qwen2_bias": (torch.float32, None), "qwen3_yarn": (torch.float32, 50_000),
         "qwen3_bf16": (torch.bfloat16, None)}
LATENT = {"deepseek_v2_lite": None, "deepseek_v2": None, "deepseek_v3": 150_000,
          "deepseek_v32": 150_000}


def save(net, path, shard_bytes):
    net.config.architectures = [type(net).__name__]
    net.save_pretrained(path, max_shard_size=shard_bytes or "1GB")
    (path / "generation_config.json").unlink(missing_ok=True)


def write_dense(out, name, kind, shard_bytes):
    model = dense_model.GgufModel(TINY / f"{name}.gguf")
    net = transformers_model.build(model, llama3=make_tiny_models.MODELS[name].get("llama3"))
    vectors = {key: value.detach().float() for key, value in net.named_parameters() if value.dim() == 1}
    net = net.to(kind)
    for key, value in net.named_parameters():
        if key in vectors:  # as in the GGUF files, which keep them in F32
            value.data = vectors[key]
    save(net, out / name, shard_bytes)


def latent_network(model):
    shape = deepseek_transformers.config(model)
    net = getattr(transformers, type(shape).__name__.replace("Config", "ForCausalLM"))._from_config(shape)
    net.load_state_dict(deepseek_transformers.state_dict(model), strict=False)
    return net.to(torch.float32)


def prediction_layer(model):
    """{published name: tensor} of the layer behind the main ones."""
    layer = model.key("block_count") - 1
    prefix = f"blk.{layer}."
    main = model.key("block_count")

    class Shifted:
        """The file with this layer in place of the first, for deepseek_transformers.state_dict."""
        tensors = {name: data for name, data in model.tensors.items() if name.startswith(prefix)}

        @staticmethod
        def key(name, default=None):
            return {"block_count": main, "nextn_predict_layers": 0}.get(name, model.key(name, default))

    nextn = {name: Shifted.tensors.pop(name) for name in list(Shifted.tensors) if ".nextn." in name}
    out = {}
    for name, data in deepseek_transformers.state_dict(Shifted).items():
        if name.endswith("experts.gate_up_proj"):
            base = name.removesuffix("gate_up_proj")
            for e, both in enumerate(data):
                gate, up = both.chunk(2)
                out[f"{base}{e}.gate_proj.weight"], out[f"{base}{e}.up_proj.weight"] = gate, up
        elif name.endswith("experts.down_proj"):
            out.update({f"{name.removesuffix('down_proj')}{e}.down_proj.weight": one for e, one in enumerate(data)})
        else:
            out[name] = data
    renamed = {"eh_proj": "eh_proj", "enorm": "enorm", "hnorm": "hnorm", "shared_head_norm": "shared_head.norm"}
    for name, data in nextn.items():
        part = name.split(".")[3]
        out[f"model.layers.{layer}.{renamed[part]}.weight"] = torch.from_numpy(np.ascontiguousarray(data))
    return {name: data.contiguous().clone() for name, data in out.items()}


def add_tensors(path, tensors):
    """Puts tensors into a shard of their own; the checkpoint has an index."""
    index_path = path / "model.safetensors.index.json"
    index = json.loads(index_path.read_text())
    shard = "model-of-the-prediction-layer.safetensors"
    safetensors.torch.save_file(tensors, path / shard, metadata={"format": "pt"})
    index["weight_map"].update({name: shard for name in tensors})
    index_path.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def write_latent(out, name, shard_bytes):
    model = dense_model.GgufModel(TINY / f"{name}.gguf")
    save(latent_network(model), out / name, shard_bytes)
    config_path = out / name / "config.json"
    config = json.loads(config_path.read_text())
    config.update({"topk_method": "noaux_tc", "scoring_func": "sigmoid"} if "v3" in name else {})
    if model.key("nextn_predict_layers", 0):
        config["num_nextn_predict_layers"] = 1
        add_tensors(out / name, prediction_layer(model))
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def v1_tensors(model):
    """{published name: tensor} of deepseek-moe-16b's block: Llama's attention, experts apart."""
    heads = model.key("attention.head_count")
    parts = {**deepseek_transformers.PARTS, "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj"}
    experts = {"ffn_gate_exps": "gate_proj", "ffn_up_exps": "up_proj", "ffn_down_exps": "down_proj"}
    whole = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
             "output.weight": "lm_head.weight"}
    out = {}
    for name, data in model.tensors.items():
        if name in whole:
            out[whole[name]] = data
            continue
        _, layer, part, _ = name.split(".")
        prefix = f"model.layers.{layer}."
        if part in experts:
            out.update({f"{prefix}mlp.experts.{e}.{experts[part]}.weight": one for e, one in enumerate(data)})
        else:
            out[f"{prefix}{parts[part]}.weight"] = transformers_model.halves(data, heads) if part in ("attn_q", "attn_k") else data
    return {name: torch.from_numpy(np.ascontiguousarray(data)).to(torch.bfloat16) for name, data in out.items()}


def write_v1(out, name, shards):
    """config.json as deepseek-moe-16b has it, without what says nothing about the computation; BF16 in shards."""
    model, path = dense_model.GgufModel(TINY / f"{name}.gguf"), out / name
    tensors = v1_tensors(model)
    path.mkdir(exist_ok=True)
    config = {"architectures": ["DeepseekForCausalLM"], "model_type": "deepseek", "bos_token_id": 0, "eos_token_id": 1,
              "hidden_size": model.key("embedding_length"), "num_hidden_layers": model.key("block_count"),
              "num_attention_heads": model.key("attention.head_count"),
              "num_key_value_heads": model.key("attention.head_count_kv"), "intermediate_size": model.key("feed_forward_length"),
              "moe_intermediate_size": model.key("expert_feed_forward_length"), "n_routed_experts": model.key("expert_count"),
              "n_shared_experts": model.key("expert_shared_count"), "num_experts_per_tok": model.key("expert_used_count"),
              "first_k_dense_replace": model.key("leading_dense_block_count"), "moe_layer_freq": 1, "norm_topk_prob": False,
              "scoring_func": "softmax", "aux_loss_alpha": 0.001, "seq_aux": True, "hidden_act": "silu",
              "attention_bias": False, "max_position_embeddings": model.key("context_length"), "rms_norm_eps": 1e-6,
              "rope_theta": model.key("rope.freq_base"), "rope_scaling": None, "tie_word_embeddings": False,
              "torch_dtype": "bfloat16", "vocab_size": len(model.tensors["token_embd.weight"])}
    (path / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    names, weight_map = sorted(tensors), {}
    for n in range(shards):
        shard = f"model-{n + 1:05}-of-{shards:05}.safetensors"
        part = names[n * len(names) // shards:(n + 1) * len(names) // shards]
        safetensors.torch.save_file({key: tensors[key] for key in part}, path / shard, metadata={"format": "pt"})
        weight_map.update({key: shard for key in part})
    index = {"metadata": {"total_size": sum(2 * tensor.numel() for tensor in tensors.values())}, "weight_map": weight_map}
    (path / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def to_fp8(weight, powers_of_two):
    """(codes, scales, decoded) with a scale per block of 128 x 128."""
    rows, cols = weight.shape
    scales = torch.zeros((rows + 127) // 128, (cols + 127) // 128)
    codes = torch.zeros(rows, cols, dtype=torch.float8_e4m3fn)
    decoded = torch.zeros(rows, cols)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            at = np.s_[128 * i:128 * (i + 1), 128 * j:128 * (j + 1)]
            scale = weight[at].abs().max() / 448
            if powers_of_two:
                scale = torch.exp2(torch.ceil(torch.log2(scale)))
            scales[i, j] = scale
            codes[at] = (weight[at] / scale).to(torch.float8_e4m3fn)
            decoded[at] = codes[at].float() * scale
    return codes, scales, decoded


def write_reference(path, ids, logits):
    with open(path, "wb") as out:
        out.write(np.array(logits.shape, "<i4").tobytes() + ids.astype("<i4").tobytes())
        out.write(logits.astype("<f4").tobytes())


def random_ids(vocab, count):
    return np.random.default_rng(20261123).integers(0, vocab, count)


def write_fp8(out, name, net, powers_of_two, scale_name, skip):
    """Quantises all matrices of `net` that DeepSeek quantises."""
    path = out / name
    save(net, path, None)
    tensors = safetensors.torch.load_file(path / "model.safetensors")
    written = {}
    for key, weight in tensors.items():
        if weight.dim() != 2 or any(part in key for part in skip):
            written[key] = weight
            continue
        codes, scales, values = to_fp8(weight.float(), powers_of_two)
        written[key], tensors[key] = codes, values
        scales = (torch.log2(scales) + 127).to(torch.uint8).view(torch.float8_e8m0fnu) if powers_of_two else scales
        written[key.removesuffix("weight") + scale_name] = scales
    safetensors.torch.save_file(written, path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((path / "config.json").read_text())
    config["quantization_config"] = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                                     "weight_block_size": [128, 128], **({"scale_fmt": "ue8m0"} if powers_of_two else {})}
    if "DeepseekV3" in config["architectures"][0]:
        config.update(topk_method="noaux_tc", scoring_func="sigmoid")
    (path / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    plain = path.with_suffix(".plain")  # the decoded weights, back through transformers' own loader
    save(net, plain, None)
    safetensors.torch.save_file(tensors, plain / "model.safetensors", metadata={"format": "pt"})
    eager = {"experts_implementation": "eager"} if hasattr(net.config, "n_routed_experts") else {}
    again = type(net).from_pretrained(plain, dtype=torch.float64, attn_implementation="eager", **eager).eval()
    shutil.rmtree(plain)
    ids = random_ids(net.config.vocab_size, N_TOKENS)
    write_reference(path / "logits.ref", ids, transformers_model.logits(again, ids.tolist()))


V4_GLOBAL = {"token_embd.weight": "embed.weight", "output_norm.weight": "norm.weight", "output.weight": "head.weight",
             "output_hc_fn.weight": "hc_head_fn", "output_hc_base.weight": "hc_head_base",
             "output_hc_scale.weight": "hc_head_scale"}
# name: what differs from the usual shape; types of the experts and of the matrices that are FP8 in the published models
V4 = {"deepseek_v4": dict(ratios=[0, 4, 128], hash_layers=1, experts_in="fp4", matrices_in="fp8", n_tokens=140),
      "deepseek_v4_base": dict(ratios=[0], hash_layers=0, experts=4, experts_in="fp8", matrices_in="fp8", n_tokens=N_TOKENS),
      "deepseek_v4_bf16": dict(ratios=[0], hash_layers=0, experts=4, experts_in="bf16", matrices_in="bf16", n_tokens=N_TOKENS)}
V4_LAYER = {"attn_norm": "attn_norm", "ffn_norm": "ffn_norm", "attn_q_a": "attn.wq_a", "attn_q_a_norm": "attn.q_norm",
            "attn_q_b": "attn.wq_b", "attn_kv": "attn.wkv", "attn_kv_a_norm": "attn.kv_norm", "attn_output_a": "attn.wo_a",
            "attn_output_b": "attn.wo_b", "attn_compressor_kv": "attn.compressor.wkv",
            "attn_compressor_gate": "attn.compressor.wgate", "attn_compressor_norm": "attn.compressor.norm",
            "indexer.attn_q_b": "attn.indexer.wq_b", "indexer.proj": "attn.indexer.weights_proj",
            "indexer_compressor_kv": "attn.indexer.compressor.wkv", "indexer_compressor_gate": "attn.indexer.compressor.wgate",
            "indexer_compressor_norm": "attn.indexer.compressor.norm", "ffn_gate_inp": "ffn.gate",
            "ffn_gate_shexp": "ffn.shared_experts.w1", "ffn_up_shexp": "ffn.shared_experts.w3",
            "ffn_down_shexp": "ffn.shared_experts.w2"}
V4_BARE = {"attn_sinks.weight": "attn.attn_sink", "attn_compressor_ape.weight": "attn.compressor.ape",
           "indexer_compressor_ape.weight": "attn.indexer.compressor.ape", "exp_probs_b.bias": "ffn.gate.bias",
           "ffn_gate_tid2eid.weight": "ffn.gate.tid2eid",
           **{f"hc_{site}_{part}.weight": f"hc_{site}_{part}" for site in ("attn", "ffn") for part in ("fn", "base", "scale")}}
# The prediction layer's own, under "mtp.0."; the last three and the two projections lie in GGUF files as output_hc_* and
# as one nextn.eh_proj.
V4_NEXT = {"nextn.e_proj": "e_proj", "nextn.h_proj": "h_proj", "nextn.enorm": "enorm", "nextn.hnorm": "hnorm",
           "nextn.shared_head_norm": "norm"}
V4_BARE.update({f"nextn.hc_head_{part}.weight": f"hc_head_{part}" for part in ("fn", "base", "scale")})
V4_EXPERT = {"ffn_gate_exps.weight": "w1", "ffn_up_exps.weight": "w3", "ffn_down_exps.weight": "w2"}
V4_FP8 = ("attn_q_a", "attn_q_b", "attn_kv", "attn_output_a", "attn_output_b", "indexer.attn_q_b", "ffn_gate_shexp",
          "ffn_up_shexp", "ffn_down_shexp", "nextn.e_proj", "nextn.h_proj")


def to_fp4(weight):
    """(codes two a byte, scales, decoded) with a scale per 32 columns, by way of GGUF's MXFP4."""
    kind = gguf.GGMLQuantizationType.MXFP4
    blocks = gguf.quants.quantize(weight, kind)
    decoded = gguf.quants.dequantize(blocks, kind)
    blocks = blocks.reshape(weight.shape[0], -1, 17)
    codes = np.concatenate([blocks[..., 1:] & 15, blocks[..., 1:] >> 4], axis=-1).reshape(weight.shape[0], -1)
    packed = (codes[:, 0::2] | codes[:, 1::2] << 4).astype(np.uint8)
    return torch.from_numpy(packed).view(torch.int8), torch.from_numpy(blocks[..., 0].copy()), decoded


def v4_matrix(base, matrix, kind, out):
    """Adds one matrix in this type; returns its values."""
    if kind == "bf16":
        out[base + ".weight"] = torch.from_numpy(matrix).to(torch.bfloat16)
        return out[base + ".weight"].float().numpy()
    if kind == "fp8":
        codes, scales, decoded = to_fp8(torch.from_numpy(matrix), True)
        scales, decoded = (torch.log2(scales) + 127).to(torch.uint8), decoded.numpy()
    else:
        codes, scales, decoded = to_fp4(matrix)
    out[base + ".weight"], out[base + ".scale"] = codes, scales.view(torch.float8_e8m0fnu)
    return decoded


def v4_tensors(name, values, spec, out):
    """Adds a tensor of the GGUF names as published; returns the values that it has then."""
    if name in V4_GLOBAL:
        bare = "hc" in name
        kept = torch.from_numpy(values) if bare else torch.from_numpy(values).to(torch.bfloat16)
        out[V4_GLOBAL[name]] = kept
        return kept.float().numpy()
    _, layer, part = name.split(".", 2)
    prefix = f"layers.{layer}." if int(layer) < len(spec["ratios"]) else "mtp.0."
    if part in V4_EXPERT:
        return np.stack([v4_matrix(f"{prefix}ffn.experts.{e}.{V4_EXPERT[part]}", matrix, spec["experts_in"], out)
                         for e, matrix in enumerate(values)])
    if part in V4_BARE:
        out[prefix + V4_BARE[part]] = torch.from_numpy(values.astype(np.int64) if "tid2eid" in part else values)
        return values
    stem = part.removesuffix(".weight")
    kind = spec["matrices_in"] if stem in V4_FP8 else "bf16"
    return v4_matrix(prefix + (V4_LAYER.get(stem) or V4_NEXT[stem]), values, kind, out)


def v4_config(spec):
    return {"architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4", "hidden_size": spec["d"],
            "num_hidden_layers": len(spec["ratios"]), "num_attention_heads": spec["heads"], "num_key_value_heads": 1,
            "head_dim": spec["head_dim"], "qk_rope_head_dim": spec["rope"], "q_lora_rank": spec["q_rank"],
            "o_lora_rank": spec["o_rank"], "o_groups": spec["groups"], "moe_intermediate_size": spec["ff"],
            "n_routed_experts": spec["experts"], "n_shared_experts": 1, "num_experts_per_tok": spec["used"],
            "scoring_func": "sqrtsoftplus", "norm_topk_prob": True, "routed_scaling_factor": spec["scale"],
            "topk_method": "noaux_tc", "vocab_size": spec["vocab"], "max_position_embeddings": spec["context"],
            "sliding_window": spec["window"], "compress_ratios": spec["ratios"] + [0], "compress_rope_theta": 1600,
            "rope_theta": 100, "rope_scaling": {"type": "yarn", "factor": 16, "original_max_position_embeddings": 64,
                                                "beta_fast": 32, "beta_slow": 1},
            "index_n_heads": spec["index_heads"], "index_head_dim": spec["index_dim"], "index_topk": spec["top_k"],
            "hc_mult": spec["streams"], "hc_sinkhorn_iters": spec["iterations"], "hc_eps": 1e-6,
            "num_hash_layers": spec["hash_layers"], "num_nextn_predict_layers": 1, "swiglu_limit": spec["clamp"],
            "rms_norm_eps": spec["eps"], "hidden_act": "silu", "tie_word_embeddings": False,
            "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "scale_fmt": "ue8m0", "activation_scheme": "dynamic",
                                    "weight_block_size": [128, 128]}}


def v4_block_as_gguf(decoded, block):
    """The layer under the names that it has in a GGUF file of its own."""
    own = {key: values for key, values in decoded.items() if key.startswith(block)}
    halves = [own.pop(f"{block}nextn.{name}.weight") for name in ("e_proj", "h_proj")]
    own[f"{block}nextn.eh_proj.weight"] = np.concatenate(halves, axis=1)
    return {key.replace(f"{block}nextn.hc_head", "output_hc"): values for key, values in own.items()}


def v4_oracle_model(directory, spec, tensors, predicting):
    path = pathlib.Path(directory) / "decoded.gguf"
    writer = gguf.GGUFWriter(path, "deepseek4")
    make_tiny_deepseek4.add_keys(writer, spec, len(spec["ratios"]) + predicting, spec["ratios"], predicting)
    for key, values in tensors.items():
        writer.add_tensor(key, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return v4_oracle.GgufModel(path)


def write_v4(out, name, changes):
    spec = {**make_tiny_deepseek4.BASE, "types": lambda _: gguf.GGMLQuantizationType.F32, "clamp": 1.0, "top_k": 512, **changes}
    tensors = make_tiny_deepseek4.Tensors(np.random.default_rng(4), spec)
    tensors.ends()
    for n, ratio in enumerate(spec["ratios"]):
        tensors.block(n, ratio, n < spec["hash_layers"])
    tensors.published_prediction(len(spec["ratios"]))
    written = {}
    decoded = {key: v4_tensors(key, values, spec, written) for key, values, _ in tensors.out}
    (out / name).mkdir(exist_ok=True)
    safetensors.torch.save_file({key: value.contiguous() for key, value in written.items()},
                                out / name / "model.safetensors", metadata={"format": "pt"})
    (out / name / "config.json").write_text(json.dumps(v4_config(spec), indent=2, sort_keys=True) + "\n")
    block = f"blk.{len(spec['ratios'])}."
    ids = random_ids(spec["vocab"], spec["n_tokens"])
    with tempfile.TemporaryDirectory() as directory:
        main = v4_oracle_model(directory, spec, {k: v for k, v in decoded.items() if not k.startswith(block)}, False)
        logits, state = v4_oracle.forward(main, ids)
        write_reference(out / name / "logits.ref", ids, logits)
        next_block = v4_oracle_model(directory, spec, v4_block_as_gguf(decoded, block), True)
        write_reference(out / name / "next.ref", ids[1:], v4_oracle.predict(next_block, main, ids[1:], state[:-1])[0])


def randomised(net, seed):
    """Every weight as the tiny GGUF models have it: norms about 1, matrices that keep the scale."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in net.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.dim() == 1:
                weight.copy_(1 + 0.2 * noise if "norm" in name else 0.3 * noise)
            else:
                weight.copy_(noise * (0.7 if "embed" in name else 1.4 / weight.shape[-1] ** 0.5))
        for name, weight in net.named_buffers():
            if "e_score_correction_bias" in name:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    return net


def fp8_llama():
    return randomised(transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=64, hidden_size=160, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, head_dim=40,
        intermediate_size=192, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=False)), 1)


def fp8_deepseek_v3():
    rope = dict(rope_type="yarn", rope_theta=10000.0, factor=40.0, mscale=1.0, mscale_all_dim=1.0, beta_fast=32, beta_slow=1,
                original_max_position_embeddings=16)
    return randomised(transformers.DeepseekV3ForCausalLM(transformers.DeepseekV3Config(
        vocab_size=64, hidden_size=160, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, q_lora_rank=48,
        kv_lora_rank=136, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=24, intermediate_size=96,
        moe_intermediate_size=32, n_routed_experts=8, num_experts_per_tok=3, n_shared_experts=1, first_k_dense_replace=1,
        n_group=4, topk_group=2, norm_topk_prob=True, routed_scaling_factor=2.5, max_position_embeddings=640,
        rope_parameters=rope, rms_norm_eps=1e-6, tie_word_embeddings=False)), 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "tests" / "golden" / "checkpoints")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, (kind, shard_bytes) in DENSE.items():
        write_dense(args.out, name, kind, shard_bytes)
    for name, shard_bytes in LATENT.items():
        write_latent(args.out, name, shard_bytes)
    write_v1(args.out, "deepseek_v1_bf16", 3)
    skip = ("embed_tokens", "lm_head", "mlp.gate.weight", "norm")
    write_fp8(args.out, "llama_fp8", fp8_llama(), False, "weight_scale_inv", skip)
    write_fp8(args.out, "llama_fp8_ue8m0", fp8_llama(), True, "scale", skip)
    write_fp8(args.out, "deepseek_v3_fp8", fp8_deepseek_v3(), False, "weight_scale_inv", skip)
    for name, changes in V4.items():
        write_v4(args.out, name, changes)
    for path in sorted(args.out.iterdir()):
        print(f"{path.name:20} {sum(file.stat().st_size for file in path.iterdir()):7} bytes in {len(list(path.iterdir()))} files")


if __name__ == "__main__":
    main()
