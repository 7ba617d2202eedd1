#include "engine/kv/tiers/disk_tier.h"

#include <csignal>
#include <random>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
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

/// Large enough that the queues are short.
constexpr PageShape kBigShape = {.tokens = 16, .bytes = limits::kKvStagingBytes / 5};

struct DiskTierTest : ::testing::Test {
  std::unique_ptr<DiskTier> open(bool own_thread = false, uint64_t bytes = 16 << 20) {
    DiskTierOptions options;
    options.store = {directory / "kv", "model", shape, bytes, 0};
    options.own_thread = own_thread;
    auto tier = DiskTier::open(options, files, env);
    EXPECT_TRUE(tier.ok()) << tier.error().message;
    return tier.ok() ? std::move(tier).value() : nullptr;
  }
  void offer(DiskTier& tier, uint64_t number, uint32_t hits = 1) {
    const TestPage page(number, shape);
    tier.offer(page.key, page.tokens, page.bytes, hits);
  }
  Fetch fetch(DiskTier& tier, uint64_t number) {
    const TestPage page(number, shape);
    std::vector<std::byte> out(shape.bytes, std::byte{0xEE});
    const Fetch fetched = tier.fetch(page.key, page.tokens, out);
    if (fetched == Fetch::kReady) {
      EXPECT_TRUE(out == page.bytes) << number;
    }
    return fetched;
  }
  Fetch fetch_worked(DiskTier& tier, uint64_t number) {
    Fetch fetched = fetch(tier, number);
    for (int i = 0; i < 100 && fetched == Fetch::kPending; ++i) {
      while (tier.work()) {
      }
      fetched = fetch(tier, number);
    }
    return fetched;
  }
  static void finish(DiskTier& tier) {
    while (tier.work()) {
    }
  }
  std::vector<PageKey> keys(uint64_t first, uint64_t last) {
    std::vector<PageKey> out;
    for (uint64_t i = first; i <= last; ++i) out.push_back(TestPage(i, shape).key);
    return out;
  }

  PageShape shape = kTestShape;
  TempDirectory directory;
  FaultyFiles files;
  VirtualEnv env;
};

// Goal: offered, written, asked for, pending, read, given; also by the next process; other tokens
// get nothing.
TEST_F(DiskTierTest, RoundTrip) {
  auto tier = open();
  offer(*tier, 1);
  finish(*tier);
  EXPECT_TRUE(tier->holds(TestPage(1).key));
  EXPECT_EQ(fetch(*tier, 1), Fetch::kPending);
  EXPECT_EQ(fetch(*tier, 1), Fetch::kPending);
  finish(*tier);
  EXPECT_EQ(fetch(*tier, 1), Fetch::kReady);
  EXPECT_EQ(fetch(*tier, 2), Fetch::kGone);
  tier = nullptr;
  tier = open();
  const std::vector<PageKey> wanted = keys(1, 1);
  tier->prefetch(wanted);
  finish(*tier);
  std::vector<std::byte> out(kTestShape.bytes, std::byte{0xEE});
  EXPECT_EQ(tier->fetch(wanted[0], TestPage(2).tokens, out), Fetch::kGone);
  EXPECT_EQ(out, std::vector<std::byte>(kTestShape.bytes, std::byte{0xEE}));
  EXPECT_EQ(fetch_worked(*tier, 1), Fetch::kReady);
  EXPECT_EQ(tier->stats().hits, 1u);
}

// Goal: a page of a prefix that was never reused is written at its second offer only.
TEST_F(DiskTierTest, WritesWhatPromisesReuse) {
  auto tier = open();
  offer(*tier, 1, 0);
  offer(*tier, 2, 1);
  finish(*tier);
  EXPECT_FALSE(tier->holds(TestPage(1).key));
  EXPECT_TRUE(tier->holds(TestPage(2).key));
  offer(*tier, 1, 0);
  finish(*tier);
  EXPECT_TRUE(tier->holds(TestPage(1).key));
  EXPECT_EQ(tier->stats().refused, 1u);
}

