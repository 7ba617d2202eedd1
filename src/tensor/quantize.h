#pragma once
/// Encoders of the block formats: float rows to GGUF bytes.
///
/// Each block is searched for the scale (and minimum) with the least weighted squared error
/// sum w (x - y)^2 among several roundings, refined by least squares, instead of taking them from
/// the extremes. The layouts are those that dequantize_row() decodes.
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/result.h"
#include "tensor/dtype.h"

namespace hadal {

/// Every type that quantize_row() writes, in id order.
std::span<const DType> quantize_targets();
bool can_quantize_to(DType type);
/// A type by its name, in any case of letters ("q4_k", "BF16").
std::optional<DType> dtype_named(std::string_view name);

/// Encodes `n` values (a multiple of the type's block) into dtype_row_bytes(type, n) bytes at
/// `out`.
///
/// `importance`: how much an error of each value counts, n finite numbers >= 0; a block whose
/// numbers are all 0 is treated as if they were equal. Null: all count the same; then Q4_0, Q8_0
/// and MXFP4 are written as the format's reference encoder does, bit by bit, without a search.
/// Plain types (F32, F16, BF16) round to nearest and need no importance.
///
/// kInvalidArgument names the first value that is not finite, or the first block whose values are
/// too large for the type. Thread-safe; touches nothing but `out`.
Status quantize_row(DType type, const float* x, const float* importance, void* out, int64_t n);

}  // namespace hadal
