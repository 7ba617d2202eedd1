#include "engine/tiered_pages.h"

#include <optional>
#include <random>

#include <gtest/gtest.h>

#include "engine/engine.h"
#include "engine/kv/kv_cache.h"
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
  TieredPages pages(options(4, 16 << 20), env, files);
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
    TieredPages pages(options(100, 16 << 20), env, files);
    fingerprint = pages.fingerprint();
    for (uint64_t i = 0; i < 20; ++i) offer(pages, i);
    pages.begin_drain(env.now_micros() + 60'000'000);
    for (uint64_t i = 20; i < 30; ++i) offer(pages, i);
  }
  TieredPages pages(options(100, 16 << 20), env, files);
  EXPECT_EQ(pages.fingerprint(), fingerprint);
  EXPECT_EQ(count_given(pages, 0, 29), 30);
}

// Goal: without a disk, or with one that cannot be used (a second process has it), memory alone
// serves, under a fingerprint that no other process knows.
TEST_F(TieredPagesTest, MemoryAlone) {
  TieredPages first(options(4, 1 << 20), env, files);
  TieredPages second(options(4, 1 << 20), env, files);
  TieredPages third(options(4, 0), env, files);
  EXPECT_FALSE(first.disk_stats().off);
  for (TieredPages* pages : {&second, &third}) {
    EXPECT_TRUE(pages->disk_stats().off);
    EXPECT_NE(pages->fingerprint(), first.fingerprint());
    for (uint64_t i = 0; i < 6; ++i) offer(*pages, i, 1);
    EXPECT_EQ(count_given(*pages, 0, 5), 4);
    pages->begin_drain(env.now_micros() + 1'000'000);
  }
}

// Goal: no reuse, no work: neither memory nor disk takes pages that nobody comes back for.
TEST_F(TieredPagesTest, NoReuseNoWork) {
  TieredPages pages(options(8, 16 << 20), env, files);
  for (uint64_t i = 0; i < 1000; ++i) {
    EXPECT_FALSE(pages.holds(TestPage(i).key));
    offer(pages, i);
  }
  EXPECT_LE(pages.ram_stats().stored, 16u);
  EXPECT_EQ(pages.disk_stats().stored, 0u);
}

// Goal: what `hadal cache` shows and clears, and that it leaves a running server's pages alone.
TEST_F(TieredPagesTest, KeptPagesAreListedAndCleared) {
  EXPECT_EQ(kept_pages(directory / "kv").files, 0u);
  EXPECT_EQ(clear_kept_pages(directory / "kv").value(), 0u);
  {
    TieredPages pages(options(10, 16 << 20), env, files);
    for (uint64_t i = 0; i < 5; ++i) offer(pages, i);
    EXPECT_EQ(clear_kept_pages(directory / "kv").error().code, Code::kUnavailable);
    pages.begin_drain(env.now_micros() + 60'000'000);
  }
  const KeptPages kept = kept_pages(directory / "kv");
  EXPECT_EQ(kept.files, 1u);
  EXPECT_GT(kept.bytes, 5 * kTestShape.bytes);
  EXPECT_EQ(clear_kept_pages(directory / "kv").value(), kept.bytes);
  EXPECT_EQ(kept_pages(directory / "kv").files, 0u);
}

/// Engines over one directory, one after the other.
struct TieredEngineTest : ::testing::Test {
  TieredPagesOptions tiers(uint64_t ram_pages, uint64_t disk_pages) {
    const PageShape shape = kv_page_shape(model.kv_layout());
    return {.shape = shape,
            .ram_bytes = ram_pages * shape.bytes,
            .disk_bytes = disk_pages * (shape.bytes + 4096),
            .directory = directory / "kv",
            .fingerprint = "fake"};
  }
  EngineOptions engine_options(TieredPages& pages, uint64_t pool_pages) {
    return {.n_ctx = 512,
            .max_batch = 3,
            .kv_bytes = pool_pages * kv_page_shape(model.kv_layout()).bytes,
            .model_fingerprint = pages.fingerprint(),
            .tier = &pages};
  }
  FinishEvent run(Engine& engine, const GenerateRequest& request, testing::Received& got) {
    auto sink = std::make_unique<testing::RecordingSink>(got);
    EXPECT_TRUE(engine.submit(request, std::move(sink)).ok());
    return got.wait_finish();
  }
  testing::FakeModel model;
  TempDirectory directory;
  FaultyFiles files;
  VirtualEnv env;
};

