#include <algorithm>

#include <fmt/format.h>

#include "base/limits.h"
#include "engine/sampling.h"

namespace hadal {
namespace {

Error bad(std::string message) {
  return {Code::kInvalidArgument, std::move(message)};
}

/// NaN fails every comparison, so it is out of every range.
Status in_range(const char* name, float value, float low, float high) {
  if (value >= low && value <= high) return {};
  return bad(fmt::format("{} must be from {} to {}, got {}", name, low, high, value));
}

Status above_zero(const char* name, float value, float high) {
  if (value > 0 && value <= high) return {};
  return bad(fmt::format("{} must be above 0 and at most {}, got {}", name, high, value));
}

Status validate_bias(const std::vector<std::pair<TokenId, float>>& bias, int64_t n_vocab) {
  if (bias.size() > static_cast<size_t>(limits::kLogitBiasEntries)) {
    return bad(fmt::format("logit_bias has {} entries, at most {} are allowed", bias.size(),
                           limits::kLogitBiasEntries));
  }
  std::vector<TokenId> ids;
  for (const auto& [id, value] : bias) {
    if (id < 0 || id >= n_vocab) {
      return bad(
          fmt::format("logit_bias names token {}, the vocabulary has 0 to {}", id, n_vocab - 1));
    }
    TRY_STATUS(in_range("logit_bias", value, -100, 100));
    ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  const auto twice = std::adjacent_find(ids.begin(), ids.end());
  if (twice != ids.end()) return bad(fmt::format("logit_bias names token {} twice", *twice));
  return {};
}

}  // namespace

Status validate(const SamplingParams& params, int64_t n_vocab) {
  TRY_STATUS(in_range("temperature", params.temperature, 0, 100));
  if (params.top_k < 0) return bad(fmt::format("top_k must be 0 or more, got {}", params.top_k));
  TRY_STATUS(above_zero("top_p", params.top_p, 1));
  TRY_STATUS(in_range("min_p", params.min_p, 0, 1));
  TRY_STATUS(above_zero("typical_p", params.typical_p, 1));
  if (params.mirostat != 0 && params.mirostat != 2) {
    return bad(fmt::format("mirostat must be 0 or 2, got {}", params.mirostat));
  }
  TRY_STATUS(in_range("mirostat_tau", params.mirostat_tau, 0, 20));
  TRY_STATUS(in_range("mirostat_eta", params.mirostat_eta, 0, 1));
  TRY_STATUS(above_zero("repetition_penalty", params.repetition_penalty, 10));
  TRY_STATUS(in_range("presence_penalty", params.presence_penalty, -2, 2));
  TRY_STATUS(in_range("frequency_penalty", params.frequency_penalty, -2, 2));
  if (params.top_logprobs < -1 || params.top_logprobs > limits::kTopLogprobs) {
    return bad(fmt::format("top_logprobs must be from 0 to {}, got {}", limits::kTopLogprobs,
                           params.top_logprobs));
  }
  return validate_bias(params.logit_bias, n_vocab);
}

}  // namespace hadal
