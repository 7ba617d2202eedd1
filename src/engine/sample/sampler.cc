/// From a row of logits to one id.
///
///   adjust()  filter, mask, bias, penalties: the last three touch only the ids they name, and
///             what was there is remembered
///   draw()    temperature, top_k, typical_p, top_p, min_p: leaves a kept set in rising id order,
///   or
///             the whole row when no filter is on; then one uniform number picks by cumulative
///             weight
///
/// Picking in id order makes the outcome independent of how the kept set was found, so the partial
/// selections here choose exactly what a full sort would (the tests' naive twin does one).
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "engine/sample/select.h"
#include "engine/sample/weights.h"
#include "engine/sampling.h"

namespace hadal {
namespace {

constexpr float kBanned = -std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kBiasBan = -100.0f;
constexpr float kBiasForce = 100.0f;
constexpr float kTemperatureMin = 1e-6f;  // below, logit differences over it overflow a float

/// splitmix64 (Steele, Lea, Flood 2014): a counter and a mixing function.
uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

size_t index_of(TokenId id) {
  return static_cast<size_t>(id);
}

/// Keeps finite arithmetic finite, so that a penalty never turns into a ban.
float clamp_finite(float value) {
  return std::clamp(value, -kLargest, kLargest);
}

}  // namespace

Sampler::Sampler(SamplingParams params, std::span<const TokenId> prompt, uint64_t fallback_seed,
                 FilterSlot filter)
    : params_(std::move(params)),
      filter_(std::move(filter)),
      // Mixed, so that seeds n and n + 1 do not give streams that are shifts of each other.
      random_state_(mix(params_.seed.value_or(fallback_seed) + 0x9E3779B97F4A7C15u)),
      surprise_bound_(2.0 * params_.mirostat_tau) {  // where the paper starts
  if (params_.repetition_penalty == 1.0f) return;
  prompt_ids_.assign(prompt.begin(), prompt.end());
  std::sort(prompt_ids_.begin(), prompt_ids_.end());
  prompt_ids_.erase(std::unique(prompt_ids_.begin(), prompt_ids_.end()), prompt_ids_.end());
}

namespace {

/// The largest logit, after a check and with +inf cut to a number.
Result<RowScan> checked_row(std::span<float> logits) {
  RowScan row = scan_row(logits);
  if (row.has_nan) return Error{Code::kInternal, "the model computed logits that are not numbers"};
  if (row.max > kLargest) {
    for (float& x : logits) x = x > kLargest ? kLargest : x;
    row.max = kLargest;
  }
  if (row.max == kBanned) return Error{Code::kInternal, "the model ruled out every token"};
  return row;
}

}  // namespace

Result<Sampled> Sampler::sample(std::span<float> logits, std::span<const TokenId> masked) {
  TRY(RowScan row, checked_row(logits));

  Sampled out;
  const float model_max = row.max;
  const bool wants_logprobs = params_.top_logprobs >= 0;
  if (wants_logprobs) report(logits, model_max, out);

  if (adjust(logits, masked)) row = scan_row(logits);
  if (row.max == kBanned) {
    return Error{Code::kInternal, "no token may be chosen: all are masked or banned"};
  }
  out.id = params_.temperature == 0 ? first_index_of(logits, row.max) : draw(logits, row.max);
  if (wants_logprobs) {
    // The first entry for an id holds the model's own value.
    const auto changed = std::find_if(touched_.begin(), touched_.end(),
                                      [&](const auto& entry) { return entry.first == out.id; });
    const float logit = changed != touched_.end() ? changed->second : logits[index_of(out.id)];
    out.logprob = clamp_finite(logit - model_max + out.logprob);
  }
  count(out.id);
  if (filter_ && !filter_->accept(out.id)) {
    return Error{Code::kInternal, "the answer's structure cannot go on"};
  }
  return out;
}

void Sampler::forced(int64_t most, std::vector<TokenId>& out) const {
  if (filter_) filter_->forced(most, out);
}

Sampler Sampler::fork() const {
  Sampler out;
  out.params_ = params_;
  out.filter_ = filter_;
  out.output_counts_ = output_counts_;
  out.prompt_ids_ = prompt_ids_;
  out.random_state_ = random_state_;
  out.surprise_bound_ = surprise_bound_;
  return out;
}

Result<Sampled> Sampler::score(std::span<float> logits, TokenId id) {
  TRY(RowScan row, checked_row(logits));
  Sampled out;
  out.id = id;
  report(logits, row.max, out);
  out.logprob = clamp_finite(logits[index_of(id)] - row.max + out.logprob);
  return out;
}

/// Leaves -log(sum exp(logit - max)) in out.logprob, which sample() completes.
void Sampler::report(std::span<const float> logits, float row_max, Sampled& out) {
  weights_.resize(logits.size());
  const double total = exp_weights(logits, row_max, 1.0f, weights_, block_sums_);
  const float log_total = static_cast<float>(std::log(total));
  out.logprob = -log_total;
  if (params_.top_logprobs == 0) return;
  select_top_k(logits, static_cast<size_t>(params_.top_logprobs), partition_, candidates_);
  std::sort(candidates_.begin(), candidates_.end(), better);
  for (const Candidate& c : candidates_) {
    out.top.push_back({c.id, clamp_finite(c.logit - row_max - log_total)});
  }
}

void Sampler::set_logit(std::span<float> logits, TokenId id, float value) {
  touched_.emplace_back(id, logits[index_of(id)]);
  logits[index_of(id)] = value;
}

bool Sampler::adjust(std::span<float> logits, std::span<const TokenId> masked) {
  touched_.clear();
  const bool filtered = apply_filter(logits);
  for (TokenId id : masked) {
    if (filter_) break;
    if (id >= 0 && index_of(id) < logits.size()) set_logit(logits, id, kBanned);
  }
  apply_bias(logits);
  apply_penalties(logits);
  return filtered || !touched_.empty();
}

/// What it bans can not be chosen, so nobody asks for its value later: touched_ stays as it is.
bool Sampler::apply_filter(std::span<float> logits) {
  const std::span<const uint64_t> allowed =
      filter_ ? filter_->allowed() : std::span<const uint64_t>();
  if (allowed.empty()) return false;
  constexpr size_t kBits = 64;
  for (size_t first = 0; first < logits.size(); first += kBits) {
    uint64_t banned = first / kBits < allowed.size() ? ~allowed[first / kBits] : ~uint64_t{0};
    const std::span<float> part = logits.subspan(first, std::min(kBits, logits.size() - first));
    if (banned == ~uint64_t{0}) {
      std::fill(part.begin(), part.end(), kBanned);
      continue;
    }
    if (part.size() < kBits) banned &= (uint64_t{1} << part.size()) - 1;
    for (; banned != 0; banned &= banned - 1) {
      part[static_cast<size_t>(std::countr_zero(banned))] = kBanned;
    }
  }
  return true;
}

void Sampler::apply_bias(std::span<float> logits) {
  candidates_.clear();  // the forced ids that may be chosen
  for (const auto& [id, bias] : params_.logit_bias) {
    const float logit = logits[index_of(id)];
    if (logit == kBanned) continue;
    set_logit(logits, id, bias <= kBiasBan ? kBanned : clamp_finite(logit + bias));
    if (bias >= kBiasForce) candidates_.push_back({logits[index_of(id)], 0, id});
  }
  if (candidates_.empty()) return;
  std::fill(logits.begin(), logits.end(), kBanned);
  for (const Candidate& c : candidates_) logits[index_of(c.id)] = c.logit;
}

void Sampler::apply_penalties(std::span<float> logits) {
  const float repetition = params_.repetition_penalty;
  const auto repeated = [&](TokenId id) {
    const float logit = logits[index_of(id)];
    if (logit == kBanned) return;
    set_logit(logits, id, clamp_finite(logit > 0 ? logit / repetition : logit * repetition));
  };
  if (repetition != 1.0f) {
    for (TokenId id : prompt_ids_) repeated(id);
    for (const auto& [id, times] : output_counts_) {
      if (!std::binary_search(prompt_ids_.begin(), prompt_ids_.end(), id)) repeated(id);
    }
  }
  if (params_.presence_penalty == 0 && params_.frequency_penalty == 0) return;
  for (const auto& [id, times] : output_counts_) {
    const float logit = logits[index_of(id)];
    if (logit == kBanned) continue;
    const float penalty =
        params_.presence_penalty + params_.frequency_penalty * static_cast<float>(times);
    set_logit(logits, id, clamp_finite(logit - penalty));
  }
}

TokenId Sampler::draw(std::span<const float> logits, float row_max) {
  const float inverse = 1.0f / std::max(params_.temperature, kTemperatureMin);
  const size_t top_k = static_cast<size_t>(params_.top_k);
  if (params_.mirostat == 0 && top_k > 0 && top_k < logits.size()) {
    select_top_k(logits, top_k, partition_, candidates_);
    for (Candidate& c : candidates_) c.weight = exp_weight(c.logit, row_max, inverse);
    filter_candidates(logits, row_max, inverse);
    return draw_from_candidates();
  }
  weights_.resize(logits.size());
  const double total = exp_weights(logits, row_max, inverse, weights_, block_sums_);
  if (params_.mirostat == 2) return draw_mirostat(logits, total);
  if (params_.typical_p < 1.0f) {
    gather_all(logits);
    filter_candidates(logits, row_max, inverse);
    return draw_from_candidates();
  }
  if (params_.top_p == 1.0f && params_.min_p == 0) return draw_from_row(total);
  gather_likely(logits, params_.top_p < 1.0f ? params_.top_p * total : 2 * total);
  return draw_from_candidates();
}

/// Every token that has weight, in id order.
void Sampler::gather_all(std::span<const float> logits) {
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (weights_[i] == 0) continue;
    candidates_.push_back({logits[i], weights_[i], static_cast<TokenId>(i)});
  }
}

