#include "model/deepseek4/state.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/indexer.h"
#include "kernels/kv_record.h"

namespace hadal::deepseek4 {

StateLayout::StateLayout(const Config& config, KvType type, bool predicts) {
  const int64_t row = record_bytes(type, config.d_head);
  for (const int64_t ratio : config.ratios) {
    LayerState layer;
    if (ratio > 0) {
      const int64_t channels = ratio == kSparseRatio ? 2 : 1;
      layer.attention = {add(channels * row, 1), add(channels * row, 1), add(row, ratio)};
    }
    if (ratio == kSparseRatio) {
      const int64_t input = record_bytes(type, 2 * config.index_dim);
      const int64_t key = IndexShape{.d_index = config.index_dim}.key_bytes();
      layer.index = {add(input, 1), add(input, 1), add(key, ratio)};
    }
    layers_.push_back(layer);
  }
  if (!predicts) return;
  layers_.emplace_back();
  streams_ = add(record_bytes(type, config.n_streams * config.d_model), 1);
}

/// A page has a multiple of kKvBlock tokens, so one entry per kKvBlock tokens is enough where an
/// entry stands for more.
Part StateLayout::add(int64_t bytes, int64_t step) {
  const Part part{bytes_, bytes, step};
  bytes_ += bytes / std::min(step, kKvBlock);
  CHECK(bytes_ % 4 == 0);
  return part;
}

}  // namespace hadal::deepseek4
