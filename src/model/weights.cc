#include "model/weights.h"

#include <cmath>
#include <string>

#include <fmt/format.h>

#include "model/file/bind_layer.h"
#include "model/file/binder.h"
#include "model/rope_table.h"

namespace hadal {
namespace {

/// Multiply-adds per token from which 8 bits are worth their error: about the size of a model of
/// half a billion parameters.
constexpr int64_t kInt8FromMacs = 400'000'000;

int64_t attention_macs(const ModelConfig& config) {
  const LatentConfig& latent = config.latent;
  if (!latent) return config.d_model * 2 * (config.n_heads + config.n_kv_heads) * config.d_head;
  const int64_t queries = config.n_heads * latent.d_query();
  const int64_t q = latent.q_lora_rank > 0 ? latent.q_lora_rank * (config.d_model + queries)
                                           : config.d_model * queries;
  const int64_t values = config.n_heads * latent.d_value;
  return q + config.d_model * (latent.d_cache() + values) +
         config.n_heads * latent.kv_lora_rank * (latent.d_nope + latent.d_value);
}

int64_t feed_forward_macs(const ModelConfig& config, int64_t layer) {
  if (!config.has_experts(layer)) return 3 * config.d_model * config.d_ff;
  const MoeConfig& moe = config.moe;
  return 3 * config.d_model * (moe.router.n_used * moe.d_expert + moe.d_shared);
}

Activations usual_activations(const ModelConfig& config) {
  int64_t macs = 0;
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    macs += attention_macs(config) + feed_forward_macs(config, layer);
  }
  return macs >= kInt8FromMacs ? Activations::kInt8 : Activations::kInt16;
}

/// Where 16 bits cost next to nothing they are always used: for keys and values shared by several
/// heads, in the last layer and in the head, which few rows of a prompt reach. That takes more than
/// half of the error of 8 bits away (decision 0007).
Rounding rounding_of(const ModelConfig& config, int64_t layer, Activations usual) {
  if (layer + 1 >= config.n_layers) return {Activations::kInt16, Activations::kInt16};
  const bool shared = config.n_kv_heads * 2 <= config.n_heads;
  return {usual, shared ? Activations::kInt16 : usual};
}

Result<LayerWeights> bind_layer(Binder& binder, const ModelConfig& config, int64_t index,
                                Rounding rounding) {
  const std::string block = fmt::format("blk.{}.", index);
  LayerWeights layer;
  TRY(layer.attn_norm, binder.vector(block + "attn_norm.weight", config.d_model));
  if (config.latent) {
    TRY(layer.latent, bind_latent(binder, config, block, rounding));
    if (config.indexer && !layer.latent->indexer && index < config.n_layers) {
      return Error{Code::kCorrupt, "tensor " + block + "indexer.attn_k.weight is missing"};
    }
  } else {
    TRY(layer.grouped, bind_grouped(binder, config, block, rounding));
  }
  TRY(layer.ffn_norm, binder.vector(block + "ffn_norm.weight", config.d_model));
  if (config.has_experts(index)) {
    TRY(layer.moe, bind_moe(binder, config, block, rounding.usual));
  } else {
    TRY(layer.dense, bind_dense(binder, block, "", config.d_model, config.d_ff, rounding.usual));
  }
  return layer;
}

/// Copies of embedding and head are optional in files.
Result<PredictionWeights> bind_prediction(Binder& binder, const ModelConfig& config,
                                          const TensorView& embedding) {
  const int64_t d = config.d_model;
  const std::string block = fmt::format("blk.{}.nextn.", config.n_layers);
  TRY(Linear join, binder.linear(block + "eh_proj", 2 * d, d, Activations::kInt16));
  PredictionWeights out{embedding, {}, {}, std::move(join), {}, {}};
  if (binder.has(block + "embed_tokens.weight")) {
    TRY(const TensorView* own, binder.find(block + "embed_tokens.weight", d, config.n_vocab));
    out.embedding = *own;
  }
  TRY(out.token_norm, binder.vector(block + "enorm.weight", d));
  TRY(out.state_norm, binder.vector(block + "hnorm.weight", d));
  const std::string norm = block + "shared_head_norm.weight";
  TRY(out.output_norm, binder.vector(binder.has(norm) ? norm : "output_norm.weight", d));
  if (binder.has(block + "shared_head_head.weight")) {
    TRY(out.head,
        binder.linear(block + "shared_head_head", d, config.n_vocab, Activations::kInt16));
  }
  return out;
}

/// The llama3 divisors, if the file has them.
Result<std::vector<float>> bind_rope_divisors(const Binder& binder, const ModelConfig& config) {
  TRY(std::vector<float> divisors,
      binder.vector_if_present("rope_freqs.weight", config.rope_dims / 2));
  for (float divisor : divisors) {
    if (!(std::isfinite(divisor) && divisor > 0)) {
      return Error{
          Code::kCorrupt,
          fmt::format("tensor rope_freqs.weight holds {}, expected numbers above 0", divisor)};
    }
  }
  return divisors;
}

}  // namespace

Result<ModelWeights> ModelWeights::bind(const GgufFile& file, const ModelConfig& config,
                                        const LoadOptions& options, ThreadPool& pool) {
  Binder binder(file, options, pool);
  TRY(const TensorView* embedding,
      binder.find("token_embd.weight", config.d_model, config.n_vocab));
  TRY(std::vector<float> output_norm, binder.vector("output_norm.weight", config.d_model));
  TRY(std::vector<float> divisors, bind_rope_divisors(binder, config));
  const Activations usual = options.activations.value_or(usual_activations(config));
  std::vector<LayerWeights> layers;
  std::optional<PredictionWeights> prediction;
  const bool predicts = options.predict && config.predicts;
  for (int64_t index = 0; index < config.n_layers + (predicts ? 1 : 0); ++index) {
    TRY(LayerWeights layer, bind_layer(binder, config, index, rounding_of(config, index, usual)));
    layers.push_back(std::move(layer));
  }
  TRY(Linear head, binder.linear(config.tied_head ? "token_embd" : "output", config.d_model,
                                 config.n_vocab, Activations::kInt16));
  if (predicts) {
    TRY(prediction, bind_prediction(binder, config, *embedding));
  }
  binder.finished();
  return ModelWeights{*embedding,
                      std::move(layers),
                      std::move(prediction),
                      std::move(output_norm),
                      std::move(head),
                      make_rope_table(config, divisors),
                      binder.take_packed(),
                      binder.take_derived()};
}

}  // namespace hadal
