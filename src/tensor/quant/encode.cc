/// quantize_row(): checks a row and hands its blocks to the type's encoder.
#include "tensor/quant/encode.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "base/check.h"
#include "tensor/quantize.h"

namespace hadal {
namespace {

constexpr std::array kTargets = {
    DType::kF32,    DType::kF16,    DType::kQ4_0, DType::kQ4_1,  DType::kQ5_0, DType::kQ5_1,
    DType::kQ8_0,   DType::kQ2_K,   DType::kQ3_K, DType::kQ4_K,  DType::kQ5_K, DType::kQ6_K,
    DType::kIQ4_NL, DType::kIQ4_XS, DType::kBF16, DType::kMXFP4,
};

quant::Encoder encoder_of(DType type) {
  switch (type) {
    case DType::kQ4_0:
      return quant::encode_q4_0;
    case DType::kQ4_1:
      return quant::encode_q4_1;
    case DType::kQ5_0:
      return quant::encode_q5_0;
    case DType::kQ5_1:
      return quant::encode_q5_1;
    case DType::kQ8_0:
      return quant::encode_q8_0;
    case DType::kQ2_K:
      return quant::encode_q2_k;
    case DType::kQ3_K:
      return quant::encode_q3_k;
    case DType::kQ4_K:
      return quant::encode_q4_k;
    case DType::kQ5_K:
      return quant::encode_q5_k;
    case DType::kQ6_K:
      return quant::encode_q6_k;
    case DType::kIQ4_NL:
      return quant::encode_iq4_nl;
    case DType::kIQ4_XS:
      return quant::encode_iq4_xs;
    case DType::kMXFP4:
      return quant::encode_mxfp4;
    default:
      return nullptr;
  }
}

/// The first of the block's values that is not finite, or -1.
int64_t find_not_finite(const float* x, int64_t n) {
  // 0 * x is 0 for every finite x: one sum tells whether to look closer.
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += 0.0f * x[i];
  if (sum == 0) return -1;
  for (int64_t i = 0; i < n; ++i) {
    if (!std::isfinite(x[i])) return i;
  }
  return -1;
}

Error too_large(DType type, int64_t first, int64_t count, const float* x) {
  float top = 0;
  for (int64_t i = 0; i < count; ++i) top = std::max(top, std::fabs(x[first + i]));
  return Error{Code::kInvalidArgument,
               fmt::format("values of magnitude {:g} near column {} are too large for {}", top,
                           first, dtype_info(type).name)};
}

/// F16 and BF16.
Status round_row(DType type, const float* x, void* out, int64_t n) {
  auto* bits = static_cast<uint8_t*>(out);
  const uint16_t infinite = type == DType::kF16 ? 0x7C00 : 0x7F80;
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t code = type == DType::kF16 ? f32_to_f16(x[i]) : f32_to_bf16(x[i]);
    if ((code & infinite) == infinite) return too_large(type, i, 1, x);
    std::memcpy(bits + 2 * i, &code, sizeof(code));
  }
  return {};
}

/// Without importance, where the format has a reference encoder.
bool encode_reference(DType type, const float* x, uint8_t* out, bool& fits) {
  switch (type) {
    case DType::kQ4_0:
      fits = quant::encode_q4_0_reference(x, out);
      return true;
    case DType::kQ8_0:
      fits = quant::encode_q8_0_reference(x, out);
      return true;
    case DType::kMXFP4:
      fits = quant::encode_mxfp4_reference(x, out);
      return true;
    default:
      return false;
  }
}

}  // namespace

std::span<const DType> quantize_targets() {
  return kTargets;
}

bool can_quantize_to(DType type) {
  return std::find(kTargets.begin(), kTargets.end(), type) != kTargets.end();
}

std::optional<DType> dtype_named(std::string_view name) {
  const auto same = [](char a, char b) {
    return std::toupper(static_cast<unsigned char>(a)) ==
           std::toupper(static_cast<unsigned char>(b));
  };
  for (const DType type : kTargets) {
    const std::string_view own = dtype_info(type).name;
    if (std::equal(own.begin(), own.end(), name.begin(), name.end(), same)) return type;
  }
  return std::nullopt;
}

Status quantize_row(DType type, const float* x, const float* importance, void* out, int64_t n) {
  const DTypeInfo& info = dtype_info(type);
  CHECK(can_quantize_to(type) && n % info.block_elements == 0);
  if (const int64_t bad = find_not_finite(x, n); bad >= 0) {
    return Error{Code::kInvalidArgument, fmt::format("the value in column {} is {}", bad, x[bad]),
                 "the source is damaged: get it again"};
  }
  if (type == DType::kF32) {
    std::memcpy(out, x, static_cast<size_t>(n) * sizeof(float));
    return {};
  }
  if (type == DType::kF16 || type == DType::kBF16) return round_row(type, x, out, n);
  const quant::Encoder encode = encoder_of(type);
  auto* block = static_cast<uint8_t*>(out);
  for (int64_t i = 0; i < n; i += info.block_elements, block += info.block_bytes) {
    bool fits = false;
    if (importance != nullptr || !encode_reference(type, x + i, block, fits)) {
      fits = encode(x + i, importance == nullptr ? nullptr : importance + i, block);
    }
    if (!fits) return too_large(type, i, info.block_elements, x);
  }
  return {};
}

}  // namespace hadal
