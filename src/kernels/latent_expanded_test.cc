#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/kernels.h"
#include "kernels/latent_attention.h"
#include "kernels/reference/reference.h"
#include "kernels/testing/scoped_isa.h"
#include "kernels/testing/weight_types.h"

namespace hadal {
namespace {

std::vector<float> random_values(size_t n, uint32_t seed, float size = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, size);
  std::vector<float> x(n);
  for (float& v : x) v = normal(random);
  return x;
}

/// Up-projections, and two sequences of random latents in pages out of order; unwritten memory is
/// NaN.
struct Model {
  LatentShape shape;
  KvPool kv;
  std::vector<float> w;
  std::vector<std::byte> w_bytes;
  std::vector<PageId> pages[2];
  KvSequence sequences[2];

  Model(const LatentShape& of, KvType type, int64_t page_tokens, int64_t length, ThreadPool& pool)
      : shape(of),
        kv({.n_layers = 1,
            .n_kv_heads = 1,
            .d_head = of.d_key(),
            .type = type,
            .values_in_keys = true},
           page_tokens, 2 * ((length + page_tokens - 1) / page_tokens)),
        w(random_values(static_cast<size_t>(of.n_heads * (of.d_nope + of.d_v) * of.kv_lora_rank), 8,
                        1.0f / std::sqrt(static_cast<float>(of.kv_lora_rank)))),
        w_bytes(w.size() * 4) {
    std::memcpy(w_bytes.data(), w.data(), w_bytes.size());
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
      for (int64_t p = 0; p < length; ++p) {
        positions.push_back(static_cast<int32_t>(p));
        owners.push_back(s);
      }
    }
    const std::vector<float> latents =
        random_values(positions.size() * static_cast<size_t>(of.d_key()), 5);
    kv_write_latent(kv, 0, {positions, owners, sequences}, latents.data(), pool);
  }

  Weight weight(ThreadPool& pool) const {
    const int64_t rows = shape.n_heads * (shape.d_nope + shape.d_v);
    Result<Weight> made = Weight::prepare(
        matrix_view(DType::kF32, rows, shape.kv_lora_rank, w_bytes), Activations::kInt16, pool);
    EXPECT_TRUE(made.ok());
    return std::move(made).value();
  }

  /// Row i of head h's UK (d_nope rows), then UV.
  const float* up(int64_t h, int64_t i) const {
    return w.data() + (h * (shape.d_nope + shape.d_v) + i) * shape.kv_lora_rank;
  }

  /// The formulas of the expanded form in double, one head of one row.
  std::vector<double> naive(const float* q, int64_t head, const KvSequence& pages_of,
                            int64_t position, double scale) {
    const int64_t rank = shape.kv_lora_rank;
    const KvLayout& layout = kv.layout();
    std::vector<double> out(static_cast<size_t>(shape.d_v), 0.0), scores;
    std::vector<std::vector<double>> values;
    double max = -INFINITY;
    for (int64_t p = 0; p <= position; ++p) {
      const std::byte* record = kv.key_record(0, pages_of, p);
      std::vector<double> c(static_cast<size_t>(rank + shape.d_rope));
      for (size_t i = 0; i < c.size(); ++i) {
        c[i] =
            reference::record_value(layout.type, layout.width(), record, static_cast<int64_t>(i));
      }
      auto product = [&](int64_t row) {
        double sum = 0;
        for (int64_t i = 0; i < rank; ++i) sum += up(head, row)[i] * c[static_cast<size_t>(i)];
        return sum;
      };
      double dot = 0;
      for (int64_t i = 0; i < shape.d_nope; ++i) dot += q[i] * product(i);
      for (int64_t i = 0; i < shape.d_rope; ++i) {
        dot += q[shape.d_nope + i] * c[static_cast<size_t>(rank + i)];
      }
      scores.push_back(dot * scale);
      max = std::max(max, scores.back());
      values.emplace_back();
      for (int64_t i = 0; i < shape.d_v; ++i) values.back().push_back(product(shape.d_nope + i));
    }
    double sum = 0;
    for (size_t p = 0; p < scores.size(); ++p) {
      const double weight = std::exp(scores[p] - max);
      sum += weight;
      for (size_t i = 0; i < out.size(); ++i) out[i] += weight * values[p][i];
    }
    for (double& x : out) x /= sum;
    return out;
  }

  /// The absorbed form with its products in double.
  std::vector<float> absorbed(const AttentionRows& rows, const std::vector<float>& q, float scale,
                              ThreadPool& pool) {
    const int64_t heads = static_cast<int64_t>(rows.positions.size()) * shape.n_heads;
    const int64_t rank = shape.kv_lora_rank;
    std::vector<float> latent_q(static_cast<size_t>(heads * shape.d_key()));
    for (int64_t i = 0; i < heads; ++i) {
      const float* from = q.data() + i * (shape.d_nope + shape.d_rope);
      float* to = latent_q.data() + i * shape.d_key();
      for (int64_t c = 0; c < rank; ++c) {
        double sum = 0;
        for (int64_t j = 0; j < shape.d_nope; ++j) {
          sum += static_cast<double>(from[j]) * up(i % shape.n_heads, j)[c];
        }
        to[c] = static_cast<float>(sum);
      }
      std::copy_n(from + shape.d_nope, shape.d_rope, to + rank);
    }
    std::vector<float> z(static_cast<size_t>(heads * rank));
    latent_attention(kv, 0, rows, latent_q.data(), shape, scale, z.data(), pool);
    std::vector<float> out(static_cast<size_t>(heads * shape.d_v));
    for (int64_t i = 0; i < heads; ++i) {
      for (int64_t j = 0; j < shape.d_v; ++j) {
        double sum = 0;
        for (int64_t c = 0; c < rank; ++c) {
          sum += static_cast<double>(z[static_cast<size_t>(i * rank + c)]) *
                 up(i % shape.n_heads, shape.d_nope + j)[c];
        }
        out[static_cast<size_t>(i * shape.d_v + j)] = static_cast<float>(sum);
      }
    }
    return out;
  }
};

