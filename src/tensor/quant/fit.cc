#include "tensor/quant/fit.h"

namespace hadal::quant {
namespace {

/// A sixteenth of the smallest f16, 2^-24: scales of values below are 0.
constexpr float kNothing = 0x1p-28f;
constexpr int kAffineSteps = 10;

struct AffineSums {
  float w = 0, wx = 0, wxx = 0;    ///< of the values
  float wq = 0, wqq = 0, wqx = 0;  ///< with what they round to
};

void add_rounded(const Values& values, Affine a, int levels, AffineSums& sums) {
  const Lanes inverse = lanes(a.scale != 0 ? 1.0f / a.scale : 0.0f);
  Lanes wq = lanes(0);
  Lanes wqq = lanes(0);
  Lanes wqx = lanes(0);
  for (int i = 0; i < values.n; i += kLanes) {
    const Lanes x = load_lanes(values.x + i);
    const Lanes q =
        round_lanes(clamp_lanes((x - a.min) * inverse, 0.0f, static_cast<float>(levels)));
    const Lanes weighted = load_lanes(values.w + i) * q;
    wq += weighted;
    wqq += weighted * q;
    wqx += weighted * x;
  }
  sums.wq = sum_lanes(wq);
  sums.wqq = sum_lanes(wqq);
  sums.wqx = sum_lanes(wqx);
}

AffineSums sums_of(const Values& values) {
  AffineSums sums;
  for (int i = 0; i < values.n; ++i) {
    sums.w += values.w[i];
    sums.wx += values.w[i] * values.x[i];
    sums.wxx += values.w[i] * values.x[i] * values.x[i];
  }
  return sums;
}

Affine solve(const AffineSums& s, bool min_negative) {
  const double determinant = static_cast<double>(s.w) * s.wqq - static_cast<double>(s.wq) * s.wq;
  if (!(determinant > 1e-9 * s.w * s.wqq)) {  // all values round to the same q
    const float mean = s.w > 0 ? s.wx / s.w : 0;
    return {0, min_negative ? std::min(mean, 0.0f) : mean};
  }
  const double scale =
      (static_cast<double>(s.w) * s.wqx - static_cast<double>(s.wx) * s.wq) / determinant;
  const double min =
      (static_cast<double>(s.wqq) * s.wx - static_cast<double>(s.wq) * s.wqx) / determinant;
  if (min_negative && min > 0) return {s.wqx / s.wqq, 0};
  return {static_cast<float>(scale), static_cast<float>(min)};
}

}  // namespace

Affine solve_affine(const Values& values, Affine a, int levels, bool min_negative) {
  AffineSums sums = sums_of(values);
  add_rounded(values, a, levels, sums);
  return solve(sums, min_negative);
}

Affine fit_affine(const Values& values, int levels, bool min_negative) {
  float low = values.x[0];
  float high = values.x[0];
  for (int i = 1; i < values.n; ++i) {
    low = std::min(low, values.x[i]);
    high = std::max(high, values.x[i]);
  }
  if (min_negative) low = std::min(low, 0.0f);
  if (high <= low) return {0, low};
  AffineSums sums = sums_of(values);
  Affine best{(high - low) / static_cast<float>(levels), low};
  float best_error = affine_error(values, best, levels);
  const auto consider = [&](Affine rounded_by) {
    add_rounded(values, rounded_by, levels, sums);
    const Affine solved = solve(sums, min_negative);
    if (!(solved.scale > 0)) return false;
    const float error = affine_error(values, solved, levels);
    if (!(error < best_error)) return false;
    best = solved;
    best_error = error;
    return true;
  };
  // Ranges a little narrower (with a step and a half cut off) and wider than the values'.
  for (int step = -kAffineSteps; step <= kAffineSteps; ++step) {
    const float reach = static_cast<float>(levels) + 1.5f * static_cast<float>(step) / kAffineSteps;
    if (reach <= 0.5f) continue;
    consider({(high - low) / reach, low});
    const float cut =
        0.5f * static_cast<float>(-step) / kAffineSteps * (high - low) / static_cast<float>(levels);
    if (step < 0) consider({(high - low - 2 * cut) / static_cast<float>(levels), low + cut});
  }
  for (int round = 0; round < kRefinements; ++round) {
    if (!consider(best)) break;
  }
  return best;
}

ScaledBlock::ScaledBlock(const float* values, const float* importance, int n) {
  float top = 0;
  for (int i = 0; i < n; ++i) top = std::max(top, std::fabs(values[i]));
  zero = top < kNothing;
  int exponent = 0;
  if (!zero) std::frexp(top, &exponent);
  up = std::ldexp(1.0f, exponent - 1);
  down = std::ldexp(1.0f, 1 - exponent);
  for (int i = 0; i < n; ++i) x[i] = zero ? 0.0f : values[i] * down;
  float weight = 0;
  for (int i = 0; importance != nullptr && i < n; ++i) weight = std::max(weight, importance[i]);
  for (int i = 0; i < n; ++i) w[i] = weight > 0 ? importance[i] / weight : 1.0f;
}

}  // namespace hadal::quant
