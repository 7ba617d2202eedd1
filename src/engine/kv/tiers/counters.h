#pragma once
/// What a tier counts for /metrics and for tests.
#include <atomic>
#include <cstdint>

namespace hadal {

/// A moment's figures; all but the first three are totals since the start.
struct TierStats {
  uint64_t pages = 0;      ///< held now
  uint64_t bytes = 0;      ///< taken from memory or disk now, what is not a page's included
  uint64_t bytes_max = 0;  ///< the budget
  uint64_t stored = 0;     ///< pages taken in
  uint64_t refused = 0;    ///< offers that promised no reuse
  uint64_t dropped = 0;    ///< offers that found the queue full or no room
  uint64_t hits = 0;       ///< pages given back
  uint64_t misses = 0;     ///< pages asked for and not there
  uint64_t evicted = 0;    ///< pages that made room
  uint64_t expired = 0;    ///< pages that were not used for too long
  uint64_t corrupt = 0;    ///< pages that were not what they should be; they count as misses too
  uint64_t errors = 0;     ///< refusals of the operating system
  bool off = false;        ///< takes nothing any more
};

/// The same while it changes. One thread adds, any thread reads.
struct TierCounters {
  std::atomic<uint64_t> pages = 0, bytes = 0, bytes_max = 0, stored = 0, refused = 0, dropped = 0,
                        hits = 0, misses = 0, evicted = 0, expired = 0, corrupt = 0, errors = 0;
  std::atomic<bool> off = false;

  TierStats snapshot() const {
    return {pages,  bytes,   bytes_max, stored,  refused, dropped, hits,
            misses, evicted, expired,   corrupt, errors,  off};
  }
};

}  // namespace hadal
