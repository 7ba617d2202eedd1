/// Encoders of the formats with a codebook: IQ4_NL, IQ4_XS, MXFP4.
#include <bit>
#include <cmath>

#include "tensor/quant/encode.h"
#include "tensor/quant/fit_block.h"
#include "tensor/quant/quant.h"

namespace hadal::quant {
namespace {

void store_nibbles(uint8_t* qs, const int* codes) {
  for (int j = 0; j < 16; ++j) qs[j] = static_cast<uint8_t>(codes[j] | codes[j + 16] << 4);
}

struct Iq4Grid {
  static constexpr float kLow = kIq4Values[0];
  static constexpr float kHigh = kIq4Values[15];
  static constexpr float kReach = 0.2f;  ///< about the widest step of the codebook
  static constexpr float between(int i) { return 0.5f * (kIq4Values[i] + kIq4Values[i + 1]); }
  static Lanes nearest(Lanes v) {
    Lanes y = lanes(kLow);
    for (int i = 0; i < 15; ++i) y = v > between(i) ? lanes(kIq4Values[i + 1]) : y;
    return y;
  }
  static int code(float v) {
    int code = 0;
    while (code < 15 && v > between(code)) ++code;
    return code;
  }
};

/// Magnitudes of FP4 codes 0..7, doubled so that all are integers; +8 negates.
constexpr int kFp4Doubled[8] = {0, 1, 2, 3, 4, 6, 8, 12};
constexpr int kFp4Bias = 127;
constexpr int kFp4Block = 32;

/// The nearest code for v = x / (half of the scale); a tie goes to the smaller magnitude.
int fp4_code(float v) {
  const float magnitude = std::fabs(v);
  int code = 0;
  while (code < 7 &&
         magnitude > 0.5f * static_cast<float>(kFp4Doubled[code] + kFp4Doubled[code + 1])) {
    ++code;
  }
  return code == 0 || v > 0 ? code : code + 8;
}

/// The exponent whose scale gives the largest value a code from 4 to 6: floor(log2) - 2.
int fp4_exponent(const float* x) {
  const float top = std::fabs(largest({x, nullptr, kFp4Block}));
  if (top == 0) return 0;
  return std::clamp(std::ilogb(top) - 2 + kFp4Bias, 0, 254);
}

/// x / (half of the scale), exact but for subnormal results.
float fp4_scaled(float x, int exponent) {
  return std::ldexp(x, kFp4Bias + 1 - exponent);
}

void store_fp4(const float* x, int exponent, uint8_t* out) {
  int codes[kFp4Block];
  for (int j = 0; j < kFp4Block; ++j) codes[j] = fp4_code(fp4_scaled(x[j], exponent));
  out[0] = static_cast<uint8_t>(exponent);
  store_nibbles(out + 1, codes);
}

}  // namespace

bool encode_iq4_nl(const float* x, const float* importance, uint8_t* out) {
  const ScaledBlock block(x, importance, 32);
  uint16_t half = 0;
  const float extreme = largest(block.part(0, 32)) / Iq4Grid::kLow;
  if (!block.zero && !fit_half_scale<Iq4Grid>(block, 32, extreme, half)) return false;
  const float scale = f16_to_f32(half) * block.down;
  const float inverse = scale != 0 ? 1.0f / scale : 0.0f;
  int codes[32];
  for (int j = 0; j < 32; ++j) codes[j] = Iq4Grid::code(block.x[j] * inverse);
  std::memcpy(out, &half, sizeof(half));
  store_nibbles(out + 2, codes);
  return true;
}

bool encode_iq4_xs(const float* x, const float* importance, uint8_t* out) {
  const ScaledBlock block(x, importance, 256);
  SuperScales<8> found;
  if (!block.zero) found = SymmetricSuper<Iq4Grid, 8, 32, -32, 31>(block).fit();
  std::memcpy(out, &found.half, sizeof(found.half));
  std::memset(out + 2, 0, 6);
  for (int b = 0; b < 8; ++b) {
    const int scale = found.groups[b] + 32;
    uint8_t& high = out[2 + b / 4];  // u16, two bits per group
    uint8_t& low = out[4 + b / 2];
    high = static_cast<uint8_t>(high | (scale >> 4) << (2 * (b % 4)));
    low = static_cast<uint8_t>(low | (scale & 15) << (4 * (b & 1)));
    const float unit = found.scale * static_cast<float>(found.groups[b]);
    const float inverse = unit != 0 ? 1.0f / unit : 0.0f;
    int codes[32];
    for (int j = 0; j < 32; ++j) codes[j] = Iq4Grid::code(block.x[32 * b + j] * inverse);
    store_nibbles(out + 8 + 16 * b, codes);
  }
  return found.fits;
}

bool encode_mxfp4_reference(const float* x, uint8_t* out) {
  store_fp4(x, fp4_exponent(x), out);
  return true;
}

/// The neighbours of the reference's exponent too: the next one keeps values that it would clip.
bool encode_mxfp4(const float* x, const float* importance, uint8_t* out) {
  const int middle = fp4_exponent(x);
  float weight = 0;
  for (int j = 0; importance != nullptr && j < kFp4Block; ++j) {
    weight = std::max(weight, importance[j]);
  }
  double best = DBL_MAX;
  int exponent = middle;
  for (int e = std::max(middle - 1, 0); e <= std::min(middle + 1, 254); ++e) {
    double error = 0;
    for (int j = 0; j < kFp4Block; ++j) {
      const float v = fp4_scaled(x[j], e);
      const int code = fp4_code(v);
      // In units of the reference's scale, so that no exponent overflows.
      const double off =
          std::ldexp(std::fabs(v) - static_cast<float>(kFp4Doubled[code & 7]), e - middle);
      error += (weight > 0 ? static_cast<double>(importance[j] / weight) : 1.0) * off * off;
    }
    if (error < best) {
      best = error;
      exponent = e;
    }
  }
  store_fp4(x, exponent, out);
  return true;
}

}  // namespace hadal::quant
