#!/usr/bin/env python3
"""Writes tests/golden/encoders/: tiny encoders with random weights and what transformers makes of them.

usage: make_tiny_encoders.py

Needs torch, transformers, safetensors, gguf and numpy. Each NAME is a directory as hubs publish it
(config.json, model.safetensors, 1_Pooling/config.json); NAME.json has the ids of some texts and, in
float64, the pooled vectors of length 1 ("vectors") or the scores of pairs ("scores"), where "second"
is where the second text begins. bert_fused.gguf has the weights of bert_mean, q k v in one matrix. reranker has the words of
unigram/tokenizer.json (tools/make_encoder_vectors.py writes it) and no reference. A seed of the model
fuzzer is written too.
"""
import json
import pathlib
import shutil

import gguf
import numpy as np
import torch
from transformers import (BertConfig, BertForSequenceClassification, BertModel, XLMRobertaConfig,
                          XLMRobertaForSequenceClassification, XLMRobertaModel)

TARGET = pathlib.Path(__file__).resolve().parent.parent / "tests/golden/encoders"
SHAPE = dict(vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
             max_position_embeddings=48)
BERT = dict(SHAPE, type_vocab_size=2)
XLMR = dict(SHAPE, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2, layer_norm_eps=1e-5)
LENGTHS = [1, 2, 3, 15, 16, 17, 33, 40, 7, 5]


def randomise(model, seed):
    """Weights large enough that nothing which is left out goes unnoticed."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        spread = 0.3 if value.dim() == 2 else 0.2
        centre = 1.0 if name.endswith("LayerNorm.weight") else 0.0
        value.data = (centre + spread * torch.randn(value.shape, generator=generator)).float()
    return model.eval()


def texts(seed):
    random = np.random.default_rng(seed)
    return [random.integers(3, 64, n).tolist() for n in LENGTHS]


def write(name, model, pooling):
    directory = TARGET / name
    shutil.rmtree(directory, ignore_errors=True)
    model.save_pretrained(directory)
    if pooling:
        (directory / "1_Pooling").mkdir()
        modes = {f"pooling_mode_{mode}": mode == pooling for mode in ("cls_token", "mean_tokens", "lasttoken")}
        (directory / "1_Pooling/config.json").write_text(json.dumps(modes, indent=1) + "\n")
    model = model.double()
    out = dict(texts=texts(len(name)), second=[], vectors=[], scores=[])
    for ids in out["texts"]:
        second = max(1, len(ids) // 2)
        out["second"].append(second)
        types = [int(i >= second) for i in range(len(ids))]
        pair = dict(token_type_ids=torch.tensor([types])) if not pooling and model.config.type_vocab_size > 1 else {}
        with torch.no_grad():
            result = model(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), **pair)
        if not pooling:
            out["scores"].append([round(x, 9) for x in result.logits[0].tolist()])
            continue
        states = result.last_hidden_state[0]
        vector = {"cls_token": states[0], "mean_tokens": states.mean(0), "lasttoken": states[-1]}[pooling]
        out["vectors"].append([round(x, 9) for x in (vector / vector.norm()).tolist()])
    (TARGET / f"{name}.json").write_text(json.dumps(out) + "\n")


def write_fused(model, path):
    """The model as GGUF's converters name things, with q, k and v in one matrix."""
    writer, config = gguf.GGUFWriter(path, "bert"), model.config
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    state = {name: value.float().numpy() for name, value in model.state_dict().items()}
    names = {"embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
             "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm"}
    for layer in range(config.num_hidden_layers):
        old, new = f"encoder.layer.{layer}.", f"blk.{layer}."
        for end in ("weight", "bias"):
            parts = [state[f"{old}attention.self.{part}.{end}"] for part in ("query", "key", "value")]
            writer.add_tensor(f"{new}attn_qkv.{end}", np.concatenate(parts))
        names |= {old + "attention.output.dense": new + "attn_output",
                  old + "attention.output.LayerNorm": new + "attn_output_norm",
                  old + "intermediate.dense": new + "ffn_up", old + "output.dense": new + "ffn_down",
                  old + "output.LayerNorm": new + "layer_output_norm"}
    for old, new in names.items():
        for end in ("weight", "bias"):
            if f"{old}.{end}" in state:
                writer.add_tensor(f"{new}.{end}", state[f"{old}.{end}"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_reranker():
    """One with words, for tests of the service: scores of no meaning, but the same ones every time."""
    words = TARGET / "unigram/tokenizer.json"
    size = len(json.loads(words.read_text())["model"]["vocab"])
    shape = dict(XLMR, vocab_size=size, max_position_embeddings=130, pad_token_id=0, bos_token_id=1)
    model = randomise(XLMRobertaForSequenceClassification(XLMRobertaConfig(**shape, num_labels=1)), 6)
    shutil.rmtree(TARGET / "reranker", ignore_errors=True)
    model.half().save_pretrained(TARGET / "reranker")
    shutil.copy(words, TARGET / "reranker")


def main():
    TARGET.mkdir(parents=True, exist_ok=True)
    mean = randomise(BertModel(BertConfig(**BERT)), 1)
    write_fused(mean, TARGET / "bert_fused.gguf")
    seed = dict(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
                max_position_embeddings=8)
    write_fused(randomise(BertModel(BertConfig(**seed)), 7), TARGET.parent.parent.parent / "fuzz/corpus/model/bert.gguf")
    write("bert_mean", mean, "mean_tokens")
    write("bert_cls", randomise(BertModel(BertConfig(**BERT)), 2), "cls_token")
    write("xlmr_mean", randomise(XLMRobertaModel(XLMRobertaConfig(**XLMR)), 3), "mean_tokens")
    write("bert_cross", randomise(BertForSequenceClassification(BertConfig(**BERT, num_labels=1)), 4), None)
    write("xlmr_cross", randomise(XLMRobertaForSequenceClassification(XLMRobertaConfig(**XLMR, num_labels=1)), 5), None)
    write_reranker()


if __name__ == "__main__":
    main()
