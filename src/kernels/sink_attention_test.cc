#include "kernels/sink_attention.h"

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/kernels.h"
#include "kernels/kv_record.h"
#include "kernels/latent_attention.h"
#include "kernels/testing/scoped_isa.h"

namespace hadal {
namespace {

std::vector<float> random_values(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& v : x) v = normal(random);
  return x;
}

/// Keys of one sequence, and some records beside them.
struct Fixture {
  int64_t d;
  KvPool kv;
  std::vector<PageId> pages;
  KvSequence sequence;
  std::vector<std::byte> memory;
  std::vector<const std::byte*> records;

  Fixture(int64_t width, KvType type, int64_t n, int64_t n_beside)
      : d(width),
        kv({.n_layers = 2, .n_kv_heads = 1, .d_head = d, .type = type, .values_in_keys = true}, 32,
           (n + 31) / 32) {
    for (int64_t p = kv.n_pages(); p > 0; --p) pages.push_back(static_cast<PageId>(p - 1));
    sequence.pages = pages;
    for (PageId page : pages) {  // NaN until written
      const std::span<std::byte> bytes = kv.page_bytes(page);
      std::memset(bytes.data(), 0xFF, bytes.size());
    }
    ThreadPool pool(1);
    std::vector<int32_t> positions;
    for (int32_t p = 0; p < n; ++p) positions.push_back(p);
    const std::vector<int32_t> owners(positions.size(), 0);
    const std::vector<float> keys = random_values(static_cast<size_t>(n * d), 5);
    kv_write_latent(kv, 1, {positions, owners, {&sequence, 1}}, keys.data(), pool);
    const int64_t bytes = record_bytes(type, d);
    memory.resize(static_cast<size_t>(n_beside * bytes));
    const std::vector<float> values = random_values(static_cast<size_t>(n_beside * d), 6);
    for (int64_t i = 0; i < n_beside; ++i) {
      store_record(type, values.data() + i * d, d, memory.data() + i * bytes);
      records.push_back(memory.data() + i * bytes);
    }
  }
};

/// Rows at these positions; row r attends the first r * 40 records beside its window.
std::vector<float> attend(Fixture& f, std::vector<int32_t> positions, int64_t window,
                          int64_t n_heads, const std::vector<float>& sinks, int threads) {
  std::vector<const std::byte*> beside;
  std::vector<int64_t> ends;
  for (size_t r = 0; r < positions.size(); ++r) {
    const size_t count = std::min(r * 40, f.records.size());
    beside.insert(beside.end(), f.records.begin(),
                  f.records.begin() + static_cast<std::ptrdiff_t>(count));
    ends.push_back(static_cast<int64_t>(beside.size()));
  }
  const std::vector<int32_t> owners(positions.size(), 0);
  const size_t floats = positions.size() * static_cast<size_t>(n_heads * f.d);
  const std::vector<float> q = random_values(floats, 7);
  std::vector<float> out(floats, -1.0f);
  ThreadPool pool(threads);
  sink_attention(f.kv,
                 {.layer = 1,
                  .window = window,
                  .beside = beside,
                  .beside_end = ends,
                  .sinks = sinks,
                  .scale = 1.0f / std::sqrt(static_cast<float>(f.d))},
                 {positions, owners, {&f.sequence, 1}}, q.data(), n_heads, out.data(), pool);
  return out;
}

// Goal: every instruction set agrees with the reference: windows that are not full yet, windows
// across blocks and pages, none to many rows beside them, head counts that fill no piece, both
// types, one thread and several. Tolerance as in latent_attention_test: a score of width d is
// within 3 d 2^-24, twice that is a weight's relative error; values are below 5.
TEST(SinkAttention, MatchesReference) {
  const IsaScope restore;
  struct Case {
    int64_t d, n_heads, window;
  };
  for (const Case& c : {Case{32, 4, 8}, Case{96, 1, 1}, Case{64, 37, 128}, Case{512, 64, 128}}) {
    for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kBF16}) {
      Fixture f(c.d, type, 200, 160);
      const std::vector<float> sinks = random_values(static_cast<size_t>(c.n_heads), 8);
      const std::vector<int32_t> positions = {0, 3, 7, 8, 130, 199};
      force_isa(Isa::kReference);
      const std::vector<float> want = attend(f, positions, c.window, c.n_heads, sinks, 1);
      const double tolerance = (2 * 3 * static_cast<double>(c.d) + 40) * 5 * 0x1p-24;
      for (const Isa isa : available_isas()) {
        if (isa == Isa::kReference) continue;
        force_isa(isa);
        const std::vector<float> got = attend(f, positions, c.window, c.n_heads, sinks, 1);
        for (size_t i = 0; i < got.size(); ++i) {
          ASSERT_NEAR(got[i], want[i], tolerance)
              << isa_name(isa) << " width " << c.d << " at " << i;
        }
        EXPECT_EQ(attend(f, positions, c.window, c.n_heads, sinks, 3), got) << isa_name(isa);
      }
    }
  }
}

// Goal: the sink takes its share and gives no value: with all keys equal to k, the result is
// k * n e^s / (n e^s + e^sink), by hand with s = 0 because the query is zero.
TEST(SinkAttention, SinkOnlyAddsToTheDenominator) {
  on_each_isa([] {
    KvPool kv({.n_layers = 1,
               .n_kv_heads = 1,
               .d_head = 32,
               .type = KvType::kF32,
               .values_in_keys = true},
              32, 1);
    const std::vector<PageId> pages = {0};
    const KvSequence sequence{pages};
    const std::vector<int32_t> positions = {0, 1, 2};
    const std::vector<int32_t> owners(3, 0);
    ThreadPool pool(1);
    kv_write_latent(kv, 0, {positions, owners, {&sequence, 1}}, std::vector<float>(96, 2.0f).data(),
                    pool);
    const std::vector<float> q(2 * 32, 0.0f);
    const std::vector<float> sinks = {0.0f, std::log(6.0f)};
    std::vector<float> out(64);
    const std::vector<int32_t> last = {2};
    const std::vector<int32_t> owner = {0};
    sink_attention(kv, {.layer = 0, .window = 128, .sinks = sinks, .scale = 1.0f},
                   {last, owner, {&sequence, 1}}, q.data(), 2, out.data(), pool);
    EXPECT_NEAR(out[0], 2.0 * 3 / (3 + 1), 1e-6);
    EXPECT_NEAR(out[32], 2.0 * 3 / (3 + 6), 1e-6);
  });
}

// Goal: a sink far above all scores leaves next to nothing, one far below changes nothing, and
// neither becomes no number.
TEST(SinkAttention, ExtremeSinks) {
  Fixture f(32, KvType::kF32, 40, 0);
  const std::vector<float> none = attend(f, {39}, 8, 1, {-1e30f}, 1);
  const std::vector<float> all = attend(f, {39}, 8, 1, {1e30f}, 1);
  for (size_t i = 0; i < none.size(); ++i) {
    EXPECT_EQ(all[i], 0.0f);
    EXPECT_TRUE(std::isfinite(none[i]));
  }
  EXPECT_NE(none[0], 0.0f);
}

}  // namespace
}  // namespace hadal
