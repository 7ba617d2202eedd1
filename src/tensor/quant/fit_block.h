#pragma once
/// Searches over whole blocks: one f16 scale, and super-blocks whose groups carry small integer
/// scales of a common f16 one. Private to the room.
#include <cfloat>

#include "tensor/quant/fit.h"

namespace hadal::quant {

/// The f16 scale of a block of n values; false when it overflows. The field's rounding counts:
/// neighbours of the rounded scale and `extra` (a scale in the block's units) are tried too.
template <typename Grid>
bool fit_half_scale(const ScaledBlock& block, int n, float extra, uint16_t& bits) {
  const Values values = block.part(0, n);
  const uint16_t middle = block.half_bits(fit_scale<Grid>(values));
  bits = middle;
  if (!half_is_finite(middle)) return false;
  const uint16_t candidates[] = {middle, static_cast<uint16_t>(middle + 1),
                                 static_cast<uint16_t>(middle - 1), block.half_bits(extra)};
  float best = FLT_MAX;
  for (const uint16_t candidate : candidates) {
    if (!half_is_finite(candidate)) continue;
    const float error = scale_error<Grid>(values, f16_to_f32(candidate) * block.down);
    if (error < best) {
      best = error;
      bits = candidate;
    }
  }
  return true;
}

/// The f16 field for a common scale: never 0 for a scale that is not, as the groups' integers can
/// make up for what a field of the smallest f16 has too much.
inline uint16_t half_or_smallest(const ScaledBlock& block, float scale) {
  const uint16_t bits = block.half_bits(scale);
  const bool lost = (bits & 0x7FFF) == 0 && scale != 0;
  return lost ? static_cast<uint16_t>(bits | 1) : bits;
}

/// What a search over a super-block found; scales in the block's units.
template <int Groups>
struct SuperScales {
  uint16_t half = 0;  ///< the f16 field
  float scale = 0;    ///< what it reads back as
  int groups[Groups] = {};
  bool fits = true;  ///< false: the common scale is beyond f16
};

/// Values s = half * groups[g], y = s * grid. Each group's own best scale is approximated by an
/// integer times the common scale; integers beside the nearest are tried, then the common scale is
/// solved for again.
template <typename Grid, int Groups, int Size, int Low, int High>
class SymmetricSuper {
 public:
  explicit SymmetricSuper(const ScaledBlock& block) : block_(block) {}

  SuperScales<Groups> fit() {
    float wanted[Groups];
    float top = 0;
    for (int g = 0; g < Groups; ++g) {
      wanted[g] = fit_scale<Grid>(group(g));
      if (std::fabs(wanted[g]) > std::fabs(top)) top = wanted[g];
    }
    if (top == 0) return best_;
    // The end of the integers that the largest scale goes to decides the sign of the common one.
    for (const float end : {static_cast<float>(Low), static_cast<float>(High)}) {
      float common = top / end;
      for (int round = 0; round < kRefinements; ++round) {
        const float next = assign(common, wanted);
        if (next == common || next == 0) break;
        common = next;
      }
    }
    best_.fits = best_error_ < FLT_MAX;
    return best_;
  }

 private:
  Values group(int g) const { return block_.part(g * Size, Size); }

  /// Chooses the groups' integers for a common scale, keeps them when they are the best so far, and
  /// returns the common scale that suits them best.
  float assign(float common, const float* wanted) {
    SuperScales<Groups> found;
    found.half = half_or_smallest(block_, common);
    if (!half_is_finite(found.half)) return 0;
    found.scale = f16_to_f32(found.half) * block_.down;
    float error = 0;
    ScaleSums sums;
    for (int g = 0; g < Groups; ++g) {
      const float ideal = std::clamp(std::nearbyint(wanted[g] / found.scale),
                                     static_cast<float>(Low), static_cast<float>(High));
      const int nearest = static_cast<int>(ideal);
      float best = FLT_MAX;
      for (int k = std::max(nearest - 1, Low); k <= std::min(nearest + 1, High); ++k) {
        const float e = scale_error<Grid>(group(g), found.scale * static_cast<float>(k));
        if (e < best) {
          best = e;
          found.groups[g] = k;
        }
      }
      error += best;
      const auto k = static_cast<float>(found.groups[g]);
      if (k == 0) continue;
      const ScaleSums own = scale_sums<Grid>(group(g), 1.0f / (found.scale * k));
      sums.xy += own.xy * k;
      sums.yy += own.yy * k * k;
    }
    if (error < best_error_) {
      best_error_ = error;
      best_ = found;
    }
    return sums.scale();
  }

  const ScaledBlock& block_;
  SuperScales<Groups> best_;
  float best_error_ = FLT_MAX;
};

/// Scales and minima of a super-block: y = scale * scales[g] * q - min * mins[g].
template <int Groups>
struct SuperAffine {
  uint16_t scale_half = 0, min_half = 0;
  float scale = 0, min = 0;
  int scales[Groups] = {};
  int mins[Groups] = {};
  bool fits = true;
  Affine of(int g) const {
    return {scale * static_cast<float>(scales[g]), -min * static_cast<float>(mins[g])};
  }
};

template <int Groups, int Size, int Levels, int High>
class AffineSuper {
 public:
  explicit AffineSuper(const ScaledBlock& block) : block_(block) {}

