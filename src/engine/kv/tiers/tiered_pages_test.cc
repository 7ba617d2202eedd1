#include "engine/kv/tiers/tiered_pages.h"

#include <optional>

#include <gtest/gtest.h>

#include "engine/testing/harness.h"
#include "engine/testing/kv_pages.h"

namespace hadal {
namespace {

using testing::FaultyFiles;
using testing::kTestShape;
using testing::TempDirectory;
using testing::TestPage;
using testing::VirtualEnv;
using Fetch = PageTier::Fetch;

struct TieredPagesTest : ::testing::Test {
  TieredPagesOptions options(uint64_t ram_pages, uint64_t disk_bytes) {
    return {.shape = kTestShape,
            .ram_bytes = ram_pages * kTestShape.bytes,
            .disk_bytes = disk_bytes,
            .directory = directory / "kv",
            .fingerprint = "model"};
  }
  static void offer(PageTier& tier, uint64_t number, uint32_t hits = 0) {
    const TestPage page(number);
    tier.offer(page.key, page.tokens, page.bytes, hits);
  }
  /// Asks as an engine would, until the page is there or gone.
  static bool gives(PageTier& tier, uint64_t number) {
    const TestPage page(number);
    std::vector<std::byte> out(kTestShape.bytes);
    for (;;) {
      const Fetch fetched = tier.fetch(page.key, page.tokens, out);
      if (fetched == Fetch::kPending) continue;
      if (fetched == Fetch::kGone) return false;
      EXPECT_TRUE(out == page.bytes) << number;
      return true;
    }
  }
  int count_given(PageTier& tier, uint64_t first, uint64_t last) {
    int given = 0;
    for (uint64_t i = first; i <= last; ++i) given += gives(tier, i);
    return given;
  }
  TempDirectory directory;
  FaultyFiles files;
  VirtualEnv env;
};

// Goal: pages move from memory to disk under pressure, and both places give them back.
TEST_F(TieredPagesTest, MemoryThenDisk) {
  TieredPages pages(options(4, 16 << 20), files, env);
  for (uint64_t i = 0; i < 12; ++i) {
    offer(pages, i, 1);
    while (pages.ram_stats().evicted > pages.disk_stats().stored) {
    }
  }
  EXPECT_EQ(pages.ram_stats().pages, 4u);
  EXPECT_EQ(pages.disk_stats().pages, 8u);
  std::vector<PageKey> keys;
  for (uint64_t i = 0; i < 12; ++i) keys.push_back(TestPage(i).key);
  for (const PageKey& key : keys) EXPECT_TRUE(pages.holds(key));
  pages.prefetch(keys);
  EXPECT_EQ(count_given(pages, 0, 20), 12);
  EXPECT_EQ(pages.ram_stats().hits, 4u);
  EXPECT_EQ(pages.disk_stats().hits, 8u);
}

// Goal: an orderly end keeps what is in memory, reused or not; the next process has the same
// fingerprint and gives it back.
TEST_F(TieredPagesTest, RestartFindsEverything) {
  std::string fingerprint;
  {
    TieredPages pages(options(100, 16 << 20), files, env);
    fingerprint = pages.fingerprint();
    for (uint64_t i = 0; i < 20; ++i) offer(pages, i);
    pages.begin_drain(env.now_micros() + 60'000'000);
    for (uint64_t i = 20; i < 30; ++i) offer(pages, i);
    pages.finish_drain();
  }
  TieredPages pages(options(100, 16 << 20), files, env);
  EXPECT_EQ(pages.fingerprint(), fingerprint);
  EXPECT_EQ(count_given(pages, 0, 29), 30);
}

// Goal: without a disk, or with one that cannot be used (a second process has it), memory alone
// serves, under a fingerprint that no other process knows.
TEST_F(TieredPagesTest, MemoryAlone) {
  TieredPages first(options(4, 1 << 20), files, env);
  TieredPages second(options(4, 1 << 20), files, env);
  TieredPages third(options(4, 0), files, env);
  EXPECT_FALSE(first.disk_stats().off);
  for (TieredPages* pages : {&second, &third}) {
    EXPECT_TRUE(pages->disk_stats().off);
    EXPECT_NE(pages->fingerprint(), first.fingerprint());
    for (uint64_t i = 0; i < 6; ++i) offer(*pages, i, 1);
    EXPECT_EQ(count_given(*pages, 0, 5), 4);
    pages->begin_drain(env.now_micros() + 1'000'000);
    pages->finish_drain();
  }
}

// Goal: no reuse, no work: neither memory nor disk takes pages that nobody comes back for.
TEST_F(TieredPagesTest, NoReuseNoWork) {
  TieredPages pages(options(8, 16 << 20), files, env);
  for (uint64_t i = 0; i < 1000; ++i) {
    EXPECT_FALSE(pages.holds(TestPage(i).key));
    offer(pages, i);
  }
  EXPECT_LE(pages.ram_stats().stored, 16u);
  EXPECT_EQ(pages.disk_stats().stored, 0u);
}

}  // namespace
}  // namespace hadal
