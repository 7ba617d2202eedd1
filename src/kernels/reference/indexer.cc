#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "kernels/reference/reference.h"

namespace hadal::reference {
namespace {

int32_t signed_byte(const std::byte* bytes, int64_t i) {
  return static_cast<int8_t>(bytes[i]);
}

}  // namespace

std::vector<double> index_turned(const IndexShape& shape, const float* q) {
  const int64_t w = shape.width();
  const int64_t piece = w & -w;
  std::vector<double> out(static_cast<size_t>(shape.n_heads * w), 0.0);
  for (int64_t i = 0; i < shape.n_heads * w; ++i) {
    const float* x = q + i / w * shape.d_index;
    const int64_t begin = i % w / piece * piece;
    for (int64_t j = begin; j < std::min(shape.d_index, begin + piece); ++j) {
      const auto common = static_cast<uint64_t>(i % piece & j % piece);
      out[static_cast<size_t>(i)] += std::popcount(common) % 2 == 0 ? x[j] : -x[j];
    }
    out[static_cast<size_t>(i)] /= std::sqrt(static_cast<double>(piece));
  }
  return out;
}

float index_score(const IndexShape& shape, const double* turned, const float* weights,
                  const std::byte* key) {
  const int64_t w = shape.width();
  const IndexKeyHead head = index_key_head(key);
  const std::byte* high = key + sizeof(head);
  double sum = 0;
  for (int64_t h = 0; h < shape.n_heads; ++h) {
    double dot = 0;
    for (int64_t i = 0; i < w; ++i) {
      const int32_t code = 256 * signed_byte(high, i) + signed_byte(high, w + i);
      dot += turned[h * w + i] * static_cast<double>(head.unit) * code;
    }
    sum += static_cast<double>(weights[h]) * std::max(dot, 0.0);
  }
  return static_cast<float>(sum);
}

float index_estimate(const IndexShape& shape, const int8_t* codes, const float* weights,
                     const std::byte* key) {
  const int64_t w = shape.width();
  const IndexKeyHead head = index_key_head(key);
  float lanes[16] = {};
  for (int64_t h = 0; h < shape.n_heads; ++h) {
    int64_t dot = 0;
    for (int64_t i = 0; i < w; ++i) dot += codes[h * w + i] * signed_byte(key + sizeof(head), i);
    const auto seen = static_cast<float>(std::max<int64_t>(dot, 0));
    lanes[h % 16] = std::fma(seen, weights[h], lanes[h % 16]);
  }
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0] * (256 * head.unit);
}

}  // namespace hadal::reference
