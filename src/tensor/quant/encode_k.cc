/// Encoders of the K-quants: k_quants.cc read backwards.
#include <cmath>

#include "tensor/quant/encode.h"
#include "tensor/quant/fit_block.h"

namespace hadal::quant {
namespace {

constexpr int kSuper = 256;

void store_u16(uint8_t* p, uint16_t value) {
  std::memcpy(p, &value, sizeof(value));
}

float inverse_of(float scale) {
  return scale != 0 ? 1.0f / scale : 0.0f;
}

/// q of each value, in order.
template <int Groups, int Levels>
void affine_codes(const ScaledBlock& block, const SuperAffine<Groups>& found, uint8_t* q) {
  constexpr int kSize = kSuper / Groups;
  for (int g = 0; g < Groups; ++g) {
    const Affine a = found.of(g);
    const float inverse = inverse_of(a.scale);
    for (int i = g * kSize; i < (g + 1) * kSize; ++i) {
      const float exact = std::clamp((block.x[i] - a.min) * inverse, 0.0f, float{Levels});
      q[i] = static_cast<uint8_t>(std::nearbyint(exact));
    }
  }
}

template <typename Grid, int Groups>
void grid_codes(const ScaledBlock& block, const SuperScales<Groups>& found, uint8_t* q) {
  constexpr int kSize = kSuper / Groups;
  for (int g = 0; g < Groups; ++g) {
    const float inverse = inverse_of(found.scale * static_cast<float>(found.groups[g]));
    for (int i = g * kSize; i < (g + 1) * kSize; ++i) {
      q[i] = static_cast<uint8_t>(Grid::code(block.x[i] * inverse));
    }
  }
}

/// The 12 bytes of Q4_K's and Q5_K's scales and minima (see k_quants.cc).
void store_scales_mins(uint8_t* s, const SuperAffine<8>& found) {
  std::memset(s, 0, 12);
  for (int j = 0; j < 4; ++j) {
    s[j] = static_cast<uint8_t>(found.scales[j] | (found.scales[j + 4] >> 4) << 6);
    s[j + 4] = static_cast<uint8_t>(found.mins[j] | (found.mins[j + 4] >> 4) << 6);
    s[j + 8] = static_cast<uint8_t>((found.scales[j + 4] & 15) | (found.mins[j + 4] & 15) << 4);
  }
}

/// Low four bits of group pairs: 64 values in 32 bytes.
void store_nibble_pairs(uint8_t* qs, const uint8_t* q) {
  for (int c = 0; c < 4; ++c) {
    for (int l = 0; l < 32; ++l) {
      qs[32 * c + l] = static_cast<uint8_t>((q[64 * c + l] & 15) | (q[64 * c + 32 + l] & 15) << 4);
    }
  }
}

/// Two bits per value: value 128 h + 32 r + l in bits 2r of byte 32 h + l.
void store_pairs_of_bits(uint8_t* qs, const uint8_t* q) {
  std::memset(qs, 0, 64);
  for (int i = 0; i < kSuper; ++i) {
    const int byte = 32 * (i / 128) + i % 32;
    qs[byte] = static_cast<uint8_t>(qs[byte] | (q[i] & 3) << (2 * (i % 128 / 32)));
  }
}

}  // namespace

bool encode_q2_k(const float* x, const float* importance, uint8_t* out) {
  const ScaledBlock block(x, importance, kSuper);
  SuperAffine<16> found;
  if (!block.zero) found = AffineSuper<16, 16, 3, 15>(block).fit();
  uint8_t q[kSuper];
  affine_codes<16, 3>(block, found, q);
  for (int g = 0; g < 16; ++g) {
    out[g] = static_cast<uint8_t>(found.scales[g] | found.mins[g] << 4);
  }
  store_pairs_of_bits(out + 16, q);
  store_u16(out + 80, found.scale_half);
  store_u16(out + 82, found.min_half);
  return found.fits;
}

bool encode_q3_k(const float* x, const float* importance, uint8_t* out) {
  using Grid = IntegerGrid<-4, 3>;
  const ScaledBlock block(x, importance, kSuper);
  SuperScales<16> found;
  if (!block.zero) found = SymmetricSuper<Grid, 16, 16, -32, 31>(block).fit();
  uint8_t q[kSuper];
  grid_codes<Grid>(block, found, q);
  std::memset(out, 0, 32);
  for (int i = 0; i < kSuper; ++i) {
    const int bit = 4 * (i / 128) + i % 128 / 32;
    out[i % 32] = static_cast<uint8_t>(out[i % 32] | (q[i] >> 2) << bit);
  }
  store_pairs_of_bits(out + 32, q);
  uint8_t* s = out + 96;
  std::memset(s, 0, 12);
  for (int g = 0; g < 16; ++g) {
    const int scale = found.groups[g] + 32;
    s[g % 8] = static_cast<uint8_t>(s[g % 8] | (scale & 15) << (4 * (g / 8)));
    s[8 + g % 4] = static_cast<uint8_t>(s[8 + g % 4] | (scale >> 4) << (2 * (g / 4)));
  }
  store_u16(out + 108, found.half);
  return found.fits;
}

bool encode_q4_k(const float* x, const float* importance, uint8_t* out) {
  const ScaledBlock block(x, importance, kSuper);
  SuperAffine<8> found;
  if (!block.zero) found = AffineSuper<8, 32, 15, 63>(block).fit();
  uint8_t q[kSuper];
  affine_codes<8, 15>(block, found, q);
  store_u16(out, found.scale_half);
  store_u16(out + 2, found.min_half);
  store_scales_mins(out + 4, found);
  store_nibble_pairs(out + 16, q);
  return found.fits;
}

bool encode_q5_k(const float* x, const float* importance, uint8_t* out) {
  const ScaledBlock block(x, importance, kSuper);
  SuperAffine<8> found;
  if (!block.zero) found = AffineSuper<8, 32, 31, 63>(block).fit();
  uint8_t q[kSuper];
  affine_codes<8, 31>(block, found, q);
  store_u16(out, found.scale_half);
  store_u16(out + 2, found.min_half);
  store_scales_mins(out + 4, found);
  std::memset(out + 16, 0, 32);
  for (int i = 0; i < kSuper; ++i) {
    out[16 + i % 32] = static_cast<uint8_t>(out[16 + i % 32] | (q[i] >> 4) << (i / 32));
  }
  store_nibble_pairs(out + 48, q);
  return found.fits;
}

bool encode_q6_k(const float* x, const float* importance, uint8_t* out) {
  using Grid = IntegerGrid<-32, 31>;
  const ScaledBlock block(x, importance, kSuper);
  SuperScales<16> found;
  if (!block.zero) found = SymmetricSuper<Grid, 16, 16, -128, 127>(block).fit();
  uint8_t q[kSuper];
  grid_codes<Grid>(block, found, q);
  std::memset(out, 0, 192);
  for (int i = 0; i < kSuper; ++i) {
    const int h = i / 128;
    const int k = i % 128 / 32;
    const int l = i % 32;
    uint8_t& low = out[64 * h + 32 * (k & 1) + l];
    uint8_t& high = out[128 + 32 * h + l];
    low = static_cast<uint8_t>(low | (q[i] & 15) << (4 * (k / 2)));
    high = static_cast<uint8_t>(high | (q[i] >> 4) << (2 * k));
  }
  for (int g = 0; g < 16; ++g) {
    out[192 + g] = static_cast<uint8_t>(static_cast<int8_t>(found.groups[g]));
  }
  store_u16(out + 208, found.half);
  return found.fits;
}

}  // namespace hadal::quant
