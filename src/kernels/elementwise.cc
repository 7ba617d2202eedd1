#include "kernels/elementwise.h"

#include "kernels/reference/reference.h"

namespace hadal {

void rms_norm(const float* x, int64_t x_stride, const float* weight, float eps, int64_t rows,
              int64_t n, float* out, int64_t out_stride) {
  reference::rms_norm(x, x_stride, weight, eps, rows, n, out, out_stride);
}

void silu_mul(const float* gate, const float* up, int64_t n, float* out) {
  reference::silu_mul(gate, up, n, out);
}

void add_in_place(float* x, const float* y, int64_t n) {
  reference::add_in_place(x, y, n);
}

int64_t arg_max(const float* x, int64_t n) {
  return reference::arg_max(x, n);
}

}  // namespace hadal
