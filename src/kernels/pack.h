#pragma once
/// Packing of weights into the panels of cpu/cpu_ops.h.
///
/// A panel holds 16 rows. Quantised formats: blocks of 32 columns, each with
///   4-bit plane (256 bytes): word (g, row), g < 4: columns 4g..4g+3 in the low, 16+4g.. in the
///   high
///     nibbles of its 4 bytes;
///   2-bit plane (128 bytes): word (h, row), h < 2: columns 16h + 4i .. at bits 2i, i < 4;
///   1-bit plane (64 bytes): word (row): columns 4g .. at bit g, g < 8;
///   8-bit plane (512 bytes): word (g, row), g < 8;
/// then the scales, each an array over the 16 rows. A code's low bits come from the first plane.
/// Float formats: [column][16 rows]; FP8 has 16 scales (F32) before each 128 columns, 1 where the
/// tensor has none. FP4 with a scale per 32 columns becomes MXFP4, without loss. Rows beyond the
/// matrix are zero.
#include <cstdint>

#include "kernels/cpu/cpu_ops.h"
#include "tensor/tensor.h"

namespace hadal {

/// Rises with every change of what pack_panel() writes for any type: packed bytes that were kept
/// from an earlier version are useless then.
inline constexpr uint32_t kPackLayoutVersion = 1;

/// How a type is computed. kFormats for types that are no weights.
cpu::Format pack_format(DType type);
int64_t pack_panel_bytes(cpu::Format format, int64_t cols);
/// Fills the panel of rows [16 * index, ...) of `tensor`.
void pack_panel(const TensorView& tensor, cpu::Format format, int64_t index, uint8_t* out);
/// Whether the values or scales of that panel hold NaN (or a scale infinity), of the types with
/// scales: their fast decoders would read numbers. False for other types.
bool panel_has_nan(const TensorView& tensor, int64_t index);

}  // namespace hadal
