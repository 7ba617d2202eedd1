#pragma once
/// An encoder's weights, bound by name. Private to the room.
#include <optional>
#include <vector>

#include "model/encoder.h"
#include "model/weights.h"

namespace hadal {

struct NormWeights {
  std::vector<float> weight, bias;
};

struct EncoderLayer {
  Linear q, k, v, o;
  NormWeights attention_norm;
  Linear up, down;
  NormWeights output_norm;
};

struct EncoderWeights {
  TensorView embedding;  ///< of tokens; rows are decoded one at a time
  TensorView positions;
  std::vector<float> token_types;  ///< n_token_types x d_model
  NormWeights embedding_norm;
  std::vector<EncoderLayer> layers;
  std::optional<Linear> classifier_hidden;    ///< d_model -> d_model, tanh
  std::optional<Linear> classifier;           ///< -> n_labels
  std::vector<std::vector<std::byte>> owned;  ///< matrices that are not the file's

  /// Errors name the tensor. The result borrows from `file`.
  static Result<EncoderWeights> bind(const GgufFile& file, const EncoderConfig& config,
                                     const EncoderOptions& options, ThreadPool& pool);
};

}  // namespace hadal