void Sampler::filter_candidates(std::span<const float> logits, float row_max, float inverse) {
  if (params_.typical_p < 1.0f) keep_typical(logits, row_max, inverse);
  if (params_.top_p < 1.0f) {
    double total = 0;
    for (const Candidate& c : candidates_) total += c.weight;
    keep_nucleus(params_.top_p * total, partition_, candidates_);
  }
  if (params_.min_p == 0) return;
  float best = 0;
  for (const Candidate& c : candidates_) best = std::max(best, c.weight);
  std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < params_.min_p * best; });
}

/// Ordered by how far a token's surprise is from the mean surprise, which is the entropy:
/// -ln p = ln total - z for p = exp(z) / total.
void Sampler::keep_typical(std::span<const float> logits, float row_max, float inverse) {
  double total = 0;
  double mean_z = 0;
  for (const Candidate& c : candidates_) {
    total += c.weight;
    // Without weight a token adds nothing, and its z may be infinite.
    if (c.weight > 0) mean_z += c.weight * double{(c.logit - row_max) * inverse};
  }
  mean_z /= total;
  for (Candidate& c : candidates_) {
    const double z = double{(c.logit - row_max) * inverse};
    c.logit = static_cast<float>(-std::abs(z - mean_z));
  }
  keep_nucleus(params_.typical_p * total, partition_, candidates_);
  for (Candidate& c : candidates_) c.logit = logits[index_of(c.id)];
}

