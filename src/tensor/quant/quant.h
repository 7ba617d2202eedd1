#pragma once
/// Decoders of the GGUF block formats, one file per family. Private to the room: callers use
/// dequantize_row(). Sources may lie at any address (nothing here needs alignment); all
/// multi-byte fields are little-endian. Every product is rounded to float in the order that the
/// formula of the format writes it, so results are equal bit by bit to other exact decoders.
#include <cstdint>
#include <cstring>

#include "tensor/dtype.h"

namespace hadal::quant {

using Block = const uint8_t*;

inline uint16_t load_u16(Block p) {
  uint16_t value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}
inline uint32_t load_u32(Block p) {
  uint32_t value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}
inline float load_f16(Block p) {
  return f16_to_f32(load_u16(p));
}

/// The codebook of IQ4_NL and IQ4_XS.
inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};

// Each decodes one block at `p` into `y` (32 or 256 values).
void decode_q4_0(Block p, float* y);
void decode_q4_1(Block p, float* y);
void decode_q5_0(Block p, float* y);
void decode_q5_1(Block p, float* y);
void decode_q8_0(Block p, float* y);
void decode_q2_k(Block p, float* y);
void decode_q3_k(Block p, float* y);
void decode_q4_k(Block p, float* y);
void decode_q5_k(Block p, float* y);
void decode_q6_k(Block p, float* y);
void decode_iq4_nl(Block p, float* y);
void decode_iq4_xs(Block p, float* y);
void decode_mxfp4(Block p, float* y);
void decode_f4_e2m1(Block p, float* y);  ///< 2 values

/// F32 F16 BF16 F64 I8 I16 I32 I64 F8_E4M3: plain arrays.
void decode_plain(DType type, Block p, float* y, int64_t elements);

}  // namespace hadal::quant
