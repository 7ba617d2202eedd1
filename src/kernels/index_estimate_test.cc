#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/index_query.h"
#include "kernels/isa.h"
#include "kernels/reference/reference.h"
#include "kernels/testing/scoped_isa.h"

namespace hadal {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// What keys and queries may look like.
enum class Kind {
  kEven,      ///< columns alike
  kOutliers,  ///< few large columns
  kScales,    ///< keys of very different size, and the weights
  kTies,      ///< few distinct keys, zeros among them
  kZeroKeys,
  kZeroQueries,
  kHuge,     ///< near the end of floats' range
  kTiny,     ///< near its other end
  kHostile,  ///< infinities and NaN among keys
  kHostileQueries,
};
constexpr Kind kKinds[] = {Kind::kEven,     Kind::kOutliers,      Kind::kScales, Kind::kTies,
                           Kind::kZeroKeys, Kind::kZeroQueries,   Kind::kHuge,   Kind::kTiny,
                           Kind::kHostile,  Kind::kHostileQueries};

struct Case {
  IndexShape shape;
  int64_t n_keys;
  std::vector<float> k, q, weights;

  Case(const IndexShape& s, int64_t n, int64_t rows, Kind kind, uint32_t seed)
      : shape(s),
        n_keys(n),
        k(static_cast<size_t>(n * s.d_index)),
        q(static_cast<size_t>(rows * s.n_heads * s.d_index)),
        weights(static_cast<size_t>(rows * s.n_heads)) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (std::vector<float>* x : {&k, &q, &weights}) {
      for (float& v : *x) v = normal(random);
    }
    const auto d = static_cast<size_t>(s.d_index);
    for (size_t i = 0; i < k.size(); ++i) {
      const size_t key = i / d;
      if (kind == Kind::kOutliers && i % d < 3) k[i] *= 20;
      if (kind == Kind::kScales) k[i] *= std::exp(static_cast<float>(key * 37 % 13) - 6);
      if (kind == Kind::kTies && key >= 5) k[i] = key % 3 == 0 ? 0.0f : k[i % (5 * d)];
      if (kind == Kind::kZeroKeys) k[i] = 0;
      if (kind == Kind::kHuge) k[i] *= key % 4 == 0 ? 1e36f : 1e30f;
      if (kind == Kind::kTiny) k[i] *= key % 4 == 0 ? 1e-37f : 1e-28f;
      if (kind == Kind::kHostile && random() % 500 == 0) {
        k[i] = std::vector<float>{kInfinity, -kInfinity, kNan, 3e38f}[random() % 4];
      }
    }
    for (float& v : q) {
      if (kind == Kind::kZeroQueries) v = 0;
      if (kind == Kind::kHuge) v *= 1e8f;
      if (kind == Kind::kTiny) v *= 1e-12f;
      if (kind == Kind::kHostileQueries && random() % 200 == 0) v = random() % 2 ? kNan : kInfinity;
    }
    for (float& v : weights) {
      if (kind == Kind::kScales) v *= std::exp(2 * normal(random));
    }
  }
};

std::vector<std::byte> stored(const Case& c) {
  std::vector<std::byte> keys(static_cast<size_t>(c.n_keys * c.shape.key_bytes()));
  for (int64_t i = 0; i < c.n_keys; ++i) {
    index_store_key(c.shape, c.k.data() + i * c.shape.d_index,
                    keys.data() + i * c.shape.key_bytes());
  }
  return keys;
}

/// One sequence of stored keys in pages out of order.
struct Pool {
  KvPool kv;
  std::vector<PageId> pages;
  KvSequence sequence;

  Pool(const Case& c, ThreadPool& pool)
      : kv({.n_layers = 1,
            .n_kv_heads = 1,
            .d_head = 32,
            .type = KvType::kF16,
            .values_in_keys = true,
            .extra_bytes = c.shape.key_bytes()},
           32, (c.n_keys + 31) / 32),
        pages(static_cast<size_t>(kv.n_pages())) {
    std::iota(pages.rbegin(), pages.rend(), 0);
    sequence.pages = pages;
    std::vector<int32_t> positions(static_cast<size_t>(c.n_keys)), owners(positions.size(), 0);
    std::iota(positions.begin(), positions.end(), 0);
    index_write({kv}, c.shape, {positions, owners, {&sequence, 1}}, c.k.data(), pool);
  }
};