// Goal: a full queue drops offers and says so; nothing waits.
TEST_F(DiskTierTest, FullQueueDrops) {
  shape = kBigShape;
  auto tier = open(false, 1 << 30);
  for (uint64_t i = 0; i < 9; ++i) offer(*tier, i);
  EXPECT_EQ(tier->stats().dropped, 4u);
  finish(*tier);
  EXPECT_EQ(tier->stats().stored, 5u);
  offer(*tier, 8);
  finish(*tier);
  EXPECT_EQ(fetch_worked(*tier, 8), Fetch::kReady);
}

// Goal: a prefix longer than the reading buffers comes through in order; one that nobody fetches
// any more makes room, at once for a page that is waited for.
TEST_F(DiskTierTest, MorePagesThanBuffers) {
  shape = kBigShape;
  auto tier = open(false, 1 << 30);
  for (uint64_t i = 0; i < 14; ++i) {
    offer(*tier, i);
    finish(*tier);
  }
  tier->prefetch(keys(0, 13));
  finish(*tier);
  for (uint64_t i = 0; i < 5; ++i) EXPECT_EQ(fetch(*tier, i), Fetch::kReady) << i;
  for (uint64_t i = 5; i < 14; ++i) EXPECT_EQ(fetch_worked(*tier, i), Fetch::kReady) << i;
  // A request that has gone leaves its pages in all buffers.
  tier->prefetch(keys(0, 9));
  finish(*tier);
  EXPECT_EQ(fetch_worked(*tier, 12), Fetch::kReady);
  tier->prefetch(keys(13, 13));
  finish(*tier);
  env.advance(5'000'000);
  finish(*tier);
  EXPECT_EQ(fetch_worked(*tier, 13), Fetch::kReady);
}

// Goal: with the tier's own thread, offers and fetches from another one come out right.
TEST_F(DiskTierTest, OwnThread) {
  auto tier = open(true);
  std::mt19937 random(1);
  int ready = 0;
  for (int i = 0; i < 4000; ++i) {
    const uint64_t number = random() % 200;
    if (random() % 2 == 0) offer(*tier, number);
    if (random() % 8 == 0) tier->prefetch(keys(number, number + 5));
    ready += fetch(*tier, number) == Fetch::kReady;
  }
  EXPECT_GT(ready, 0);
}

// Goal: a drain keeps everything that fits, evicts only what was there before, and waits until it
// is on the disk.
TEST_F(DiskTierTest, DrainKeepsWhatFits) {
  constexpr uint64_t kBudget = 2'000'000;  // somewhat over 100 pages behind a table
  auto tier = open(false, kBudget);
  for (uint64_t i = 0; i < 20; ++i) {
    offer(*tier, i);
    finish(*tier);
  }
  tier = nullptr;
  env.advance(1'000'000);
  tier = open(true, kBudget);
  tier->begin_drain(env.now_micros() + 60'000'000);
  for (uint64_t i = 1000; i < 1500; ++i) offer(*tier, i, 0);
  tier->finish_drain();
  tier = nullptr;
  tier = open(false, kBudget);
  EXPECT_TRUE(tier->holds(TestPage(1000).key));
  EXPECT_FALSE(tier->holds(TestPage(1499).key));
  EXPECT_FALSE(tier->holds(TestPage(3).key));
  uint64_t held = 0;
  while (tier->holds(TestPage(1000 + held).key)) ++held;
  EXPECT_EQ(held, tier->stats().pages);
}

