#pragma once
/// The lightning indexer of DeepSeek sparse attention (DSA, DeepSeek-V3.2): which positions a row
/// attends to.
///
///   I[t, s] = sum over index heads h of w[t, h] * relu(q[t, h] . k[s])   for s <= t
///
/// A row keeps the top_k positions of the largest I; of equal ones the lower position. Rows that
/// see at most top_k positions keep all and cost nothing here.
///
/// Index keys are stored beside the pool's latents (KvLayout::extra_bytes): per layer page_tokens
/// keys as index_key.h describes them, of 16 bits per column. Scores are products in float of those
/// with the queries. Where a row sees many positions, most are never computed: an integer product
/// of 8 bits gives each position an estimate and a bound of its error (index_query.h), and floats
/// are computed for those that the bound does not decide. The choice is the same, to the bit.
///
/// Results do not depend on the number of threads, nor on the other rows of a batch.
#include <cstdint>

#include "base/thread_pool.h"
#include "kernels/attention.h"
#include "kernels/index_key.h"
#include "kernels/kv_pool.h"
#include "kernels/latent_attention.h"

namespace hadal {

struct IndexShape {
  int64_t n_heads = 0;
  int64_t d_index = 0;
  int64_t top_k = 0;

  int64_t width() const { return (d_index + 31) / 32 * 32; }
  /// A position's key of one layer: its share of KvLayout::extra_bytes.
  int64_t key_bytes() const { return index_key_bytes(width()); }
};

/// Where a layer's index keys lie. Borrows the pool.
struct IndexKeys {
  KvPool& kv;
  /// Bytes from KvPool::extra(page) to the layer's keys.
  int64_t offset = 0;
  /// Positions per key; divides kKvBlock. DeepSeek V4 has one per 4, visible from the last of them
  /// on: positions are indices of keys then, but for those of rows.
  int64_t step = 1;

  std::byte* key(const IndexShape& shape, const KvSequence& sequence, int64_t position) const {
    const int64_t token = position * step;
    const PageId page = sequence.pages[static_cast<size_t>(token / kv.page_tokens())];
    return kv.extra(page) + offset + token % kv.page_tokens() / step * shape.key_bytes();
  }
};

/// Stores a key of d_index floats.
void index_store_key(const IndexShape& shape, const float* k, std::byte* key);

/// Stores k (rows x d_index floats, packed) at the rows' positions. REQUIRES: step 1.
void index_write(const IndexKeys& keys, const IndexShape& shape, const AttentionRows& rows,
                 const float* k, ThreadPool& pool);

enum class IndexMethod : uint8_t {
  kAuto,      ///< the cheaper one
  kFloat,     ///< every score in float
  kEstimate,  ///< estimates first
};

/// What a batch's rows attend to, for latent_attention_sparse. q: rows x n_heads x d_index;
/// weights: rows x n_heads, all factors in them. The rows' own keys must be stored before. Scores
/// of some rows at a time take up to 32 MB, or those of one row. All methods choose alike.
void index_select(const IndexKeys& keys, const IndexShape& shape, const AttentionRows& rows,
                  const float* q, const float* weights, PositionLists& out, ThreadPool& pool,
                  IndexMethod method = IndexMethod::kAuto);

/// The top_k of n scores: ascending indices into out[top_k]. Of equal scores the lower index wins;
/// a NaN is lower than all. REQUIRES: 0 < top_k <= n.
void top_positions(const float* scores, int64_t n, int64_t top_k, int32_t* out);

}  // namespace hadal
