/// The first generation: 32 values per block, one f16 scale d and, in the _1 forms, one f16
/// minimum m. Value j (< 16) sits in the low nibble of byte j, value j + 16 in its high nibble.
#include "tensor/quant/quant.h"

namespace hadal::quant {

/// {f16 d; u8 qs[16]}: (q - 8) d.
void decode_q4_0(Block p, float* y) {
  const float d = load_f16(p);
  const Block qs = p + 2;
  for (int j = 0; j < 16; ++j) {
    y[j] = static_cast<float>((qs[j] & 15) - 8) * d;
    y[j + 16] = static_cast<float>((qs[j] >> 4) - 8) * d;
  }
}

/// {f16 d; f16 m; u8 qs[16]}: q d + m.
void decode_q4_1(Block p, float* y) {
  const float d = load_f16(p);
  const float m = load_f16(p + 2);
  const Block qs = p + 4;
  for (int j = 0; j < 16; ++j) {
    y[j] = static_cast<float>(qs[j] & 15) * d + m;
    y[j + 16] = static_cast<float>(qs[j] >> 4) * d + m;
  }
}

/// {f16 d; u32 qh; u8 qs[16]}: bit j of qh is the fifth bit of value j; (q - 16) d.
void decode_q5_0(Block p, float* y) {
  const float d = load_f16(p);
  const uint32_t qh = load_u32(p + 2);
  const Block qs = p + 6;
  for (int j = 0; j < 16; ++j) {
    const int low = (qs[j] & 15) | static_cast<int>((qh >> j) & 1) << 4;
    const int high = (qs[j] >> 4) | static_cast<int>((qh >> (j + 16)) & 1) << 4;
    y[j] = static_cast<float>(low - 16) * d;
    y[j + 16] = static_cast<float>(high - 16) * d;
  }
}

/// {f16 d; f16 m; u32 qh; u8 qs[16]}: q d + m.
void decode_q5_1(Block p, float* y) {
  const float d = load_f16(p);
  const float m = load_f16(p + 2);
  const uint32_t qh = load_u32(p + 4);
  const Block qs = p + 8;
  for (int j = 0; j < 16; ++j) {
    const int low = (qs[j] & 15) | static_cast<int>((qh >> j) & 1) << 4;
    const int high = (qs[j] >> 4) | static_cast<int>((qh >> (j + 16)) & 1) << 4;
    y[j] = static_cast<float>(low) * d + m;
    y[j + 16] = static_cast<float>(high) * d + m;
  }
}

/// {f16 d; i8 qs[32]}: q d.
void decode_q8_0(Block p, float* y) {
  const float d = load_f16(p);
  for (int j = 0; j < 32; ++j) y[j] = static_cast<float>(static_cast<int8_t>(p[2 + j])) * d;
}

}  // namespace hadal::quant
