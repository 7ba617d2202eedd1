#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/reference/reference.h"
#include "tensor/dtype.h"

namespace hadal::reference {
namespace {

double load(const std::byte* base, KvType type, int64_t index) {
  if (type == KvType::kF32) {
    float value;
    std::memcpy(&value, base + index * 4, 4);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, base + index * 2, 2);
  return f16_to_f32(bits);
}

void store(std::byte* base, KvType type, int64_t index, float value) {
  if (type == KvType::kF32) {
    std::memcpy(base + index * 4, &value, 4);
  } else {
    const uint16_t bits = f32_to_f16(value);
    std::memcpy(base + index * 2, &bits, 2);
  }
}

PageId page_of(const AttentionRows& rows, int64_t row, int64_t position, int64_t page_tokens) {
  const auto sequence = static_cast<size_t>(rows.sequences[static_cast<size_t>(row)]);
  return rows.pages[sequence].pages[static_cast<size_t>(position / page_tokens)];
}

}  // namespace

void kv_write_row(KvPool& kv, int64_t layer, const AttentionRows& rows, int64_t row, const float* k,
                  const float* v) {
  const KvLayout& layout = kv.layout();
  const int64_t position = rows.positions[static_cast<size_t>(row)];
  const PageId page = page_of(rows, row, position, kv.page_tokens());
  const int64_t offset = position % kv.page_tokens() * layout.d_head;
  for (int64_t h = 0; h < layout.n_kv_heads; ++h) {
    const int64_t source = (row * layout.n_kv_heads + h) * layout.d_head;
    for (int64_t i = 0; i < layout.d_head; ++i) {
      store(kv.keys(layer, page, h), layout.type, offset + i, k[source + i]);
      store(kv.values(layer, page, h), layout.type, offset + i, v[source + i]);
    }
  }
}

void attention_head(KvPool& kv, int64_t layer, const AttentionRows& rows, int64_t row, int64_t head,
                    const float* q, int64_t n_heads, float scale, float* out) {
  const KvLayout& layout = kv.layout();
  const int64_t d = layout.d_head;
  const int64_t kv_head = head / (n_heads / layout.n_kv_heads);
  const int64_t count = rows.positions[static_cast<size_t>(row)] + 1;
  const float* query = q + (row * n_heads + head) * d;
  std::vector<double> weights(static_cast<size_t>(count));
  double max = -INFINITY;
  for (int64_t p = 0; p < count; ++p) {
    const PageId page = page_of(rows, row, p, kv.page_tokens());
    const std::byte* key = kv.keys(layer, page, kv_head);
    const int64_t offset = p % kv.page_tokens() * d;
    double dot = 0;
    for (int64_t i = 0; i < d; ++i) dot += query[i] * load(key, layout.type, offset + i);
    weights[static_cast<size_t>(p)] = dot * scale;
    max = std::max(max, dot * scale);
  }
  double sum = 0;
  std::vector<double> mix(static_cast<size_t>(d), 0.0);
  for (int64_t p = 0; p < count; ++p) {
    const double weight = std::exp(weights[static_cast<size_t>(p)] - max);
    const PageId page = page_of(rows, row, p, kv.page_tokens());
    const std::byte* value = kv.values(layer, page, kv_head);
    const int64_t offset = p % kv.page_tokens() * d;
    for (int64_t i = 0; i < d; ++i) {
      mix[static_cast<size_t>(i)] += weight * load(value, layout.type, offset + i);
    }
    sum += weight;
  }
  for (int64_t i = 0; i < d; ++i) {
    out[(row * n_heads + head) * d + i] = static_cast<float>(mix[static_cast<size_t>(i)] / sum);
  }
}

}  // namespace hadal::reference