// Goal: absorbed = expanded = the formulas in double, for every instruction set and KV type, over
// tile, page and head-width borders, two sequences in a batch.
// Tolerance: keys and values of the expanded form carry the roundings of a product over the rank
// (size 1, at most rank 2^-24 in a chain), queries and scores those of 200 columns more. A score of
// size s = sqrt(d) scale < 1 is within (rank + d) 2^-24 * 3; twice that is a weight's relative
// error; values are below 5. Sums over positions in float: below 1000 2^-24 * 5.
TEST(LatentExpanded, EqualsAbsorbedAndTheFormulas) {
  const IsaScope restore;
  ThreadPool pool(2);
  for (const LatentShape& shape : {LatentShape{3, 48, 16, 24, 20}, LatentShape{2, 64, 64, 128, 128},
                                   LatentShape{5, 32, 6, 8, 40}}) {
    for (const KvType type : kKvTypes) {
      force_isa(Isa::kReference);
      Model model(shape, type, 48, 290, pool);
      const std::vector<int32_t> positions = {0, 15, 16, 127, 128, 289, 3, 130};
      const std::vector<int32_t> owners = {0, 0, 0, 0, 0, 0, 1, 1};
      const AttentionRows rows{positions, owners, model.sequences};
      const int64_t d = shape.d_nope + shape.d_rope;
      const std::vector<float> q = random_values(8 * static_cast<size_t>(shape.n_heads * d), 2);
      const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(d)));
      std::vector<double> want;
      for (int64_t i = 0; i < 8 * shape.n_heads; ++i) {
        const auto row = static_cast<size_t>(i / shape.n_heads);
        const std::vector<double> one =
            model.naive(q.data() + i * d, i % shape.n_heads, model.sequences[owners[row]],
                        positions[row], scale);
        want.insert(want.end(), one.begin(), one.end());
      }
      const double tolerance =
          (6.0 * static_cast<double>(shape.kv_lora_rank + d) + 1000) * 5 * 0x1p-24;
      for (const Isa isa : available_isas()) {
        force_isa(isa);
        const Weight weight = model.weight(pool);
        LatentWorkspace workspace;
        std::vector<float> got(want.size());
        latent_attention_expanded(model.kv, 0, rows, q.data(), shape, {weight, {}, workspace},
                                  scale, got.data(), pool);
        const std::vector<float> absorbed = model.absorbed(rows, q, scale, pool);
        for (size_t i = 0; i < want.size(); ++i) {
          ASSERT_NEAR(got[i], want[i], tolerance) << isa_name(isa) << " at " << i;
          ASSERT_NEAR(absorbed[i], want[i], tolerance) << isa_name(isa) << " at " << i;
        }
      }
    }
  }
}

// Goal: a row's bits are the same alone, in a chunk, in the whole prompt, and on one thread or
// several; many rows of few heads share out by rows.
TEST(LatentExpanded, RowsAreBitwiseIndependent) {
  const IsaScope restore;
  ThreadPool one(1);
  ThreadPool three(3);
  const LatentShape shape{2, 32, 16, 16, 32};
  const int64_t d = shape.d_nope + shape.d_rope;
  const auto q_floats = static_cast<size_t>(shape.n_heads * d);
  const auto out_floats = static_cast<size_t>(shape.n_heads * shape.d_v);
  for (const Isa isa : available_isas()) {
    force_isa(isa);
    Model model(shape, KvType::kF16, 64, 700, one);
    const Weight weight = model.weight(one);
    LatentWorkspace workspace;
    std::vector<int32_t> positions, owners(700, 0);
    for (int32_t p = 0; p < 700; ++p) positions.push_back(p);
    const std::vector<float> q = random_values(700 * q_floats, 3);
    std::vector<float> all(700 * out_floats);
    latent_attention_expanded(model.kv, 0, {positions, owners, model.sequences}, q.data(), shape,
                              {weight, {}, workspace}, 0.2f, all.data(), three);
    for (const auto& [first, count] :
         {std::pair<size_t, size_t>{0, 1}, {511, 2}, {300, 100}, {699, 1}}) {
      for (ThreadPool* pool : {&one, &three}) {
        std::vector<float> out(count * out_floats);
        latent_attention_expanded(model.kv, 0,
                                  {std::span(positions).subspan(first, count),
                                   std::span(owners).subspan(first, count), model.sequences},
                                  q.data() + first * q_floats, shape, {weight, {}, workspace}, 0.2f,
                                  out.data(), *pool);
        ASSERT_EQ(0, std::memcmp(out.data(), all.data() + first * out_floats, out.size() * 4))
            << isa_name(isa) << " rows " << first << " + " << count;
      }
    }
  }
}

// Goal: one row of a long context is absorbed, a prompt is expanded.
TEST(LatentExpanded, IsForManyRows) {
  for (const int64_t heads : {16, 128}) {
    const LatentShape shape{heads, 512, 64, 128, 128};
    EXPECT_FALSE(latent_expanded_is_cheaper(shape, 1, 8192));
    EXPECT_FALSE(latent_expanded_is_cheaper(shape, 16, 32768));
    EXPECT_TRUE(latent_expanded_is_cheaper(shape, 512, 512));
    EXPECT_TRUE(latent_expanded_is_cheaper(shape, 512, 8192));
  }
}

}  // namespace
}  // namespace hadal
