#pragma once
/// Pages in memory beside the pool: bounded in bytes and, if wanted, in time.
#include <cstdint>
#include <thread>
#include <vector>

#include "base/big_memory.h"
#include "base/env.h"
#include "base/mutex.h"
#include "engine/kv/tier.h"
#include "engine/kv/tiers/admission.h"
#include "engine/kv/tiers/counters.h"
#include "engine/kv/tiers/page_index.h"

namespace hadal {

struct RamTierOptions {
  PageShape shape;
  uint64_t bytes = 0;   ///< budget of the pages' bytes
  int64_t seconds = 0;  ///< pages that nobody used for so long go; 0: no limit
};

/// The engine's thread alone uses it; stats() is for all. Memory is taken as pages come; a thread
/// touches it shortly before, so that page faults do not fall on the engine's.
class RamTier final : public PageTier {
 public:
  /// Pages that make room are offered to `next` (may be null; must outlive this object).
  RamTier(const RamTierOptions& options, PageTier* next, Env& env);
  ~RamTier() override;

  void offer(const PageKey& key, std::span<const TokenId> tokens, std::span<const std::byte> bytes,
             uint32_t hits) override;
  bool holds(const PageKey& key) const override;
  /// Counts as a use of the pages that are here; the first page as the last used.
  void prefetch(std::span<const PageKey> keys) override;
  Fetch fetch(const PageKey& key, std::span<const TokenId> tokens,
              std::span<std::byte> out) override;

  /// Offers all pages to `next`, those with most reuse first, and is empty then.
  void flush();
  TierStats stats() const { return counters_.snapshot(); }

 private:
  std::span<std::byte> bytes_of(uint64_t slot);
  std::span<TokenId> tokens_of(uint64_t slot);
  uint64_t free_slot();
  void pass_on(const PageIndex::Entry& entry);
  bool is_old(const PageIndex::Entry& entry) const;
  void drop_old();
  void count_pages();
  void touch_ahead();

  const RamTierOptions options_;
  PageTier* const next_;
  Env& env_;
  const uint64_t capacity_;  ///< pages
  BigMemory memory_;
  std::vector<TokenId> tokens_;
  std::vector<uint64_t> free_;
  PageIndex index_;
  mutable ReuseGate gate_;  ///< asking is evidence too
  mutable TierCounters counters_;
  int64_t swept_micros_;

  Mutex mu_;
  CondVar filled_;
  uint64_t fresh_ GUARDED_BY(mu_) = 0;  ///< slots from here on were never used
  bool stop_ GUARDED_BY(mu_) = false;
  std::thread toucher_;
};

}  // namespace hadal
