#include <algorithm>

#include <fmt/format.h>

#include "base/limits.h"
#include "model/encoder.h"
#include "model/file/keys.h"

namespace hadal {
namespace {

constexpr std::string_view kArchitecture = "bert";

/// Rows of a matrix that must be there.
Result<int64_t> rows_of(const GgufFile& file, std::string_view name) {
  const TensorView* tensor = file.find_tensor(name);
  if (tensor == nullptr) {
    return Error{Code::kCorrupt, fmt::format("tensor {} is missing", name)};
  }
  return tensor->ne[1];
}

}  // namespace

bool Encoder::is_encoder(const GgufFile& file) {
  const auto name = file.string("general.architecture");
  return name.ok() && name.value() == kArchitecture;
}

Result<EncoderConfig> EncoderConfig::from_gguf(const GgufFile& file) {
  EncoderConfig config;
  config.architecture = kArchitecture;
  const Keys keys(file, kArchitecture);
  TRY(config.n_layers, keys.integer("block_count", 1, limits::kModelLayers));
  TRY(config.d_model, keys.integer("embedding_length", 1, limits::kModelWidth));
  TRY(config.d_ff, keys.integer("feed_forward_length", 1, limits::kModelWidth));
  TRY(config.n_heads, keys.integer("attention.head_count", 1, limits::kModelHeads));
  TRY(config.n_ctx, keys.integer("context_length", 1, limits::kModelContext));
  TRY(config.norm_eps, keys.positive("attention.layer_norm_epsilon", 1.0));
  TRY(const bool causal, keys.boolean_or("attention.causal", false));
  if (causal) {
    return Error{Code::kUnsupported, fmt::format("key {} is true; an encoder sees the whole text",
                                                 keys.full("attention.causal"))};
  }
  TRY(const int64_t pooling,
      keys.integer_or("pooling_type", static_cast<int64_t>(Pooling::kMean), 0, 4));
  config.pooling = static_cast<Pooling>(pooling);
  if (config.d_model % config.n_heads != 0) {
    return Error{Code::kCorrupt,
                 fmt::format("key {} is {}, not a multiple of {} heads",
                             keys.full("embedding_length"), config.d_model, config.n_heads)};
  }
  TRY(config.n_vocab, rows_of(file, "token_embd.weight"));
  TRY(const int64_t positions, rows_of(file, "position_embd.weight"));
  config.n_ctx = std::min(config.n_ctx, positions);
  const TensorView* types = file.find_tensor("token_types.weight");
  config.n_token_types = types == nullptr ? 0 : types->ne[1];
  const TensorView* labels = file.find_tensor("cls.output.weight");
  config.n_labels = labels == nullptr ? 0 : labels->ne[1];
  if (config.pooling == Pooling::kRank && config.n_labels == 0) {
    return Error{Code::kCorrupt, fmt::format("key {} asks for a classifier, but there is no tensor "
                                             "cls.output.weight",
                                             keys.full("pooling_type"))};
  }
  return config;
}

}  // namespace hadal
