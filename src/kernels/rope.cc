#include "kernels/rope.h"

#include <cmath>

#include "base/check.h"
#include "kernels/isa.h"

namespace hadal {

void RopeAngles::compute(const RopeTable& table, std::span<const int32_t> positions) {
  rows_ = static_cast<int64_t>(positions.size());
  pairs_ = static_cast<int64_t>(table.frequency.size());
  half_split_ = table.half_split;
  values_.resize(static_cast<size_t>(2 * rows_ * pairs_));
  float* out = values_.data();
  for (const int32_t position : positions) {
    for (int64_t i = 0; i < pairs_; ++i) {
      const double angle = static_cast<double>(position) * table.frequency[static_cast<size_t>(i)];
      out[i] = static_cast<float>(std::cos(angle) * table.magnitude);
      out[pairs_ + i] = static_cast<float>(std::sin(angle) * table.magnitude);
    }
    out += 2 * pairs_;
  }
}

void rope(const RopeAngles& angles, RowRange range, float* x, int64_t stride, int64_t n_heads,
          int64_t d_head) {
  const int64_t n = angles.pairs();
  CHECK(2 * n <= d_head);
  CHECK(range.begin >= 0 && range.end <= angles.rows());
  if (const cpu::Ops* ops = current_ops(); ops != nullptr) {
    for (int64_t r = range.begin; r < range.end; ++r) {
      ops->rope(angles.row(r), angles.row(r) + n, n, angles.half_split() ? 1 : 0, x + r * stride,
                n_heads, d_head);
    }
    return;
  }
  const int64_t second = angles.half_split() ? n : 1;  // distance between the two of a pair
  const int64_t step = angles.half_split() ? 1 : 2;
  for (int64_t r = range.begin; r < range.end; ++r) {
    const float* cosine = angles.row(r);
    const float* sine = cosine + n;
    for (int64_t h = 0; h < n_heads; ++h) {
      float* head = x + r * stride + h * d_head;
      for (int64_t i = 0; i < n; ++i) {
        const float a = head[i * step];
        const float b = head[i * step + second];
        head[i * step] = a * cosine[i] - b * sine[i];
        head[i * step + second] = a * sine[i] + b * cosine[i];
      }
    }
  }
}

void rope(const RopeTable& table, float* x, int64_t stride, int64_t n_heads, int64_t d_head,
          std::span<const int32_t> positions) {
  RopeAngles angles;
  angles.compute(table, positions);
  rope(angles, {0, angles.rows()}, x, stride, n_heads, d_head);
}

}  // namespace hadal
