#include "engine/schedule/latency_model.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hadal {
namespace {

using Terms = LatencyModel::Terms;

constexpr double kReadsUnit = 1000;
constexpr double kForget = 0.98;       ///< half of the weight lies on the last 34 steps
constexpr double kErrorForget = 0.95;  ///< and of the usual error on the last 14
constexpr double kErrorsMax = 4;       ///< usual errors that one step may count
constexpr double kErrorFloor = 0.02;   ///< timers and caches jitter so much at least
constexpr double kHold = 1e-4;         ///< a cost is held where it was with so much of its weight
/// Below this weight (1: one step that consisted of nothing else) a cost stays as it is.
constexpr double kStale = 1e-12;

Terms terms_of(const StepLoad& load) {
  return {1.0, static_cast<double>(load.prompt_tokens), static_cast<double>(load.decode_rows),
          static_cast<double>(load.decode_reads) / kReadsUnit,
          static_cast<double>(load.prompt_reads) / kReadsUnit};
}

double dot(const Terms& a, const Terms& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

double LatencyModel::predict(const StepLoad& load) const {
  return dot(costs_, terms_of(load));
}

void LatencyModel::observe(const StepLoad& load, int64_t micros) {
  const Terms terms = terms_of(load);
  const double predicted = dot(costs_, terms);
  double time = static_cast<double>(std::max<int64_t>(micros, 1));
  if (predicted > 0) {
    const double error = (time - predicted) / std::max(time, predicted);
    const double bound = kErrorsMax * std::max(usual_error_, kErrorFloor);
    const double counted = std::clamp(error, -bound, bound);
    usual_error_ += (1 - kErrorForget) * (std::abs(counted) - usual_error_);
    if (std::abs(error) > bound) time = predicted + counted * std::max(time, predicted);
    time = std::max(time, 1.0);
  }
  ++observations_;
  for (size_t i = 0; i < kTerms; ++i) {
    for (size_t j = 0; j < kTerms; ++j) {
      products_[i][j] = kForget * products_[i][j] + terms[i] * terms[j] / (time * time);
    }
    targets_[i] = kForget * targets_[i] + terms[i] / time;
  }
  solve();
}

/// Minimises the weighted squares plus the holds. Costs that come out negative become 0 and leave
/// the equations, which are then solved again: at most once per cost.
void LatencyModel::solve() {
  std::array<bool, kTerms> free = {};
  for (size_t i = 0; i < kTerms; ++i) {
    const double weight = products_[i][i];
    const bool stale = costs_[i] > 0 && weight * costs_[i] * costs_[i] < kStale;
    free[i] = weight > std::numeric_limits<double>::min() && !stale;
  }
  const Terms held = costs_;
  for (bool again = true; again;) {
    again = false;
    const Terms solved = solve_for(free, held);
    for (size_t i = 0; i < kTerms; ++i) {
      if (!free[i]) continue;
      costs_[i] = std::max(solved[i], 0.0);
      if (solved[i] >= 0) continue;
      free[i] = false;
      again = true;
    }
  }
}

/// The free costs given the others (Gaussian elimination; the hold keeps every pivot above 0).
LatencyModel::Terms LatencyModel::solve_for(const std::array<bool, kTerms>& free,
                                            const Terms& held) const {
  std::array<Terms, kTerms> rows = products_;
  Terms right = {};
  for (size_t i = 0; i < kTerms; ++i) {
    if (!free[i]) continue;
    const double hold = kHold * products_[i][i];
    rows[i][i] += hold;
    right[i] = targets_[i] + hold * held[i];
    for (size_t j = 0; j < kTerms; ++j) {
      if (!free[j]) right[i] -= products_[i][j] * costs_[j];
    }
  }
  for (size_t pivot = 0; pivot < kTerms; ++pivot) {
    if (!free[pivot]) continue;
    for (size_t i = pivot + 1; i < kTerms; ++i) {
      if (!free[i]) continue;
      const double factor = rows[i][pivot] / rows[pivot][pivot];
      for (size_t j = pivot; j < kTerms; ++j) rows[i][j] -= factor * rows[pivot][j];
      right[i] -= factor * right[pivot];
    }
  }
  for (size_t i = kTerms; i-- > 0;) {
    if (!free[i]) continue;
    for (size_t j = i + 1; j < kTerms; ++j) {
      if (free[j]) right[i] -= rows[i][j] * right[j];
    }
    right[i] /= rows[i][i];
  }
  return right;
}

}  // namespace hadal