TokenId Sampler::draw_mirostat(std::span<const float> logits, double total) {
  const auto surprise = [&](float weight) { return std::log2(total / double{weight}); };
  const double least = total * std::exp2(-surprise_bound_);
  gather_all(logits);
  // The most likely token has weight 1 and stays.
  std::erase_if(candidates_,
                [&](const Candidate& c) { return c.weight < 1 && double{c.weight} < least; });
  const TokenId id = draw_from_candidates();
  const double error = surprise(weights_[index_of(id)]) - params_.mirostat_tau;
  surprise_bound_ -= params_.mirostat_eta * error;
  return id;
}

/// Candidates in id order: the nucleus that reaches `target`, less what min_p drops. A peaked row
/// has few weights above 2^-7, so the row is gathered from the top in steps until the target is in.
void Sampler::gather_likely(std::span<const float> logits, double target) {
  for (float cutoff : {0x1p-7f, 0x1p-14f, 0.0f}) {
    // Weights below min_p can only be cut again: the nucleus ends above them or they go after it.
    const float lowest = std::max(cutoff, params_.min_p);
    candidates_.clear();
    double sum = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
      if (weights_[i] < lowest || weights_[i] == 0) continue;
      candidates_.push_back({logits[i], weights_[i], static_cast<TokenId>(i)});
      sum += weights_[i];
    }
    if (sum >= target) return keep_nucleus(target, partition_, candidates_);
    if (lowest > cutoff) return;
  }
}

TokenId Sampler::draw_from_candidates() {
  CHECK(!candidates_.empty());  // each filter keeps at least one, and some weight
  double total = 0;
  for (const Candidate& c : candidates_) total += c.weight;
  double left = next_uniform() * total;
  TokenId last = kNoToken;
  for (const Candidate& c : candidates_) {
    if (c.weight == 0) continue;
    last = c.id;
    if (left < c.weight) break;
    left -= c.weight;
  }
  return last;
}

/// Walks the block sums, then one block. Rounding may leave a remainder at the end of the block (or
/// of the row): its last token that has weight takes it.
TokenId Sampler::draw_from_row(double total) {
  double left = next_uniform() * total;
  size_t block = 0;
  size_t chosen_block = 0;
  for (; block < block_sums_.size(); ++block) {
    if (block_sums_[block] == 0) continue;
    chosen_block = block;
    if (left < block_sums_[block]) break;
    left -= block_sums_[block];
  }
  const size_t end = std::min((chosen_block + 1) * kWeightBlock, weights_.size());
  TokenId last = kNoToken;
  for (size_t i = chosen_block * kWeightBlock; i < end; ++i) {
    if (weights_[i] == 0) continue;
    last = static_cast<TokenId>(i);
    if (left < weights_[i]) break;
    left -= weights_[i];
  }
  CHECK(last != kNoToken);
  return last;
}

/// 53 random bits as a number in [0, 1).
double Sampler::next_uniform() {
  random_state_ += 0x9E3779B97F4A7C15u;
  return static_cast<double>(mix(random_state_) >> 11) * 0x1p-53;
}

/// For the penalties; without them nobody asks.
void Sampler::count(TokenId id) {
  if (!penalised()) return;
  const auto at =
      std::lower_bound(output_counts_.begin(), output_counts_.end(), id,
                       [](const auto& entry, TokenId key) { return entry.first < key; });
  if (at != output_counts_.end() && at->first == id) {
    ++at->second;
  } else {
    output_counts_.insert(at, {id, 1});
  }
}

}  // namespace hadal
