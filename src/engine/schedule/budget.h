#pragma once
/// StepBudget: how many prompt tokens a step takes in, and whose.
#include <cstdint>
#include <span>

#include "engine/engine.h"
#include "engine/schedule/latency_model.h"

namespace hadal {

/// A row with prompt tokens to compute.
struct PrefillAsk {
  int64_t tokens = 0;    ///< that it could use in one step
  int64_t position = 0;  ///< of the first of them
  Priority priority = Priority::kNormal;
};

/// The decoding rows of a step.
struct DecodeLoad {
  int64_t rows = 0;
  int64_t reads = 0;           ///< the sum of their contexts
  bool someone_waits = false;  ///< one of them is more urgent than batch
};

/// Positions that `tokens` of a prompt read from `position` on: each of them all before and itself.
int64_t prompt_reads(int64_t tokens, int64_t position);

/// How many tokens each of `asks` (oldest first) may compute, together at most `budget`: one each,
/// if there are as many, then shares in the ratio 4 : 2 : 1 of the classes, what is left over to
/// the oldest of the most urgent. So a short prompt never waits for a long one to end, and among
/// equals the oldest is done first. `shares` has asks.size() places.
void share_budget(std::span<const PrefillAsk> asks, int64_t budget, std::span<int64_t> shares);

/// Belongs to the engine's thread.
class StepBudget {
 public:
  explicit StepBudget(const EngineOptions& options);

  /// Prompt tokens for the next step. With decoding rows that someone waits for: as many as keep
  /// the predicted step within the target, or within 1.5 times the step without any prompt, or
  /// within what a small chunk at a prompt's beginning takes, whichever is most; and at least one,
  /// so that prompts always go on. Deep in a prompt, where attention is what costs, a chunk shrinks
  /// rather than the step grows. Else as many as a step holds.
  int64_t prompt_tokens(std::span<const PrefillAsk> asks, const DecodeLoad& decode) const;

  /// What a step took, from plan to delivery.
  void observe(const StepLoad& load, int64_t micros) { model_.observe(load, micros); }
  const LatencyModel& model() const { return model_; }

 private:
  const int64_t max_step_tokens_;
  const int64_t target_micros_;
  LatencyModel model_;
};

}  // namespace hadal
