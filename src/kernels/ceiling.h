#pragma once
/// The machine's peak of integer multiply-adds: the bound of prefilling, where every weight meets
/// hundreds of rows.
#include "base/thread_pool.h"

namespace hadal {

/// Multiply-adds per second / 1e9 that all workers together reach with the 8-bit dot products of
/// the instruction set in use, on registers alone; best of several passes, about 0.2 s. 0 for the
/// reference kernels. A core that lowers its clock under such code lowers this figure with it.
double measure_mac_gps(ThreadPool& pool);

}  // namespace hadal
