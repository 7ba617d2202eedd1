#include "engine/speculate/speculator.h"

#include <algorithm>

#include "base/check.h"

namespace hadal {
namespace {

/// Weight of the newest observation: the last dozen or so count.
constexpr double kLearn = 1.0 / 8;
/// A drafter that costs and was found not to pay tries one token again after so many steps.
constexpr int64_t kTryAgain = 32;

}  // namespace

int64_t StepWorth::add(double acceptance, double draft_cost, int64_t most) {
  double right = acceptance;
  int64_t depth = 0;
  for (; depth < most; ++depth, right *= acceptance) {
    const double cost = row_cost_ + draft_cost;
    if (right * time_ <= cost * tokens_) break;
    time_ += cost;
    tokens_ += right;
  }
  return depth;
}

bool RowDraft::confirm(TokenId sampled) {
  if (!open_) return false;
  const bool right = sampled == draft_.ids[static_cast<size_t>(confirmed_)];
  double& acceptance = acceptance_[static_cast<size_t>(draft_.kind)];
  acceptance += kLearn * ((right ? 1.0 : 0.0) - acceptance);
  if (right) ++confirmed_;
  const bool is_planned = right && confirmed_ <= planned_;
  open_ = is_planned && confirmed_ < draft_.count;
  return is_planned;
}

void RowDraft::clear() {
  draft_.count = 0;
  draft_.kind = 0;
  planned_ = 0;
  confirmed_ = 0;
  open_ = false;
}

void Speculator::plan(std::span<SpeculatedRow> rows, int64_t step_rows, int64_t budget,
                      double row_cost) {
  for (SpeculatedRow& row : rows) {
    row.state->clear();
    row.task.draft = &row.state->draft_;
    row.task.most = std::min<int64_t>(row.task.most, limits::kDraftTokens);
  }
  for (SpeculatedRow& row : rows) {
    if (!plan_forced(row, budget)) continue;
    step_rows += row.state->planned_;
    budget -= row.state->planned_;
  }
  StepWorth load(step_rows, row_cost);
  tasks_.clear();
  if (drafter_ == nullptr) {
    // Nothing more to plan.
  } else if (drafter_->cost_per_token() == 0) {
    plan_free(rows, load, budget);
  } else {
    plan_costly(rows, load, budget);
  }
  for (const SpeculatedRow& row : rows) row.state->open_ = row.state->draft_.count > 0;
}

double Speculator::acceptance(RowDraft& state, int kind) const {
  double& measured = state.acceptance_[static_cast<size_t>(kind)];
  if (measured < 0) measured = drafter_->prior(kind);
  return measured;
}

/// These tokens have to be computed some time, and as good as never in vain: no load speaks against
/// it.
bool Speculator::plan_forced(SpeculatedRow& row, int64_t budget) {
  if (!row.task.sampler->filtered()) return false;
  forced_.clear();
  row.task.sampler->forced(std::min(row.task.most, budget), forced_);
  if (forced_.empty()) return false;
  RowDraft& state = *row.state;
  for (const TokenId id : forced_) state.draft_.add(id);
  state.draft_.kind = Draft::kForced;
  state.planned_ = state.draft_.count;
  return true;
}

/// Guesses first, then how many of them are worth checking. The rest is compared with what comes
/// out all the same, so a row where copying begins to work is noticed at no cost.
void Speculator::plan_free(std::span<SpeculatedRow> rows, StepWorth& load, int64_t budget) {
  for (const SpeculatedRow& row : rows) {
    if (!row.state->forced()) tasks_.push_back(row.task);
  }
  drafter_->propose(tasks_);
  for (SpeculatedRow& row : rows) {
    RowDraft& state = *row.state;
    if (state.forced()) continue;
    const int64_t most = std::min({state.draft_.count, row.task.most, budget});
    state.planned_ = load.add(acceptance(state, state.draft_.kind), 0, most);
    budget -= state.planned_;
  }
}

/// The depth first: what will not be checked is not worth guessing.
void Speculator::plan_costly(std::span<SpeculatedRow> rows, StepWorth& load, int64_t budget) {
  const double cost = drafter_->cost_per_token();
  for (SpeculatedRow& row : rows) {
    RowDraft& state = *row.state;
    if (state.forced()) continue;
    const int64_t most = std::min(row.task.most, budget);
    int64_t depth = load.add(acceptance(state, 0), cost, most);
    if (depth == 0 && most > 0 && ++state.since_try_ >= kTryAgain) depth = 1;
    if (depth == 0) continue;
    state.since_try_ = 0;
    row.task.most = depth;
    budget -= depth;
    tasks_.push_back(row.task);
  }
  if (tasks_.empty()) return;
  drafter_->propose(tasks_);
  for (SpeculatedRow& row : rows) {
    if (!row.state->forced()) row.state->planned_ = row.state->draft_.count;
  }
}

void Speculator::forget(RequestId id) {
  if (drafter_ != nullptr) drafter_->forget(id);
}

}  // namespace hadal
