/// Config::from_gguf: every number is checked here once, so that the rest can multiply and divide
/// without looking back. Errors name the key (or tensor) and its value.
#include "model/deepseek4/config.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include <fmt/format.h>

#include "base/limits.h"
#include "model/deepseek4/hyper_connections.h"
#include "model/file/keys.h"
#include "model/rope_table.h"

namespace hadal::deepseek4 {
namespace {

constexpr int64_t kGatingSqrtSoftplus = 4;  // of expert_gating_func
constexpr int64_t kSinkhornMax = 1000;

Error bad_key(const Keys& keys, std::string_view key, const std::string& what) {
  return Error{Code::kCorrupt, fmt::format("key {} {}", keys.full(key), what)};
}

Status read_shape(const GgufFile& file, const Keys& keys, Config& config) {
  TRY(const int64_t blocks, keys.integer("block_count", 1, limits::kModelLayers));
  TRY(const int64_t predicting, keys.integer_or("nextn_predict_layers", 0, 0, blocks));
  // Files name the block without having it; one that has it alone has no first block.
  const std::string last = fmt::format("blk.{}.nextn.eh_proj.weight", blocks - 1);
  config.n_layers = file.find_tensor(last) != nullptr ? blocks - predicting : blocks;
  if (config.n_layers == 0 || file.find_tensor("blk.0.attn_norm.weight") == nullptr) {
    return Error{Code::kUnsupported,
                 "the file has no first block: it may hold the prediction block "
                 "of a model alone",
                 "load the model's main file"};
  }
  TRY(config.n_ctx_train, keys.integer("context_length", 1, limits::kModelContext));
  TRY(config.d_model, keys.integer("embedding_length", 1, limits::kModelWidth));
  TRY(config.rms_eps, keys.positive("attention.layer_norm_rms_epsilon", 1.0));
  const TensorView* embedding = file.find_tensor("token_embd.weight");
  if (embedding == nullptr) {
    return Error{Code::kCorrupt, "tensor token_embd.weight is missing",
                 "the file may be one part of a split model"};
  }
  config.n_vocab = embedding->ne[1];
  if (config.n_vocab < 1 || config.n_vocab > static_cast<int64_t>(limits::kVocabTokens)) {
    return Error{Code::kCorrupt,
                 fmt::format("tensor token_embd.weight has {} rows, expected 1 to {}",
                             config.n_vocab, limits::kVocabTokens)};
  }
  const GgufValue* tokens = file.find("tokenizer.ggml.tokens");
  if (tokens != nullptr && tokens->count() != static_cast<uint64_t>(config.n_vocab)) {
    return Error{Code::kCorrupt, fmt::format("key tokenizer.ggml.tokens has {} entries, but tensor "
                                             "token_embd.weight has {} rows",
                                             tokens->count(), config.n_vocab)};
  }
  return {};
}

Status read_attention(const Keys& keys, Config& config) {
  TRY(config.n_heads, keys.integer("attention.head_count", 1, limits::kModelHeads));
  TRY(config.d_head, keys.integer("attention.key_length", 1, limits::kModelWidth));
  TRY(const int64_t value_length,
      keys.integer_or("attention.value_length", config.d_head, 1, limits::kModelWidth));
  if (value_length != config.d_head) {
    return bad_key(keys, "attention.value_length",
                   fmt::format("is {}, but keys, which are the values, are {} wide", value_length,
                               config.d_head));
  }
  // Whole blocks of 32 columns, which keys are stored in.
  if (config.d_head % 32 != 0) {
    return Error{Code::kUnsupported, fmt::format("key {} is {}, expected a multiple of 32",
                                                 keys.full("attention.key_length"), config.d_head)};
  }
  TRY(const int64_t kv_heads, keys.integer_or("attention.head_count_kv", 1, 1, 1));
  static_cast<void>(kv_heads);
  TRY(config.q_lora_rank, keys.integer("attention.q_lora_rank", 1, limits::kModelWidth));
  TRY(config.o_groups, keys.integer("attention.output_group_count", 1, config.n_heads));
  if (config.n_heads % config.o_groups != 0) {
    return bad_key(keys, "attention.output_group_count",
                   fmt::format("is {}, which {} heads cannot be dealt out to", config.o_groups,
                               config.n_heads));
  }
  TRY(config.o_lora_rank, keys.integer("attention.output_lora_rank", 1, limits::kModelWidth));
  TRY(config.window, keys.integer("attention.sliding_window", 1, limits::kModelContext));
  return {};
}

Status read_ratios(const Keys& keys, Config& config) {
  TRY(config.ratios,
      keys.integers("attention.compress_ratios", config.n_layers, 0, limits::kModelContext));
  for (const int64_t ratio : config.ratios) {
    if (ratio != 0 && ratio != kSparseRatio && ratio != kHeavyRatio) {
      return Error{Code::kUnsupported, fmt::format("key {} holds {}, expected 0, {} or {}",
                                                   keys.full("attention.compress_ratios"), ratio,
                                                   kSparseRatio, kHeavyRatio)};
    }
  }
  if (!config.any_ratio(kSparseRatio)) return {};
  TRY(config.index_heads, keys.integer("attention.indexer.head_count", 1, limits::kModelHeads));
  TRY(config.index_dim, keys.integer("attention.indexer.key_length", 16, limits::kModelWidth));
  TRY(config.index_top_k, keys.integer("attention.indexer.top_k", 1, limits::kModelContext));
  if (config.index_dim % 16 != 0 || config.index_dim < config.rope_dims) {
    return bad_key(keys, "attention.indexer.key_length",
                   fmt::format("is {}, expected a multiple of 16 and at least {}, the rotated part",
                               config.index_dim, config.rope_dims));
  }
  return {};
}

/// The tables of both kinds of layers; V4 multiplies neither cos nor sin by YaRN's magnitude.
Status read_rope(const Keys& keys, Config& config) {
  TRY(config.rope_dims, keys.integer("rope.dimension_count", 2, config.d_head));
  if (config.rope_dims % 2 != 0) {
    return bad_key(keys, "rope.dimension_count",
                   fmt::format("is {}, which is odd: rope needs pairs", config.rope_dims));
  }
  ModelConfig plain;
  plain.rope_dims = config.rope_dims;
  plain.rope_style = RopeStyle::kInterleaved;
  TRY(plain.rope_theta, keys.positive_or("rope.freq_base", 10000.0f, 1e30));
  config.rope = make_rope_table(plain, {});
  ModelConfig scaled = plain;
  TRY(scaled.rope_theta, keys.positive_or("attention.compress_rope_freq_base", 160000.0f, 1e30));
  TRY(const std::string_view type, keys.string_or("rope.scaling.type", "none"));
  if (type == "yarn") {
    scaled.rope_scaling = RopeScaling::kYarn;
    TRY(scaled.rope_factor, keys.positive_or("rope.scaling.factor", 1.0f, 1e6));
    TRY(scaled.rope_original_context,
        keys.integer_or("rope.scaling.original_context_length", config.n_ctx_train, 1,
                        limits::kModelContext));
    TRY(scaled.yarn_beta_fast, keys.positive_or("rope.scaling.yarn_beta_fast", 32.0f, 1e6));
    TRY(scaled.yarn_beta_slow, keys.positive_or("rope.scaling.yarn_beta_slow", 1.0f, 1e6));
    if (scaled.rope_theta <= 1) {
      return bad_key(keys, "attention.compress_rope_freq_base",
                     fmt::format("is {}, YaRN needs a base above 1", scaled.rope_theta));
    }
  } else if (type != "none") {
    return Error{Code::kUnsupported,
                 fmt::format("key {} is \"{}\"", keys.full("rope.scaling.type"), type),
                 "supported: none, yarn"};
  }
  config.compressed_rope = make_rope_table(scaled, {});
  return {};
}

Status read_hyper_connections(const Keys& keys, Config& config) {
  TRY(config.n_streams, keys.integer("hyper_connection.count", 1, kStreamsMax));
  TRY(config.sinkhorn_iterations,
      keys.integer_or("hyper_connection.sinkhorn_iterations", 20, 1, kSinkhornMax));
  TRY(config.hc_eps, keys.positive_or("hyper_connection.epsilon", 1e-6f, 1.0));
  return {};
}

Status read_experts(const Keys& keys, Config& config) {
  TRY(config.n_experts, keys.integer("expert_count", 1, kRouterExpertsMax));
  TRY(config.n_used, keys.integer("expert_used_count", 1, config.n_experts));
  TRY(config.d_expert, keys.integer("expert_feed_forward_length", 1, limits::kModelWidth));
  TRY(const int64_t shared, keys.integer_or("expert_shared_count", 1, 1, 64));
  config.d_shared = shared * config.d_expert;
  TRY(config.n_hash_layers, keys.integer_or("hash_layer_count", 0, 0, limits::kModelLayers));
  TRY(const int64_t gating, keys.integer_or("expert_gating_func", kGatingSqrtSoftplus, 0, 1000));
  if (gating != kGatingSqrtSoftplus) {
    return Error{Code::kUnsupported,
                 fmt::format("key {} is {}, expected {} (sqrt of softplus)",
                             keys.full("expert_gating_func"), gating, kGatingSqrtSoftplus)};
  }
  TRY(config.expert_scale, keys.positive_or("expert_weights_scale", 1.0f, 1e6));
  TRY(config.normalise_experts, keys.boolean_or("expert_weights_norm", false));
  const float none = std::numeric_limits<float>::infinity();
  TRY(config.clamp, keys.positives_or("swiglu_clamp_exp", config.n_layers,
                                      std::vector<float>(config.ratios.size(), none), 1e30));
  TRY(config.clamp_shared,
      keys.positives_or("swiglu_clamp_shexp", config.n_layers, config.clamp, 1e30));
  return {};
}

}  // namespace

bool Config::any_ratio(int64_t ratio) const {
  return std::find(ratios.begin(), ratios.end(), ratio) != ratios.end();
}

Result<Config> Config::from_gguf(const GgufFile& file) {
  const Keys keys(file, "deepseek4");
  Config config;
  TRY_STATUS(read_shape(file, keys, config));
  TRY_STATUS(read_attention(keys, config));
  TRY_STATUS(read_rope(keys, config));
  TRY_STATUS(read_ratios(keys, config));
  TRY_STATUS(read_hyper_connections(keys, config));
  TRY_STATUS(read_experts(keys, config));
  return config;
}

bool Config::has_prediction_block(const GgufFile& file) const {
  return file.find_tensor(fmt::format("blk.{}.nextn.e_proj.weight", n_layers)) != nullptr;
}

Result<int64_t> Config::prediction_block(const GgufFile& file) const {
  const Keys keys(file, "deepseek4");
  TRY(const std::optional<std::string_view> name, file.string("general.architecture"));
  if (name != "deepseek4") {
    return Error{Code::kInvalidArgument, "the prediction block belongs to another architecture"};
  }
  TRY(const int64_t blocks, keys.integer("block_count", 1, limits::kModelLayers));
  // What tensors do not show must be said to be the same.
  for (const auto& [key, value] :
       {std::pair{"attention.sliding_window", window}, std::pair{"expert_used_count", n_used},
        std::pair{"rope.dimension_count", rope_dims}}) {
    if (keys.integer(key, value, value).ok()) continue;
    return Error{Code::kInvalidArgument,
                 fmt::format("key {} of the prediction block differs from that of the model, {}",
                             keys.full(key), value)};
  }
  return blocks - 1;
}

RouterParams Config::router() const {
  return {.gating = Gating::kSqrtSoftplus,
          .n_experts = n_experts,
          .n_used = n_used,
          .norm_weights = normalise_experts,
          .weight_scale = expert_scale};
}

ModelConfig Config::common() const {
  ModelConfig out;
  out.architecture = "deepseek4";
  out.n_vocab = n_vocab;
  out.n_layers = n_layers;
  out.d_model = d_model;
  out.d_ff = d_expert;
  out.n_heads = n_heads;
  out.n_kv_heads = 1;
  out.d_head = d_head;
  out.n_ctx_train = n_ctx_train;
  out.rms_eps = rms_eps;
  out.attention_scale = 1.0f / std::sqrt(static_cast<float>(d_head));
  out.rope_dims = rope_dims;
  out.moe.router = router();
  out.moe.d_expert = d_expert;
  out.moe.d_shared = d_shared;
  return out;
}

}  // namespace hadal::deepseek4
