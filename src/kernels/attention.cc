#include "kernels/attention.h"

#include "base/check.h"
#include "kernels/reference/reference.h"

namespace hadal {

void kv_write(KvPool& kv, int64_t layer, const AttentionRows& rows, const float* k, const float* v,
              ThreadPool& pool) {
  pool.parallel_for(static_cast<int64_t>(rows.positions.size()), 16,
                    [&](int64_t begin, int64_t end) {
                      for (int64_t r = begin; r < end; ++r)
                        reference::kv_write_row(kv, layer, rows, r, k, v);
                    });
}

void attention(KvPool& kv, int64_t layer, const AttentionRows& rows, const float* q,
               int64_t n_heads, float scale, float* out, ThreadPool& pool) {
  CHECK(n_heads % kv.layout().n_kv_heads == 0);
  const auto n = static_cast<int64_t>(rows.positions.size());
  pool.parallel_for(n * n_heads, 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      reference::attention_head(kv, layer, rows, i / n_heads, i % n_heads, q, n_heads, scale, out);
    }
  });
}

}  // namespace hadal
