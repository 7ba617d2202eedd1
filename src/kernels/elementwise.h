#pragma once
/// Row-wise ops on float32 activations. All accumulate in float32 (norms in blocks) or better.
#include <cstdint>

namespace hadal {

/// out[r,i] = weight[i] * x[r,i] / sqrt(mean(x[r]^2) + eps), for `rows` rows of `n` (1910.07467).
/// out may be x. Strides in elements.
void rms_norm(const float* x, int64_t x_stride, const float* weight, float eps, int64_t rows,
              int64_t n, float* out, int64_t out_stride);

/// out[r,i] = weight[i] * (x[r,i] - mean(x[r])) / sqrt(variance(x[r]) + eps) + bias[i], for `rows`
/// rows of `n` that lie one after the other (1607.06450). out may be x.
void layer_norm(const float* x, const float* weight, const float* bias, float eps, int64_t rows,
                int64_t n, float* out);

/// x[i] = x[i] / 2 * (1 + erf(x[i] / sqrt(2))) (1606.08415, the exact form), within 5e-7.
void gelu_in_place(float* x, int64_t n);

/// out[i] = silu(gate[i]) * up[i], silu(z) = z / (1 + e^-z) (2002.05202). out may be gate or up.
void silu_mul(const float* gate, const float* up, int64_t n, float* out);

/// x[i] += y[i].
void add_in_place(float* x, const float* y, int64_t n);

/// Index of the largest value; the lowest index wins a tie. n >= 1.
int64_t arg_max(const float* x, int64_t n);

}  // namespace hadal
