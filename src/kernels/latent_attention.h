#pragma once
/// Multi-head latent attention (MLA, 2405.04434 section 2.1) over paged latents.
///
/// A position keeps one vector for all heads: the latent c (kv_lora_rank floats, after its norm)
/// and the shared key k_pe (d_rope floats, after rope). Its pool has KvLayout{n_kv_heads = 1,
/// d_head = kv_lora_rank + d_rope, values_in_keys = true}; a key block is 16 records (kv_pool.h).
///
/// Per head h the up-projections UK_h [d_nope x kv_lora_rank] and UV_h [d_v x kv_lora_rank] make
/// keys and values of it. They can go to either side of the products:
///
///   absorbed   q'_h = UK_h^T q_nope;  s_t = (q'_h . c_t + q_pe . k_pe_t) scale;
///              z_h = sum softmax(s)_t c_t;  o_h = UV_h z_h.  The caller computes q' and o.
///   expanded   k_t = (UK_h c_t | k_pe_t), v_t = UV_h c_t, then plain attention. Keys and values
///   are
///              computed for a tile of positions at a time and for all rows of a sequence.
///
/// Absorbed costs 2 kv_lora_rank + d_rope multiply-adds per query and position, expanded d_nope +
/// d_rope + d_v and (d_nope + d_v) kv_lora_rank per position once: worth it from some hundred rows.
/// Both round differently (docs/decisions/0014).
///
/// Results do not depend on the number of threads, on the other rows of a batch, nor on the size of
/// pages.
#include <cstdint>
#include <span>
#include <vector>

#include "base/big_memory.h"
#include "base/thread_pool.h"
#include "kernels/attention.h"
#include "kernels/kv_pool.h"
#include "kernels/matmul.h"

namespace hadal {

struct LatentShape {
  int64_t n_heads = 0;
  int64_t kv_lora_rank = 0;
  int64_t d_rope = 0;
  int64_t d_nope = 0;  ///< of a head's keys; the expanded form's
  int64_t d_v = 0;     ///< of a head's values; the expanded form's

  int64_t d_key() const { return kv_lora_rank + d_rope; }
};

/// Stores (c | k_pe) (rows x d_head floats, packed) of `layer` at the rows' positions.
void kv_write_latent(KvPool& kv, int64_t layer, const AttentionRows& rows, const float* latents,
                     ThreadPool& pool);

/// The absorbed form, z for each row and head, causal. q: rows x n_heads x (q' | q_pe); out: rows x
/// n_heads x kv_lora_rank; both packed. Softmax in float32, streaming. Latents of the rows
/// themselves must be stored before. Scratch memory: about 1 MB per worker, and up to 64 MB where
/// few rows with long contexts are shared out among workers.
void latent_attention(KvPool& kv, int64_t layer, const AttentionRows& rows, const float* q,
                      const LatentShape& shape, float scale, float* out, ThreadPool& pool);

/// Which positions rows attend to, where not all that are visible (sparse attention, indexer.h).
/// Row r has positions[first[r] .. first[r + 1]), ascending and visible to it; an empty list means
/// all.
struct PositionLists {
  std::vector<int64_t> first;
  std::vector<int32_t> positions;

  std::span<const int32_t> of(int64_t row) const {
    const auto r = static_cast<size_t>(row);
    return std::span(positions).subspan(static_cast<size_t>(first[r]),
                                        static_cast<size_t>(first[r + 1] - first[r]));
  }
};

/// The absorbed form over the listed positions. A list of all visible positions gives the bits of
/// latent_attention.
void latent_attention_sparse(KvPool& kv, int64_t layer, const AttentionRows& rows,
                             const PositionLists& lists, const float* q, const LatentShape& shape,
                             float scale, float* out, ThreadPool& pool);

/// Memory of the expanded form, kept between calls. One per calling thread.
struct LatentWorkspace {
  MatmulWorkspace matmul;
  BigMemory latents;
  BigMemory expanded;
  BigMemory state;
};

/// The up-projections of a layer, of kv_lora_rank columns: n_heads x (d_nope rows of UK_h, then d_v
/// rows of UV_h), or n_heads x d_nope rows and the values' d_v rows of each head apart.
struct LatentExpansion {
  const Weight& kv_b;
  std::span<const Weight> v_up;  ///< empty: in kv_b
  LatentWorkspace& workspace;
};

/// The expanded form, o for each row and head, causal. q: rows x n_heads x (q_nope | q_pe); out:
/// rows x n_heads x d_v; both packed. Memory: 16 MB for keys and values (or 128 positions of all
/// heads where that is more), and the size of `out` once more.
void latent_attention_expanded(KvPool& kv, int64_t layer, const AttentionRows& rows, const float* q,
                               const LatentShape& shape, const LatentExpansion& expansion,
                               float scale, float* out, ThreadPool& pool);

/// Whether the expanded form takes less time than the absorbed one with its products, for `rows`
/// rows of one sequence that are the last of `positions` positions.
bool latent_expanded_is_cheaper(const LatentShape& shape, int64_t rows, int64_t positions);

}  // namespace hadal