// Goal: whatever operation fails first while the tier works, it turns off, the caller notices
// nothing but pages that are gone, and the next start has no wrong page.
TEST_F(DiskTierTest, FaultsTurnItOff) {
  for (int64_t n = 0; n < 120; n += 3) {
    TempDirectory here;
    DiskTierOptions options;
    options.store = {here / "kv", "model", kTestShape, 300'000, 0};
    options.own_thread = false;
    auto tier = DiskTier::open(options, files, env).value();
    files.fail_from = files.operations + n;
    for (uint64_t i = 0; i < 60; ++i) {
      offer(*tier, i);
      finish(*tier);
      fetch_worked(*tier, i / 2);
    }
    EXPECT_TRUE(tier->stats().off);
    EXPECT_EQ(fetch_worked(*tier, 59), Fetch::kGone);
    tier = nullptr;
    files.fail_from = INT64_MAX;
    tier = DiskTier::open(options, files, env).value();
    for (uint64_t i = 0; i < 60; ++i) fetch_worked(*tier, i);
    EXPECT_FALSE(tier->stats().off);
  }
}

// Goal: a limit on file sizes, as a full disk, turns the real thing off; the process lives.
TEST_F(DiskTierTest, FileSizeLimit) {
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit = {100'000, 100'000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    DiskTierOptions options;
    options.store = {directory / "kv", "model", kTestShape, 16 << 20, 0};
    auto tier = DiskTier::open(options, FileLayer::real(), env);
    if (!tier.ok()) ::_exit(2);
    for (uint64_t i = 0; i < 100; ++i) offer(*tier.value(), i);
    tier.value()->begin_drain(env.now_micros() + 60'000'000);
    for (uint64_t i = 100; i < 400; ++i) offer(*tier.value(), i);
    tier.value()->finish_drain();
    const bool off = tier.value()->stats().off;
    tier = Error{};
    ::_exit(off ? 0 : 3);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_NE(open(), nullptr);
}

/// The child's part: fills and overwrites for ever, from a place that differs each time.
[[noreturn]] void write_until_killed(const std::filesystem::path& path, uint64_t life) {
  DiskTierOptions options;
  options.store = {path, "model", kTestShape, 1'500'000, 0};
  auto tier = DiskTier::open(options, FileLayer::real(), Env::real());
  if (!tier.ok()) ::_exit(2);
  std::mt19937_64 random(life);
  for (;;) {
    const TestPage page(random() % 400);
    tier.value()->offer(page.key, page.tokens, page.bytes, 1);
    ::sched_yield();
  }
}

// Goal: kill -9 at any moment of the writing: the next start works and all that it finds is right.
// 1,000 kills: engine_test --gtest_filter=*KillNine* --gtest_repeat=20
TEST_F(DiskTierTest, KillNine) {
  constexpr int kLives = 50;
  std::mt19937_64 random(::testing::UnitTest::GetInstance()->random_seed() + ::getpid());
  uint64_t found = 0, corrupt = 0, evicted_away = 0;
  for (int life = 0; life < kLives; ++life) {
    const pid_t child = ::fork();
    if (child == 0) write_until_killed(directory / "kv", random());
    ::usleep(static_cast<useconds_t>(random() % 30'000));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child could not start: " << WEXITSTATUS(status);
    TierCounters counters;
    auto store = PageStore::open({directory / "kv", "model", kTestShape, 1'500'000, 0},
                                 FileLayer::real(), Env::real(), counters);
    ASSERT_TRUE(store.ok()) << store.error().message;
    for (uint64_t number = 0; number < 400; ++number) {
      const TestPage page(number);
      if (!store.value()->holds(page.key)) {
        ++evicted_away;
        continue;
      }
      std::vector<std::byte> out(kTestShape.bytes);
      const auto tokens = store.value()->read(page.key, out);
      ASSERT_TRUE(tokens.ok());
      if (!tokens.value().has_value()) continue;
      ++found;
      ASSERT_EQ(*tokens.value(), page.tokens);
      ASSERT_TRUE(out == page.bytes);
    }
    corrupt += counters.corrupt;
  }
  EXPECT_GT(found, 0u);
  std::printf("  %d kills: %llu pages found and right, %llu torn, %llu not there\n", kLives,
              static_cast<unsigned long long>(found), static_cast<unsigned long long>(corrupt),
              static_cast<unsigned long long>(evicted_away));
}

}  // namespace
}  // namespace hadal
