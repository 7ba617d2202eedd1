/// MXFP4 (OCP Microscaling): 32 values of FP4 E2M1 under one power-of-two scale E8M0.
#include <bit>

#include "tensor/quant/quant.h"

namespace hadal::quant {
namespace {

/// Twice the FP4 values 0 .5 1 1.5 2 3 4 6 and their negatives (8..15): integers, so that half
/// of the scale, which float can hold for every exponent, multiplies them exactly.
constexpr int8_t kDoubledFp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// 2^(exponent - 128). Exponents 0 and 1 give subnormal floats. The standard reserves 255 for
/// NaN; GGUF writers never emit it and other readers decode it as 2^128, so this does too.
float half_scale(uint8_t exponent) {
  if (exponent < 2) return std::bit_cast<float>(uint32_t{0x00200000} << exponent);
  return std::bit_cast<float>((uint32_t{exponent} - 1U) << 23);
}

}  // namespace

/// {u8 exponent; u8 qs[16]}: nibble order of Q4_0.
void decode_mxfp4(Block p, float* y) {
  const float d = half_scale(p[0]);
  for (int j = 0; j < 16; ++j) {
    y[j] = d * static_cast<float>(kDoubledFp4[p[1 + j] & 15]);
    y[j + 16] = d * static_cast<float>(kDoubledFp4[p[1 + j] >> 4]);
  }
}

}  // namespace hadal::quant
