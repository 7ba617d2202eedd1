#pragma once
/// A model's weights, bound by name from a GGUF file and checked against its config. Names and
/// shapes are those of the GGUF converters; W[out, in] has ne = {in, out}.
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "kernels/matmul.h"
#include "kernels/moe.h"
#include "kernels/rope.h"
#include "model/model.h"
#include "model/packed_image.h"
#include "tensor/gguf.h"

namespace hadal {

/// y = W x (+ bias).
struct Linear {
  Weight weight;
  std::vector<float> bias;  ///< empty or weight.rows() entries
};

/// Ordinary attention.
struct GroupedWeights {
  Linear q, k, v, o;
  std::vector<float> q_norm, k_norm;  ///< d_head entries, empty without QK norm
};

/// Sparse attention's choice of positions; symbols as in IndexerConfig.
struct IndexerWeights {
  Linear q;                                ///< q_lora_rank -> per head d_index
  Linear k;                                ///< d_model -> d_index
  std::vector<float> k_norm, k_norm_bias;  ///< d_index entries
  Linear heads;                            ///< d_model -> n_heads: their weights
};

/// Multi-head latent attention; symbols as in LatentConfig.
struct LatentWeights {
  std::optional<Linear> q_a;     ///< d_model -> q_lora_rank; none: q_b reads the residual stream
  std::vector<float> q_a_norm;   ///< q_lora_rank entries, empty without q_a
  Linear q_b;                    ///< -> per head d_nope, then d_rope
  Linear kv_a;                   ///< d_model -> kv_lora_rank, then the shared rotated key
  std::vector<float> kv_a_norm;  ///< kv_lora_rank entries
  std::vector<Weight> k_up;  ///< per head kv_lora_rank x d_nope: takes a query to the latent space
  std::vector<Weight> v_up;  ///< per head d_value x kv_lora_rank
  Weight
      kv_b;  ///< per head d_nope key rows, then, where the file has both in one, d_value value rows
  Linear o;
  std::optional<IndexerWeights> indexer;
};

struct DenseWeights {
  Linear gate, up, down;
};

/// Experts and who chooses them. Stays where it is made: `layer` points into it.
struct MoeWeights {
  explicit MoeWeights(Linear choice) : router(std::move(choice)) {}
  MoeWeights(const MoeWeights&) = delete;
  MoeWeights& operator=(const MoeWeights&) = delete;

  Linear router;            ///< d_model -> n_experts
  std::vector<float> bias;  ///< on the choice of experts only; empty: none
  std::vector<Weight> gate, up, down;
  std::optional<DenseWeights> shared;
  std::vector<ExpertWeights> experts;
  ExpertWeights shared_expert;
  MoeLayer layer;                      ///< all of them, as the kernel wants them
  std::vector<const Weight*> readers;  ///< of the normed residual stream
};

struct LayerWeights {
  std::vector<float> attn_norm;
  std::optional<GroupedWeights> grouped;
  std::optional<LatentWeights> latent;
  std::vector<float> ffn_norm;
  std::optional<DenseWeights> dense;
  std::unique_ptr<MoeWeights> moe;
};

/// What a prediction layer has beside a layer's parts (2412.19437, 2.2).
struct PredictionWeights {
  TensorView embedding;
  std::vector<float> token_norm;  ///< of the embedding
  std::vector<float> state_norm;  ///< of the state before it
  Linear join;                    ///< both, in this order, -> d_model
  std::vector<float> output_norm;
  std::optional<Linear> head;  ///< none: the model's
};

struct ModelWeights {
  TensorView embedding;              ///< rows are decoded one token at a time
  std::vector<LayerWeights> layers;  ///< n_layers, and the prediction layer's if there is one
  std::optional<PredictionWeights> prediction;
  std::vector<float> output_norm;
  Linear head;
  RopeTable rope;
  std::vector<PackedPart>
      packed;  ///< all matrices as they lie in memory; empty where nothing packs
  std::vector<std::vector<std::byte>> derived;  ///< matrices that the file has in another form

  /// Errors name the tensor that is missing or its expected and found shapes. The result borrows
  /// from `file`.
  static Result<ModelWeights> bind(const GgufFile& file, const ModelConfig& config,
                                   const LoadOptions& options, ThreadPool& pool);
};

}  // namespace hadal
