#include "kernels/attention.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/kernels.h"
#include "kernels/reference/reference.h"
#include "kernels/testing/scoped_isa.h"

namespace hadal {
namespace {

std::vector<Isa> fast_isas() {
  std::vector<Isa> list = available_isas();
  list.erase(list.begin());  // the reference
  return list;
}

/// A pool with two sequences, filled with random keys and values up to `length` positions each.
/// The sequences' pages are interleaved and out of order.
struct Fixture {
  KvLayout layout;
  int64_t page_tokens;
  int64_t length;
  KvPool kv;
  std::vector<PageId> pages[2];
  KvSequence sequences[2];

  Fixture(const KvLayout& kv_layout, int64_t tokens_per_page, int64_t n)
      : layout(kv_layout),
        page_tokens(tokens_per_page),
        length(n),
        kv(kv_layout, tokens_per_page, 2 * ((n + tokens_per_page - 1) / tokens_per_page)) {
    const int64_t count = kv.n_pages() / 2;
    for (int64_t i = 0; i < count; ++i) {
      pages[0].push_back(static_cast<PageId>(2 * (count - 1 - i)));
      pages[1].push_back(static_cast<PageId>(2 * i + 1));
    }
    sequences[0].pages = pages[0];
    sequences[1].pages = pages[1];
  }

  void fill(uint32_t seed, ThreadPool& pool) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<int32_t> positions, owners;
    for (int64_t p = 0; p < length; ++p) {
      for (int s = 0; s < 2; ++s) {
        positions.push_back(static_cast<int32_t>(p));
        owners.push_back(s);
      }
    }
    const size_t values = positions.size() * static_cast<size_t>(layout.n_kv_heads * layout.d_head);
    std::vector<float> k(values), v(values);
    for (float& x : k) x = normal(random);
    for (float& x : v) x = normal(random);
    for (int64_t layer = 0; layer < layout.n_layers; ++layer) {
      kv_write(kv, layer, {positions, owners, sequences}, k.data(), v.data(), pool);
    }
  }
};

std::vector<float> random_values(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& v : x) v = normal(random);
  return x;
}

// Goal: every instruction set agrees with the reference and, to the bit, with every other of this
// machine: all KV types, head counts, widths that fill no vector, pages smaller and larger than a
// tile, and contexts across tile and span borders.
// Tolerance, F32 and F16: scores carry d + 2 roundings, weights sum to 1 and values are below 5, so
// a result is within (|q.k| (d + 8) + 40) 2^-24 * 5, and |q.k| * scale stays below 6 * 5 here.
// Q8_0 also rounds queries to 5 / 32512 (a score's deviation is 1.5e-4 / sqrt(12) * |k| * scale =
// 5e-5) and weights to a 32512th of a tile's largest (at most 128 positions: 1.5e-5 * 0.3 *
// sqrt(128) = 5e-5): six deviations of both, times values below 3 on average, are below 2e-3.
TEST(Attention, MatchesReference) {
  const IsaScope restore;
  ThreadPool pool(2);
  struct Shape {
    int64_t n_heads, n_kv_heads, d_head, page_tokens, length;
  };
  for (const Shape& s :
       {Shape{9, 3, 64, 16, 140}, Shape{4, 4, 20, 7, 70}, Shape{8, 1, 128, 64, 1100},
        Shape{2, 2, 5, 256, 65}, Shape{6, 2, 80, 48, 600}, Shape{13, 1, 32, 160, 300}}) {
    for (const KvType type : kKvTypes) {
      Fixture f({.n_layers = 2, .n_kv_heads = s.n_kv_heads, .d_head = s.d_head, .type = type},
                s.page_tokens, s.length);
      force_isa(Isa::kReference);
      f.fill(3, pool);
      std::vector<int32_t> positions, owners;
      const auto last = static_cast<int32_t>(s.length - 1);
      for (const int32_t p : {0, 1, 5, 63, 64, last / 2, last}) {
        positions.push_back(std::min(p, last));
        owners.push_back(0);
      }
      for (int32_t p = last - 20; p <= last; ++p) {
        positions.push_back(p);
        owners.push_back(1);
      }
      const AttentionRows rows{positions, owners, f.sequences};
      const size_t size = positions.size() * static_cast<size_t>(s.n_heads * s.d_head);
      const std::vector<float> q = random_values(size, 9);
      const float scale = 1.0f / std::sqrt(static_cast<float>(s.d_head));
      std::vector<float> want(size), first;
      attention(f.kv, 1, rows, q.data(), s.n_heads, scale, want.data(), pool);
      for (const Isa isa : fast_isas()) {
        force_isa(isa);
        std::vector<float> got(size, -1.0f);
        attention(f.kv, 1, rows, q.data(), s.n_heads, scale, got.data(), pool);
        double tolerance = (30.0 * static_cast<double>(s.d_head + 8) + 40) * 5 / 16777216.0;
        if (type == KvType::kQ8_0) tolerance += 2e-3;
        for (size_t i = 0; i < size; ++i) {
          ASSERT_NEAR(got[i], want[i], tolerance)
              << isa_name(isa) << " " << name_of(type) << " d " << s.d_head << " length "
              << s.length << " at " << i;
        }
        if (first.empty()) first = got;
        ASSERT_EQ(0, std::memcmp(first.data(), got.data(), size * 4))
            << isa_name(isa) << " " << name_of(type) << " d " << s.d_head;
      }
    }
  }
}

