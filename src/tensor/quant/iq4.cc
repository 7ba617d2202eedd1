/// 4-bit codes into a fixed non-linear codebook (kIq4Values).
#include "tensor/quant/quant.h"

namespace hadal::quant {

/// {f16 d; u8 qs[16]}: 32 values, nibble order of Q4_0.
void decode_iq4_nl(Block p, float* y) {
  const float d = load_f16(p);
  for (int j = 0; j < 16; ++j) {
    y[j] = d * static_cast<float>(kIq4Values[p[2 + j] & 15]);
    y[j + 16] = d * static_cast<float>(kIq4Values[p[2 + j] >> 4]);
  }
}

/// {f16 d; u16 scales_high; u8 scales_low[4]; u8 qs[128]}: 256 values in groups of 32 with 6-bit
/// scales (4 bits in scales_low, 2 in scales_high), offset 32.
void decode_iq4_xs(Block p, float* y) {
  const float d = load_f16(p);
  const int scales_high = load_u16(p + 2);
  const Block scales_low = p + 4;
  for (int b = 0; b < 8; ++b) {
    const int low = (scales_low[b / 2] >> (4 * (b & 1))) & 15;
    const int high = (scales_high >> (2 * b)) & 3;
    const float scale = d * static_cast<float>((low | high << 4) - 32);
    const Block qs = p + 8 + 16 * b;
    for (int j = 0; j < 16; ++j) {
      y[32 * b + j] = scale * static_cast<float>(kIq4Values[qs[j] & 15]);
      y[32 * b + 16 + j] = scale * static_cast<float>(kIq4Values[qs[j] >> 4]);
    }
  }
}

}  // namespace hadal::quant
