#pragma once
/// LatencyModel: how long a step takes, learnt from the steps before.
#include <array>
#include <cstdint>
#include <span>

namespace hadal {

/// What a forward pass is made of, as far as its time depends on it.
struct StepLoad {
  int64_t prompt_tokens = 0;
  int64_t decode_rows = 0;
  int64_t decode_reads = 0;  ///< positions read by decoding rows: the sum of their contexts
  int64_t prompt_reads = 0;  ///< positions read by prompt tokens
};

/// time = sum of cost[i] * load[i], none of them negative: a step, a prompt token, a decoding row,
/// and 1,000 positions read by a decoding row and by a prompt token. (Reads differ because decoding
/// waits for memory and prompts for arithmetic.)
///
/// Least squares of relative errors with exponential forgetting, solved anew after each step. Each
/// cost is held weakly where it was, so what the steps of late do not tell apart stays; a cost that
/// would be negative is 0 and the others are solved without it. Errors far beyond the usual ones
/// count as if they were four times as large as usual (Huber 1964), so that a pause of the machine
/// does not move the fit.
///
/// Not thread-safe. Times in microseconds.
class LatencyModel {
 public:
  static constexpr size_t kTerms = 5;
  using Terms = std::array<double, kTerms>;

  void observe(const StepLoad& load, int64_t micros);
  /// 0 before the first observation.
  double predict(const StepLoad& load) const;
  /// Microseconds per unit as above.
  const Terms& costs() const { return costs_; }
  int64_t observations() const { return observations_; }
  /// Usual relative error of a prediction, made before its step was seen.
  double relative_error() const { return usual_error_; }

 private:
  void solve();
  Terms solve_for(const std::array<bool, kTerms>& free, const Terms& held) const;

  Terms costs_ = {};
  std::array<Terms, kTerms> products_ = {};  ///< of loads, weighted
  Terms targets_ = {};                       ///< of loads and times
  double usual_error_ = 1;                   ///< nothing is surprising at first
  int64_t observations_ = 0;
};

}  // namespace hadal
