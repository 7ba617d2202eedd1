#pragma once
/// A PageTier in memory for tests: answers kPending some times before a page is there, loses pages
/// now and then, and counts what it was asked. A wrong page gives other tokens (FakeModel).
#include <cstring>
#include <unordered_map>
#include <vector>

#include "engine/kv/tier.h"
#include "engine/testing/fake_model.h"

namespace hadal::testing {

class MemoryTier : public PageTier {
 public:
  /// Fetches of a page that say "pending" first; every `lose_every`-th one is gone (0: none).
  explicit MemoryTier(int pending, int lose_every = 0)
      : pending_(pending), lose_every_(lose_every) {}

  void offer(const PageKey& key, std::span<const TokenId> tokens, std::span<const std::byte> bytes,
             uint32_t) override {
    ++offered;
    pages_[key] = {{tokens.begin(), tokens.end()}, {bytes.begin(), bytes.end()}, pending_};
  }
  bool holds(const PageKey& key) const override { return pages_.contains(key); }
  void prefetch(std::span<const PageKey> keys) override {
    for (const PageKey& key : keys) CHECK(holds(key));
  }
  Fetch fetch(const PageKey& key, std::span<const TokenId> tokens,
              std::span<std::byte> out) override {
    const auto found = pages_.find(key);
    if (found == pages_.end()) return Fetch::kGone;
    Page& page = found->second;
    if (page.pending > 0) {
      --page.pending;
      return Fetch::kPending;
    }
    page.pending = pending_;
    CHECK(std::ranges::equal(page.tokens, tokens) && page.bytes.size() == out.size());
    if (lose_every_ > 0 && ++fetches_ % lose_every_ == 0) {
      pages_.erase(found);
      return Fetch::kGone;
    }
    std::ranges::copy(page.bytes, out.begin());
    ++fetched;
    return Fetch::kReady;
  }

  // Read these when the engine is gone.
  int offered = 0;
  int fetched = 0;

 private:
  struct Page {
    std::vector<TokenId> tokens;
    std::vector<std::byte> bytes;
    int pending = 0;
  };
  int pending_;
  int lose_every_;
  int fetches_ = 0;
  std::unordered_map<PageKey, Page, PageKeyHash> pages_;
};

}  // namespace hadal::testing
