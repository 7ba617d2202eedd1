#pragma once
/// Attention with sinks over a window of positions and some rows beside them, for keys that are
/// their own values and shared by all heads.
#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "kernels/attention.h"
#include "kernels/kv_pool.h"

namespace hadal {

/// What each row of a batch attends.
struct SinkAttention {
  int64_t layer = 0;   ///< of the pool
  int64_t window = 0;  ///< the last so many positions, the row's own included
  int64_t first = 0;   ///< positions before this one are not there
  /// Records (kv_record.h) elsewhere: those of batch row r are beside[beside_end[r - 1]..
  /// beside_end[r]), from 0 for the first. `beside_end` may be empty: there are none.
  std::span<const std::byte* const> beside = {};
  std::span<const int64_t> beside_end = {};
  std::span<const float> sinks;  ///< one per head
  float scale = 1.0f;
};

/// out[r, h] = sum_j p_j k_j over what row r attends, p_j = e^(q[r,h] . k_j * scale - m) / Z with Z
/// = sum of the numerators + e^(sinks[h] - m) (the sink of 2309.17453 as a learned logit that has
/// no value). q and out: rows x (n_heads * d_head), packed. The pool has values_in_keys, one KV
/// head, F32 or F16, and a d_head that is a multiple of 32. A row's result does not depend on the
/// others.
void sink_attention(KvPool& kv, const SinkAttention& what, const AttentionRows& rows,
                    const float* q, int64_t n_heads, float* out, ThreadPool& pool);

}  // namespace hadal