// Goal: a stored key is the key turned by the matrix's definition, within half a unit and the
// roundings of the turn; its norms are not below what they bound; what cannot be stored is zeros.
TEST(IndexKey, IsTheTurnedKeyInSixteenBits) {
  for (const int64_t d : {20, 32, 96, 128}) {
    const Case c({1, d, 1}, 40, 1, Kind::kOutliers, 3);
    const int64_t w = c.shape.width();
    const std::vector<std::byte> keys = stored(c);
    for (int64_t i = 0; i < c.n_keys; ++i) {
      const std::byte* key = keys.data() + i * c.shape.key_bytes();
      const IndexKeyHead head = index_key_head(key);
      const std::vector<double> want = reference::index_turned(c.shape, c.k.data() + i * d);
      double norm = 0, error = 0;
      int32_t sum = 0;
      for (int64_t j = 0; j < w; ++j) {
        const auto high = static_cast<int8_t>(key[16 + j]);
        const auto low = static_cast<int8_t>(key[16 + w + j]);
        const double unit = static_cast<double>(head.unit);
        const double got = unit * (256 * high + low);
        ASSERT_NEAR(got, want[static_cast<size_t>(j)], unit * 0.51 + 1e-4 * unit);
        ASSERT_GE(high, -127);
        sum += high;
        norm += got * got;
        error += unit * low * unit * low;
      }
      EXPECT_EQ(head.start, -128 * sum);
      EXPECT_GE(static_cast<double>(head.norm), std::sqrt(norm));
      EXPECT_GE(static_cast<double>(head.error), std::sqrt(error));
      EXPECT_LT(static_cast<double>(head.norm), std::sqrt(norm) * 1.0001);
      EXPECT_LT(static_cast<double>(head.error), std::sqrt(error) * 1.0001);
    }
  }
  const IndexShape shape{1, 32, 1};
  const std::vector<std::byte> zeros(static_cast<size_t>(shape.key_bytes()));
  for (const float bad : {0.0f, 1e-35f, kInfinity, -kInfinity, kNan, 3.4e38f}) {
    const std::vector<float> x(32, bad);  // the largest overflows when it is turned
    std::vector<std::byte> key(zeros.size(), std::byte{0xFF});
    index_store_key(shape, x.data(), key.data());
    EXPECT_EQ(key, zeros) << bad;
  }
}

// Goal: estimates have the reference's bits in every instruction set, for any number of heads,
// columns and keys, extreme codes included.
TEST(IndexEstimate, HasTheReferencesBits) {
  const IsaScope restore;
  std::mt19937 random(8);
  for (const IndexShape& shape :
       {IndexShape{64, 128, 1}, IndexShape{3, 20, 1}, IndexShape{16, 64, 1}, IndexShape{37, 96, 1},
        IndexShape{80, 32, 1}, IndexShape{129, 40, 1}}) {
    const int64_t w = shape.width();
    const int64_t panels = (shape.n_heads + 15) / 16;
    const Case c(shape, 23, 1, Kind::kEven, 5);
    std::vector<std::byte> keys = stored(c);
    for (int64_t i = 0; i < w; ++i) keys[static_cast<size_t>(16 + i)] = std::byte{127};
    const auto start = static_cast<int32_t>(-128 * 127 * w);
    std::memcpy(keys.data() + 4, &start, 4);
    std::vector<int8_t> codes(static_cast<size_t>(shape.n_heads * w));
    for (int8_t& code : codes) code = static_cast<int8_t>(static_cast<int>(random() % 255) - 127);
    for (int64_t i = 0; i < w; ++i) codes[static_cast<size_t>(i)] = 127;
    for (int64_t i = w; i < 2 * w; ++i) codes[static_cast<size_t>(i)] = -127;
    std::vector<uint8_t> biased(static_cast<size_t>(panels * w * 16), 128);
    std::vector<float> weights(static_cast<size_t>(panels * 16), 0.0f);
    for (int64_t h = 0; h < shape.n_heads; ++h) {
      weights[static_cast<size_t>(h)] = c.weights[static_cast<size_t>(h)];
      for (int64_t i = 0; i < w; ++i) {
        biased[static_cast<size_t>(h / 16 * w * 16 + i / 4 * 64 + h % 16 * 4 + i % 4)] =
            static_cast<uint8_t>(codes[static_cast<size_t>(h * w + i)] + 128);
      }
    }
    std::vector<const uint8_t*> places;
    std::vector<float> want;
    for (int64_t i = 0; i < c.n_keys; ++i) {
      const std::byte* key = keys.data() + i * shape.key_bytes();
      places.push_back(reinterpret_cast<const uint8_t*>(key));
      want.push_back(reference::index_estimate(shape, codes.data(), weights.data(), key));
    }
    for (const Isa isa : available_isas()) {
      force_isa(isa);
      const cpu::Ops* ops = current_ops();
      if (ops == nullptr) continue;
      std::vector<uint8_t> packed(static_cast<size_t>(panels * w / 32 * ops->index_block_bytes));
      ops->pack_index_queries(biased.data(), panels * w / 32, packed.data());
      for (const int64_t n : {int64_t{1}, int64_t{5}, c.n_keys}) {
        std::vector<float> got(static_cast<size_t>(n));
        ops->index_estimates({packed.data(), weights.data(), panels, w / 32}, places.data(), n,
                             got.data());
        EXPECT_TRUE(std::equal(got.begin(), got.end(), want.begin()))
            << isa_name(isa) << " heads " << shape.n_heads << " keys " << n;
      }
    }
  }
}