  SuperAffine<Groups> fit() {
    float top_scale = 0;
    float top_min = 0;
    for (int g = 0; g < Groups; ++g) {
      wanted_[g] = fit_affine(group(g), Levels, true);
      top_scale = std::max(top_scale, wanted_[g].scale);
      top_min = std::max(top_min, -wanted_[g].min);
    }
    // A common scale below the one that just reaches the largest group rounds the others finer.
    for (const float stretch : {1.0f, 0.94f, 0.88f}) {
      Common common{stretch * top_scale / High, stretch * top_min / High};
      for (int round = 0; round < kRefinements; ++round) {
        const Common next = assign(common);
        if ((next.scale == common.scale && next.min == common.min) || !next.valid) break;
        common = next;
      }
    }
    best_.fits = best_error_ < FLT_MAX;
    return best_;
  }

 private:
  struct Common {
    float scale = 0, min = 0;
    bool valid = true;
  };
  Values group(int g) const { return block_.part(g * Size, Size); }
  static int nearest_integer(float wanted, float unit) {
    if (unit == 0) return 0;
    return static_cast<int>(
        std::clamp(std::nearbyint(wanted / unit), 0.0f, static_cast<float>(High)));
  }

  /// The group's integers with the least error, among those beside the nearest ones.
  float choose(int g, SuperAffine<Groups>& found) const {
    const int scale = nearest_integer(wanted_[g].scale, found.scale);
    const int min = nearest_integer(-wanted_[g].min, found.min);
    const int min_reach = found.min == 0 ? 0 : 1;
    const int scale_reach = found.scale == 0 ? 0 : 1;
    float best = FLT_MAX;
    for (int s = std::max(scale - scale_reach, 0); s <= std::min(scale + scale_reach, High); ++s) {
      for (int m = std::max(min - min_reach, 0); m <= std::min(min + min_reach, High); ++m) {
        const Affine a{found.scale * static_cast<float>(s), -found.min * static_cast<float>(m)};
        const float error = affine_error(group(g), a, Levels);
        if (error < best) {
          best = error;
          found.scales[g] = s;
          found.mins[g] = m;
        }
      }
    }
    return best;
  }

  /// As SymmetricSuper::assign; two unknowns.
  Common assign(const Common& common) {
    SuperAffine<Groups> found;
    found.scale_half = half_or_smallest(block_, common.scale);
    found.min_half = half_or_smallest(block_, common.min);
    if (!half_is_finite(found.scale_half) || !half_is_finite(found.min_half)) return {0, 0, false};
    found.scale = f16_to_f32(found.scale_half) * block_.down;
    found.min = f16_to_f32(found.min_half) * block_.down;
    float error = 0;
    // Least squares of x = scale a - min b with a = scales[g] q, b = mins[g].
    double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
    for (int g = 0; g < Groups; ++g) {
      error += choose(g, found);
      const Affine affine = found.of(g);
      const float inverse = affine.scale != 0 ? 1.0f / affine.scale : 0.0f;
      const Values values = group(g);
      Lanes sw = lanes(0), sq = lanes(0), sqq = lanes(0), sx = lanes(0), sqx = lanes(0);
      for (int i = 0; i < Size; i += kLanes) {
        const Lanes x = load_lanes(values.x + i);
        const Lanes w = load_lanes(values.w + i);
        const Lanes q = round_lanes(clamp_lanes((x - affine.min) * inverse, 0.0f, Levels));
        const Lanes wq = w * q;
        sw += w;
        sq += wq;
        sqq += wq * q;
        sx += w * x;
        sqx += wq * x;
      }
      const double s = found.scales[g];
      const double m = found.mins[g];
      aa += s * s * static_cast<double>(sum_lanes(sqq));
      ab += s * m * static_cast<double>(sum_lanes(sq));
      bb += m * m * static_cast<double>(sum_lanes(sw));
      ax += s * static_cast<double>(sum_lanes(sqx));
      bx += m * static_cast<double>(sum_lanes(sx));
    }
    if (error < best_error_) {
      best_error_ = error;
      best_ = found;
    }
    return solve(aa, ab, bb, ax, bx);
  }

  static Common solve(double aa, double ab, double bb, double ax, double bx) {
    const double determinant = aa * bb - ab * ab;
    if (!(aa > 0)) return {0, 0, false};
    if (!(determinant > 1e-9 * aa * bb)) return {static_cast<float>(ax / aa), 0, bb == 0};
    const double scale = (ax * bb - bx * ab) / determinant;
    const double min = (ax * ab - bx * aa) / determinant;
    return {static_cast<float>(scale), static_cast<float>(min), scale > 0 && min >= 0};
  }

  const ScaledBlock& block_;
  Affine wanted_[Groups];
  SuperAffine<Groups> best_;
  float best_error_ = FLT_MAX;
};

}  // namespace hadal::quant
