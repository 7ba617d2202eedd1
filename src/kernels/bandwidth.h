#pragma once
/// The machine's read bandwidth: the bound of decoding, where every weight is read once per token.
#include "base/thread_pool.h"

namespace hadal {

/// Bytes per second / 1e9 that all workers together read from memory too large for any cache, best
/// of several passes. Takes about 0.3 s and 512 MB for a moment.
double measure_read_gbps(ThreadPool& pool);

}  // namespace hadal