// Goal: no score is further from its estimate than the bound, whatever keys and queries are; and
// for even values the bound is small enough to leave most keys decided: below 0.6 of the scores'
// standard deviation (0.4 in an experiment with 65,536 keys).
TEST(IndexEstimate, BoundsHold) {
  const IsaScope restore;
  for (const Isa isa : available_isas()) {
    force_isa(isa);
    if (current_ops() == nullptr) continue;
    for (const IndexShape& shape : {IndexShape{64, 128, 1}, IndexShape{3, 20, 1}}) {
      for (const Kind kind : kKinds) {
        const Case c(shape, 300, 1, kind, 11);
        const std::vector<std::byte> keys = stored(c);
        IndexQueryRows rows;
        rows.reset(shape, current_ops(), 1);
        rows.turn(0, c.q.data());
        rows.round(0, c.weights.data());
        const IndexBound& bound = rows.bound(0);
        EXPECT_EQ(bound.usable, kind != Kind::kZeroQueries && kind != Kind::kHostileQueries);
        if (!bound.usable) continue;
        const std::vector<double> turned = reference::index_turned(shape, c.q.data());
        double squares = 0, sum = 0, bounds = 0;
        for (int64_t i = 0; i < c.n_keys; ++i) {
          const std::byte* key = keys.data() + i * shape.key_bytes();
          const auto* place = reinterpret_cast<const uint8_t*>(key);
          float estimate = 0;
          current_ops()->index_estimates(rows.rounded(0), &place, 1, &estimate);
          const float most = bound.of(index_key_head(key));
          ASSERT_FALSE(std::isnan(most));
          if (most == kInfinity) {
            ASSERT_TRUE(kind == Kind::kHuge || kind == Kind::kHostile);
            continue;
          }
          const auto score = static_cast<double>(
              reference::index_score(shape, turned.data(), c.weights.data(), key));
          ASSERT_LE(std::fabs(score - static_cast<double>(estimate)), static_cast<double>(most))
              << isa_name(isa) << " kind " << static_cast<int>(kind) << " key " << i;
          sum += score;
          squares += score * score;
          bounds += static_cast<double>(most);
        }
        const auto n = static_cast<double>(c.n_keys);
        const double deviation = std::sqrt(squares / n - sum / n * (sum / n));
        if (kind == Kind::kEven) {
          EXPECT_LT(bounds / n, 0.6 * deviation) << shape.n_heads;
        }
      }
    }
  }
}

// Goal: estimates first or floats alone, any number of threads, a row alone or among others: the
// same positions, for every kind of values and top_k, in every instruction set.
TEST(IndexEstimate, MethodsChooseAlike) {
  const IsaScope restore;
  ThreadPool one(1);
  ThreadPool three(3);
  for (const Isa isa : available_isas()) {
    force_isa(isa);
    if (current_ops() == nullptr) continue;
    for (const Kind kind : kKinds) {
      for (const int64_t top_k : {1, 100, 400}) {
        const IndexShape shape{20, 64, top_k};
        constexpr int kRows = 11;
        const Case c(shape, 700, kRows, kind, 21);
        Pool pages(c, one);
        std::vector<int32_t> positions, owners(kRows, 0);
        for (int32_t r = 0; r < kRows; ++r) positions.push_back(r < 2 ? 90 + r * 50 : 600 + r * 9);
        const auto select = [&](size_t first, size_t n, IndexMethod method, ThreadPool& pool) {
          PositionLists lists;
          index_select({pages.kv}, shape,
                       {std::span(positions).subspan(first, n),
                        std::span(owners).first(n),
                        {&pages.sequence, 1}},
                       c.q.data() + first * static_cast<size_t>(shape.n_heads * shape.d_index),
                       c.weights.data() + first * static_cast<size_t>(shape.n_heads), lists, pool,
                       method);
          return lists;
        };
        const PositionLists want = select(0, kRows, IndexMethod::kFloat, one);
        for (const IndexMethod method : {IndexMethod::kEstimate, IndexMethod::kAuto}) {
          for (ThreadPool* pool : {&one, &three}) {
            const PositionLists got = select(0, kRows, method, *pool);
            EXPECT_EQ(got.first, want.first);
            EXPECT_EQ(got.positions, want.positions)
                << isa_name(isa) << " kind " << static_cast<int>(kind) << " top " << top_k;
          }
          for (size_t row = 0; row < kRows; ++row) {
            const PositionLists got = select(row, 1, method, three);
            EXPECT_TRUE(std::ranges::equal(got.positions, want.of(static_cast<int64_t>(row))))
                << isa_name(isa) << " kind " << static_cast<int>(kind) << " row " << row;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace hadal
