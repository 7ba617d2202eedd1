#pragma once
/// For tests and benches: every weight type, and matrices of bytes seen as one.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "tensor/dtype.h"
#include "tensor/tensor.h"

namespace hadal {

/// A weight type and where its blocks hold f16 factors (random bits there would be NaN).
struct WeightType {
  DType type;
  std::vector<size_t> f16_at;

  bool quantised() const { return dtype_info(type).block_elements > 1; }
};

inline const std::vector<WeightType>& weight_types() {
  static const std::vector<WeightType> types = {
      {DType::kF32, {}},      {DType::kF16, {0}},     {DType::kBF16, {}},
      {DType::kQ4_0, {0}},    {DType::kQ4_1, {0, 2}}, {DType::kQ5_0, {0}},
      {DType::kQ5_1, {0, 2}}, {DType::kQ8_0, {0}},    {DType::kQ2_K, {80, 82}},
      {DType::kQ3_K, {108}},  {DType::kQ4_K, {0, 2}}, {DType::kQ5_K, {0, 2}},
      {DType::kQ6_K, {208}},  {DType::kIQ4_NL, {0}},  {DType::kIQ4_XS, {0}},
      {DType::kMXFP4, {}},
  };
  return types;
}

/// REQUIRES: `type` is one of weight_types().
inline const WeightType& weight_type(DType type) {
  for (const WeightType& one : weight_types()) {
    if (one.type == type) return one;
  }
  CHECK(false);
}

/// `bytes` hold rows x cols values of `type`, and must outlive the view.
inline TensorView matrix_view(DType type, int64_t rows, int64_t cols,
                              const std::vector<std::byte>& bytes) {
  return {.name = "w",
          .type = type,
          .n_dims = 2,
          .ne = {cols, rows, 1, 1},
          .data = bytes.data(),
          .bytes = bytes.size()};
}

}  // namespace hadal
