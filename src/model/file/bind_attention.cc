#include <algorithm>

#include "model/file/bind_layer.h"

namespace hadal {
namespace {

struct Projections {
  Linear q, k, v;
};

Result<Projections> bind_qkv(Binder& binder, const ModelConfig& config, const std::string& block,
                             Rounding rounding) {
  const int64_t d = config.d_model;
  const int64_t q_rows = config.n_heads * config.d_head;
  const int64_t kv_rows = config.n_kv_heads * config.d_head;
  const std::string fused_name = block + "attn_qkv";
  if (!binder.has(fused_name + ".weight")) {
    TRY(Linear q, binder.linear(block + "attn_q", d, q_rows, rounding.usual));
    TRY(Linear k, binder.linear(block + "attn_k", d, kv_rows, rounding.keys));
    TRY(Linear v, binder.linear(block + "attn_v", d, kv_rows, rounding.keys));
    return Projections{std::move(q), std::move(k), std::move(v)};
  }
  TRY(const TensorView* fused, binder.find(fused_name + ".weight", d, q_rows + 2 * kv_rows));
  TRY(std::vector<float> bias,
      binder.vector_if_present(fused_name + ".bias", q_rows + 2 * kv_rows));
  TRY(Linear q, binder.slice(*fused, bias, 0, q_rows, rounding.usual));
  TRY(Linear k, binder.slice(*fused, bias, q_rows, kv_rows, rounding.keys));
  TRY(Linear v, binder.slice(*fused, bias, q_rows + kv_rows, kv_rows, rounding.keys));
  return Projections{std::move(q), std::move(k), std::move(v)};
}

/// All rows of a matrix (or a stack of them) as floats.
std::vector<float> decoded(const TensorView& tensor) {
  std::vector<float> out(static_cast<size_t>(tensor.elements()));
  for (int64_t r = 0; r < tensor.rows(); ++r) {
    dequantize_row(tensor, r, out.data() + r * tensor.ne[0]);
  }
  return out;
}

/// The three forms of what takes the latent vector to keys and values: two are in the file or can
/// be cut from it, the third is derived.
struct LatentUps {
  std::vector<Weight> k_up, v_up;
  Weight kv_b;
};

/// Older files: kv_b is there, and so are the values' rows in it.
Result<LatentUps> ups_from_kv_b(Binder& binder, const ModelConfig& config,
                                const std::string& name) {
  const LatentConfig& latent = config.latent;
  const int64_t rank = latent.kv_lora_rank;
  const int64_t rows = latent.d_nope + latent.d_value;
  TRY(const TensorView* tensor, binder.find(name, rank, config.n_heads * rows));
  const std::vector<float> values = decoded(*tensor);
  std::vector<Weight> k_up;
  std::vector<Weight> v_up;
  std::vector<float> turned(static_cast<size_t>(rank * latent.d_nope));
  for (int64_t h = 0; h < config.n_heads; ++h) {
    const float* keys = values.data() + h * rows * rank;
    for (int64_t i = 0; i < latent.d_nope; ++i) {
      for (int64_t j = 0; j < rank; ++j) {
        turned[static_cast<size_t>(j * latent.d_nope + i)] = keys[i * rank + j];
      }
    }
    TRY(Weight k, binder.derived(turned, tensor->type, latent.d_nope, rank));
    k_up.push_back(std::move(k));
    TRY(Weight v,
        binder.slice(*tensor, h * rows + latent.d_nope, latent.d_value, Activations::kInt16));
    v_up.push_back(std::move(v));
  }
  TRY(Weight kv_b, binder.slice(*tensor, 0, config.n_heads * rows, Activations::kInt16));
  return LatentUps{std::move(k_up), std::move(v_up), std::move(kv_b)};
}

/// Newer files: a matrix per head and direction, the keys' turned.
Result<LatentUps> ups_from_parts(Binder& binder, const ModelConfig& config,
                                 const std::string& block) {
  const LatentConfig& latent = config.latent;
  const int64_t rank = latent.kv_lora_rank;
  TRY(const TensorView* k_b,
      binder.find(block + "attn_k_b.weight", latent.d_nope, rank, config.n_heads));
  TRY(const TensorView* v_b,
      binder.find(block + "attn_v_b.weight", rank, latent.d_value, config.n_heads));
  const std::vector<float> keys = decoded(*k_b);
  std::vector<Weight> k_up;
  std::vector<Weight> v_up;
  std::vector<float> turned(static_cast<size_t>(config.n_heads * latent.d_nope * rank));
  for (int64_t h = 0; h < config.n_heads; ++h) {
    TRY(Weight k, binder.slice(*k_b, h * rank, rank, Activations::kInt16));
    k_up.push_back(std::move(k));
    TRY(Weight v, binder.slice(*v_b, h * latent.d_value, latent.d_value, Activations::kInt16));
    v_up.push_back(std::move(v));
    float* out = turned.data() + h * latent.d_nope * rank;
    for (int64_t i = 0; i < latent.d_nope; ++i) {
      for (int64_t j = 0; j < rank; ++j) {
        out[i * rank + j] = keys[static_cast<size_t>((h * rank + j) * latent.d_nope + i)];
      }
    }
  }
  TRY(Weight kv_b, binder.derived(turned, k_b->type, rank, config.n_heads * latent.d_nope));
  return LatentUps{std::move(k_up), std::move(v_up), std::move(kv_b)};
}

}  // namespace

namespace {

Result<IndexerWeights> bind_indexer(Binder& binder, const ModelConfig& config,
                                    const std::string& block) {
  const IndexerConfig& indexer = config.indexer;
  const std::string name = block + "indexer.";
  TRY(Linear q, binder.linear(name + "attn_q_b", config.latent.q_lora_rank,
                              indexer.n_heads * indexer.d_index, Activations::kInt16));
  TRY(Linear k,
      binder.linear(name + "attn_k", config.d_model, indexer.d_index, Activations::kInt16));
  TRY(std::vector<float> norm, binder.vector(name + "k_norm.weight", indexer.d_index));
  TRY(std::vector<float> bias, binder.vector(name + "k_norm.bias", indexer.d_index));
  TRY(Linear heads,
      binder.linear(name + "proj", config.d_model, indexer.n_heads, Activations::kInt16));
  return IndexerWeights{std::move(q), std::move(k), std::move(norm), std::move(bias),
                        std::move(heads)};
}

}  // namespace

Result<GroupedWeights> bind_grouped(Binder& binder, const ModelConfig& config,
                                    const std::string& block, Rounding rounding) {
  TRY(Projections qkv, bind_qkv(binder, config, block, rounding));
  std::vector<float> q_norm;
  std::vector<float> k_norm;
  if (config.qk_norm) {
    TRY(q_norm, binder.vector(block + "attn_q_norm.weight", config.d_head));
    TRY(k_norm, binder.vector(block + "attn_k_norm.weight", config.d_head));
  }
  TRY(Linear o, binder.linear(block + "attn_output", config.n_heads * config.d_head, config.d_model,
                              rounding.usual));
  return GroupedWeights{std::move(qkv.q), std::move(qkv.k),  std::move(qkv.v),
                        std::move(o),     std::move(q_norm), std::move(k_norm)};
}

Result<LatentWeights> bind_latent(Binder& binder, const ModelConfig& config,
                                  const std::string& block, Rounding rounding) {
  const LatentConfig& latent = config.latent;
  const int64_t d = config.d_model;
  std::optional<Linear> q_a;
  std::vector<float> q_a_norm;
  if (latent.q_lora_rank > 0) {
    TRY(q_a, binder.linear(block + "attn_q_a", d, latent.q_lora_rank, rounding.usual));
    TRY(q_a_norm, binder.vector(block + "attn_q_a_norm.weight", latent.q_lora_rank));
  }
  const int64_t q_in = latent.q_lora_rank > 0 ? latent.q_lora_rank : d;
  TRY(Linear q_b, binder.linear(block + (q_a ? "attn_q_b" : "attn_q"), q_in,
                                config.n_heads * latent.d_query(), rounding.usual));
  TRY(Linear kv_a, binder.linear(block + "attn_kv_a_mqa", d, latent.d_cache(), rounding.keys));
  TRY(std::vector<float> kv_a_norm,
      binder.vector(block + "attn_kv_a_norm.weight", latent.kv_lora_rank));
  const std::string kv_b = block + "attn_kv_b.weight";
  const bool parts = binder.has(block + "attn_k_b.weight") || !binder.has(kv_b);
  TRY(LatentUps ups,
      parts ? ups_from_parts(binder, config, block) : ups_from_kv_b(binder, config, kv_b));
  TRY(Linear o,
      binder.linear(block + "attn_output", config.n_heads * latent.d_value, d, rounding.usual));
  std::optional<IndexerWeights> indexer;
  if (config.indexer && binder.has(block + "indexer.attn_k.weight")) {
    TRY(indexer, bind_indexer(binder, config, block));
  }
  return LatentWeights{std::move(q_a),      std::move(q_a_norm),  std::move(q_b),
                       std::move(kv_a),     std::move(kv_a_norm), std::move(ups.k_up),
                       std::move(ups.v_up), std::move(ups.kv_b),  std::move(o),
                       std::move(indexer)};
}

}  // namespace hadal
