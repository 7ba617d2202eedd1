#pragma once
/// Sampling: from logits to one id.
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace hadal {

/// Order of application: logit_bias, repetition / presence / frequency penalties, then (unless
/// temperature is 0: arg max, lowest id wins a tie) temperature, top_k, top_p, min_p, draw.
struct SamplingParams {
  float temperature = 1.0f;          ///< 0..100; 0 = greedy
  int32_t top_k = 0;                 ///< 0 = off
  float top_p = 1.0f;                ///< (0, 1]
  float min_p = 0.0f;                ///< [0, 1]
  float repetition_penalty = 1.0f;   ///< (0, 10]; prompt and output tokens, as in CTRL (1909.05858)
  float presence_penalty = 0.0f;     ///< [-2, 2]; output tokens only, as in the OpenAI API
  float frequency_penalty = 0.0f;    ///< [-2, 2]; output tokens only
  std::vector<std::pair<TokenId, float>> logit_bias;  ///< [-100, 100]
  std::optional<uint64_t> seed;      ///< same seed, same request: same tokens, whatever the batch
  int top_logprobs = -1;             ///< -1: none; 0..20: log-probabilities of that many alternatives
};

struct TokenLogprob {
  TokenId id;
  float logprob;
};

/// Names the first parameter out of range.
Status validate(const SamplingParams& params, int64_t n_vocab);

struct Sampled {
  TokenId id = kNoToken;
  float logprob = 0;
  std::vector<TokenLogprob> top;
};

/// State of one sequence: penalties' counts and the random stream. Not thread-safe.
class Sampler {
 public:
  Sampler(SamplingParams params, std::span<const TokenId> prompt, uint64_t fallback_seed);
  /// Modifies `logits` in place (n_vocab values). Ids in `masked` cannot be chosen. NaN rows are an
  /// error, not a crash.
  Result<Sampled> sample(std::span<float> logits, std::span<const TokenId> masked);

 private:
  struct Scratch;
  SamplingParams params_;
  std::vector<std::pair<TokenId, int32_t>> output_counts_;  ///< sorted by id
  std::vector<TokenId> prompt_ids_;                         ///< sorted, unique
  uint64_t random_state_;
  std::vector<std::pair<float, TokenId>> candidates_;
};

}  // namespace hadal
