#pragma once
/// What a V4 file says about its shape, every number checked. Units: elements.
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "kernels/rope.h"
#include "model/model.h"
#include "tensor/gguf.h"

namespace hadal::deepseek4 {

/// How many tokens a compressed row stands for; 0: the layer sees its window alone.
inline constexpr int64_t kSparseRatio = 4;   ///< overlapping rows, chosen by an indexer (CSA)
inline constexpr int64_t kHeavyRatio = 128;  ///< all of them are seen (HCA)

struct Config {
  int64_t n_vocab = 0;
  int64_t n_layers = 0;  ///< without the prediction block
  int64_t d_model = 0;
  int64_t n_ctx_train = 0;
  float rms_eps = 0;

  int64_t n_heads = 0;
  int64_t d_head = 0;
  int64_t rope_dims = 0;  ///< the last ones of a head
  int64_t q_lora_rank = 0;
  int64_t o_groups = 0;
  int64_t o_lora_rank = 0;
  int64_t window = 0;           ///< positions that are seen as they are, the own one included
  std::vector<int64_t> ratios;  ///< per layer: 0, kSparseRatio or kHeavyRatio

  int64_t index_heads = 0;
  int64_t index_dim = 0;
  int64_t index_top_k = 0;

  int64_t n_streams = 0;
  int64_t sinkhorn_iterations = 0;
  float hc_eps = 0;

  int64_t n_experts = 0;
  int64_t n_used = 0;
  int64_t d_expert = 0;
  int64_t d_shared = 0;
  int64_t n_hash_layers = 0;
  bool normalise_experts = true;
  float expert_scale = 1;
  std::vector<float> clamp;         ///< per layer, of routed experts; infinity: none
  std::vector<float> clamp_shared;  ///< per layer

  RopeTable rope;             ///< of layers with ratio 0
  RopeTable compressed_rope;  ///< of the others, their compressed rows and indexer

  static Result<Config> from_gguf(const GgufFile& file);
  /// Whether a translated checkpoint has the prediction block behind its layers.
  bool has_prediction_block(const GgufFile& file) const;
  /// Of the file that holds the prediction block of a model of this shape, and at which index.
  Result<int64_t> prediction_block(const GgufFile& file) const;

  bool any_ratio(int64_t ratio) const;
  RouterParams router() const;
  /// What the rest of the program asks of a model.
  ModelConfig common() const;
};

}  // namespace hadal::deepseek4
