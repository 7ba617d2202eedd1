#pragma once
/// Whether a batch can be computed: what every architecture asks of its callers.
#include "base/result.h"
#include "kernels/kv_pool.h"
#include "model/model.h"

namespace hadal {

/// `own`: the layout that the model needs; the pool may differ in the type of keys. `n_logits`: how
/// many fit into the caller's room. kInvalidArgument names the row, page or sequence.
Status check_batch(const Batch& batch, const KvPool& kv, const KvLayout& own, int64_t n_vocab,
                   size_t n_logits);

}  // namespace hadal
