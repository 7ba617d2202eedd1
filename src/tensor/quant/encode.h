#pragma once
/// Encoders of one block each. Private to the room: callers use quantize_row().
///
/// Each takes the block's values (finite), how much each counts (null: equally) and writes the
/// block. false: the values are too large for the type's scale.
#include <cstdint>

namespace hadal::quant {

using Encoder = bool (*)(const float* x, const float* importance, uint8_t* out);

// The formats' reference encoders: one pass, no search.
bool encode_q4_0_reference(const float* x, uint8_t* out);
bool encode_q8_0_reference(const float* x, uint8_t* out);
bool encode_mxfp4_reference(const float* x, uint8_t* out);

bool encode_q4_0(const float* x, const float* importance, uint8_t* out);
bool encode_q4_1(const float* x, const float* importance, uint8_t* out);
bool encode_q5_0(const float* x, const float* importance, uint8_t* out);
bool encode_q5_1(const float* x, const float* importance, uint8_t* out);
bool encode_q8_0(const float* x, const float* importance, uint8_t* out);
bool encode_q2_k(const float* x, const float* importance, uint8_t* out);
bool encode_q3_k(const float* x, const float* importance, uint8_t* out);
bool encode_q4_k(const float* x, const float* importance, uint8_t* out);
bool encode_q5_k(const float* x, const float* importance, uint8_t* out);
bool encode_q6_k(const float* x, const float* importance, uint8_t* out);
bool encode_iq4_nl(const float* x, const float* importance, uint8_t* out);
bool encode_iq4_xs(const float* x, const float* importance, uint8_t* out);
bool encode_mxfp4(const float* x, const float* importance, uint8_t* out);

}  // namespace hadal::quant
