/// Plain arrays: one element after the other, no blocks.
#include "base/check.h"
#include "tensor/quant/quant.h"

namespace hadal::quant {
namespace {

template <typename T>
void convert(Block p, float* y, int64_t elements) {
  for (int64_t i = 0; i < elements; ++i) {
    T value;
    std::memcpy(&value, p + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    y[i] = static_cast<float>(value);
  }
}

}  // namespace

void decode_plain(DType type, Block p, float* y, int64_t elements) {
  switch (type) {
    case DType::kF32:
      std::memcpy(y, p, static_cast<size_t>(elements) * sizeof(float));
      return;
    case DType::kF16:
      for (int64_t i = 0; i < elements; ++i) y[i] = f16_to_f32(load_u16(p + 2 * i));
      return;
    case DType::kBF16:
      for (int64_t i = 0; i < elements; ++i) y[i] = bf16_to_f32(load_u16(p + 2 * i));
      return;
    case DType::kF64:
      convert<double>(p, y, elements);
      return;
    case DType::kI8:
      convert<int8_t>(p, y, elements);
      return;
    case DType::kI16:
      convert<int16_t>(p, y, elements);
      return;
    case DType::kI32:
      convert<int32_t>(p, y, elements);
      return;
    case DType::kI64:
      convert<int64_t>(p, y, elements);
      return;
    case DType::kF8_E4M3:
      for (int64_t i = 0; i < elements; ++i) y[i] = f8_e4m3_to_f32(p[i]);
      return;
    default:
      CHECK(false && "not a plain type");
  }
}

}  // namespace hadal::quant
