/// K-quants: super-blocks of 256 values, cut into groups of 16 or 32 that carry small integer
/// scales (and minima) of their own, which one or two f16 numbers per super-block scale again.
#include "tensor/quant/quant.h"

namespace hadal::quant {
namespace {

/// Scale and minimum of group j (< 8) in Q4_K and Q5_K: 6 bits each, sixteen of them in 12 bytes.
/// Groups 0..3 lie in the low 6 bits of bytes 0..3 and 4..7; the nibbles of bytes 8..11 hold the
/// low halves for groups 4..7, whose high 2 bits fill the tops of bytes 0..7.
struct ScaleMin {
  int scale;
  int min;
};

ScaleMin scale_min(Block s, int j) {
  if (j < 4) return {s[j] & 63, s[j + 4] & 63};
  return {(s[j + 4] & 15) | (s[j - 4] >> 6) << 4, (s[j + 4] >> 4) | (s[j] >> 6) << 4};
}

}  // namespace

/// {u8 scales[16]; u8 qs[64]; f16 d; f16 dmin}: groups of 16; low nibble scale, high nibble min.
void decode_q2_k(Block p, float* y) {
  const Block scales = p;
  const Block qs = p + 16;
  const float d = load_f16(p + 80);
  const float dmin = load_f16(p + 82);
  for (int g = 0; g < 16; ++g) {
    const float scale = d * static_cast<float>(scales[g] & 15);
    const float min = dmin * static_cast<float>(scales[g] >> 4);
    const int shift = 2 * ((g % 8) / 2);
    const Block q = qs + 32 * (g / 8) + 16 * (g & 1);
    for (int l = 0; l < 16; ++l) {
      y[16 * g + l] = scale * static_cast<float>((q[l] >> shift) & 3) - min;
    }
  }
}

/// {u8 hmask[32]; u8 qs[64]; u8 scales[12]; f16 d}: groups of 16; 2 low bits in qs, the third in
/// hmask (clear means minus 4); 6-bit scales, offset 32.
void decode_q3_k(Block p, float* y) {
  const Block hmask = p;
  const Block qs = p + 32;
  const Block s = p + 96;
  const float d = load_f16(p + 108);
  for (int g = 0; g < 16; ++g) {
    const int low = g < 8 ? s[g] & 15 : s[g - 8] >> 4;
    const int high = (s[8 + g % 4] >> (2 * (g / 4))) & 3;
    const float scale = d * static_cast<float>((low | high << 4) - 32);
    const int half = g / 8;
    const int plane = (g % 8) / 2;
    const int offset = 16 * (g & 1);
    const int mask = 1 << (4 * half + plane);
    for (int l = 0; l < 16; ++l) {
      const int q = (qs[32 * half + offset + l] >> (2 * plane)) & 3;
      y[16 * g + l] = scale * static_cast<float>(q - ((hmask[offset + l] & mask) != 0 ? 0 : 4));
    }
  }
}

/// {f16 d; f16 dmin; u8 scales[12]; u8 qs[128]}: groups of 32.
void decode_q4_k(Block p, float* y) {
  const float d = load_f16(p);
  const float dmin = load_f16(p + 2);
  const Block qs = p + 16;
  for (int g = 0; g < 8; ++g) {
    const ScaleMin sm = scale_min(p + 4, g);
    const float scale = d * static_cast<float>(sm.scale);
    const float min = dmin * static_cast<float>(sm.min);
    const int shift = 4 * (g & 1);
    const Block q = qs + 32 * (g / 2);
    for (int l = 0; l < 32; ++l) {
      y[32 * g + l] = scale * static_cast<float>((q[l] >> shift) & 15) - min;
    }
  }
}

/// {f16 d; f16 dmin; u8 scales[12]; u8 qh[32]; u8 qs[128]}: Q4_K with a fifth bit, group g's in
/// bit g of qh.
void decode_q5_k(Block p, float* y) {
  const float d = load_f16(p);
  const float dmin = load_f16(p + 2);
  const Block qh = p + 16;
  const Block qs = p + 48;
  for (int g = 0; g < 8; ++g) {
    const ScaleMin sm = scale_min(p + 4, g);
    const float scale = d * static_cast<float>(sm.scale);
    const float min = dmin * static_cast<float>(sm.min);
    const int shift = 4 * (g & 1);
    const Block q = qs + 32 * (g / 2);
    for (int l = 0; l < 32; ++l) {
      const int value = ((q[l] >> shift) & 15) | ((qh[l] >> g) & 1) << 4;
      y[32 * g + l] = scale * static_cast<float>(value) - min;
    }
  }
}

/// {u8 ql[128]; u8 qh[64]; i8 scales[16]; f16 d}: groups of 16 with signed 8-bit scales; low four
/// bits in ql, high two in qh, offset 32. Per half of 128: quarter k (32 values) takes the low
/// (k < 2) or high nibbles of ql[32 (k & 1) ..] and bits 2k, 2k + 1 of qh.
void decode_q6_k(Block p, float* y) {
  const float d = load_f16(p + 208);
  for (int h = 0; h < 2; ++h) {
    const Block ql = p + 64 * h;
    const Block qh = p + 128 + 32 * h;
    const Block scales = p + 192 + 8 * h;
    for (int k = 0; k < 4; ++k) {
      for (int l = 0; l < 32; ++l) {
        const float scale = d * static_cast<float>(static_cast<int8_t>(scales[2 * k + l / 16]));
        const int low = (ql[32 * (k & 1) + l] >> (4 * (k / 2))) & 15;
        const int high = (qh[l] >> (2 * k)) & 3;
        y[128 * h + 32 * k + l] = scale * static_cast<float>((low | high << 4) - 32);
      }
    }
  }
}

}  // namespace hadal::quant
