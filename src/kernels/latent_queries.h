#pragma once
/// Room-internal: queries in the order in which a cpu::LatentTile reads them.
#include <cstdint>

#include "base/thread_pool.h"
#include "kernels/cpu/cpu_ops.h"

namespace hadal {

/// Floats of `n` queries of d_key each.
constexpr int64_t laid_query_floats(int64_t n, int64_t d_key) {
  return (n + 15) / 16 * 16 * d_key;
}

/// out = the queries times `scale`, 16 side by side: [n / 16, rounded up][d_key][16]. query(i) has
/// d floats, zeros follow up to d_key; queries that the last 16 lack are zeros too.
void lay_queries(const cpu::Ops& ops, int64_t n, FunctionRef<const float*(int64_t)> query,
                 int64_t d, int64_t d_key, float scale, float* out);

}  // namespace hadal
