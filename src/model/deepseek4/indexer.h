#pragma once
/// The lightning indexer of layers with kSparseRatio: which compressed rows a token sees.
#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/attention.h"
#include "kernels/kv_pool.h"
#include "model/deepseek4/state.h"

namespace hadal::deepseek4 {

struct Indexer {
  Part keys;  ///< floats
  int64_t n_heads = 0;
  int64_t dim = 0;
  int64_t top_k = 0;
};

/// The `k` indices with the largest scores, rising; of equal scores the lower index wins, NaN ranks
/// below all. All of them when there are no more than k.
std::vector<int32_t> best_indices(std::span<const float> scores, int64_t k);

/// For each row: the indices of the compressed rows it sees, rising. Scores are
///   sum_h weights[h] relu(queries[h] . key_i)
/// over the visible rows i; `queries` are rows x n_heads x dim, `weights` rows x n_heads, packed.
/// A row with no more than top_k visible ones sees them all, without a look at their keys.
void choose_rows(KvPool& kv, const Indexer& indexer, const AttentionRows& rows,
                 const float* queries, const float* weights,
                 std::vector<std::vector<int32_t>>& chosen, ThreadPool& pool);

}  // namespace hadal::deepseek4
