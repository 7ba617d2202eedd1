#include "tensor/tensor.h"

#include <algorithm>
#include <cstring>

namespace hadal {

float BlockScales::factor(int64_t row, int64_t block) const {
  const int64_t index = (first_row + row) / rows * per_row + block;
  if (e8m0) return e8m0_to_f32(static_cast<uint8_t>(data[index]));
  float scale;
  std::memcpy(&scale, data + index * static_cast<int64_t>(sizeof(scale)), sizeof(scale));
  return scale;
}

TensorView TensorView::slice_rows(int64_t begin, int64_t count) const {
  DCHECK(begin >= 0 && count >= 0 && begin + count <= ne[1] && ne[2] == 1 && ne[3] == 1);
  TensorView part = *this;
  part.ne[1] = count;
  part.data = data + static_cast<uint64_t>(begin) * row_bytes();
  part.bytes = static_cast<uint64_t>(count) * row_bytes();
  part.scales.first_row += begin;
  return part;
}

void dequantize_row(const TensorView& tensor, int64_t row, float* out) {
  const int64_t cols = tensor.ne[0];
  dequantize_row(tensor.type, tensor.row(row), out, cols);
  const BlockScales& scales = tensor.scales;
  if (scales.data == nullptr) return;
  for (int64_t block = 0; block * scales.columns < cols; ++block) {
    const float scale = scales.factor(row, block);
    const int64_t end = std::min(cols, (block + 1) * scales.columns);
    for (int64_t i = block * scales.columns; i < end; ++i) out[i] *= scale;
  }
}

}  // namespace hadal
