#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/reference/reference.h"
#include "tensor/dtype.h"

namespace hadal::reference {
namespace {

template <typename T>
T read(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}
template <typename T>
void write(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof(T));
}

/// One block of keys or values, as kv_pool.h describes it.
struct Block {
  std::byte* data;
  KvType type;
  int64_t width;
  bool keys;

  /// Index of an element, slot = position in the block.
  int64_t at(int64_t slot, int64_t column) const {
    if (type != KvType::kQ8_0) return keys ? column * kKvBlock + slot : slot * width + column;
    if (keys) return (column / 4 * kKvBlock + slot) * 4 + column % 4;
    return (slot / 4 * width + column) * 4 + slot % 4;
  }
  std::byte* scale_at(int64_t slot, int64_t column) const {
    std::byte* scales = data + kKvBlock * width;
    return keys ? scales + (column / 32 * kKvBlock + slot) * 2 : scales + slot * 4;
  }
  float scale(int64_t slot, int64_t column) const {
    const std::byte* from = scale_at(slot, column);
    return keys ? f16_to_f32(read<uint16_t>(from)) : read<float>(from);
  }
  double value(int64_t slot, int64_t column) const {
    const int64_t index = at(slot, column);
    if (type == KvType::kF32) return read<float>(data + index * 4);
    if (type == KvType::kF16) return f16_to_f32(read<uint16_t>(data + index * 2));
    if (type == KvType::kBF16) return bf16_to_f32(read<uint16_t>(data + index * 2));
    return (read<uint8_t>(data + index) - 128.0) * scale(slot, column);
  }
  void store(int64_t slot, const float* x, int64_t d) const {
    if (type == KvType::kQ8_0) return store_rounded(slot, x, d);
    for (int64_t i = 0; i < d; ++i) {
      if (type == KvType::kF32) write(data + at(slot, i) * 4, x[i]);
      if (type == KvType::kF16) write(data + at(slot, i) * 2, f32_to_f16(x[i]));
      if (type == KvType::kBF16) write(data + at(slot, i) * 2, f32_to_bf16(x[i]));
    }
  }
  void store_rounded(int64_t slot, const float* x, int64_t d) const {
    const int64_t group = keys ? 32 : width;
    for (int64_t first = 0; first < width; first += group) {
      float peak = 0;
      for (int64_t i = first; i < std::min(d, first + group); ++i) {
        peak = std::isfinite(x[i]) ? std::max(peak, std::fabs(x[i])) : NAN;
        if (std::isnan(peak)) break;
      }
      if (keys) {
        write(scale_at(slot, first), f32_to_f16(peak / 127.0f));
      } else {
        write(scale_at(slot, first), peak <= 0x1p-100f ? 0.0f : peak / 127.0f);
      }
      const float unit = scale(slot, first);
      const float inverse = unit > 0 && std::isfinite(unit) ? 1.0f / unit : 0.0f;
      for (int64_t i = first; i < first + group; ++i) {
        const float scaled = i < d && inverse > 0 ? x[i] * inverse : 0.0f;
        const float code = std::nearbyint(std::clamp(scaled, -127.0f, 127.0f));
        write(data + at(slot, i), static_cast<uint8_t>(code + 128.0f));
      }
    }
  }
};

const KvSequence& sequence_of(const AttentionRows& rows, int64_t row) {
  return rows.pages[static_cast<size_t>(rows.sequences[static_cast<size_t>(row)])];
}

}  // namespace

void kv_write_row(KvPool& kv, int64_t layer, const AttentionRows& rows, int64_t row, const float* k,
                  const float* v) {
  const KvLayout& layout = kv.layout();
  const int64_t d = layout.d_head;
  const int64_t position = rows.positions[static_cast<size_t>(row)];
  const KvSequence& pages = sequence_of(rows, row);
  for (int64_t h = 0; h < layout.n_kv_heads; ++h) {
    const int64_t source = (row * layout.n_kv_heads + h) * d;
    const Block keys{kv.key_block(layer, pages, h, position), layout.type, layout.width(), true};
    const Block values{kv.value_block(layer, pages, h, position), layout.type, layout.width(),
                       false};
    keys.store(position % kKvBlock, k + source, d);
    values.store(position % kKvBlock, v + source, d);
  }
}

void attention_head(KvPool& kv, int64_t layer, const AttentionRows& rows, int64_t row, int64_t head,
                    const float* q, int64_t n_heads, float scale, float* out) {
  const KvLayout& layout = kv.layout();
  const int64_t d = layout.d_head;
  const KvSequence& pages = sequence_of(rows, row);
  const int64_t kv_head = head / (n_heads / layout.n_kv_heads);
  const int64_t count = rows.positions[static_cast<size_t>(row)] + 1;
  const float* query = q + (row * n_heads + head) * d;
  std::vector<double> weights(static_cast<size_t>(count));
  double max = -INFINITY;
  for (int64_t p = 0; p < count; ++p) {
    const Block keys{kv.key_block(layer, pages, kv_head, p), layout.type, layout.width(), true};
    double dot = 0;
    for (int64_t i = 0; i < d; ++i) dot += query[i] * keys.value(p % kKvBlock, i);
    weights[static_cast<size_t>(p)] = dot * scale;
    max = std::max(max, dot * scale);
  }
  double sum = 0;
  std::vector<double> mix(static_cast<size_t>(d), 0.0);
  for (int64_t p = 0; p < count; ++p) {
    const double weight = std::exp(weights[static_cast<size_t>(p)] - max);
    const Block values{kv.value_block(layer, pages, kv_head, p), layout.type, layout.width(),
                       false};
    for (int64_t i = 0; i < d; ++i) {
      mix[static_cast<size_t>(i)] += weight * values.value(p % kKvBlock, i);
    }
    sum += weight;
  }
  for (int64_t i = 0; i < d; ++i) {
    out[(row * n_heads + head) * d + i] = static_cast<float>(mix[static_cast<size_t>(i)] / sum);
  }
}

}  // namespace hadal::reference
