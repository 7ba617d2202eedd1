#pragma once
/// Element types and block formats: those of GGUF with GGUF's ids, and those that only safetensors
/// files have, with ids above 1000.
#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace hadal {

enum class DType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kIQ4_XS = 23,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kBF16 = 30,
  kMXFP4 = 39,
  // Of safetensors only. Their values still want a factor: TensorView::scales.
  kF8_E4M3 = 1001,  ///< sign, 4 bits of exponent (bias 7), 3 of mantissa; 0x7F and 0xFF are NaN
  kF4_E2M1 = 1002,  ///< two values a byte, the even column in the low nibble
};

struct DTypeInfo {
  DType type;
  std::string_view name;  ///< as in GGUF tools: "Q4_K"
  int block_elements;     ///< elements per block, 1 for plain types
  int block_bytes;
};

/// Every type this version decodes, in id order.
const DTypeInfo& dtype_info(DType type);

/// The type behind a GGUF id. kUnsupported (naming the type and what to do) for ids that exist
/// but are not decoded here; kCorrupt for ids that do not exist.
Result<DType> dtype_from_gguf(uint32_t id);

/// The type behind a DType's own number, as a packed image keeps it. kCorrupt for any other number.
Result<DType> dtype_from_id(uint32_t id);

/// Bytes of a row of `elements` (must be a multiple of the block).
inline uint64_t dtype_row_bytes(DType type, int64_t elements) {
  const DTypeInfo& info = dtype_info(type);
  return static_cast<uint64_t>(elements / info.block_elements) *
         static_cast<uint64_t>(info.block_bytes);
}

/// Decodes `elements` values (a multiple of the block) at `source` to float, exactly as the
/// format's definition says. Integer types convert. This is the reference twin of every faster
/// decoder. Types with scales of their own (TensorView::scales) give the values without them.
void dequantize_row(DType type, const void* source, float* out, int64_t elements);

/// IEEE half and bfloat16 conversions (round to nearest even; NaN stays NaN).
float f16_to_f32(uint16_t bits);
uint16_t f32_to_f16(float value);
float bf16_to_f32(uint16_t bits);
uint16_t f32_to_bf16(float value);

/// E4M3 (of OCP's 8-bit formats, without infinities) and E8M0 (2^(bits - 127); 255 is NaN).
float f8_e4m3_to_f32(uint8_t bits);
float e8m0_to_f32(uint8_t bits);

}  // namespace hadal
