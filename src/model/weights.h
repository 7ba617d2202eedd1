#pragma once
/// A model's weights, bound by name from a GGUF file and checked against its config. Names and
/// shapes are those of the GGUF converters; W[out, in] has ne = {in, out}.
#include <optional>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "kernels/matmul.h"
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

struct LayerWeights {
  std::vector<float> attn_norm;
  Linear q, k, v, o;
  std::vector<float> q_norm, k_norm;  ///< d_head entries, empty without QK norm
  std::vector<float> ffn_norm;
  Linear gate, up, down;
};

struct ModelWeights {
  TensorView embedding;  ///< rows are decoded one token at a time
  std::vector<LayerWeights> layers;
  std::vector<float> output_norm;
  Linear head;
  RopeTable rope;
  std::vector<PackedPart>
      packed;  ///< all matrices as they lie in memory; empty where nothing packs

  /// Errors name the tensor that is missing or its expected and found shapes. The result borrows
  /// from `file`.
  static Result<ModelWeights> bind(const GgufFile& file, const ModelConfig& config,
                                   const LoadOptions& options, ThreadPool& pool);
};

}  // namespace hadal