// Goal: what a server computed is found by the next one on the same directory, with the same
// tokens; a prompt that another tenant computed is not.
TEST_F(TieredEngineTest, RestartFindsPrompts) {
  constexpr int kPages = 6;
  std::vector<GenerateRequest> requests;
  for (int salt = 0; salt < 4; ++salt) {
    requests.push_back(
        testing::make_request(kPages * static_cast<int>(kKvPageTokens) + 3, 5, salt));
  }
  for (const bool restarted : {false, true}) {
    TieredPages pages(tiers(8, 200), env, files);
    Engine engine(model, engine_options(pages, 16), env);
    for (const GenerateRequest& request : requests) {
      testing::Received got;
      const FinishEvent end = run(engine, request, got);
      EXPECT_EQ(got.ids(), testing::expected_ids(request, 5));
      // Of the first life only what was in some memory at its end can be kept.
      if (restarted && &request == &requests.back()) {
        EXPECT_EQ(end.cached_tokens, kPages * kKvPageTokens);
      }
      if (!restarted) {
        EXPECT_EQ(end.cached_tokens, 0);
      }
    }
    GenerateRequest other = requests.back();
    other.tenant = restarted ? "one" : "another";
    testing::Received got;
    EXPECT_EQ(run(engine, other, got).cached_tokens, 0);
    EXPECT_EQ(got.ids(), testing::expected_ids(other, 5));
    pages.begin_drain(env.now_micros() + 60'000'000);
  }
}

// Goal: over random mixes with small pools, small tiers, restarts and disks that fail at some
// moment, tokens are those of a model alone, and every request ends.
TEST_F(TieredEngineTest, RandomMixesWithFaults) {
  int64_t cached = 0;
  for (uint32_t seed = 0; seed < 24; ++seed) {
    TempDirectory here;
    std::mt19937 random(seed);
    for (int life = 0; life < 2; ++life) {
      TieredPagesOptions options = tiers(random() % 6, 20 + random() % 100);
      options.directory = here / "kv";
      files.fail_from =
          random() % 3 == 0 ? files.operations + static_cast<int64_t>(random() % 200) : INT64_MAX;
      TieredPages pages(options, env, files);
      Engine engine(model, engine_options(pages, 16 + random() % 10), env);
      std::vector<GenerateRequest> requests;
      for (int i = 0; i < 12; ++i) {
        const int salt = static_cast<int>(random() % 4);
        GenerateRequest request =
            testing::make_request(1 + static_cast<int>(random() % 300), 4, salt);
        requests.push_back(std::move(request));
      }
      std::vector<testing::Received> got(requests.size());
      for (size_t i = 0; i < requests.size(); ++i) {
        auto sink = std::make_unique<testing::RecordingSink>(got[i]);
        ASSERT_TRUE(engine.submit(requests[i], std::move(sink)).ok());
        env.advance(random() % 1'000'000);
      }
      for (size_t i = 0; i < requests.size(); ++i) {
        const FinishEvent end = got[i].wait_finish();
        cached += end.cached_tokens;
        ASSERT_EQ(got[i].ids(), testing::expected_ids(requests[i], 4)) << seed;
      }
      pages.begin_drain(env.now_micros() + 60'000'000);
    }
    files.fail_from = INT64_MAX;
  }
  EXPECT_GT(cached, 0);
}

}  // namespace
}  // namespace hadal
