#include "kernels/indexer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/kernels.h"
#include "kernels/reference/reference.h"
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

constexpr int64_t kLayers = 2;
constexpr int64_t kPageTokens = 32;

/// Two sequences of random latents and index keys in pages out of order; unwritten memory is NaN.
struct Model {
  LatentShape latent{3, 32, 16};
  IndexShape index;
  int64_t length;
  KvPool kv;
  IndexKeys keys;
  std::vector<PageId> pages[2];
  KvSequence sequences[2];

  Model(const IndexShape& shape, int64_t n, ThreadPool& pool)
      : index(shape),
        length(n),
        kv({.n_layers = kLayers,
            .n_kv_heads = 1,
            .d_head = latent.d_key(),
            .type = KvType::kF16,
            .values_in_keys = true,
            .extra_bytes = kLayers * shape.key_bytes()},
           kPageTokens, 2 * ((n + kPageTokens - 1) / kPageTokens)),
        keys{kv, kPageTokens * shape.key_bytes()} {
    const int64_t count = kv.n_pages() / 2;
    for (PageId page = 0; page < kv.n_pages(); ++page) {
      const std::span<std::byte> bytes = kv.page_bytes(page);
      std::memset(bytes.data(), 0xFF, bytes.size());
    }
    std::vector<int32_t> positions, owners;
    for (int s = 0; s < 2; ++s) {
      for (int64_t i = 0; i < count; ++i) {
        pages[s].push_back(static_cast<PageId>(s == 0 ? 2 * (count - 1 - i) : 2 * i + 1));
      }
      sequences[s].pages = pages[s];
      for (int64_t p = 0; p < n; ++p) {
        positions.push_back(static_cast<int32_t>(p));
        owners.push_back(s);
      }
    }
    const AttentionRows rows{positions, owners, sequences};
    const std::vector<float> latents =
        random_values(positions.size() * static_cast<size_t>(latent.d_key()), 5);
    kv_write_latent(kv, 1, rows, latents.data(), pool);
    const std::vector<float> k =
        random_values(positions.size() * static_cast<size_t>(index.d_index), 6);
    index_write(keys, index, rows, k.data(), pool);
  }
};

// Goal: the k largest scores, ties to the lower index, whatever the values: equal ones, zeros of
// both signs, infinities, NaN, tiny differences; against a stable sort.
TEST(Indexer, TopPositionsAreThoseOfASort) {
  std::mt19937 random(4);
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const int64_t n : {1, 2, 17, 500, 3000}) {
    for (int kind = 0; kind < 4; ++kind) {
      std::vector<float> scores = random_values(static_cast<size_t>(n), 7);
      for (float& x : scores) {
        if (kind == 1) x = std::round(x);  // many ties, 0 and -0
        if (kind == 2) x = 1.0f + static_cast<float>(random() % 3) * 0x1p-23f;
        if (kind == 3 && random() % 4 == 0) {
          x = std::vector<float>{inf, -inf, nan, -nan}[random() % 4];
        }
      }
      for (const int64_t top_k : {int64_t{1}, (n + 1) / 2, n}) {
        std::vector<int32_t> order(static_cast<size_t>(n));
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
          const float x = scores[static_cast<size_t>(a)];
          const float y = scores[static_cast<size_t>(b)];
          return !std::isnan(x) && (std::isnan(y) || x > y);
        });
        std::vector<int32_t> want(order.begin(), order.begin() + top_k);
        std::sort(want.begin(), want.end());
        std::vector<int32_t> got(static_cast<size_t>(top_k));
        top_positions(scores.data(), n, top_k, got.data());
        EXPECT_EQ(got, want) << "n " << n << " kind " << kind << " top " << top_k;
      }
    }
  }
}