// Goal: every instruction set stores the reference's bytes, tiny, huge, equal and unreal values
// included.
TEST(Attention, StoresTheReferencesBytes) {
  const IsaScope restore;
  ThreadPool pool(2);
  const float inf = std::numeric_limits<float>::infinity();
  for (const int64_t d : {128, 20}) {
    for (const KvType type : kKvTypes) {
      std::vector<float> x = random_values(static_cast<size_t>(d) * 32, 6);
      auto row = [&](int64_t p) { return x.begin() + p * d; };
      std::fill_n(row(1), d, 0.0f);
      std::fill_n(row(2), d, -3.25f);
      for (int64_t i = 0; i < d; ++i) row(3)[i] *= 1e-42f;
      for (int64_t i = 0; i < d; ++i) row(4)[i] *= 1e-6f;
      for (int64_t i = 0; i < d; ++i) row(5)[i] *= 3e6f;
      for (int64_t i = 0; i < d; ++i) row(6)[i] *= 1e37f;
      row(7)[3] = inf;
      row(8)[d - 1] = -inf;
      row(9)[2] = 1e5f;
      std::vector<int32_t> positions(32), owners(32, 0);
      for (int32_t p = 0; p < 32; ++p) positions[static_cast<size_t>(p)] = p;
      const KvLayout layout{.n_layers = 1, .n_kv_heads = 1, .d_head = d, .type = type};
      Fixture want(layout, 32, 32);
      force_isa(Isa::kReference);
      kv_write(want.kv, 0, {positions, owners, want.sequences}, x.data(), x.data(), pool);
      for (const Isa isa : fast_isas()) {
        force_isa(isa);
        Fixture got(layout, 32, 32);
        kv_write(got.kv, 0, {positions, owners, got.sequences}, x.data(), x.data(), pool);
        // Columns beyond d_head may differ: nothing reads them.
        for (int64_t block = 0; block < 2 && d % 32 == 0; ++block) {
          EXPECT_EQ(0, std::memcmp(want.kv.key_block(0, want.sequences[0], 0, 16 * block),
                                   got.kv.key_block(0, got.sequences[0], 0, 16 * block),
                                   static_cast<size_t>(layout.key_block_bytes())))
              << isa_name(isa) << " keys " << name_of(type) << " block " << block;
          EXPECT_EQ(0, std::memcmp(want.kv.value_block(0, want.sequences[0], 0, 16 * block),
                                   got.kv.value_block(0, got.sequences[0], 0, 16 * block),
                                   static_cast<size_t>(layout.value_block_bytes())))
              << isa_name(isa) << " values " << name_of(type) << " block " << block;
        }
      }
    }
  }
}

