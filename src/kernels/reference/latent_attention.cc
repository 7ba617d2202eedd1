#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/reference/reference.h"
#include "tensor/dtype.h"

namespace hadal::reference {

void store_record(KvType type, const float* x, int64_t width, std::byte* record) {
  for (int64_t i = 0; i < width && type == KvType::kF32; ++i) {
    std::memcpy(record + i * 4, x + i, 4);
  }
  for (int64_t i = 0; i < width && (type == KvType::kF16 || type == KvType::kBF16); ++i) {
    const uint16_t bits = type == KvType::kF16 ? f32_to_f16(x[i]) : f32_to_bf16(x[i]);
    std::memcpy(record + i * 2, &bits, 2);
  }
  if (type != KvType::kQ8_0) return;
  for (int64_t first = 0; first < width; first += 32) {
    float peak = 0;
    for (int64_t i = first; i < first + 32; ++i) {
      peak = std::isfinite(x[i]) ? std::max(peak, std::fabs(x[i])) : NAN;
      if (std::isnan(peak)) break;
    }
    const uint16_t half = f32_to_f16(peak / 127.0f);
    std::memcpy(record + width + first / 32 * 2, &half, 2);
    const float unit = f16_to_f32(half);
    const float inverse = unit > 0 && std::isfinite(unit) ? 1.0f / unit : 0.0f;
    for (int64_t i = first; i < first + 32; ++i) {
      const float scaled = inverse > 0 ? x[i] * inverse : 0.0f;
      const auto code = static_cast<int8_t>(std::nearbyint(std::clamp(scaled, -127.0f, 127.0f)));
      std::memcpy(record + i, &code, 1);
    }
  }
}

float record_value(KvType type, int64_t width, const std::byte* record, int64_t column) {
  if (type == KvType::kF32) {
    float value;
    std::memcpy(&value, record + column * 4, 4);
    return value;
  }
  uint16_t half;
  if (type == KvType::kF16 || type == KvType::kBF16) {
    std::memcpy(&half, record + column * 2, 2);
    return type == KvType::kF16 ? f16_to_f32(half) : bf16_to_f32(half);
  }
  std::memcpy(&half, record + width + column / 32 * 2, 2);
  int8_t code;
  std::memcpy(&code, record + column, 1);
  return static_cast<float>(code) * f16_to_f32(half);
}

void latent_attention_head(KvPool& kv, int64_t layer, const AttentionRows& rows, int64_t row,
                           int64_t head, std::span<const int32_t> list, const float* q,
                           const LatentShape& shape, float scale, float* out) {
  const KvLayout& layout = kv.layout();
  const KvSequence& pages =
      rows.pages[static_cast<size_t>(rows.sequences[static_cast<size_t>(row)])];
  const int64_t count = list.empty() ? rows.positions[static_cast<size_t>(row)] + 1
                                     : static_cast<int64_t>(list.size());
  const auto record_of = [&](int64_t i) {
    return kv.key_record(layer, pages, list.empty() ? i : list[static_cast<size_t>(i)]);
  };
  const float* query = q + (row * shape.n_heads + head) * shape.d_key();
  std::vector<double> scores(static_cast<size_t>(count));
  double max = -INFINITY;
  for (int64_t p = 0; p < count; ++p) {
    const std::byte* record = record_of(p);
    double dot = 0;
    for (int64_t i = 0; i < shape.d_key(); ++i) {
      dot += static_cast<double>(query[i]) * record_value(layout.type, layout.width(), record, i);
    }
    scores[static_cast<size_t>(p)] = dot * scale;
    max = std::max(max, dot * scale);
  }
  double sum = 0;
  std::vector<double> mix(static_cast<size_t>(shape.kv_lora_rank), 0.0);
  for (int64_t p = 0; p < count; ++p) {
    const std::byte* record = record_of(p);
    const double weight = std::exp(scores[static_cast<size_t>(p)] - max);
    for (int64_t i = 0; i < shape.kv_lora_rank; ++i) {
      mix[static_cast<size_t>(i)] += weight * record_value(layout.type, layout.width(), record, i);
    }
    sum += weight;
  }
  float* to = out + (row * shape.n_heads + head) * shape.kv_lora_rank;
  for (int64_t i = 0; i < shape.kv_lora_rank; ++i) {
    to[i] = static_cast<float>(mix[static_cast<size_t>(i)] / sum);
  }
}

}  // namespace hadal::reference