// Goal: every instruction set chooses by the formula: no position left out scores clearly above one
// that was taken; rows that see at most top_k have empty lists; all instruction sets, numbers of
// threads and neighbours choose alike, except that the reference rounds otherwise.
// Tolerance: a product is a chain of d roundings of sums below 3 sqrt(d), n_heads of them are
// summed with weights below 4: 4 n_heads (d + n_heads) 3 sqrt(d) 2^-24.
TEST(Indexer, ChoosesByTheFormula) {
  const IsaScope restore;
  ThreadPool one(1);
  ThreadPool three(3);
  for (const IndexShape& shape :
       {IndexShape{64, 128, 96}, IndexShape{3, 20, 40}, IndexShape{5, 40, 33}}) {
    force_isa(Isa::kReference);
    Model model(shape, 300, one);
    std::vector<int32_t> positions = {
        0,  static_cast<int32_t>(shape.top_k) - 1, static_cast<int32_t>(shape.top_k), 127, 128, 299,
        250};
    std::vector<int32_t> owners = {0, 0, 0, 0, 0, 0, 1};
    const AttentionRows rows{positions, owners, model.sequences};
    const auto heads = positions.size() * static_cast<size_t>(shape.n_heads);
    const std::vector<float> q = random_values(heads * static_cast<size_t>(shape.d_index), 1);
    const std::vector<float> w = random_values(heads, 2);
    const auto d = static_cast<double>(shape.d_index);
    const auto n_heads = static_cast<double>(shape.n_heads);
    const double tolerance = 4 * n_heads * (d + n_heads) * 3 * std::sqrt(d) * 0x1p-24;
    std::vector<int32_t> first;
    for (const Isa isa : available_isas()) {
      force_isa(isa);
      for (ThreadPool* pool : {&one, &three}) {
        PositionLists lists;
        index_select(model.keys, shape, rows, q.data(), w.data(), lists, *pool);
        ASSERT_EQ(lists.first.size(), positions.size() + 1);
        for (size_t row = 0; row < positions.size(); ++row) {
          const std::span<const int32_t> list = lists.of(static_cast<int64_t>(row));
          if (positions[row] < shape.top_k) {
            ASSERT_TRUE(list.empty());
            continue;
          }
          ASSERT_EQ(static_cast<int64_t>(list.size()), shape.top_k);
          std::vector<bool> taken(static_cast<size_t>(positions[row]) + 1);
          for (const int32_t p : list) taken[static_cast<size_t>(p)] = true;
          double lowest_taken = INFINITY, highest_left = -INFINITY;
          const std::vector<double> turned = reference::index_turned(
              shape, q.data() + row * static_cast<size_t>(shape.n_heads * shape.d_index));
          for (int32_t p = 0; p <= positions[row]; ++p) {
            const float score = reference::index_score(
                shape, turned.data(), w.data() + row * static_cast<size_t>(shape.n_heads),
                model.keys.key(shape, model.sequences[owners[row]], p));
            (taken[static_cast<size_t>(p)] ? lowest_taken : highest_left) =
                taken[static_cast<size_t>(p)] ? std::min<double>(lowest_taken, score)
                                              : std::max<double>(highest_left, score);
          }
          EXPECT_GE(lowest_taken, highest_left - tolerance) << isa_name(isa) << " row " << row;
        }
        if (isa == Isa::kReference) continue;
        if (first.empty()) first = lists.positions;
        EXPECT_EQ(first, lists.positions) << isa_name(isa);
        // The last row alone.
        PositionLists alone;
        const size_t last = positions.size() - 1;
        const auto heads_before = last * static_cast<size_t>(shape.n_heads);
        index_select(model.keys, shape,
                     {std::span(positions).last(1), std::span(owners).last(1), model.sequences},
                     q.data() + heads_before * static_cast<size_t>(shape.d_index),
                     w.data() + heads_before, alone, *pool);
        const std::span<const int32_t> together = lists.of(static_cast<int64_t>(last));
        EXPECT_TRUE(std::ranges::equal(alone.positions, together)) << isa_name(isa);
      }
    }
  }
}

// Goal: sparse attention = dense attention with all but the chosen positions masked, at 1.1, 2 and
// 8 times top_k, decode and prefill; at or below top_k it is dense attention to the bit, and so is
// a list of everything. Tolerance as in latent_attention_test.cc.
TEST(Indexer, SparseIsMaskedDense) {
  const IsaScope restore;
  ThreadPool pool(3);
  const IndexShape shape{4, 32, 70};
  for (const Isa isa : available_isas()) {
    force_isa(isa);
    Model model(shape, 8 * shape.top_k, pool);
    const LatentShape& latent = model.latent;
    std::vector<int32_t> positions = {5, 69, 76, 77, 139, 559};
    for (int32_t p = 60; p < 100; ++p) positions.push_back(p);
    std::vector<int32_t> owners(positions.size(), 0);
    owners[3] = 1;
    const AttentionRows rows{positions, owners, model.sequences};
    const auto n = static_cast<int64_t>(positions.size());
    const std::vector<float> qi =
        random_values(positions.size() * static_cast<size_t>(shape.n_heads * shape.d_index), 1);
    const std::vector<float> w = random_values(positions.size() * 4, 2);
    const std::vector<float> q =
        random_values(positions.size() * static_cast<size_t>(latent.n_heads * latent.d_key()), 3);
    PositionLists lists;
    index_select(model.keys, shape, rows, qi.data(), w.data(), lists, pool);
    const auto out_floats = static_cast<size_t>(latent.n_heads * latent.kv_lora_rank);
    std::vector<float> sparse(positions.size() * out_floats), dense(sparse.size()),
        listed(sparse.size()), want(sparse.size());
    const float scale = 0.15f;
    latent_attention_sparse(model.kv, 1, rows, lists, q.data(), latent, scale, sparse.data(), pool);
    latent_attention(model.kv, 1, rows, q.data(), latent, scale, dense.data(), pool);
    PositionLists everything;
    everything.first.push_back(0);
    for (const int32_t position : positions) {
      for (int32_t p = 0; p <= position; ++p) everything.positions.push_back(p);
      everything.first.push_back(static_cast<int64_t>(everything.positions.size()));
    }
    latent_attention_sparse(model.kv, 1, rows, everything, q.data(), latent, scale, listed.data(),
                            pool);
    EXPECT_EQ(listed, dense) << isa_name(isa);
    const double tolerance = (6.0 * static_cast<double>(latent.d_key()) + 40) * 5 * 0x1p-24;
    int masked = 0;
    for (int64_t row = 0; row < n; ++row) {
      const float* got = sparse.data() + static_cast<size_t>(row) * out_floats;
      const bool all = positions[static_cast<size_t>(row)] < shape.top_k;
      if (all) {
        EXPECT_EQ(0, std::memcmp(got, dense.data() + static_cast<size_t>(row) * out_floats,
                                 out_floats * 4))
            << isa_name(isa) << " row " << row;
        continue;
      }
      for (int64_t h = 0; h < latent.n_heads; ++h) {
        reference::latent_attention_head(model.kv, 1, rows, row, h, lists.of(row), q.data(), latent,
                                         scale, want.data());
      }
      double apart = 0;
      for (size_t i = 0; i < out_floats; ++i) {
        const size_t at = static_cast<size_t>(row) * out_floats + i;
        ASSERT_NEAR(got[i], want[at], tolerance) << isa_name(isa) << " row " << row;
        apart = std::max<double>(apart, std::fabs(got[i] - dense[at]));
      }
      if (apart > 0.01) ++masked;
    }
    EXPECT_GT(masked, 20) << "the mask must matter";
  }
}

}  // namespace
}  // namespace hadal
