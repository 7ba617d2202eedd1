#pragma once
/// tensor: data at rest. Element types and block formats, shapes, views, GGUF files.
///
/// A TensorView borrows bytes that a GgufFile (mapped memory) or a buffer owns. Axis 0 is the
/// contiguous one, as in GGUF: a weight W[out, in] has ne = {in, out}.
///
///   TRY(GgufFile file, GgufFile::open("model.gguf"));
///   const TensorView* w = file.find_tensor("blk.0.attn_q.weight");
///   std::vector<float> row(w->ne[0]);
///   dequantize_row(w->type, w->row(0), row.data(), w->ne[0]);
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "tensor/dtype.h"

namespace hadal {

/// Borrowed, immutable, validated: the bytes of all rows are there.
struct TensorView {
  std::string_view name;
  DType type = DType::kF32;
  int n_dims = 1;
  std::array<int64_t, 4> ne = {1, 1, 1,
                               1};  ///< elements per axis, axis 0 contiguous; unused axes 1
  const std::byte* data = nullptr;
  uint64_t bytes = 0;

  int64_t elements() const { return ne[0] * ne[1] * ne[2] * ne[3]; }
  int64_t rows() const { return ne[1] * ne[2] * ne[3]; }
  uint64_t row_bytes() const { return dtype_row_bytes(type, ne[0]); }
  const std::byte* row(int64_t index) const {
    DCHECK(index >= 0 && index < rows());
    return data + static_cast<uint64_t>(index) * row_bytes();
  }
};

}  // namespace hadal