// Goal: a key or value that is no number reaches the rows that see it, and changes no bit of the
// rows before it.
TEST(Attention, UnrealValuesStayBehindTheirRow) {
  const IsaScope restore;
  ThreadPool pool(1);
  const int64_t d = 64;
  const int64_t length = 150;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const Isa isa : fast_isas()) {
    force_isa(isa);
    for (const KvType type : kKvTypes) {
      for (const bool in_keys : {true, false}) {
        for (const float bad : {nan, std::numeric_limits<float>::infinity()}) {
          Fixture f({.n_layers = 1, .n_kv_heads = 1, .d_head = d, .type = type}, 64, length);
          f.fill(5, pool);
          std::vector<int32_t> positions, owners(static_cast<size_t>(length), 0);
          for (int32_t p = 0; p < length; ++p) positions.push_back(p);
          const AttentionRows rows{positions, owners, f.sequences};
          const std::vector<float> q = random_values(static_cast<size_t>(length * d), 4);
          std::vector<float> before(q.size()), after(q.size());
          attention(f.kv, 0, rows, q.data(), 1, 0.125f, before.data(), pool);
          const int32_t position = 37;
          const int32_t owner = 0;
          std::vector<float> k(static_cast<size_t>(d), 1.0f);
          std::vector<float> v = k;
          (in_keys ? k : v)[5] = bad;
          kv_write(f.kv, 0, {{&position, 1}, {&owner, 1}, f.sequences}, k.data(), v.data(), pool);
          attention(f.kv, 0, rows, q.data(), 1, 0.125f, after.data(), pool);
          ASSERT_EQ(0, std::memcmp(before.data(), after.data(), static_cast<size_t>(37 * d) * 4))
              << isa_name(isa) << " " << name_of(type);
          for (int64_t p = 37; p < length; ++p) {
            // -inf as a score is a weight of 0: the row stays real.
            if (in_keys && std::isinf(bad) && q[static_cast<size_t>(p * d + 5)] < 0 &&
                type != KvType::kQ8_0) {
              continue;
            }
            ASSERT_FALSE(std::isfinite(after[static_cast<size_t>(p * d + 5)]))
                << isa_name(isa) << " " << name_of(type) << " row " << p;
          }
        }
      }
    }
  }
}

// Goal: equal values come out as they went in, whatever their size and the weights; Q8_0 within its
// rounding.
TEST(Attention, EqualValuesComeBack) {
  const IsaScope restore;
  ThreadPool pool(2);
  const int64_t d = 32;
  for (const Isa isa : fast_isas()) {
    force_isa(isa);
    for (const KvType type : kKvTypes) {
      for (const float size : {1.0f, 6e4f, 3e-5f, 0.0f, -2.5f}) {
        Fixture f({.n_layers = 1, .n_kv_heads = 1, .d_head = d, .type = type}, 512, 1030);
        f.fill(8, pool);
        std::vector<int32_t> positions, owners(1030, 0);
        for (int32_t p = 0; p < 1030; ++p) positions.push_back(p);
        const std::vector<float> k = random_values(1030 * static_cast<size_t>(d), 2);
        const std::vector<float> v(k.size(), size);
        kv_write(f.kv, 0, {positions, owners, f.sequences}, k.data(), v.data(), pool);
        std::vector<float> out(k.size());
        attention(f.kv, 0, {positions, owners, f.sequences}, k.data(), 1, 3.0f, out.data(), pool);
        // F16 stores 3e-5 to 2^-25; sums of weights carry a rounding per tile of 128.
        const float stored = type == KvType::kQ8_0 ? 3e-3f : type == KvType::kBF16 ? 0x1p-8f : 0.0f;
        const float tolerance =
            std::fabs(size) * (stored + 2e-6f) + (type == KvType::kF16 ? 0x1p-25f : 0.0f);
        for (const float x : out) {
          ASSERT_NEAR(x, size, tolerance) << isa_name(isa) << " " << name_of(type);
        }
      }
    }
  }
}

void expect_independent_rows(KvType type) {
  ThreadPool one(1);
  ThreadPool three(3);
  const int64_t n_heads = 6;
  const int64_t d = 32;
  const int64_t length = 1200;
  const auto row_floats = static_cast<size_t>(n_heads * d);
  for (const Isa isa : fast_isas()) {
    force_isa(isa);
    std::vector<float> across_pages;
    for (const int64_t page_tokens : {16, 100}) {
      Fixture f({.n_layers = 1, .n_kv_heads = 2, .d_head = d, .type = type}, page_tokens, length);
      f.fill(5, one);
      std::vector<int32_t> positions, owners;
      for (int32_t p = 0; p < length; ++p) positions.push_back(p);
      owners.assign(static_cast<size_t>(length), 0);
      const std::vector<float> q = random_values(row_floats * static_cast<size_t>(length), 4);
      std::vector<float> all(q.size());
      attention(f.kv, 0, {positions, owners, f.sequences}, q.data(), n_heads, 0.2f, all.data(),
                three);
      if (!across_pages.empty()) {
        ASSERT_EQ(across_pages, all) << isa_name(isa);
      }
      across_pages = all;
      for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 1},
                                         {63, 1},
                                         {64, 1},
                                         {511, 1},
                                         {512, 1},
                                         {1199, 1},
                                         {500, 37},
                                         {1000, 200}}) {
        for (ThreadPool* pool : {&one, &three}) {
          // The chunk, followed by two rows of the other sequence.
          std::vector<int32_t> part(positions.begin() + first, positions.begin() + first + count);
          std::vector<int32_t> who(static_cast<size_t>(count), 0);
          part.insert(part.end(), {900, 901});
          who.insert(who.end(), {1, 1});
          std::vector<float> in(q.begin() + first * static_cast<int64_t>(row_floats),
                                q.begin() + (first + count) * static_cast<int64_t>(row_floats));
          in.resize(in.size() + 2 * row_floats, 0.5f);
          std::vector<float> out(in.size());
          attention(f.kv, 0, {part, who, f.sequences}, in.data(), n_heads, 0.2f, out.data(), *pool);
          ASSERT_EQ(0, std::memcmp(out.data(), all.data() + static_cast<size_t>(first) * row_floats,
                                   static_cast<size_t>(count) * row_floats * 4))
              << isa_name(isa) << " rows " << first << " + " << count << " page " << page_tokens
              << " " << name_of(type);
        }
      }
    }
  }
}

