#include "kernels/elementwise.h"

#include "base/check.h"
#include "kernels/isa.h"
#include "kernels/reference/reference.h"

namespace hadal {

void rms_norm(const float* x, int64_t x_stride, const float* weight, float eps, int64_t rows,
              int64_t n, float* out, int64_t out_stride) {
  const cpu::Ops* ops = current_ops();
  if (ops == nullptr) {
    return reference::rms_norm(x, x_stride, weight, eps, rows, n, out, out_stride);
  }
  for (int64_t r = 0; r < rows; ++r) {
    ops->rms_norm(x + r * x_stride, weight, eps, n, out + r * out_stride);
  }
}

void layer_norm(const float* x, const float* weight, const float* bias, float eps, int64_t rows,
                int64_t n, float* out) {
  const cpu::Ops* ops = current_ops();
  for (int64_t r = 0; r < rows; ++r) {
    if (ops == nullptr) {
      reference::layer_norm_row(x + r * n, weight, bias, eps, n, out + r * n);
    } else {
      ops->layer_norm(x + r * n, weight, bias, eps, n, out + r * n);
    }
  }
}

void gelu_in_place(float* x, int64_t n) {
  const cpu::Ops* ops = current_ops();
  if (ops == nullptr) return reference::gelu_in_place(x, n);
  ops->gelu(x, n);
}

void silu_mul(const float* gate, const float* up, int64_t n, float* out) {
  const cpu::Ops* ops = current_ops();
  if (ops == nullptr) return reference::silu_mul(gate, up, n, out);
  ops->silu_mul(gate, up, n, out);
}

void add_in_place(float* x, const float* y, int64_t n) {
  const cpu::Ops* ops = current_ops();
  if (ops == nullptr) return reference::add_in_place(x, y, n);
  ops->add(x, y, n);
}

int64_t arg_max(const float* x, int64_t n) {
  CHECK(n >= 1);
  const cpu::Ops* ops = current_ops();
  return ops == nullptr ? reference::arg_max(x, n) : ops->arg_max(x, n);
}

}  // namespace hadal
