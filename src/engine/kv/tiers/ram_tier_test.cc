#include "engine/kv/tiers/ram_tier.h"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include "engine/testing/harness.h"
#include "engine/testing/kv_pages.h"

namespace hadal {
namespace {

using testing::kTestShape;
using testing::TestPage;
using testing::VirtualEnv;

/// Remembers what it was offered.
class Recorder final : public PageTier {
 public:
  void offer(const PageKey& key, std::span<const TokenId> tokens, std::span<const std::byte> bytes,
             uint32_t hits) override {
    keys.push_back(key);
    all_hits.push_back(hits);
    all_tokens.emplace_back(tokens.begin(), tokens.end());
    all_bytes.emplace_back(bytes.begin(), bytes.end());
  }
  bool holds(const PageKey&) const override { return false; }
  void prefetch(std::span<const PageKey>) override {}
  Fetch fetch(const PageKey&, std::span<const TokenId>, std::span<std::byte>) override {
    return Fetch::kGone;
  }
  std::vector<PageKey> keys;
  std::vector<uint32_t> all_hits;
  std::vector<std::vector<TokenId>> all_tokens;
  std::vector<std::vector<std::byte>> all_bytes;
};

/// A tier with room for `pages` and some bytes.
struct RamTierTest : ::testing::Test {
  RamTier make(uint64_t pages, int64_t seconds = 0) {
    return RamTier({kTestShape, pages * kTestShape.bytes + 100, seconds}, &next, env);
  }
  static void offer(PageTier& tier, uint64_t number, uint32_t hits = 0) {
    const TestPage page(number);
    tier.offer(page.key, page.tokens, page.bytes, hits);
  }
  static bool gives(PageTier& tier, uint64_t number) {
    const TestPage page(number);
    std::vector<std::byte> out(kTestShape.bytes, std::byte{0xEE});
    const auto fetched = tier.fetch(page.key, page.tokens, out);
    if (fetched != PageTier::Fetch::kReady) return false;
    EXPECT_TRUE(out == page.bytes);
    return true;
  }
  VirtualEnv env;
  Recorder next;
};

// Goal: a page comes back as it was offered; other tokens under its key do not get it.
TEST_F(RamTierTest, GivesBackWhatWasOffered) {
  RamTier tier = make(4);
  offer(tier, 1);
  EXPECT_TRUE(tier.holds(TestPage(1).key));
  EXPECT_FALSE(tier.holds(TestPage(2).key));
  EXPECT_TRUE(gives(tier, 1));
  EXPECT_FALSE(gives(tier, 2));
  std::vector<std::byte> out(kTestShape.bytes, std::byte{0xEE});
  EXPECT_EQ(tier.fetch(TestPage(1).key, TestPage(2).tokens, out), PageTier::Fetch::kGone);
  EXPECT_EQ(out, std::vector<std::byte>(kTestShape.bytes, std::byte{0xEE}));
  EXPECT_EQ(tier.stats().pages, 1u);
  EXPECT_EQ(tier.stats().hits, 1u);
  EXPECT_EQ(tier.stats().misses, 2u);
}

// Goal: the budget holds; what was not used for longest makes room and goes onward, whole.
TEST_F(RamTierTest, LeastRecentlyUsedPageGoesOnward) {
  RamTier tier = make(3);
  for (uint64_t i = 1; i <= 3; ++i) offer(tier, i);
  offer(tier, 1);  // again: used
  offer(tier, 4);
  ASSERT_EQ(next.keys.size(), 1u);
  const TestPage second(2);
  EXPECT_EQ(next.keys[0], second.key);
  EXPECT_EQ(next.all_tokens[0], second.tokens);
  EXPECT_TRUE(next.all_bytes[0] == second.bytes);
  for (uint64_t i : {1, 3, 4}) EXPECT_TRUE(gives(tier, i)) << i;
  EXPECT_LE(tier.stats().bytes, tier.stats().bytes_max);
  EXPECT_EQ(tier.stats().evicted, 1u);
}

// Goal: a page that was reused outlives newer ones that were not, but not for ever.
TEST_F(RamTierTest, ReusedPagesStayLonger) {
  RamTier tier = make(4);
  offer(tier, 1, 3);
  for (uint64_t i = 2; i <= 6; ++i) offer(tier, i);
  EXPECT_TRUE(tier.holds(TestPage(1).key));
  for (uint64_t i = 7; i <= 40; ++i) offer(tier, i, 1);
  EXPECT_FALSE(tier.holds(TestPage(1).key));
}

// Goal: of a prefix that was looked up, the last page goes first: the others are of use without it.
TEST_F(RamTierTest, LooksUpsKeepThePrefixsBeginning) {
  RamTier tier = make(3);
  std::vector<PageKey> keys;
  for (uint64_t i = 1; i <= 3; ++i) {
    offer(tier, i);
    keys.push_back(TestPage(i).key);
  }
  tier.prefetch(keys);
  offer(tier, 4);
  EXPECT_TRUE(tier.holds(keys[0]));
  EXPECT_FALSE(tier.holds(keys[2]));
}

// Goal: pages that nobody used for the time limit are not given any more, and leave with the next
// call that looks.
TEST_F(RamTierTest, TimeLimit) {
  RamTier tier = make(3, 60);
  offer(tier, 1);
  env.advance(50'000'000);
  offer(tier, 2);
  env.advance(11'000'000);
  EXPECT_FALSE(tier.holds(TestPage(1).key));
  EXPECT_FALSE(gives(tier, 1));
  EXPECT_TRUE(gives(tier, 2));
  offer(tier, 3);
  EXPECT_EQ(tier.stats().pages, 2u);
  EXPECT_EQ(tier.stats().expired, 1u);
  EXPECT_EQ(next.keys.size(), 1u);  // a disk may keep it for longer
}

// Goal: without reuse the tier stops copying; a second offer, a reused page, or a request for what
// was refused is let in again.
TEST_F(RamTierTest, StopsCopyingWithoutReuse) {
  constexpr uint64_t kPages = 4;
  RamTier tier = make(kPages);
  for (uint64_t i = 1; i <= 100; ++i) offer(tier, i);
  EXPECT_EQ(tier.stats().stored, 2 * kPages);
  EXPECT_EQ(tier.stats().refused, 100 - 2 * kPages);
  offer(tier, 90);  // the second time
  EXPECT_TRUE(tier.holds(TestPage(90).key));
  offer(tier, 200, 1);  // reused
  EXPECT_TRUE(tier.holds(TestPage(200).key));
  offer(tier, 201);
  EXPECT_FALSE(tier.holds(TestPage(201).key));  // this look shows that it would have been of use
  offer(tier, 202);
  EXPECT_TRUE(tier.holds(TestPage(202).key));
}

// Goal: at the end everything goes onward, the most reused pages first.
TEST_F(RamTierTest, FlushOffersTheMostReusedFirst) {
  RamTier tier = make(3);
  offer(tier, 1, 1);
  offer(tier, 2, 5);
  offer(tier, 3, 0);
  tier.flush();
  EXPECT_EQ(next.all_hits, (std::vector<uint32_t>{5, 1, 0}));
  EXPECT_EQ(tier.stats().pages, 0u);
  EXPECT_FALSE(tier.holds(TestPage(2).key));
}

// Goal: a tier without memory hands everything onward.
TEST_F(RamTierTest, NoMemory) {
  RamTier tier = make(0);
  offer(tier, 1);
  EXPECT_EQ(next.keys.size(), 1u);
  EXPECT_FALSE(gives(tier, 1));
}

}  // namespace
}  // namespace hadal
