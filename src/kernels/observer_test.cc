/// What a MatmulObserver is told of products and experts.
#include <map>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/moe.h"
#include "kernels/testing/scoped_isa.h"
#include "kernels/testing/weight_types.h"

namespace hadal {
namespace {

constexpr int64_t kWidth = 64;

/// A weight of random Q8_0 codes: nothing but the observer needs its input as floats.
struct Matrix {
  explicit Matrix(uint8_t seed, ThreadPool& pool)
      : bytes(static_cast<size_t>(kWidth) * dtype_row_bytes(DType::kQ8_0, kWidth)),
        weight(make(seed, pool)) {}
  std::vector<std::byte> bytes;
  Weight weight;

 private:
  Weight make(uint8_t seed, ThreadPool& pool) {
    for (size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<std::byte>(i % 34 < 2 ? 0x20 : (i * 37 + seed) % 256);
    }
    return Weight::prepare(matrix_view(DType::kQ8_0, kWidth, kWidth, bytes), Activations::kInt8,
                           pool)
        .value();
  }
};

struct Watch final : MatmulObserver {
  void inputs(const Weight& weight, const MatmulRows& x, int64_t first, int64_t count) override {
    ASSERT_EQ(x.cols(), weight.cols());
    for (int64_t r = first; r < first + count; ++r) {
      ASSERT_NE(x.floats(r), nullptr);
      seen[&weight].push_back(x.floats(r)[1]);
    }
  }
  std::map<const Weight*, std::vector<float>> seen;  ///< column 1 of each row
};

/// Row r is r + 1 everywhere.
void fill(MatmulRows& x, int64_t n, std::span<const Weight* const> readers, ThreadPool& pool) {
  x.keep_floats(true);
  x.reset(n, readers);
  std::vector<float> values(static_cast<size_t>(n * kWidth));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i / kWidth + 1);
  x.set_all(values.data(), kWidth, pool);
}

// Goal: each product of a group reports its own weight and the rows as they were before rounding,
// gated ones too; without an observer nothing is kept.
TEST(Observer, SeesProducts) {
  ThreadPool pool(2);
  const Matrix a(1, pool), b(2, pool), down(3, pool);
  MatmulWorkspace workspace;
  Watch watch;
  workspace.set_observer(&watch);
  MatmulRows x;
  const Weight* const readers[] = {&a.weight, &b.weight};
  fill(x, 3, readers, pool);
  MatmulRows gated;
  gated.keep_floats(true);
  const Weight* const down_reader[] = {&down.weight};
  gated.reset(3, down_reader);
  const MatmulTask tasks[] = {{.weight = &a.weight}, {.weight = &b.weight}};
  matmul_silu_mul(x, tasks[0], tasks[1], gated, pool, workspace);
  std::vector<float> out(3 * kWidth);
  const MatmulTask last{.weight = &down.weight, .out = out.data(), .out_stride = kWidth};
  matmul(gated, {&last, 1}, pool, workspace);
  EXPECT_EQ(watch.seen[&a.weight], (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(watch.seen[&b.weight], (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(watch.seen[&down.weight].size(), 3u);

  workspace.set_observer(nullptr);
  gated.keep_floats(false);
  gated.reset(3, down_reader);
  if (current_isa() != Isa::kReference) {
    EXPECT_EQ(gated.floats(0), nullptr);
  }
  matmul_silu_mul(x, tasks[0], tasks[1], gated, pool, workspace);
  EXPECT_EQ(watch.seen[&a.weight].size(), 3u);
}

// Goal: an expert reports the rows that were sent to it and no others; the shared one all.
TEST(Observer, SeesExperts) {
  ThreadPool pool(2);
  if (current_isa() == Isa::kReference) GTEST_SKIP() << kNothingPacked;
  std::vector<Matrix> matrices;
  matrices.reserve(9);
  for (uint8_t i = 0; i < 9; ++i) matrices.emplace_back(i, pool);
  std::vector<ExpertWeights> experts;
  for (size_t e = 0; e < 3; ++e) {
    experts.push_back(
        {&matrices[3 * e].weight, &matrices[3 * e + 1].weight, &matrices[3 * e + 2].weight});
  }
  const MoeLayer layer{.experts = std::span(experts).first(2), .shared = &experts[2]};
  MatmulRows x;
  fill(x, 3, moe_readers(layer), pool);
  MoeWorkspace workspace;
  Watch watch;
  workspace.set_observer(&watch);
  const std::vector<int32_t> chosen = {1, 0, 1};
  const std::vector<float> weights = {1, 1, 1};
  std::vector<float> out(3 * kWidth);
  moe_add(x, layer, {1, chosen.data(), weights.data()}, out.data(), kWidth, pool, workspace);
  EXPECT_EQ(watch.seen[experts[0].gate], (std::vector<float>{2}));
  EXPECT_EQ(watch.seen[experts[1].up], (std::vector<float>{1, 3}));
  EXPECT_EQ(watch.seen[experts[2].gate], (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(watch.seen[experts[0].down].size(), 1u);
  EXPECT_EQ(watch.seen[experts[1].down].size(), 2u);
  EXPECT_EQ(watch.seen[experts[2].down].size(), 3u);
}

}  // namespace
}  // namespace hadal
