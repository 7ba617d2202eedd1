#pragma once
/// Speculation: a decoding row may put the tokens that a Drafter guesses behind its own one into a
/// step. Each position is then sampled with the row's own sampler, in order, as long as what comes
/// out equals the guess:
///
///   row's tokens      a b c | d          d was sampled last, its keys and values are not there yet
///   rows of the step          d  e  f  g   guesses e f g
///   sampled behind them       e  f  x      g's row is void: the text went on with x
///   fed                       ^  ^  ^      d e f stay; x is the next step's d
///
/// The n-th draw of a sampler depends on the seed and n alone, and a row of logits not on the rows
/// around it, so greedy or sampled, with penalties or filters: the tokens are those of a run
/// without speculation, one by one (docs/decisions/0011).
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/drafter.h"

namespace hadal {

/// What a step does for its time. Time in units of the fixed part of a step, which is reading the
/// weights once; a row of tokens adds `row_cost` (kernels are bandwidth-bound for few rows).
class StepWorth {
 public:
  StepWorth(int64_t rows, double row_cost)
      : row_cost_(row_cost),
        time_(1 + static_cast<double>(rows) * row_cost),
        tokens_(static_cast<double>(rows)) {}

  /// How many tokens to check of a draft whose tokens come true with probability `acceptance` each,
  /// at most `most`: the i-th is right with acceptance^i, and pays while that is more per time than
  /// the step's average. `draft_cost`: of proposing one. The step has them from now on. Many rows
  /// make the step's average hard to beat, so speculation ends under load by itself.
  int64_t add(double acceptance, double draft_cost, int64_t most);

 private:
  double row_cost_;
  double time_;
  double tokens_;
};

/// Speculation's part of a row. A value that lives in the row.
class RowDraft {
 public:
  /// Guesses that are in the current step.
  std::span<const TokenId> planned() const {
    return std::span(draft_.ids).first(static_cast<size_t>(planned_));
  }
  /// Tells what was sampled, first behind the row's last token, then behind each confirmed guess.
  /// True: it equals the next planned guess, whose logits are therefore worth sampling from.
  bool confirm(TokenId sampled);
  /// No more than `most` (0 or more) guesses fit into the current step.
  void limit(int64_t most) { planned_ = std::min(planned_, most); }
  /// No guesses are in the current step.
  void clear();

 private:
  friend class Speculator;
  bool forced() const { return draft_.kind == Draft::kForced; }
  /// How often a guess of each kind came true lately; below 0: the drafter's prior.
  std::array<double, Draft::kKinds + 1> acceptance_ = {-1, -1, -1, -1, -1};
  Draft draft_;
  int64_t planned_ = 0;
  int64_t confirmed_ = 0;  ///< guesses that came true, of the current draft
  bool open_ = false;      ///< the next sample can be compared with a guess
  int64_t since_try_ = 0;  ///< steps without a guess of a drafter that costs
};

/// A decoding row that may get guesses.
struct SpeculatedRow {
  DraftTask task;  ///< `most` > 0; `draft` is set here
  RowDraft* state = nullptr;
};

/// Belongs to the engine's thread.
class Speculator {
 public:
  /// `drafter` may be null: then only what filters force is planned.
  explicit Speculator(std::unique_ptr<Drafter> drafter) : drafter_(std::move(drafter)) {}

  bool on() const { return drafter_ != nullptr; }
  bool wants_pages() const { return on() && drafter_->computes_in_pages(); }
  /// Plans guesses for `rows` in a step that has `step_rows` rows without them and room for
  /// `budget` more: what a row's filter forces, else the drafter's. `row_cost` as in StepWorth.
  void plan(std::span<SpeculatedRow> rows, int64_t step_rows, int64_t budget, double row_cost);
  void forget(RequestId id);

 private:
  double acceptance(RowDraft& state, int kind) const;
  bool plan_forced(SpeculatedRow& row, int64_t budget);
  void plan_free(std::span<SpeculatedRow> rows, StepWorth& load, int64_t budget);
  void plan_costly(std::span<SpeculatedRow> rows, StepWorth& load, int64_t budget);

  std::unique_ptr<Drafter> drafter_;
  std::vector<DraftTask> tasks_;  ///< kept to save allocations
  std::vector<TokenId> forced_;
};

}  // namespace hadal
