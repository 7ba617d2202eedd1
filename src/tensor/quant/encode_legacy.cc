/// Encoders of the 32-value formats with one f16 scale (and minimum): legacy.cc read backwards.
#include <cmath>

#include "tensor/quant/encode.h"
#include "tensor/quant/fit_block.h"
#include "tensor/quant/quant.h"

namespace hadal::quant {
namespace {

constexpr int kBlock = 32;

void store_u16(uint8_t* p, uint16_t value) {
  std::memcpy(p, &value, sizeof(value));
}

/// Value j in the low nibble of byte j, value j + 16 in its high nibble.
void store_nibbles(uint8_t* qs, const int* codes) {
  for (int j = 0; j < 16; ++j) {
    qs[j] = static_cast<uint8_t>((codes[j] & 15) | (codes[j + 16] & 15) << 4);
  }
}

void store_fifth_bits(uint8_t* p, const int* codes) {
  uint32_t bits = 0;
  for (int j = 0; j < kBlock; ++j) bits |= static_cast<uint32_t>(codes[j] >> 4 & 1) << j;
  std::memcpy(p, &bits, sizeof(bits));
}

/// The values' codes (0 for the grid's low end) and the scale's f16.
template <typename Grid>
bool encode_scaled(const float* x, const float* importance, uint16_t& half, int* codes) {
  const ScaledBlock block(x, importance, kBlock);
  half = 0;
  if (!block.zero) {
    const float reference = largest(block.part(0, kBlock)) / Grid::kLow;
    if (!fit_half_scale<Grid>(block, kBlock, reference, half)) return false;
  }
  const float scale = f16_to_f32(half) * block.down;
  const float inverse = scale != 0 ? 1.0f / scale : 0.0f;
  for (int j = 0; j < kBlock; ++j) codes[j] = Grid::code(block.x[j] * inverse);
  return true;
}

struct AffineHalves {
  uint16_t scale = 0, min = 0;
};

bool encode_affine(const float* x, const float* importance, int levels, AffineHalves& halves,
                   int* codes) {
  const ScaledBlock block(x, importance, kBlock);
  Affine stored;
  if (!block.zero) {
    const Values values = block.part(0, kBlock);
    float best = FLT_MAX;
    const auto consider = [&](Affine a) {
      const AffineHalves rounded{block.half_bits(a.scale), block.half_bits(a.min)};
      if (!half_is_finite(rounded.scale) || !half_is_finite(rounded.min)) return;
      const Affine read{block.as_half(a.scale), block.as_half(a.min)};
      const float error = affine_error(values, read, levels);
      if (error < best) {
        best = error;
        halves = rounded;
        stored = read;
      }
    };
    const Affine fitted = fit_affine(values, levels, false);
    consider(fitted);
    consider({fitted.scale, block.as_half(fitted.min)});
    // What the reference encoders write: the extremes.
    const auto [low, high] = std::minmax_element(block.x, block.x + kBlock);
    consider({(*high - *low) / static_cast<float>(levels), *low});
    if (best == FLT_MAX) return false;
  }
  const float inverse = stored.scale != 0 ? 1.0f / stored.scale : 0.0f;
  for (int j = 0; j < kBlock; ++j) {
    const float q =
        std::clamp((block.x[j] - stored.min) * inverse, 0.0f, static_cast<float>(levels));
    codes[j] = static_cast<int>(std::nearbyint(q));
  }
  return true;
}

}  // namespace

/// d = M / -8 with M the value of largest magnitude, q = min(15, trunc(x / d + 8.5)).
bool encode_q4_0_reference(const float* x, uint8_t* out) {
  const float d = largest({x, nullptr, kBlock}) / -8;
  const float inverse = d != 0 ? 1.0f / d : 0.0f;
  if (!std::isfinite(inverse)) {  // d is subnormal: nothing that an f16 could scale
    const float zeros[kBlock] = {};
    return encode_q4_0_reference(zeros, out);
  }
  store_u16(out, f32_to_f16(d));
  int codes[kBlock];
  for (int j = 0; j < kBlock; ++j) {
    codes[j] = std::min(15, static_cast<int>(x[j] * inverse + 8.5f));
  }
  store_nibbles(out + 2, codes);
  return half_is_finite(f32_to_f16(d));
}

/// d = max |x| / 127, q = x / d rounded half away from zero.
bool encode_q8_0_reference(const float* x, uint8_t* out) {
  const float d = std::fabs(largest({x, nullptr, kBlock})) / 127;
  float inverse = d != 0 ? 1.0f / d : 0.0f;
  if (!std::isfinite(inverse)) inverse = 0;
  store_u16(out, f32_to_f16(d));
  for (int j = 0; j < kBlock; ++j) {
    out[2 + j] = static_cast<uint8_t>(static_cast<int8_t>(std::round(x[j] * inverse)));
  }
  return half_is_finite(f32_to_f16(d));
}

bool encode_q4_0(const float* x, const float* importance, uint8_t* out) {
  int codes[kBlock];
  uint16_t half = 0;
  if (!encode_scaled<IntegerGrid<-8, 7>>(x, importance, half, codes)) return false;
  store_u16(out, half);
  store_nibbles(out + 2, codes);
  return true;
}

bool encode_q4_1(const float* x, const float* importance, uint8_t* out) {
  int codes[kBlock];
  AffineHalves halves;
  if (!encode_affine(x, importance, 15, halves, codes)) return false;
  store_u16(out, halves.scale);
  store_u16(out + 2, halves.min);
  store_nibbles(out + 4, codes);
  return true;
}

bool encode_q5_0(const float* x, const float* importance, uint8_t* out) {
  int codes[kBlock];
  uint16_t half = 0;
  if (!encode_scaled<IntegerGrid<-16, 15>>(x, importance, half, codes)) return false;
  store_u16(out, half);
  store_fifth_bits(out + 2, codes);
  store_nibbles(out + 6, codes);
  return true;
}

bool encode_q5_1(const float* x, const float* importance, uint8_t* out) {
  int codes[kBlock];
  AffineHalves halves;
  if (!encode_affine(x, importance, 31, halves, codes)) return false;
  store_u16(out, halves.scale);
  store_u16(out + 2, halves.min);
  store_fifth_bits(out + 4, codes);
  store_nibbles(out + 8, codes);
  return true;
}

/// -128 stays unused: kernels take the magnitude of a code as 7 bits.
bool encode_q8_0(const float* x, const float* importance, uint8_t* out) {
  using Grid = IntegerGrid<-127, 127>;
  int codes[kBlock];
  uint16_t half = 0;
  if (!encode_scaled<Grid>(x, importance, half, codes)) return false;
  store_u16(out, half);
  for (int j = 0; j < kBlock; ++j) {
    out[2 + j] = static_cast<uint8_t>(static_cast<int8_t>(codes[j] - 127));
  }
  return true;
}

}  // namespace hadal::quant