// Goal: a row's bits are the same alone, in a chunk, in the whole prompt, beside another sequence,
// on one thread or several, and when pages hold other numbers of positions.
TEST(Attention, RowsAreBitwiseIndependent) {
  const IsaScope restore;
  for (const KvType type : kKvTypes) expect_independent_rows(type);
}

// Goal: what lies behind a row's position (an old sequence's NaN) never reaches it.
TEST(Attention, UnwrittenPositionsAreNotRead) {
  const IsaScope restore;
  ThreadPool pool(1);
  for (const Isa isa : fast_isas()) {
    force_isa(isa);
    for (const KvType type : kKvTypes) {
      const KvLayout layout{.n_layers = 1, .n_kv_heads = 1, .d_head = 24, .type = type};
      Fixture f(layout, 32, 64);
      for (PageId page = 0; page < f.kv.n_pages(); ++page) {
        std::memset(f.kv.keys(0, page, 0), 0xFF, static_cast<size_t>(2 * layout.key_block_bytes()));
        std::memset(f.kv.values(0, page, 0), 0xFF,
                    static_cast<size_t>(2 * layout.value_block_bytes()));
      }
      const std::vector<float> k = random_values(24 * 3, 1);
      const int32_t positions[] = {0, 1, 2};
      const int32_t owners[] = {0, 0, 0};
      kv_write(f.kv, 0, {positions, owners, f.sequences}, k.data(), k.data(), pool);
      std::vector<float> out(k.size());
      attention(f.kv, 0, {positions, owners, f.sequences}, k.data(), 1, 0.2f, out.data(), pool);
      for (const float v : out) ASSERT_TRUE(std::isfinite(v)) << isa_name(isa);
      // The first row has one value to choose from: it comes back as stored.
      const float rounding = type == KvType::kF32 ? 1e-6f : type == KvType::kF16 ? 2e-3f : 2e-2f;
      for (size_t i = 0; i < 24; ++i) ASSERT_NEAR(out[i], k[i], rounding) << name_of(type);
    }
  }
}

// Goal: very large scores do not overflow: the largest key takes all the weight.
TEST(Attention, LargeScores) {
  const IsaScope restore;
  ThreadPool pool(1);
  for (const Isa isa : fast_isas()) {
    force_isa(isa);
    Fixture f({.n_layers = 1, .n_kv_heads = 1, .d_head = 16, .type = KvType::kF32}, 32, 8);
    std::vector<float> k(16 * 4), v(16 * 4);
    for (size_t p = 0; p < 4; ++p) {
      for (size_t i = 0; i < 16; ++i) {
        k[p * 16 + i] = 1000.0f * static_cast<float>(p);
        v[p * 16 + i] = static_cast<float>(p);
      }
    }
    const int32_t positions[] = {0, 1, 2, 3};
    const int32_t owners[] = {0, 0, 0, 0};
    kv_write(f.kv, 0, {positions, owners, f.sequences}, k.data(), v.data(), pool);
    const std::vector<float> q(16 * 4, 1000.0f);
    std::vector<float> out(16 * 4);
    attention(f.kv, 0, {positions, owners, f.sequences}, q.data(), 1, 1.0f, out.data(), pool);
    for (size_t p = 0; p < 4; ++p) EXPECT_EQ(out[p * 16], static_cast<float>(p)) << isa_name(isa);
  }
}

}  // namespace
}  // namespace hadal
