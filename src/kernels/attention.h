#pragma once
/// Causal attention over paged keys and values, grouped-query heads folded together.
#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "kernels/kv_pool.h"

namespace hadal {

/// Rows of a batch as attention sees them; parallel arrays.
struct AttentionRows {
  std::span<const int32_t> positions;
  std::span<const int32_t> sequences;  ///< index into `pages`
  std::span<const KvSequence> pages;
};

/// Stores k and v (rows x n_kv_heads * d_head floats, packed) of `layer` at the rows' positions.
void kv_write(KvPool& kv, int64_t layer, const AttentionRows& rows, const float* k, const float* v,
              ThreadPool& pool);

/// out[r, h] = softmax(q[r,h] . K[0..position] * scale) V, for each row and head; softmax in
/// float32, streaming (the score matrix never exists; 2205.14135). q and out: rows x
/// (n_heads * d_head), packed. Keys of the rows themselves must be stored before.
void attention(KvPool& kv, int64_t layer, const AttentionRows& rows, const float* q,
               int64_t n_heads, float scale, float* out, ThreadPool& pool);

}  // namespace hadal
