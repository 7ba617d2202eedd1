#pragma once
/// The searches that encoders share. Private to the room.
///
/// A value x is stored as s y (y from a grid) or s q + m (q from 0..levels). For given y the best s
/// is sum(w x y) / sum(w y y), and what it takes off the squared error is
/// sum(w x y)^2 / sum(w y y): candidates are compared by that. The candidates place the largest
/// value on, a little inside and a little outside of the end of the grid; the best one is then
/// rounded and solved again until nothing changes.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor/dtype.h"

namespace hadal::quant {

/// Four floats. Plain loops would not be vectorised: sums of floats have an order.
using Lanes = float __attribute__((vector_size(16)));
inline constexpr int kLanes = 4;

inline Lanes lanes(float value) {
  return Lanes{value, value, value, value};
}
inline Lanes load_lanes(const float* p) {
  Lanes v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
inline float sum_lanes(Lanes v) {
  return (v[0] + v[1]) + (v[2] + v[3]);
}
inline Lanes clamp_lanes(Lanes v, float low, float high) {
  v = v < low ? lanes(low) : v;
  return v > high ? lanes(high) : v;
}
/// To the nearest integer, ties to even, for |v| < 2^22: beyond 1.5 * 2^23 floats have no fraction.
inline Lanes round_lanes(Lanes v) {
  const Lanes magic = lanes(12582912.0f);
  return (v + magic) - magic;
}

/// Integers Low..High.
template <int Low, int High>
struct IntegerGrid {
  static constexpr float kLow = Low;
  static constexpr float kHigh = High;
  /// Candidates put the largest value up to so much (relative) beyond the grid's ends: a step and a
  /// half of the grid.
  static constexpr float kReach = 1.5f / static_cast<float>(-Low);
  static Lanes nearest(Lanes v) { return round_lanes(clamp_lanes(v, kLow, kHigh)); }
  static int code(float v) { return static_cast<int>(nearest(lanes(v))[0]) - Low; }
};

/// `n` (a multiple of 4) values and their weights.
struct Values {
  const float* x;
  const float* w;
  int n;
};

inline float largest(const Values& values) {
  float found = 0;
  for (int i = 0; i < values.n; ++i) {
    if (std::fabs(values.x[i]) > std::fabs(found)) found = values.x[i];
  }
  return found;
}

/// sum w (x - s nearest(x / s))^2
template <typename Grid>
float scale_error(const Values& values, float s) {
  const Lanes inverse = lanes(s != 0 ? 1.0f / s : 0.0f);
  const Lanes scale = lanes(s);
  Lanes error = lanes(0);
  for (int i = 0; i < values.n; i += kLanes) {
    const Lanes x = load_lanes(values.x + i);
    const Lanes off = x - scale * Grid::nearest(x * inverse);
    error += load_lanes(values.w + i) * off * off;
  }
  return sum_lanes(error);
}

/// Sums over the grid values that x * inverse rounds to.
struct ScaleSums {
  float xy = 0;
  float yy = 0;
  float gain() const { return yy > 0 ? xy * xy / yy : 0; }
  float scale() const { return yy > 0 ? xy / yy : 0; }
};
template <typename Grid>
ScaleSums scale_sums(const Values& values, float inverse) {
  Lanes xy = lanes(0);
  Lanes yy = lanes(0);
  for (int i = 0; i < values.n; i += kLanes) {
    const Lanes x = load_lanes(values.x + i);
    const Lanes y = Grid::nearest(x * lanes(inverse));
    const Lanes wy = load_lanes(values.w + i) * y;
    xy += wy * x;
    yy += wy * y;
  }
  return {sum_lanes(xy), sum_lanes(yy)};
}

/// Candidates on each side of an end of the grid, for a search.
inline constexpr int kScaleSteps = 8;
/// Rounds of rounding and solving; more change nothing in practice.
inline constexpr int kRefinements = 4;

/// The scale of either sign with the least error; 0 when all values are 0.
template <typename Grid>
float fit_scale(const Values& values) {
  const float top = largest(values);
  if (top == 0) return 0;
  ScaleSums best;
  const auto consider = [&](float inverse) {
    const ScaleSums sums = scale_sums<Grid>(values, inverse);
    if (sums.gain() <= best.gain()) return false;
    best = sums;
    return true;
  };
  for (int step = -kScaleSteps; step <= kScaleSteps; ++step) {
    const float stretch = 1 + Grid::kReach * static_cast<float>(step) / kScaleSteps;
    consider(Grid::kLow * stretch / top);
    consider(Grid::kHigh * stretch / top);
  }
  for (int round = 0; round < kRefinements; ++round) {
    const float scale = best.scale();
    if (scale == 0 || !consider(1.0f / scale)) break;
  }
  return best.scale();
}

/// y = scale * q + min, q = 0..levels.
struct Affine {
  float scale = 0;
  float min = 0;
};

/// sum w (x - (s q + m))^2 with the best q
inline float affine_error(const Values& values, Affine a, int levels) {
  const Lanes inverse = lanes(a.scale != 0 ? 1.0f / a.scale : 0.0f);
  Lanes error = lanes(0);
  for (int i = 0; i < values.n; i += kLanes) {
    const Lanes x = load_lanes(values.x + i);
    const Lanes q =
        round_lanes(clamp_lanes((x - a.min) * inverse, 0.0f, static_cast<float>(levels)));
    const Lanes off = x - (a.scale * q + a.min);
    error += load_lanes(values.w + i) * off * off;
  }
  return sum_lanes(error);
}

/// The least-squares scale and minimum for the q that `a` rounds to. With `min_negative`, a
/// positive minimum becomes 0.
Affine solve_affine(const Values& values, Affine a, int levels, bool min_negative);
/// The scale >= 0 and minimum with the least error.
Affine fit_affine(const Values& values, int levels, bool min_negative);

/// A block's values brought near 1 by a power of two, so that squares neither overflow nor vanish.
struct ScaledBlock {
  alignas(16) float x[256];
  alignas(16) float w[256];
  float up = 1;      ///< 2^k
  float down = 1;    ///< 2^-k: x = down * the caller's values
  bool zero = true;  ///< nothing that an f16 scale could express

  /// `importance` null: all weights 1. n <= 256.
  ScaledBlock(const float* values, const float* importance, int n);
  /// `scale` as it reads back from an f16 field.
  float as_half(float scale) const { return f16_to_f32(half_bits(scale)) * down; }
  uint16_t half_bits(float scale) const { return f32_to_f16(scale * up); }
  Values part(int first, int n) const { return {x + first, w + first, n}; }
};

inline bool half_is_finite(uint16_t bits) {
  return (bits & 0x7C00) != 0x7C00;
}

}  // namespace hadal::quant
