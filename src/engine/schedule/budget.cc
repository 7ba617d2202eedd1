#include "engine/schedule/budget.h"

#include <algorithm>
#include <array>

#include "base/check.h"

namespace hadal {
namespace {

constexpr std::array<int64_t, kPriorities> kWeights = {4, 2, 1};
/// A step may take half as long again as one without prompts: where decoding alone is slower than
/// the target, prompts still get a third of the time.
constexpr double kStretch = 1.5;
constexpr int64_t kChunkMin =
    16;  ///< what one pass over the weights should serve, if attention lets it
constexpr int64_t kObservationsMin = 4;  ///< before them a chunk is...
constexpr int64_t kFirstChunk = 64;      ///< ...at most this

int64_t weight_of(const PrefillAsk& ask) {
  return kWeights[static_cast<size_t>(ask.priority)];
}

/// `load` and `tokens` of a prompt from `position` on.
StepLoad with_prompt(StepLoad load, int64_t tokens, int64_t position) {
  load.prompt_tokens = tokens;
  load.prompt_reads = prompt_reads(tokens, position);
  return load;
}

}  // namespace

int64_t prompt_reads(int64_t tokens, int64_t position) {
  return tokens * position + tokens * (tokens + 1) / 2;
}

void share_budget(std::span<const PrefillAsk> asks, int64_t budget, std::span<int64_t> shares) {
  CHECK(asks.size() == shares.size());
  int64_t weights = 0;
  for (const PrefillAsk& ask : asks) weights += weight_of(ask);
  const int64_t each = budget >= static_cast<int64_t>(asks.size()) ? 1 : 0;
  const int64_t rest = budget - each * static_cast<int64_t>(asks.size());
  int64_t left = budget;
  for (size_t i = 0; i < asks.size(); ++i) {
    shares[i] = std::min(asks[i].tokens, each + rest * weight_of(asks[i]) / weights);
    left -= shares[i];
  }
  for (size_t urgency = 0; urgency < kPriorities; ++urgency) {
    for (size_t i = 0; i < asks.size() && left > 0; ++i) {
      if (static_cast<size_t>(asks[i].priority) != urgency) continue;
      const int64_t more = std::min(asks[i].tokens - shares[i], left);
      shares[i] += more;
      left -= more;
    }
  }
}

StepBudget::StepBudget(const EngineOptions& options)
    : max_step_tokens_(options.max_step_tokens), target_micros_(options.step_target_micros) {}

int64_t StepBudget::prompt_tokens(std::span<const PrefillAsk> asks,
                                  const DecodeLoad& decode) const {
  const int64_t room = std::max<int64_t>(max_step_tokens_ - decode.rows, 0);
  int64_t wanted = 0;
  int64_t positions = 0;
  for (const PrefillAsk& ask : asks) {
    wanted += ask.tokens;
    positions += ask.position;
  }
  const int64_t most = std::min(room, wanted);
  if (target_micros_ == 0 || !decode.someone_waits || most == 0) return most;
  if (model_.observations() < kObservationsMin) return std::min(most, kFirstChunk);
  const StepLoad alone = {.decode_rows = decode.rows, .decode_reads = decode.reads};
  const double decoding = model_.predict(alone);
  const double chunk = model_.predict(with_prompt(alone, kChunkMin, 0));
  const double limit = std::max({static_cast<double>(target_micros_), kStretch * decoding, chunk});
  const int64_t position = positions / static_cast<int64_t>(asks.size());
  int64_t fits = 1;
  for (int64_t beyond = most + 1; beyond - fits > 1;) {  // `fits` may be taken, `beyond` not
    const int64_t tokens = fits + (beyond - fits) / 2;
    (model_.predict(with_prompt(alone, tokens, position)) <= limit ? fits : beyond) = tokens;
  }
  return fits;
}

}  // namespace hadal
