#include "kernels/index_key.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace hadal {
namespace {

constexpr float kLargest = 127 * 256;  // splits into two signed bytes
constexpr float kSmallest = 0x1p-100f;
// Roundings of norms computed in double.
constexpr double kAbove = 1 + 0x1p-20;

/// x' = a + b, a - b at distance `half` within each piece of 2 * half.
void butterflies(float* x, int64_t n, int64_t half) {
  for (int64_t first = 0; first < n; first += 2 * half) {
    for (int64_t i = first; i < first + half; ++i) {
      const float a = x[i];
      const float b = x[i + half];
      x[i] = a + b;
      x[i + half] = a - b;
    }
  }
}

}  // namespace

IndexKeyHead index_key_head(const std::byte* key) {
  IndexKeyHead head;
  std::memcpy(&head, key, sizeof(head));
  return head;
}

void index_turn(float* x, int64_t w) {
  const int64_t piece = w & -w;
  for (int64_t half = piece / 2; half > 0; half /= 2) butterflies(x, w, half);
  const float scale = 1 / std::sqrt(static_cast<float>(piece));
  for (int64_t i = 0; i < w; ++i) x[i] *= scale;
}

void index_store(const float* x, int64_t w, std::byte* key) {
  IndexKeyHead head = {};
  std::memset(key, 0, static_cast<size_t>(index_key_bytes(w)));
  float peak = 0;
  for (int64_t i = 0; i < w; ++i) {
    if (!std::isfinite(x[i])) return;
    peak = std::max(peak, std::fabs(x[i]));
  }
  if (peak < kSmallest) return;
  const float inverse = kLargest / peak;
  std::byte* high_bytes = key + sizeof(head);
  int64_t high_sum = 0;
  double low_squares = 0;
  double squares = 0;
  for (int64_t i = 0; i < w; ++i) {
    const auto code =
        static_cast<int32_t>(std::lrint(std::clamp(x[i] * inverse, -kLargest, kLargest)));
    const int32_t high = (code + 128) >> 8;
    const int32_t low = code - 256 * high;
    high_bytes[i] = static_cast<std::byte>(high);
    high_bytes[w + i] = static_cast<std::byte>(low);
    high_sum += high;
    low_squares += static_cast<double>(low * low);
    squares += static_cast<double>(code) * code;
  }
  head.unit = peak / kLargest;
  head.start = static_cast<int32_t>(-128 * high_sum);
  head.error = static_cast<float>(head.unit * std::sqrt(low_squares) * kAbove);
  head.norm = static_cast<float>(head.unit * std::sqrt(squares) * kAbove);
  std::memcpy(key, &head, sizeof(head));
}

}  // namespace hadal
