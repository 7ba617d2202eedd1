#include <cmath>
#include <cstdint>

#include "kernels/reference/reference.h"

namespace hadal::reference {

void rms_norm(const float* x, int64_t x_stride, const float* weight, float eps, int64_t rows,
              int64_t n, float* out, int64_t out_stride) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = x + r * x_stride;
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(row[i]) * row[i];
    const double scale = 1.0 / std::sqrt(sum / static_cast<double>(n) + eps);
    for (int64_t i = 0; i < n; ++i) {
      out[r * out_stride + i] = static_cast<float>(row[i] * scale * weight[i]);
    }
  }
}

void layer_norm_row(const float* x, const float* weight, const float* bias, float eps, int64_t n,
                    float* out) {
  double mean = 0;
  for (int64_t i = 0; i < n; ++i) mean += x[i];
  mean /= static_cast<double>(n);
  double variance = 0;
  for (int64_t i = 0; i < n; ++i) variance += (x[i] - mean) * (x[i] - mean);
  const double scale = 1.0 / std::sqrt(variance / static_cast<double>(n) + eps);
  for (int64_t i = 0; i < n; ++i) {
    out[i] = static_cast<float>((x[i] - mean) * scale * weight[i] + bias[i]);
  }
}

void gelu_in_place(float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const double z = x[i];
    x[i] = static_cast<float>(z * 0.5 * std::erfc(-z * std::sqrt(0.5)));
  }
}

void silu_mul(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const double z = gate[i];
    out[i] = static_cast<float>(z / (1.0 + std::exp(-z)) * up[i]);
  }
}

void add_in_place(float* x, const float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] += y[i];
}

int64_t arg_max(const float* x, int64_t n) {
  int64_t best = 0;
  for (int64_t i = 1; i < n; ++i) {
    if (x[i] > x[best]) best = i;
  }
  return best;
}

}  // namespace hadal::reference
