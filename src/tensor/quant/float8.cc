/// Small floats of safetensors files: FP8 E4M3, FP4 E2M1, and the scale E8M0, as OCP defines them.
#include <bit>
#include <limits>

#include "tensor/quant/quant.h"

namespace hadal {

float f8_e4m3_to_f32(uint8_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x80) << 24;
  const uint32_t exponent = (bits >> 3) & 15;
  const uint32_t mantissa = bits & 7;
  if (exponent == 0) {
    // Subnormal: mantissa * 2^-9, exact in float.
    const float magnitude = static_cast<float>(mantissa) * 0x1p-9F;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  if ((bits & 0x7F) == 0x7F) return std::numeric_limits<float>::quiet_NaN();
  return std::bit_cast<float>(sign | (exponent + 120) << 23 | mantissa << 20);
}

float e8m0_to_f32(uint8_t bits) {
  if (bits == 255) return std::numeric_limits<float>::quiet_NaN();
  if (bits == 0) return 0x1p-127F;
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 23);
}

namespace quant {

void decode_f4_e2m1(Block p, float* y) {
  constexpr float kMagnitudes[8] = {0.0F, 0.5F, 1.0F, 1.5F, 2.0F, 3.0F, 4.0F, 6.0F};
  for (int i = 0; i < 2; ++i) {
    const int code = p[0] >> 4 * i & 15;
    y[i] = code < 8 ? kMagnitudes[code] : -kMagnitudes[code - 8];
  }
}

}  // namespace quant

}  // namespace hadal
