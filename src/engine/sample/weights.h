#pragma once
/// Passes over a whole row of logits, written so that compilers turn them into vector code: sixteen
/// independent lanes, no calls, no early exits. Their cost is the bound of sampling (one read of
/// the row), see bench/sampling_bench.cc.
#include <span>
#include <vector>

#include "base/ids.h"

namespace hadal {

inline constexpr size_t kWeightBlock = 1024;  ///< logits per partial sum of exp_weights()

struct RowScan {
  float max;  ///< of the values that are not NaN; -inf for an empty row
  bool has_nan;
};
RowScan scan_row(std::span<const float> logits);

/// Lowest index whose value is `value`. REQUIRES: there is one.
TokenId first_index_of(std::span<const float> logits, float value);

/// weights[i] = exp((logits[i] - max) * inverse_temperature), relative error below 1e-6, 0 below
/// exp(-87). block_sums gets one sum for each kWeightBlock values. Returns the total.
/// REQUIRES: max is finite and not below any logit; no NaN.
double exp_weights(std::span<const float> logits, float max, float inverse_temperature,
                   std::span<float> weights, std::vector<double>& block_sums);

/// The same for one value.
float exp_weight(float logit, float max, float inverse_temperature);

}  // namespace hadal
