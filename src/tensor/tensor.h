#pragma once
/// tensor: data at rest. Element types and block formats, shapes, views, GGUF and safetensors
/// files.
///
/// A TensorView borrows bytes that a GgufFile (mapped memory) or a buffer owns. Axis 0 is the
/// contiguous one, as in GGUF: a weight W[out, in] has ne = {in, out}.
///
///   TRY(GgufFile file, GgufFile::open("model.gguf"));
///   const TensorView* w = file.find_tensor("blk.0.attn_q.weight");
///   std::vector<float> row(w->ne[0]);
///   dequantize_row(*w, 0, row.data());
///
/// A directory of safetensors opens the same way: GgufFile::open("DeepSeek-V3") (decision 0015).
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "tensor/dtype.h"

namespace hadal {

/// Factors of a matrix, one per block of rows x columns; the blocks at the edges may be partial.
/// They multiply: value(r, c) = code(r, c) * scale((first_row + r) / rows, c / columns). Borrowed
/// like the matrix, and validated against its shape; not aligned.
struct BlockScales {
  const std::byte* data = nullptr;  ///< row-major; null: the tensor has no scales
  bool e8m0 = false;                ///< a byte each, 2^(byte - 127), else F32
  int64_t rows = 0;                 ///< of a block
  int64_t columns = 0;              ///< of a block
  int64_t per_row = 0;              ///< blocks beside each other
  int64_t first_row = 0;            ///< of the matrix that the view begins with

  /// Of the view's row and the block'th block of columns.
  float factor(int64_t row, int64_t block) const;
};

/// Borrowed, immutable, validated: the bytes of all rows are there.
struct TensorView {
  std::string_view name;
  DType type = DType::kF32;
  int n_dims = 1;
  std::array<int64_t, 4> ne = {1, 1, 1,
                               1};  ///< elements per axis, axis 0 contiguous; unused axes 1
  const std::byte* data = nullptr;
  uint64_t bytes = 0;
  BlockScales scales = {};  ///< of a 2-D tensor of type F8_E4M3 or F4_E2M1

  int64_t elements() const { return ne[0] * ne[1] * ne[2] * ne[3]; }
  int64_t rows() const { return ne[1] * ne[2] * ne[3]; }
  uint64_t row_bytes() const { return dtype_row_bytes(type, ne[0]); }
  const std::byte* row(int64_t index) const {
    DCHECK(index >= 0 && index < rows());
    return data + static_cast<uint64_t>(index) * row_bytes();
  }
  /// Rows [begin, begin + count) of a 2-D tensor, scales included.
  TensorView slice_rows(int64_t begin, int64_t count) const;
};

/// Decodes a row (of `rows()`) of any tensor to float, scales included: ne[0] values at `out`.
/// Exactly as the format's definition says; the reference twin of every faster decoder.
void dequantize_row(const TensorView& tensor, int64_t row, float* out);

}  // namespace hadal
