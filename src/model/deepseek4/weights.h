#pragma once
/// The weights of a V4 model, bound by name from a GGUF file and checked against its config. Names
/// are those of the GGUF converters.
#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "kernels/matmul.h"
#include "model/deepseek4/config.h"
#include "model/deepseek4/hyper_connections.h"
#include "model/model.h"
#include "model/weights.h"

namespace hadal::deepseek4 {

/// What makes the gates of one hyper-connection.
struct Site {
  Weight fn;  ///< n_streams * d_model -> n (n + 2), or n for the head
  std::vector<float> base;
  std::vector<float> scale;
};

/// Makes one row out of several tokens; `width` numbers per row.
struct CompressorWeights {
  Weight values;  ///< d_model -> width, or 2 width where rows overlap
  Weight gates;
  std::vector<float> position_bias;  ///< ratio x channels, added to the gates
  std::vector<float> norm;           ///< width
};

/// Chooses the compressed rows that a token sees.
struct IndexerWeights {
  Weight queries;       ///< q_lora_rank -> index_heads * index_dim
  Weight head_weights;  ///< d_model -> index_heads
  CompressorWeights keys;
};

struct AttentionWeights {
  std::vector<float> norm;
  Weight q_a;                   ///< d_model -> q_lora_rank
  std::vector<float> q_a_norm;  ///< q_lora_rank
  Weight q_b;                   ///< -> n_heads * d_head
  Weight kv;                    ///< d_model -> d_head
  std::vector<float> kv_norm;
  std::vector<float> sinks;  ///< n_heads
  std::vector<Weight> o_a;   ///< per group: d_head * heads of the group -> o_lora_rank
  Weight o_b;                ///< o_groups * o_lora_rank -> d_model
  std::optional<CompressorWeights> compressor;
  std::optional<IndexerWeights> indexer;
};

struct LayerWeights {
  Site attention_site;
  AttentionWeights attention;
  Site experts_site;
  std::vector<float> ffn_norm;
  std::unique_ptr<MoeWeights> experts;
  std::vector<int32_t> expert_table;  ///< n_vocab x n_used in hash-routed layers, else empty
};

/// The block that predicts one token more (2412.19437, 2.2), with all streams as its state.
struct PredictionWeights {
  std::vector<float> token_norm;
  std::vector<float> state_norm;
  Weight join;  ///< 2 d_model -> d_model, the token's half first; without it where that is apart
  std::optional<Weight> token_join;  ///< d_model -> d_model, where checkpoints have it apart
  LayerWeights layer;
  Site head_site;
  std::vector<float> output_norm;
  std::vector<std::vector<std::byte>> derived;
};

struct Weights {
  TensorView embedding;  ///< rows are decoded one token at a time
  std::vector<LayerWeights> layers;
  Site head_site;
  std::vector<float> output_norm;
  Weight head;
  std::optional<PredictionWeights> prediction;
  std::vector<PackedPart> packed;               ///< without the prediction block's
  std::vector<std::vector<std::byte>> derived;  ///< matrices that the file has in another form

  /// Errors name the tensor that is missing or wrong. The result borrows from `file`.
  static Result<Weights> bind(const GgufFile& file, const Config& config,
                              const LoadOptions& options, ThreadPool& pool);

 private:
  static Result<PredictionWeights> bind_prediction(const GgufFile& file, const Config& config,
                                                   const LoadOptions& options, ThreadPool& pool);
};

}  // namespace hadal::deepseek4
