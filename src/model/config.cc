/// ModelConfig::from_gguf: every number is checked once, so that the rest of the room can
/// multiply and divide without looking back. Errors name the key (or tensor) and its value.
#include "model/config.h"

#include <cmath>
#include <string>

#include <fmt/format.h>

#include "base/limits.h"
#include "model/architectures.h"
#include "model/file/keys.h"
#include "model/file/read_config.h"
#include "model/rope_table.h"

namespace hadal {
namespace {

Result<const Architecture*> find_architecture(const GgufFile& file) {
  TRY(std::optional<std::string_view> name, file.string("general.architecture"));
  if (!name) return Error{Code::kCorrupt, "key general.architecture is missing"};
  std::string known;
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.name == *name) return &architecture;
    known += (known.empty() ? "" : ", ") + std::string(architecture.name);
  }
  if (*name == "bert") {
    return Error{Code::kUnsupported,
                 "architecture \"bert\" is an encoder: it gives vectors and has no next token",
                 "`hadal embed` and `hadal serve` take it"};
  }
  return Error{Code::kUnsupported, fmt::format("architecture \"{}\" is not supported", *name),
               "supported: " + known};
}

Status read_shape(const Keys& keys, ModelConfig& config) {
  TRY(int64_t blocks, keys.integer("block_count", 1, limits::kModelLayers));
  TRY(int64_t predicting, keys.integer_or("nextn_predict_layers", 0, 0, blocks - 1));
  config.n_layers = blocks - predicting;
  TRY(config.n_ctx_train, keys.integer("context_length", 1, limits::kModelContext));
  TRY(config.d_model, keys.integer("embedding_length", 1, limits::kModelWidth));
  TRY(config.d_ff, keys.integer("feed_forward_length", 1, limits::kModelWidth));
  TRY(config.n_heads, keys.integer("attention.head_count", 1, limits::kModelHeads));
  return {};
}

/// Heads of ordinary attention, several of which may share keys and values.
Status read_heads(const Keys& keys, ModelConfig& config) {
  TRY(config.n_kv_heads,
      keys.integer_or("attention.head_count_kv", config.n_heads, 1, limits::kModelHeads));
  if (config.n_heads % config.n_kv_heads != 0) {
    return Error{Code::kCorrupt,
                 fmt::format("key {} is {}, which {} ({}) is not a multiple of",
                             keys.full("attention.head_count_kv"), config.n_kv_heads,
                             keys.full("attention.head_count"), config.n_heads)};
  }
  if (!keys.has("attention.key_length") && config.d_model % config.n_heads != 0) {
    return Error{Code::kCorrupt, fmt::format("key {} is {}, not a multiple of {} ({})",
                                             keys.full("embedding_length"), config.d_model,
                                             keys.full("attention.head_count"), config.n_heads)};
  }
  TRY(config.d_head, keys.integer_or("attention.key_length", config.d_model / config.n_heads, 1,
                                     limits::kModelWidth));
  TRY(int64_t value_length,
      keys.integer_or("attention.value_length", config.d_head, 1, limits::kModelWidth));
  if (value_length != config.d_head) {
    return Error{Code::kUnsupported,
                 fmt::format("key {} is {}, but keys are {} wide; equal widths are supported",
                             keys.full("attention.value_length"), value_length, config.d_head)};
  }
  if (config.d_head % 2 != 0) {
    return Error{Code::kCorrupt,
                 fmt::format("heads are {} wide ({}), which is odd: rope needs pairs",
                             config.d_head, keys.full("attention.key_length"))};
  }
  config.attention_scale = 1.0f / std::sqrt(static_cast<float>(config.d_head));
  TRY(config.rope_dims, keys.integer_or("rope.dimension_count", config.d_head, 2, config.d_head));
  return {};
}

Status read_rope(const Keys& keys, ModelConfig& config, bool has_divisors) {
  if (config.rope_dims % 2 != 0) {
    return Error{Code::kCorrupt, fmt::format("key {} is {}, which is odd: rope needs pairs",
                                             keys.full("rope.dimension_count"), config.rope_dims)};
  }
  TRY(config.rope_theta, keys.positive_or("rope.freq_base", 10000.0f, 1e30));
  TRY(config.rope_original_context, keys.integer_or("rope.scaling.original_context_length",
                                                    config.n_ctx_train, 1, limits::kModelContext));
  TRY(float old_factor, keys.positive_or("rope.scale_linear", 1.0f, 1e6));
  TRY(config.rope_factor, keys.positive_or("rope.scaling.factor", old_factor, 1e6));
  TRY(float attn_factor, keys.positive_or("rope.scaling.attn_factor", 1.0f, 1e3));
  TRY(config.yarn_beta_fast, keys.positive_or("rope.scaling.yarn_beta_fast", 32.0f, 1e6));
  TRY(config.yarn_beta_slow, keys.positive_or("rope.scaling.yarn_beta_slow", 1.0f, 1e6));
  TRY(std::string_view type, keys.string_or("rope.scaling.type", "linear"));
  if (type == "yarn") {
    if (config.rope_theta <= 1) {
      return Error{Code::kCorrupt, fmt::format("key {} is {}, YaRN needs a base above 1",
                                               keys.full("rope.freq_base"), config.rope_theta)};
    }
    config.rope_scaling = RopeScaling::kYarn;
    config.rope_magnitude = attn_factor * yarn_magnitude(config.rope_factor, 1.0f);
  } else if (type == "linear" && config.rope_factor != 1.0f) {
    config.rope_scaling = RopeScaling::kLinear;
  } else if (type == "linear" || type == "none") {
    config.rope_scaling = has_divisors ? RopeScaling::kLlama3 : RopeScaling::kNone;
    config.rope_factor = 1.0f;
  } else {
    return Error{Code::kUnsupported,
                 fmt::format("key {} is \"{}\"", keys.full("rope.scaling.type"), type),
                 "supported: none, linear, yarn, and llama3 through rope_freqs.weight"};
  }
  return {};
}

