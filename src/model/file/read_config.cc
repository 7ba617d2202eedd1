#include "model/file/read_config.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/limits.h"
#include "model/rope_table.h"

namespace hadal {
namespace {

/// Vocabulary of V3 and its successors; older files lack keys that differ between generations.
constexpr int64_t kV3Vocabulary = 129280;

/// Groups of experts where the file does not say: the published shapes of V3 and V2.
struct Groups {
  int64_t n_groups;
  int64_t n_groups_used;
};
Groups usual_groups(int64_t n_experts, int64_t n_vocab) {
  if (n_experts == 256 && n_vocab == kV3Vocabulary) return {8, 4};
  if (n_experts == 160) return {8, 3};
  return {1, 1};
}

Status read_gating(const Keys& keys, RouterParams& router) {
  TRY(int64_t gating, keys.integer_or("expert_gating_func", 1, 0, INT32_MAX));
  switch (gating) {
    case 0:  // "none" in files whose converter did not know
    case 1:
      router.gating = Gating::kSoftmax;
      return {};
    case 2:
      router.gating = Gating::kSigmoid;
      return {};
    case 4:
      router.gating = Gating::kSqrtSoftplus;
      return {};
    default:
      return Error{Code::kUnsupported,
                   fmt::format("key {} is {}", keys.full("expert_gating_func"), gating),
                   "supported: 1 (softmax), 2 (sigmoid), 4 (square root of softplus)"};
  }
}

Status read_groups(const Keys& keys, int64_t n_vocab, RouterParams& router) {
  const Groups usual = usual_groups(router.n_experts, n_vocab);
  TRY(router.n_groups, keys.integer_or("expert_group_count", usual.n_groups, 1, kRouterExpertsMax));
  TRY(router.n_groups_used,
      keys.integer_or("expert_group_used_count", std::min(usual.n_groups_used, router.n_groups), 1,
                      router.n_groups));
  const int64_t per_group = router.n_experts / router.n_groups;
  if (router.n_experts % router.n_groups != 0 || per_group * router.n_groups_used < router.n_used) {
    return Error{Code::kCorrupt,
                 fmt::format("key {} is {}: {} experts cannot be had from {} of {} groups of {}",
                             keys.full("expert_group_count"), router.n_groups, router.n_used,
                             router.n_groups_used, router.n_groups, router.n_experts)};
  }
  return {};
}

}  // namespace

Status read_latent_heads(const GgufFile& file, const Keys& keys, ModelConfig& config) {
  LatentConfig& latent = config.latent;
  TRY(latent.kv_lora_rank, keys.integer("attention.kv_lora_rank", 1, limits::kModelWidth));
  TRY(latent.q_lora_rank, keys.integer_or("attention.q_lora_rank", 0, 0, limits::kModelWidth));
  // V2-Lite's files may carry the rank of its bigger sister: the tensors tell.
  if (file.find_tensor("blk.0.attn_q.weight") != nullptr) latent.q_lora_rank = 0;
  TRY(latent.d_rope, keys.integer("rope.dimension_count", 2, limits::kModelWidth));
  const bool newer = keys.has("attention.key_length_mla");
  const std::string_view key = newer ? "attention.key_length_mla" : "attention.key_length";
  TRY(int64_t d_query, keys.integer(key, latent.d_rope + 1, limits::kModelWidth));
  TRY(latent.d_value, keys.integer(newer ? "attention.value_length_mla" : "attention.value_length",
                                   1, limits::kModelWidth));
  latent.d_nope = d_query - latent.d_rope;
  config.rope_dims = latent.d_rope;
  config.n_kv_heads = 1;
  config.d_head = latent.d_cache();
  return {};
}

Status read_latent_scale(const Keys& keys, ModelConfig& config) {
  const LatentConfig& latent = config.latent;
  config.attention_scale = 1.0f / std::sqrt(static_cast<float>(latent.d_query()));
  if (config.rope_scaling != RopeScaling::kYarn) return {};
  // The file has 0.1 * mscale_all_dim. Without it: the values of the published models.
  const float usual = config.n_vocab == kV3Vocabulary ? 0.1f : 0.0707f;
  TRY(float multiplier, keys.positive_or("rope.scaling.yarn_log_multiplier", usual, 1e3));
  const float magnitude = yarn_magnitude(config.rope_factor, multiplier / 0.1f);
  config.attention_scale *= magnitude * magnitude;
  config.rope_magnitude = 1.0f;
  return {};
}

Status read_indexer(const Keys& keys, ModelConfig& config) {
  IndexerConfig& indexer = config.indexer;
  TRY(indexer.n_heads, keys.integer("attention.indexer.head_count", 1, limits::kModelHeads));
  TRY(indexer.d_index,
      keys.integer("attention.indexer.key_length", config.latent.d_rope, limits::kModelWidth));
  TRY(indexer.top_k, keys.integer("attention.indexer.top_k", 1, limits::kModelContext));
  if (config.latent.q_lora_rank == 0) {
    return Error{Code::kCorrupt, fmt::format("key {} is missing: the indexer reads that rank",
                                             keys.full("attention.q_lora_rank"))};
  }
  return {};
}

Status read_experts(const Keys& keys, ModelConfig& config) {
  MoeConfig& moe = config.moe;
  RouterParams& router = moe.router;
  TRY(router.n_experts, keys.integer_or("expert_count", 0, 0, kRouterExpertsMax));
  if (router.n_experts == 0) return {};
  TRY(router.n_used, keys.integer("expert_used_count", 1, router.n_experts));
  TRY(moe.d_expert, keys.integer("expert_feed_forward_length", 1, limits::kModelWidth));
  TRY(int64_t n_shared, keys.integer_or("expert_shared_count", 0, 0, kRouterExpertsMax));
  moe.d_shared = n_shared * moe.d_expert;
  TRY(moe.n_dense_layers, keys.integer_or("leading_dense_block_count", 0, 0, limits::kModelLayers));
  TRY(router.norm_weights, keys.boolean_or("expert_weights_norm", false));
  TRY(router.weight_scale, keys.positive_or("expert_weights_scale", 1.0f, 1e6));
  TRY_STATUS(read_gating(keys, router));
  return read_groups(keys, config.n_vocab, router);
}

}  // namespace hadal
