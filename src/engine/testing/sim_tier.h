#pragma once
/// A PageTier that forgets, dawdles and changes its mind, as a disk might, but never gives a wrong
/// page: that is what its contract says.
#include <cstring>
#include <unordered_map>
#include <vector>

#include "base/check.h"
#include "engine/kv/tier.h"
#include "engine/testing/numbers.h"

namespace hadal::testing {

class SimTier : public PageTier {
 public:
  /// Faults come once in `fault_rate` calls; 0: never.
  SimTier(uint64_t seed, int64_t fault_rate) : numbers_(seed), fault_rate_(fault_rate) {}

  void offer(const PageKey& key, std::span<const TokenId> tokens, std::span<const std::byte> bytes,
             uint32_t hits) override {
    (void)hits;
    if (numbers_.once_in(fault_rate_)) return;
    Page& page = pages_[key];
    CHECK(page.tokens.empty() || std::ranges::equal(page.tokens, tokens));  // one key, one content
    page.tokens.assign(tokens.begin(), tokens.end());
    page.bytes.assign(bytes.begin(), bytes.end());
  }

  /// May claim what is not there.
  bool holds(const PageKey& key) const override {
    return pages_.contains(key) || numbers_.once_in(fault_rate_);
  }

  void prefetch(std::span<const PageKey> keys) override { (void)keys; }

  Fetch fetch(const PageKey& key, std::span<const TokenId> tokens,
              std::span<std::byte> out) override {
    const auto found = pages_.find(key);
    if (found == pages_.end()) return Fetch::kGone;
    if (numbers_.once_in(2)) return Fetch::kPending;
    Page& page = found->second;
    if (numbers_.once_in(fault_rate_)) {  // its checksum is wrong
      pages_.erase(found);
      return Fetch::kGone;
    }
    if (!std::ranges::equal(page.tokens, tokens)) return Fetch::kGone;
    CHECK(page.bytes.size() == out.size());
    std::memcpy(out.data(), page.bytes.data(), out.size());
    ++fetched_;
    return Fetch::kReady;
  }

  int64_t fetched() const { return fetched_; }

 private:
  struct Page {
    std::vector<TokenId> tokens;
    std::vector<std::byte> bytes;
  };
  mutable Numbers numbers_;
  int64_t fault_rate_;
  std::unordered_map<PageKey, Page, PageKeyHash> pages_;
  int64_t fetched_ = 0;
};

}  // namespace hadal::testing
