#include "model/deepseek4/weights.h"

#include <cmath>
#include <cstring>
#include <string>

#include <fmt/format.h>

#include "model/file/bind_layer.h"
#include "model/file/binder.h"

namespace hadal::deepseek4 {
namespace {

/// Multiply-adds per token from which 8 bits are worth their error (decision 0007).
constexpr int64_t kInt8FromMacs = 400'000'000;

Activations usual_activations(const Config& config) {
  const int64_t heads = config.n_heads * config.d_head;
  const int64_t attention = config.d_model * (config.q_lora_rank + config.d_head) +
                            heads * (config.q_lora_rank + config.o_lora_rank) +
                            config.o_groups * config.o_lora_rank * config.d_model;
  const int64_t experts = 3 * config.d_model * (config.n_used * config.d_expert + config.d_shared);
  const bool large = config.n_layers * (attention + experts) >= kInt8FromMacs;
  return large ? Activations::kInt8 : Activations::kInt16;
}

/// `outputs`: how many gates there are.
Result<Site> bind_site(Binder& binder, const Config& config, const std::string& name,
                       int64_t outputs, int64_t scales) {
  TRY(Weight fn, binder.exact(name + "_fn.weight", config.n_streams * config.d_model, outputs));
  TRY(std::vector<float> base, binder.vector(name + "_base.weight", outputs));
  TRY(std::vector<float> scale, binder.vector(name + "_scale.weight", scales));
  return Site{std::move(fn), std::move(base), std::move(scale)};
}

Result<CompressorWeights> bind_compressor(Binder& binder, const Config& config,
                                          const std::string& name, int64_t width, int64_t ratio) {
  const int64_t channels = ratio == kSparseRatio ? 2 * width : width;
  const int64_t d = config.d_model;
  TRY(Weight values, binder.weight(name + "_kv.weight", d, channels, Activations::kInt16));
  TRY(Weight gates, binder.weight(name + "_gate.weight", d, channels, Activations::kInt16));
  TRY(std::vector<float> bias, binder.matrix(name + "_ape.weight", channels, ratio));
  TRY(std::vector<float> norm, binder.vector(name + "_norm.weight", width));
  return CompressorWeights{std::move(values), std::move(gates), std::move(bias), std::move(norm)};
}

Result<IndexerWeights> bind_indexer(Binder& binder, const Config& config,
                                    const std::string& block) {
  TRY(Weight queries, binder.weight(block + "indexer.attn_q_b.weight", config.q_lora_rank,
                                    config.index_heads * config.index_dim, Activations::kInt16));
  TRY(Weight head_weights, binder.weight(block + "indexer.proj.weight", config.d_model,
                                         config.index_heads, Activations::kInt16));
  TRY(CompressorWeights keys, bind_compressor(binder, config, block + "indexer_compressor",
                                              config.index_dim, kSparseRatio));
  return IndexerWeights{std::move(queries), std::move(head_weights), std::move(keys)};
}

Result<AttentionWeights> bind_attention(Binder& binder, const Config& config,
                                        const std::string& block, int64_t ratio,
                                        Activations activations) {
  const int64_t d = config.d_model;
  const int64_t width = config.n_heads * config.d_head;
  const int64_t rank = config.o_lora_rank;
  TRY(std::vector<float> norm, binder.vector(block + "attn_norm.weight", d));
  TRY(Weight q_a, binder.weight(block + "attn_q_a.weight", d, config.q_lora_rank, activations));
  TRY(std::vector<float> q_a_norm,
      binder.vector(block + "attn_q_a_norm.weight", config.q_lora_rank));
  TRY(Weight q_b, binder.weight(block + "attn_q_b.weight", config.q_lora_rank, width, activations));
  TRY(Weight kv, binder.weight(block + "attn_kv.weight", d, config.d_head, Activations::kInt16));
  TRY(std::vector<float> kv_norm, binder.vector(block + "attn_kv_a_norm.weight", config.d_head));
  TRY(std::vector<float> sinks, binder.vector(block + "attn_sinks.weight", config.n_heads));
  TRY(const TensorView* grouped,
      binder.find(block + "attn_output_a.weight", width / config.o_groups, config.o_groups * rank));
  std::vector<Weight> o_a;
  for (int64_t g = 0; g < config.o_groups; ++g) {
    TRY(Weight group, binder.slice(*grouped, g * rank, rank, activations));
    o_a.push_back(std::move(group));
  }
  TRY(Weight o_b,
      binder.weight(block + "attn_output_b.weight", config.o_groups * rank, d, activations));
  AttentionWeights out{std::move(norm),
                       std::move(q_a),
                       std::move(q_a_norm),
                       std::move(q_b),
                       std::move(kv),
                       std::move(kv_norm),
                       std::move(sinks),
                       std::move(o_a),
                       std::move(o_b),
                       {},
                       {}};
  if (ratio > 0) {
    TRY(CompressorWeights compressor,
        bind_compressor(binder, config, block + "attn_compressor", config.d_head, ratio));
    out.compressor = std::move(compressor);
  }
  if (ratio == kSparseRatio) {
    TRY(IndexerWeights indexer, bind_indexer(binder, config, block));
    out.indexer = std::move(indexer);
  }
  return out;
}

/// Token ids to experts, each id checked.
Result<std::vector<int32_t>> bind_table(Binder& binder, const Config& config,
                                        const std::string& name) {
  TRY(const TensorView* tensor, binder.find(name, config.n_used, config.n_vocab));
  const size_t bytes = tensor->type == DType::kI64 ? 8 : 4;
  if (tensor->type != DType::kI32 && tensor->type != DType::kI64) {
    return Error{Code::kUnsupported, fmt::format("tensor {} has type {}, expected I32 or I64", name,
                                                 dtype_info(tensor->type).name)};
  }
  std::vector<int32_t> out(static_cast<size_t>(tensor->elements()));
  for (size_t i = 0; i < out.size(); ++i) {
    int64_t wide = 0;
    int32_t narrow = 0;
    if (bytes == 8) {
      std::memcpy(&wide, tensor->data + i * bytes, bytes);
    } else {
      std::memcpy(&narrow, tensor->data + i * bytes, bytes);
      wide = narrow;
    }
    if (wide < 0 || wide >= config.n_experts) {
      return Error{Code::kCorrupt,
                   fmt::format("tensor {} sends token {} to expert {}, but there are {}", name,
                               i / static_cast<size_t>(config.n_used), wide, config.n_experts)};
    }
    out[i] = static_cast<int32_t>(wide);
  }
  return out;
}

Result<std::unique_ptr<MoeWeights>> bind_experts(Binder& binder, const Config& config,
                                                 const std::string& block, int64_t index,
                                                 Activations activations) {
  TRY(std::unique_ptr<MoeWeights> out, bind_moe(binder, config.common(), block, activations));
  if (index >= config.n_hash_layers && out->bias.empty()) {
    return Error{Code::kCorrupt, fmt::format("tensor {}exp_probs_b.bias is missing", block)};
  }
  const auto limit = [&](const std::vector<float>& of) {
    const float clamp = of[static_cast<size_t>(index)];
    return std::isinf(clamp) ? 0.0f : clamp;
  };
  out->layer.clamp = limit(config.clamp);
  out->layer.shared_clamp = limit(config.clamp_shared);
  return out;
}

Result<LayerWeights> bind_layer(Binder& binder, const Config& config, int64_t index,
                                Activations activations) {
  const std::string block = fmt::format("blk.{}.", index);
  const int64_t gates = config.n_streams * (config.n_streams + 2);
  const int64_t ratio = config.ratios[static_cast<size_t>(index)];
  TRY(Site attention_site, bind_site(binder, config, block + "hc_attn", gates, 3));
  TRY(AttentionWeights attention, bind_attention(binder, config, block, ratio, activations));
  TRY(Site experts_site, bind_site(binder, config, block + "hc_ffn", gates, 3));
  TRY(std::vector<float> ffn_norm, binder.vector(block + "ffn_norm.weight", config.d_model));
  TRY(std::unique_ptr<MoeWeights> experts, bind_experts(binder, config, block, index, activations));
  std::vector<int32_t> table;
  if (index < config.n_hash_layers) {
    TRY(table, bind_table(binder, config, block + "ffn_gate_tid2eid.weight"));
  }
  return LayerWeights{std::move(attention_site), std::move(attention), std::move(experts_site),
                      std::move(ffn_norm),       std::move(experts),   std::move(table)};
}

}  // namespace

/// Embedding and head are copies of the model's own, which are used. A translated checkpoint has
/// the block among its own: behind the last layer, with names of their own for what a file apart
/// has under the model's names, and the joining matrix in two.
Result<PredictionWeights> Weights::bind_prediction(const GgufFile& file, const Config& config,
                                                   const LoadOptions& options, ThreadPool& pool) {
  const bool own = config.has_prediction_block(file);
  int64_t index = config.n_layers;
  if (!own) {
    TRY(index, config.prediction_block(file));
  }
  if (config.n_streams * config.d_model % 32 != 0) {  // whole blocks, as records have them
    return Error{Code::kUnsupported, "a token's streams are no multiple of 32 numbers"};
  }
  LoadOptions apart = options;
  apart.packed = nullptr;
  apart.progress = nullptr;
  Binder binder(file, apart, pool);
  // The block is an ordinary one that sees its window alone and is not routed by a table.
  Config as_layer = config;
  as_layer.n_hash_layers = 0;
  as_layer.ratios.assign(static_cast<size_t>(index) + 1, 0);
  as_layer.clamp.resize(static_cast<size_t>(index) + 1, config.clamp.back());
  as_layer.clamp_shared.resize(static_cast<size_t>(index) + 1, config.clamp_shared.back());
  const std::string block = fmt::format("blk.{}.nextn.", index);
  const int64_t d = config.d_model;
  TRY(std::vector<float> token_norm, binder.vector(block + "enorm.weight", d));
  TRY(std::vector<float> state_norm, binder.vector(block + "hnorm.weight", d));
  TRY(Weight join, binder.weight(block + (own ? "h_proj.weight" : "eh_proj.weight"),
                                 own ? d : 2 * d, d, Activations::kInt16));
  std::optional<Weight> token_join;
  if (own) {
    TRY(token_join, binder.weight(block + "e_proj.weight", d, d, Activations::kInt16));
  }
  TRY(LayerWeights layer, bind_layer(binder, as_layer, index, Activations::kInt16));
  TRY(Site head_site,
      bind_site(binder, config, own ? block + "hc_head" : "output_hc", config.n_streams, 1));
  TRY(std::vector<float> output_norm, binder.vector(block + "shared_head_norm.weight", d));
  return PredictionWeights{std::move(token_norm),  std::move(state_norm), std::move(join),
                           std::move(token_join),  std::move(layer),      std::move(head_site),
                           std::move(output_norm), binder.take_derived()};
}

Result<Weights> Weights::bind(const GgufFile& file, const Config& config,
                              const LoadOptions& options, ThreadPool& pool) {
  Binder binder(file, options, pool);
  TRY(const TensorView* embedding,
      binder.find("token_embd.weight", config.d_model, config.n_vocab));
  TRY(std::vector<float> output_norm, binder.vector("output_norm.weight", config.d_model));
  TRY(Site head_site, bind_site(binder, config, "output_hc", config.n_streams, 1));
  const Activations activations = options.activations.value_or(usual_activations(config));
  std::vector<LayerWeights> layers;
  for (int64_t index = 0; index < config.n_layers; ++index) {
    // Few rows of a prompt reach the last layer's end: 16 bits cost nothing there.
    const bool last = index + 1 == config.n_layers;
    TRY(LayerWeights layer,
        bind_layer(binder, config, index, last ? Activations::kInt16 : activations));
    layers.push_back(std::move(layer));
  }
  const std::string head_name = binder.has("output.weight") ? "output.weight" : "token_embd.weight";
  TRY(Weight head, binder.weight(head_name, config.d_model, config.n_vocab, Activations::kInt16));
  binder.finished();
  std::optional<PredictionWeights> prediction;
  const GgufFile* predicting = options.prediction_file;
  if (predicting == nullptr && config.has_prediction_block(file)) predicting = &file;
  // The block is packed apart, never from or into the image.
  if (options.predict && predicting != nullptr && options.plan == nullptr) {
    TRY(prediction, bind_prediction(*predicting, config, options, pool));
  }
  return Weights{
      *embedding,      std::move(layers),     std::move(head_site), std::move(output_norm),
      std::move(head), std::move(prediction), binder.take_packed(), binder.take_derived()};
}

}  // namespace hadal::deepseek4
