#include "engine/kv/tiers/page_store.h"

#include <fstream>
#include <map>
#include <random>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "engine/testing/harness.h"
#include "engine/testing/kv_pages.h"

namespace hadal {
namespace {

namespace fs = std::filesystem;
using testing::FaultyFiles;
using testing::kTestShape;
using testing::TempDirectory;
using testing::TestPage;
using testing::VirtualEnv;

uint64_t bytes_below(const fs::path& directory) {
  uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  return bytes;
}

std::vector<fs::path> segments_below(const fs::path& directory) {
  std::vector<fs::path> out;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (entry.path().extension() == ".kv") out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::string read_all(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_all(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

struct PageStoreTest : ::testing::Test {
  PageStoreOptions options(uint64_t bytes = 1 << 20) {
    return {directory / "kv", "model", kTestShape, bytes, 0};
  }
  std::unique_ptr<PageStore> open(const PageStoreOptions& with) {
    auto store = PageStore::open(with, files, env, counters);
    EXPECT_TRUE(store.ok()) << store.error().message;
    return store.ok() ? std::move(store).value() : nullptr;
  }
  bool write(PageStore& store, uint64_t number, uint32_t hits = 0) {
    const TestPage page(number, shape);
    const auto done = store.write({page.key, page.tokens, page.bytes, hits}, std::nullopt);
    EXPECT_TRUE(done.ok());
    return done.ok() && done.value();
  }
  /// Whether the page is there; a page that is there must be right.
  bool reads(PageStore& store, uint64_t number) {
    const TestPage page(number, shape);
    std::vector<std::byte> out(shape.bytes);
    const auto tokens = store.read(page.key, out);
    EXPECT_TRUE(tokens.ok());
    if (!tokens.ok() || !tokens.value().has_value()) return false;
    EXPECT_EQ(*tokens.value(), page.tokens) << number;
    EXPECT_TRUE(out == page.bytes) << number;
    return true;
  }
  int count_readable(PageStore& store, uint64_t first, uint64_t last) {
    int found = 0;
    for (uint64_t i = first; i <= last; ++i) found += reads(store, i);
    return found;
  }
  fs::path only_segment() {
    const auto segments = segments_below(directory.path());
    EXPECT_EQ(segments.size(), 1u);
    return segments.empty() ? fs::path() : segments[0];
  }

  PageShape shape = kTestShape;
  TempDirectory directory;
  FaultyFiles files;
  VirtualEnv env;
  TierCounters counters;
};

// Goal: pages are found again by another store on the same directory, with the same secret.
TEST_F(PageStoreTest, SurvivesReopening) {
  std::string secret;
  {
    auto store = open(options());
    secret = store->secret();
    for (uint64_t i = 0; i < 50; ++i) EXPECT_TRUE(write(*store, i));
    EXPECT_EQ(count_readable(*store, 0, 60), 50);
  }
  auto store = open(options());
  EXPECT_EQ(store->secret(), secret);
  EXPECT_EQ(secret.size(), 16u);
  EXPECT_TRUE(store->holds(TestPage(7).key));
  EXPECT_FALSE(store->holds(TestPage(51).key));
  EXPECT_EQ(count_readable(*store, 0, 60), 50);
  EXPECT_EQ(counters.pages, 50u);
}

// Goal: the directory's files never take more bytes than the budget; the least recently used pages
// make room.
TEST_F(PageStoreTest, BudgetHolds) {
  constexpr uint64_t kBudget = 2'000'000;
  auto store = open(options(kBudget));
  for (uint64_t i = 0; i < 300; ++i) {
    EXPECT_TRUE(write(*store, i));
    EXPECT_TRUE(reads(*store, i));
    env.advance(1000);
    if (i % 50 == 49) {
      const uint64_t bytes = bytes_below(directory / "kv");
      EXPECT_LE(bytes, kBudget);
      EXPECT_GE(counters.bytes, bytes);
      // A file's last page is counted with its padding.
      EXPECT_LE(counters.bytes, bytes + 4096 * segments_below(directory.path()).size());
    }
  }
  EXPECT_GT(counters.evicted, 0u);
  EXPECT_FALSE(store->holds(TestPage(0).key));
  const int kept = count_readable(*store, 0, 299);
  EXPECT_EQ(static_cast<uint64_t>(kept), counters.pages.load());
  EXPECT_EQ(count_readable(*store, 300 - static_cast<uint64_t>(kept), 299), kept);
}

// Goal: a budget that shrank between runs is respected at once; nothing fits into a tiny one.
TEST_F(PageStoreTest, SmallerBudgetAtReopening) {
  {
    auto store = open(options(60'000'000));
    for (uint64_t i = 0; i < 100; ++i) write(*store, i);
  }
  { open(options(1'000'000)); }
  EXPECT_LE(bytes_below(directory / "kv"), 1'000'000u);
  auto store = open(options(10));
  EXPECT_LE(counters.bytes, 100u);  // the secret
  EXPECT_FALSE(write(*store, 1));
  EXPECT_FALSE(reads(*store, 1));
}

// Goal: another model's pages are never given, count against the budget and make room.
TEST_F(PageStoreTest, OtherModelsCountAndMakeRoom) {
  constexpr uint64_t kBudget = 4'500'000;
  {
    auto store = open(options(kBudget));
    for (uint64_t i = 0; i < 300; ++i) write(*store, i);
  }
  PageStoreOptions other = options(kBudget);
  other.fingerprint = "another";
  auto store = open(other);
  EXPECT_EQ(count_readable(*store, 0, 299), 0);
  EXPECT_GT(counters.bytes, 2'000'000u);
  for (uint64_t i = 1000; i < 1400; ++i) {
    EXPECT_TRUE(write(*store, i));
    EXPECT_LE(counters.bytes, kBudget);
  }
  EXPECT_LE(bytes_below(directory / "kv"), kBudget);
  EXPECT_GT(count_readable(*store, 1000, 1399), 300);
}

// Goal: one process at a time; the next one can have the directory when the first has gone.
TEST_F(PageStoreTest, OneProcessAtATime) {
  auto store = open(options());
  const auto second = PageStore::open(options(), files, env, counters);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Code::kUnavailable);
  store.reset();
  EXPECT_TRUE(PageStore::open(options(), files, env, counters).ok());
}

// Goal: nobody else can read keys and values, and a directory that others may look into is refused.
TEST_F(PageStoreTest, PrivateFiles) {
  {
    auto store = open(options());
    write(*store, 1);
  }
  for (const auto& entry : fs::recursive_directory_iterator(directory.path())) {
    struct stat info {};
    ASSERT_EQ(::lstat(entry.path().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 077, 0u) << entry.path();
  }
  ::chmod((directory / "kv").c_str(), 0755);
  const auto store = PageStore::open(options(), files, env, counters);
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.error().code, Code::kDenied);
}

// Goal: a page that nobody used for the time limit is not given, leaves the disk, and does not come
// back with a restart.
TEST_F(PageStoreTest, TimeLimit) {
  PageStoreOptions limited = options();
  limited.seconds = 60;
  auto store = open(limited);
  write(*store, 1);
  write(*store, 2);
  env.advance(40'000'000);
  write(*store, 3);
  const PageKey used = TestPage(2).key;
  store->touch({&used, 1});
  env.advance(30'000'000);
  EXPECT_FALSE(store->holds(TestPage(1).key));
  store->drop_old();
  EXPECT_EQ(count_readable(*store, 1, 3), 2);
  EXPECT_EQ(counters.expired, 1u);
  store = nullptr;
  store = open(limited);
  EXPECT_FALSE(reads(*store, 1));
  env.advance(100'000'000);
  store->drop_old();
  EXPECT_TRUE(segments_below(directory.path()).empty());
}

// Goal: no bit of a segment matters unseen. Each byte of the heads and a sample of the pages' is
// changed; the store opens and gives the right page or none.
TEST_F(PageStoreTest, AnyByteMayChange) {
  shape = {.tokens = 4, .bytes = 700};
  PageStoreOptions small = options();
  small.shape = shape;
  {
    auto store = open(small);
    for (uint64_t i = 0; i < 3; ++i) write(*store, i);
  }
  const fs::path path = only_segment();
  const std::string good = read_all(path);
  const segment::Head head =
      segment::decode_head(std::as_bytes(std::span(good)).first(segment::kHeadBytes)).value();
  std::vector<size_t> places;
  for (size_t i = 0; i < 56; ++i) places.push_back(i);
  const uint64_t records_end = segment::record_offset(head, 3);
  for (size_t i = segment::record_offset(head, 0); i < records_end; ++i) places.push_back(i);
  for (uint64_t slot = 0; slot < 3; ++slot) {
    const uint64_t begin = segment::page_offset(head, slot);
    for (const uint64_t i : {0, 1, 63, 350, 698, 699}) places.push_back(begin + i);
  }
  int lost = 0;
  for (const size_t place : places) {
    std::string bad = good;
    bad.replace(place, 1, 1, static_cast<char>(bad[place] ^ 0x40));
    write_all(path, bad);
    auto store = open(small);
    ASSERT_NE(store, nullptr);
    const int found = count_readable(*store, 0, 2);
    lost += found < 3;
    EXPECT_GE(found, place < segment::kHeadBytes ? 0 : 2) << place;
  }
  EXPECT_GE(lost, 56 + 3 * 88 + 3 * 6 - 3 * 8);  // padding of a record is not covered
}

// Goal: cut, zeroed, swapped and foreign parts lose pages, never make wrong ones, and the store
// works on.
TEST_F(PageStoreTest, DamagedFiles) {
  constexpr uint64_t kPages = 8;
  {
    auto store = open(options());
    for (uint64_t i = 0; i < kPages; ++i) write(*store, i);
  }
  const fs::path path = only_segment();
  const std::string good = read_all(path);
  const segment::Head head =
      segment::decode_head(std::as_bytes(std::span(good)).first(segment::kHeadBytes)).value();
  const uint64_t stride = segment::record_stride(kTestShape);
  const auto check = [&](const std::string& bytes, int found_min, int found_max) {
    write_all(path, bytes);
    auto store = open(options());
    ASSERT_NE(store, nullptr);
    const int found = count_readable(*store, 0, kPages - 1);
    EXPECT_GE(found, found_min);
    EXPECT_LE(found, found_max);
    EXPECT_TRUE(write(*store, 100));
    EXPECT_TRUE(reads(*store, 100));
  };
  for (const size_t size : {size_t{0}, size_t{1}, size_t{55}, size_t{4095}, size_t{4096}}) {
    check(good.substr(0, size), 0, 0);
  }
  check(good.substr(0, segment::page_offset(head, 3) + 10), 3, 3);
  check(good.substr(0, good.size() - 1), 7, 7);
  check(good + std::string(100'000, 'x'), 8, 8);
  check(std::string(good.size(), '\0'), 0, 0);
  std::string zeroed = good;
  zeroed.replace(segment::page_offset(head, 2), 4096, std::string(4096, '\0'));
  check(zeroed, 7, 7);
  // Record heads change places, their pages do not.
  std::string swapped = good;
  swapped.replace(segment::record_offset(head, 1), stride,
                  good.substr(segment::record_offset(head, 4), stride));
  swapped.replace(segment::record_offset(head, 4), stride,
                  good.substr(segment::record_offset(head, 1), stride));
  check(swapped, 6, 6);
  // Whole slots change places: the pages are right, wherever they lie.
  for (const auto& [to, from] : {std::pair(1, 4), std::pair(4, 1)}) {
    swapped.replace(segment::page_offset(head, to), 8192,
                    good.substr(segment::page_offset(head, from), 8192));
  }
  check(swapped, 8, 8);
  // One page twice.
  std::string twice = good;
  for (const bool record : {true, false}) {
    const auto at = [&](uint64_t slot) {
      return record ? segment::record_offset(head, slot) : segment::page_offset(head, slot);
    };
    const uint64_t size = record ? stride : 8192;
    twice.replace(at(5), size, good.substr(at(6), size));
  }
  check(twice, 7, 7);
  // Absurd sizes under a valid check.
  for (const segment::Head& absurd :
       {segment::Head{head.model, {kTestShape.tokens, 1u << 30}, head.slots},
        segment::Head{head.model, {limits::kKvPageTokensMax, kTestShape.bytes}, 4096},
        segment::Head{head.model, {INT64_MAX, UINT64_MAX}, UINT32_MAX},
        segment::Head{PageKey{1, 2}, kTestShape, head.slots}}) {
    std::string bad = good;
    const auto bytes = segment::encode_head(absurd);
    bad.replace(0, bytes.size(), reinterpret_cast<const char*>(bytes.data()), bytes.size());
    check(bad, 0, 0);
  }
}

// Goal: what else may lie in the directory does not disturb: links, directories, strange names, a
// damaged secret (its pages are lost, no more).
TEST_F(PageStoreTest, StrangersInTheDirectory) {
  {
    auto store = open(options());
    write(*store, 1);
  }
  const fs::path own = only_segment().parent_path();
  fs::create_symlink("/dev/zero", own / "00000007.kv");
  fs::create_directory(own / "00000008.kv");
  write_all(own / "ffffffff.kv", "no segment");
  write_all(own / "notes.txt", "hello");
  write_all(directory / "kv/notes.txt", "hello");
  fs::create_directory(directory / "kv/0123456789abcdef0123456789abcdef");
  {
    auto store = open(options());
    ASSERT_NE(store, nullptr);
    EXPECT_TRUE(reads(*store, 1));
    EXPECT_TRUE(write(*store, 2));
  }
  for (const char* secret :
       {"", "short", "0123456789abcdef01234567", "longer than any secret is"}) {
    write_all(directory / "kv/secret", secret);
    auto store = open(options());
    ASSERT_NE(store, nullptr);
    EXPECT_FALSE(reads(*store, 1));
    EXPECT_TRUE(write(*store, 3));
  }
}

// Goal: files that vanish under a running store cost their pages only.
TEST_F(PageStoreTest, FilesVanish) {
  auto store = open(options());
  for (uint64_t i = 0; i < 4; ++i) write(*store, i);
  fs::remove(only_segment());
  EXPECT_FALSE(reads(*store, 1));
  EXPECT_FALSE(write(*store, 10));
  EXPECT_TRUE(write(*store, 11));
  EXPECT_TRUE(reads(*store, 11));
  EXPECT_EQ(count_readable(*store, 0, 10), 0);
}

// Goal: a disk with little room is not filled up; pages change places instead.
TEST_F(PageStoreTest, LeavesRoomOnTheDisk) {
  auto store = open(options());
  for (uint64_t i = 0; i < 10; ++i) EXPECT_TRUE(write(*store, i));
  const uint64_t bytes = counters.bytes;
  files.free = limits::kKvDiskFreeBytes;
  for (uint64_t i = 10; i < 30; ++i) EXPECT_TRUE(write(*store, i));
  EXPECT_EQ(counters.bytes, bytes);
  EXPECT_EQ(count_readable(*store, 0, 29), 10);
}

// Goal: whichever operation is the first to fail, in opening, writing or reading: no page is wrong,
// and a later start on a sound disk works.
TEST_F(PageStoreTest, EveryOperationMayFail) {
  int64_t reached = 0;
  for (int64_t n = 0; n < 140; ++n) {
    TempDirectory here;
    PageStoreOptions with = options(200'000);
    with.directory = here / "kv";
    files.operations = 0;
    files.fail_from = n;
    {
      TierCounters own;
      auto store = PageStore::open(with, files, env, own);
      for (uint64_t i = 0; store.ok() && i < 30; ++i) {
        const TestPage page(i);
        const auto done =
            store.value()->write({page.key, page.tokens, page.bytes, 0}, std::nullopt);
        if (!done.ok()) break;
        std::vector<std::byte> out(kTestShape.bytes);
        const auto tokens = store.value()->read(page.key, out);
        if (!tokens.ok() || !tokens.value().has_value()) continue;
        EXPECT_TRUE(out == page.bytes);
      }
    }
    reached = files.operations;
    files.fail_from = INT64_MAX;
    TierCounters own;
    auto again = PageStore::open(with, files, env, own);
    ASSERT_TRUE(again.ok()) << again.error().message;
    count_readable(*again.value(), 0, 29);
    EXPECT_TRUE(write(*again.value(), 77));
  }
  EXPECT_GT(reached, 100);
}

// Goal: long random lives (writes, reads, uses, restarts, damage) agree with what was written.
TEST_F(PageStoreTest, RandomLives) {
  for (uint32_t seed = 0; seed < 12; ++seed) {
    TempDirectory here;
    PageStoreOptions with = options(400'000);
    with.directory = here / "kv";
    std::mt19937 random(seed);
    auto store = open(with);
    bool damaged = false;
    for (int step = 0; step < 400; ++step) {
      const uint64_t number = random() % 120;
      const uint32_t kind = random() % 100;
      if (kind < 50) {
        EXPECT_TRUE(write(*store, number, random() % 3));
        EXPECT_TRUE(reads(*store, number) || damaged);
      } else if (kind < 90) {
        const bool held = store->holds(TestPage(number).key);
        EXPECT_TRUE(held == reads(*store, number) || damaged);
      } else if (kind < 95) {
        env.advance(random() % 1'000'000);
      } else {
        store = nullptr;
        const auto segments = segments_below(here.path());
        if (kind == 99 && !segments.empty()) {
          const fs::path& path = segments[random() % segments.size()];
          std::string bytes = read_all(path);
          bytes.replace(random() % bytes.size(), 1, 1, static_cast<char>(random()));
          write_all(path, bytes);
          damaged = true;
        }
        store = open(with);
        EXPECT_LE(bytes_below(here.path()), with.bytes);
      }
    }
  }
}

}  // namespace
}  // namespace hadal
