#include "model/rope_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"

namespace hadal {
namespace {

/// The pair indices between which YaRN blends from "keep" (fast pairs) to "divide" (slow ones).
struct YarnRange {
  double low;
  double high;
};

YarnRange yarn_range(const ModelConfig& config) {
  const double dims = static_cast<double>(config.rope_dims);
  // The pair that turns `rotations` times within the original context.
  auto pair_of = [&](double rotations) {
    return dims *
           std::log(static_cast<double>(config.rope_original_context) /
                    (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(static_cast<double>(config.rope_theta)));
  };
  return {std::max(0.0, std::floor(pair_of(config.yarn_beta_fast))),
          std::min(dims - 1, std::ceil(pair_of(config.yarn_beta_slow)))};
}

}  // namespace

float yarn_magnitude(float factor, float coefficient) {
  return factor <= 1 ? 1.0f : 0.1f * coefficient * std::log(factor) + 1.0f;
}

RopeTable make_rope_table(const ModelConfig& config, std::span<const float> divisors) {
  const int64_t pairs = config.rope_dims / 2;
  CHECK(divisors.empty() || static_cast<int64_t>(divisors.size()) == pairs);
  const bool yarn = config.rope_scaling == RopeScaling::kYarn;
  const YarnRange range = yarn ? yarn_range(config) : YarnRange{0, 0};
  const double factor = config.rope_scaling == RopeScaling::kNone ? 1.0 : config.rope_factor;

  RopeTable table;
  table.half_split = config.rope_style == RopeStyle::kHalfSplit;
  table.frequency.resize(static_cast<size_t>(pairs));
  for (int64_t i = 0; i < pairs; ++i) {
    double frequency =
        std::pow(static_cast<double>(config.rope_theta),
                 -2.0 * static_cast<double>(i) / static_cast<double>(config.rope_dims));
    if (!divisors.empty()) frequency /= divisors[static_cast<size_t>(i)];
    // Only YaRN keeps a share of the unscaled frequency.
    const double divided_share = yarn ? std::clamp((static_cast<double>(i) - range.low) /
                                                       std::max(range.high - range.low, 0.001),
                                                   0.0, 1.0)
                                      : 1.0;
    table.frequency[static_cast<size_t>(i)] =
        static_cast<float>(frequency * (1 - divided_share) + frequency / factor * divided_share);
  }
  table.magnitude = config.rope_magnitude;
  return table;
}

}  // namespace hadal
