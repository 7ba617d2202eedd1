#pragma once
/// Sampling: from logits to one id.
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "engine/token_filter.h"

namespace hadal {

/// Order of application: logit_bias, repetition / presence / frequency penalties, then (unless
/// temperature is 0: arg max, lowest id wins a tie) temperature, top_k, typical_p, top_p, min_p,
/// draw. Each filter works on what the one before left, renormalised; where two tokens tie at a
/// filter's edge the lower id stays.
struct SamplingParams {
  float temperature = 1.0f;  ///< 0..100; 0 = greedy; below 1e-6 counts as 1e-6
  int32_t top_k = 0;         ///< 0 = off
  float top_p = 1.0f;        ///< (0, 1]
  float min_p = 0.0f;        ///< [0, 1]
  /// (0, 1]; 1 = off. Locally typical sampling (2202.00666): keeps the tokens whose surprise is
  /// nearest to the row's entropy, as few as have this probability together.
  float typical_p = 1.0f;
  /// 0 or 2. Mirostat version 2 (2007.14966) takes the place of top_k, typical_p, top_p and min_p:
  /// tokens of a surprise above a bound are dropped, and the bound follows what was drawn.
  int mirostat = 0;
  float mirostat_tau = 5.0f;        ///< [0, 20]; surprise to aim at, in bits
  float mirostat_eta = 0.1f;        ///< [0, 1]; how fast the bound follows
  float repetition_penalty = 1.0f;  ///< (0, 10]; prompt and output tokens, as in CTRL (1909.05858)
  float presence_penalty = 0.0f;    ///< [-2, 2]; output tokens only, as in the OpenAI API
  float frequency_penalty = 0.0f;   ///< [-2, 2]; output tokens only
  /// [-100, 100], each id once. -100 bans the id; when some id has +100, only such ids are chosen.
  std::vector<std::pair<TokenId, float>> logit_bias;
  std::optional<uint64_t> seed;  ///< same seed, same request: same tokens, whatever the batch
  int top_logprobs = -1;         ///< -1: none; 0..20: log-probabilities of that many alternatives
};

/// A token that may be chosen. `weight` is its unnormalised probability, 1 for the most likely.
struct Candidate {
  float logit;
  float weight;
  TokenId id;
};

struct TokenLogprob {
  TokenId id;
  float logprob;
};

/// Names the first parameter out of range.
Status validate(const SamplingParams& params, int64_t n_vocab);

/// One choice. Log-probabilities are those of the model: log-softmax of the row as it came, before
/// bias, penalties and temperature. They are filled only when top_logprobs >= 0.
struct Sampled {
  TokenId id = kNoToken;
  float logprob = 0;
  std::vector<TokenLogprob> top;  ///< most likely first
};

/// State of one sequence: penalties' counts and the random stream. Not thread-safe. The n-th draw
/// depends on the seed and n alone, so a batch or thread count cannot change it.
class Sampler {
 public:
  /// REQUIRES: validate(params) succeeded. `fallback_seed` is used when params has no seed.
  /// `filter` goes along with every choice.
  Sampler(SamplingParams params, std::span<const TokenId> prompt, uint64_t fallback_seed,
          FilterSlot filter = {});

  /// Chooses the next id and counts it. Modifies `logits` in place (n_vocab values). Ids in
  /// `masked`, or outside the filter, cannot be chosen; both beat a bias. With a filter `masked` is
  /// ignored: what a structure ends with must be sayable. kInternal for a row with NaN or where
  /// nothing may be chosen, in which case the state is unchanged. -inf means banned; +inf takes all
  /// probability.
  Result<Sampled> sample(std::span<float> logits, std::span<const TokenId> masked);
  /// Another sampler in the same state, with the same draws to come.
  Sampler fork() const;
  /// The log-probabilities of a choice made elsewhere; the state stays as it is.
  Result<Sampled> score(std::span<float> logits, TokenId id);
  /// The filter's sure guesses; none without one.
  void forced(int64_t most, std::vector<TokenId>& out) const;
  bool filtered() const { return static_cast<bool>(filter_); }

 private:
  Sampler() = default;
  /// Whether the row may have changed.
  bool adjust(std::span<float> logits, std::span<const TokenId> masked);
  bool apply_filter(std::span<float> logits);
  void apply_bias(std::span<float> logits);
  void apply_penalties(std::span<float> logits);
  void set_logit(std::span<float> logits, TokenId id, float value);
  void report(std::span<const float> logits, float row_max, Sampled& out);
  TokenId draw(std::span<const float> logits, float row_max);
  TokenId draw_mirostat(std::span<const float> logits, double total);
  void filter_candidates(std::span<const float> logits, float row_max, float inverse);
  void keep_typical(std::span<const float> logits, float row_max, float inverse);
  void gather_all(std::span<const float> logits);
  void gather_likely(std::span<const float> logits, double target);
  TokenId draw_from_candidates();
  TokenId draw_from_row(double total);
  double next_uniform();
  void count(TokenId id);
  bool penalised() const {
    return params_.repetition_penalty != 1.0f || params_.presence_penalty != 0 ||
           params_.frequency_penalty != 0;
  }

  SamplingParams params_;
  FilterSlot filter_;
  std::vector<std::pair<TokenId, int32_t>> output_counts_;  ///< sorted by id
  std::vector<TokenId> prompt_ids_;                         ///< sorted, unique; kept for repetition
  uint64_t random_state_ = 0;
  double surprise_bound_ = 0;  ///< mirostat's, in bits
  // Scratch, kept to save allocations.
  std::vector<std::pair<TokenId, float>> touched_;  ///< ids whose logit changed, and what it was
  std::vector<Candidate> candidates_;
  std::vector<Candidate> partition_;
  std::vector<float> weights_;
  std::vector<double> block_sums_;
};

}  // namespace hadal
