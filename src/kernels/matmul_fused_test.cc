#include <cstring>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/elementwise.h"
#include "kernels/kernels.h"
#include "kernels/testing/scoped_isa.h"
#include "kernels/testing/weight_types.h"
#include "tensor/dtype.h"

namespace hadal {
namespace {

/// A matrix of random codes whose f16 factors are about 0.02.
struct Matrix {
  DType type;
  int64_t rows;
  int64_t cols;
  std::vector<std::byte> bytes;

  Matrix(DType dtype, int64_t n_rows, int64_t n_cols, uint32_t seed)
      : type(dtype), rows(n_rows), cols(n_cols) {
    bytes.resize(static_cast<size_t>(rows) * dtype_row_bytes(type, cols));
    std::mt19937 random(seed);
    for (std::byte& b : bytes) b = static_cast<std::byte>(random() & 0x3f);
    const auto block = static_cast<size_t>(dtype_info(type).block_bytes);
    for (size_t at = 0; at < bytes.size(); at += block) {
      for (const size_t offset : weight_type(type).f16_at) {
        const uint16_t factor = f32_to_f16(0.01f + 0.02f * static_cast<float>(random() % 8) / 8);
        std::memcpy(&bytes[at + offset], &factor, 2);
      }
    }
  }

  Weight prepare(Activations activations, ThreadPool& pool) const {
    return Weight::prepare(matrix_view(type, rows, cols, bytes), activations, pool).value();
  }
};

std::vector<float> random_floats(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> out(static_cast<size_t>(count));
  for (float& v : out) v = normal(random);
  return out;
}

struct Case {
  DType gate;
  DType up;
  Activations up_activations;
  int64_t d_ff;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> list = {
      {DType::kQ8_0, DType::kQ8_0, Activations::kInt8, 416},
      {DType::kQ4_0, DType::kQ4_0, Activations::kInt8, 1056},  // long items at n = 1
      {DType::kQ4_K, DType::kQ6_K, Activations::kInt16, 160},
      {DType::kF16, DType::kF16, Activations::kInt8, 96},
      {DType::kQ4_0, DType::kF16, Activations::kInt8, 64},
      {DType::kF16, DType::kF16, Activations::kInt8, 53},
  };
  return list;
}

// Goal: the gated unit gives, to the bit, what two products, silu_mul and a rounding of the result
// give, for few and many rows, mixed formats, odd sizes and any number of threads; a row's result
// does not depend on either number.
TEST(MatmulFused, SiluMulEqualsSeparateSteps) {
  on_each_isa([] {
    for (const Case& c : cases()) {
      std::vector<float> first_row;  // the first input row is the same for all n
      for (const int threads : {1, 3}) {
        ThreadPool pool(threads);
        const int64_t d = 256;
        const bool whole = c.d_ff % 32 == 0;
        const Matrix gate_matrix(c.gate, c.d_ff, d, 1);
        const Weight gate = gate_matrix.prepare(Activations::kInt8, pool);
        const Matrix up_matrix(c.up, c.d_ff, d, 2);
        const Weight up = up_matrix.prepare(c.up_activations, pool);
        const Matrix down_matrix(whole ? DType::kQ8_0 : DType::kF16, 40, c.d_ff, 3);
        const Weight down = down_matrix.prepare(Activations::kInt8, pool);
        const std::vector<float> bias = random_floats(c.d_ff, 4);
        for (const int64_t n : {1, 5, 70}) {
          const std::vector<float> x = random_floats(n * d, 5);
          MatmulWorkspace workspace;
          MatmulRows in;
          const Weight* const readers[] = {&gate, &up};
          in.reset(n, readers);
          in.set_all(x.data(), d, pool);

          std::vector<float> g(static_cast<size_t>(n * c.d_ff));
          std::vector<float> u(g.size());
          MatmulTask tasks[] = {{&gate, bias.data(), g.data(), c.d_ff},
                                {&up, nullptr, u.data(), c.d_ff}};
          matmul(in, tasks, pool, workspace);
          silu_mul(g.data(), u.data(), n * c.d_ff, g.data());
          std::vector<float> expected(static_cast<size_t>(n * 40));
          const MatmulTask last{&down, nullptr, expected.data(), 40};
          matmul({g.data(), n, c.d_ff}, {&last, 1}, pool, workspace);

          MatmulRows gated;
          const Weight* const next[] = {&down};
          gated.reset(n, next);
          matmul_silu_mul(in, tasks[0], tasks[1], gated, pool, workspace);
          std::vector<float> got(expected.size());
          const MatmulTask fused{&down, nullptr, got.data(), 40};
          matmul(gated, {&fused, 1}, pool, workspace);
          ASSERT_EQ(std::memcmp(got.data(), expected.data(), got.size() * 4), 0)
              << dtype_info(c.gate).name << ' ' << c.d_ff << " n " << n << " threads " << threads;
          if (first_row.empty()) first_row.assign(got.begin(), got.begin() + 40);
          ASSERT_EQ(std::memcmp(got.data(), first_row.data(), 160), 0) << n << ' ' << threads;
        }
      }
    }
  });
}

// Goal: a task that adds gives old + product to the bit, beside a task that does not, and leaves
// what lies between the rows of its output alone.
TEST(MatmulFused, AddEqualsProductThenSum) {
  on_each_isa([] {
    for (const int threads : {1, 2}) {
      ThreadPool pool(threads);
      const Matrix matrix_a(DType::kQ4_K, 70, 512, 1);
      const Matrix matrix_b(DType::kF16, 33, 512, 2);
      const Weight a = matrix_a.prepare(Activations::kInt8, pool);
      const Weight b = matrix_b.prepare(Activations::kInt8, pool);
      const std::vector<float> bias = random_floats(70, 3);
      for (const int64_t n : {1, 3, 60}) {
        const std::vector<float> x = random_floats(n * 512, 4);
        std::vector<float> plain_a(static_cast<size_t>(n * 70));
        std::vector<float> plain_b(static_cast<size_t>(n * 33));
        MatmulWorkspace workspace;
        const MatmulTask plain[] = {{&a, bias.data(), plain_a.data(), 70},
                                    {&b, nullptr, plain_b.data(), 33}};
        matmul({x.data(), n, 512}, plain, pool, workspace);

        const std::vector<float> before = random_floats(n * 80, 5);
        std::vector<float> sum = before;
        std::vector<float> beside(plain_b.size());
        const MatmulTask added[] = {{&a, bias.data(), sum.data(), 80, true},
                                    {&b, nullptr, beside.data(), 33}};
        matmul({x.data(), n, 512}, added, pool, workspace);
        EXPECT_EQ(beside, plain_b);
        for (int64_t r = 0; r < n; ++r) {
          for (int64_t i = 0; i < 80; ++i) {
            const auto at = static_cast<size_t>(r * 80 + i);
            const float product = i < 70 ? plain_a[static_cast<size_t>(r * 70 + i)] : 0.0f;
            ASSERT_EQ(sum[at], i < 70 ? before[at] + product : before[at]);
          }
        }
      }
    }
  });
}

// Goal: packed matrices keep their bytes whatever is made and dropped around them.
TEST(MatmulFused, WeightsOutliveTheirNeighbours) {
  ThreadPool pool(1);
  const Matrix matrix(DType::kQ8_0, 64, 256, 1);
  std::vector<Weight> weights;
  for (int i = 0; i < 40; ++i) weights.push_back(matrix.prepare(Activations::kInt8, pool));
  const std::vector<uint8_t> bytes(weights[1].packed_bytes().begin(),
                                   weights[1].packed_bytes().end());
  const Weight kept = std::move(weights[1]);
  weights.clear();
  for (int i = 0; i < 3; ++i) {
    const Matrix other_matrix(DType::kQ4_0, 640, 256, 2);
    const Weight other = other_matrix.prepare(Activations::kInt8, pool);
    ASSERT_TRUE(std::equal(bytes.begin(), bytes.end(), kept.packed_bytes().begin(),
                           kept.packed_bytes().end()));
  }
}

}  // namespace
}  // namespace hadal