/// What other members of the family add and this decoder does not compute: refuse instead of
/// answering wrongly.
Status refuse_unknown_parts(const Keys& keys, const Architecture& architecture,
                            const ModelConfig& config) {
  if (!architecture.experts) {
    TRY(int64_t experts, keys.integer_or("expert_count", 0, 0, INT64_MAX));
    if (experts > 0) {
      return Error{Code::kUnsupported,
                   fmt::format("key {} is {}: experts are not supported with architecture \"{}\"",
                               keys.full("expert_count"), experts, architecture.name)};
    }
  }
  TRY(int64_t window, keys.integer_or("attention.sliding_window", 0, 0, INT64_MAX));
  if (window > 0 && window < config.n_ctx_train) {
    return Error{Code::kUnsupported, fmt::format("key {} is {}: sliding-window attention is not "
                                                 "supported yet",
                                                 keys.full("attention.sliding_window"), window)};
  }
  return {};
}

Status read_vocabulary(const GgufFile& file, const Keys& keys, ModelConfig& config) {
  const TensorView* embedding = file.find_tensor("token_embd.weight");
  if (embedding == nullptr) {
    return Error{Code::kCorrupt, "tensor token_embd.weight is missing",
                 "the file may be an adapter, a projector or one part of a split model"};
  }
  config.n_vocab = embedding->ne[1];
  if (config.n_vocab < 1 || config.n_vocab > static_cast<int64_t>(limits::kVocabTokens)) {
    return Error{Code::kCorrupt,
                 fmt::format("tensor token_embd.weight has {} rows, expected 1 to {}",
                             config.n_vocab, limits::kVocabTokens)};
  }
  const GgufValue* tokens = file.find("tokenizer.ggml.tokens");
  const uint64_t rows = static_cast<uint64_t>(config.n_vocab);
  if (tokens != nullptr && tokens->count() != rows) {
    return Error{Code::kCorrupt, fmt::format("key tokenizer.ggml.tokens has {} entries, but tensor "
                                             "token_embd.weight has {} rows",
                                             tokens->count(), rows)};
  }
  if (tokens == nullptr) {
    TRY(int64_t size, keys.integer_or("vocab_size", config.n_vocab, 1, INT64_MAX));
    if (size != config.n_vocab) {
      return Error{Code::kCorrupt,
                   fmt::format("key {} is {}, but tensor token_embd.weight has {} rows",
                               keys.full("vocab_size"), size, rows)};
    }
  }
  config.tied_head = file.find_tensor("output.weight") == nullptr;
  return {};
}

}  // namespace

Result<ModelConfig> ModelConfig::from_gguf(const GgufFile& file) {
  TRY(const Architecture* architecture, find_architecture(file));
  ModelConfig config;
  config.architecture = architecture->name;
  config.rope_style = architecture->rope_style;
  config.qk_norm = architecture->qk_norm;
  const Keys keys(file, architecture->name);
  TRY_STATUS(read_shape(keys, config));
  // Directories of safetensors keep the halves of a head apart where GGUF's converters do not.
  TRY(const std::optional<bool> half_split, file.boolean(keys.full("rope.half_split")));
  if (half_split == true) config.rope_style = RopeStyle::kHalfSplit;
  TRY(config.rms_eps, keys.positive("attention.layer_norm_rms_epsilon", 1.0));
  TRY_STATUS(read_vocabulary(file, keys, config));
  if (architecture->latent) {
    TRY_STATUS(read_latent_heads(file, keys, config));
  } else {
    TRY_STATUS(read_heads(keys, config));
  }
  TRY_STATUS(read_rope(keys, config, file.find_tensor("rope_freqs.weight") != nullptr));
  if (architecture->latent) {
    TRY_STATUS(read_latent_scale(keys, config));
    // Converters may count the layer and leave it out.
    const std::string join = fmt::format("blk.{}.nextn.eh_proj.weight", config.n_layers);
    config.predicts = file.find_tensor(join) != nullptr;
  }
  if (architecture->indexer) {
    TRY_STATUS(read_indexer(keys, config));
  }
  if (architecture->experts) {
    TRY_STATUS(read_experts(keys, config));
  }
  TRY_STATUS(refuse_unknown_parts(keys, *architecture, config));
  return config;
}

}  // namespace hadal
