#include <cstdint>
#include <vector>

#include "kernels/reference/reference.h"

namespace hadal::reference {

void matmul_rows(const TensorView& weight, int64_t row_begin, int64_t row_end, const float* x,
                 int64_t n, int64_t x_stride, const float* bias, float* out, int64_t out_stride) {
  const int64_t cols = weight.ne[0];
  std::vector<float> row(static_cast<size_t>(cols));
  for (int64_t o = row_begin; o < row_end; ++o) {
    dequantize_row(weight, o, row.data());
    for (int64_t r = 0; r < n; ++r) {
      const float* in = x + r * x_stride;
      double sum = bias != nullptr ? bias[o] : 0.0;
      for (int64_t i = 0; i < cols; ++i) {
        sum += static_cast<double>(row[static_cast<size_t>(i)]) * in[i];
      }
      out[r * out_stride + o] = static_cast<float>(sum);
    }
  }
}

}  // namespace hadal::reference
