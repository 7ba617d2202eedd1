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
///
/// Results do not depend on the number of threads, on the other rows of a batch, nor on the size of
/// pages.
#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "kernels/attention.h"
#include "kernels/kv_pool.h"

namespace hadal {

struct LatentShape {
  int64_t n_heads = 0;
  int64_t kv_lora_rank = 0;
  int64_t d_rope = 0;

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

}  // namespace hadal
