#include "tensor/hf/rope.h"

#include <cmath>
#include <numbers>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "base/limits.h"

namespace hadal {
namespace {

constexpr double kFactorMax = 1e6;

/// A number above 0.
Result<double> positive(const JsonFile& block, std::string_view key, double high) {
  TRY(const double value, block.number(key));
  if (!(value > 0 && value <= high)) {
    return block.error(Code::kCorrupt, key,
                       fmt::format("is {}, expected a number above 0 and up to {}", value, high));
  }
  return value;
}

Result<double> positive_or(const JsonFile& block, std::string_view key, double fallback,
                           double high) {
  if (!block.has(key)) return fallback;
  return positive(block, key, high);
}

/// How YaRN stretches cosine and sine in transformers when nothing else is said.
double yarn_stretch(double factor) {
  return factor > 1 ? 1 + 0.1 * std::log(factor) : 1.0;
}

/// mscale and mscale_all_dim: their quotient would stretch cosine and sine, which no released model
/// wants, and mscale_all_dim stretches the softmax's scale.
Status write_latent_magnitude(const JsonFile& block, MetadataWriter& out) {
  TRY(const double mscale, block.number_or("mscale", 1.0));
  TRY(const double all, block.number_or("mscale_all_dim", 0.0));
  if (mscale != all || !(all > 0)) {
    return block.error(
        Code::kUnsupported, "mscale",
        fmt::format("is {} and mscale_all_dim {}; equal ones above 0 are supported", mscale, all));
  }
  out.number(".rope.scaling.yarn_log_multiplier", 0.1 * all);
  return Status::success();
}

Status write_plain_magnitude(const JsonFile& block, double factor, MetadataWriter& out) {
  if (block.has("mscale") || block.has("mscale_all_dim")) {
    return block.error(Code::kUnsupported, "mscale", "is not supported for this architecture");
  }
  // attention_factor takes the place of the usual stretch, the key of GGUF multiplies it.
  if (block.has("attention_factor")) {
    TRY(const double wanted, positive(block, "attention_factor", 1e3));
    out.number(".rope.scaling.attn_factor", wanted / yarn_stretch(factor));
  }
  // transformers does not know this one, so it is kept where nobody multiplies with it.
  if (block.has("attn_factor")) {
    TRY(const double unknown, positive(block, "attn_factor", 1e3));
    out.number(".rope.scaling.yarn_attn_factor", unknown);
  }
  return Status::success();
}

Status write_yarn(const JsonFile& config, const JsonFile& block, HfRopeKind kind,
                  MetadataWriter& out) {
  TRY(const double factor, positive(block, "factor", kFactorMax));
  TRY(const int64_t context, config.integer("max_position_embeddings", 1, limits::kModelContext));
  TRY(const int64_t original,
      block.integer_or("original_max_position_embeddings", context, 1, limits::kModelContext));
  TRY(const double fast, positive_or(block, "beta_fast", 32, kFactorMax));
  TRY(const double slow, positive_or(block, "beta_slow", 1, kFactorMax));
  out.string(".rope.scaling.type", "yarn");
  out.number(".rope.scaling.factor", factor);
  out.integer(".rope.scaling.original_context_length", original);
  out.number(".rope.scaling.yarn_beta_fast", fast);
  out.number(".rope.scaling.yarn_beta_slow", slow);
  if (kind == HfRopeKind::kLatent) return write_latent_magnitude(block, out);
  if (kind == HfRopeKind::kPlain) return write_plain_magnitude(block, factor, out);
  return Status::success();
}

/// What each pair's frequency is divided by: nothing for short waves, the factor for long ones,
/// something between for those between.
Result<std::vector<float>> llama3_divisors(const JsonFile& block, double theta, int64_t dims) {
  TRY(const double factor, positive(block, "factor", kFactorMax));
  TRY(const double low, positive(block, "low_freq_factor", kFactorMax));
  TRY(const double high, positive(block, "high_freq_factor", kFactorMax));
  TRY(const int64_t original,
      block.integer("original_max_position_embeddings", 1, limits::kModelContext));
  if (high <= low) {
    return block.error(Code::kCorrupt, "high_freq_factor", "is not above low_freq_factor");
  }
  std::vector<float> out;
  for (int64_t i = 0; i < dims / 2; ++i) {
    const double wave = 2 * std::numbers::pi *
                        std::pow(theta, 2.0 * static_cast<double>(i) / static_cast<double>(dims));
    const double turns = static_cast<double>(original) / wave;
    const double smooth = (turns - low) / (high - low);
    const double divisor = turns > high  ? 1.0
                           : turns < low ? factor
                                         : 1 / ((1 - smooth) / factor + smooth);
    out.push_back(static_cast<float>(divisor));
  }
  return out;
}

}  // namespace

Result<std::vector<float>> write_hf_rope(const JsonFile& config, HfRopeKind kind, int64_t dims,
                                         MetadataWriter& out) {
  TRY(const std::optional<JsonFile> both, config.child("rope_parameters"));
  TRY(const std::optional<JsonFile> scaling, config.child("rope_scaling"));
  const JsonFile& theta_in = !config.has("rope_theta") && both ? *both : config;
  TRY(const double theta, positive_or(theta_in, "rope_theta", 10000.0, 1e30));
  out.integer(".rope.dimension_count", dims);
  out.number(".rope.freq_base", theta);
  const std::optional<JsonFile>& block = both ? both : scaling;
  if (!block) return std::vector<float>();
  TRY(const std::string old_name, block->string_or("type", "default"));
  TRY(const std::string type, block->string_or("rope_type", old_name));
  if (type == "default") return std::vector<float>();
  if (type == "linear") {
    TRY(const double factor, positive(*block, "factor", kFactorMax));
    out.string(".rope.scaling.type", "linear");
    out.number(".rope.scaling.factor", factor);
    return std::vector<float>();
  }
  if (type == "yarn") {
    TRY_STATUS(write_yarn(config, *block, kind, out));
    return std::vector<float>();
  }
  if (type == "llama3" && kind == HfRopeKind::kPlain) return llama3_divisors(*block, theta, dims);
  return Error{Code::kUnsupported,
               fmt::format("{}: rope type \"{}\" is not supported", block->where(), type),
               "supported: default, linear, yarn, and llama3 for dense models"};
}

}  // namespace hadal
