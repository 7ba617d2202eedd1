#include "kernels/matmul.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/kernels.h"
#include "kernels/testing/scoped_isa.h"
#include "kernels/testing/weight_types.h"
#include "tensor/dtype.h"

namespace hadal {
namespace {

/// A matrix of random codes with factors of random sign and size.
struct Matrix {
  WeightType type;
  int64_t rows;
  int64_t cols;
  std::vector<std::byte> bytes;

  Matrix(const WeightType& type_case, int64_t n_rows, int64_t n_cols, uint32_t seed)
      : type(type_case), rows(n_rows), cols(n_cols) {
    const DTypeInfo& info = dtype_info(type.type);
    bytes.resize(static_cast<size_t>(rows) * dtype_row_bytes(type.type, cols));
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (std::byte& b : bytes) b = static_cast<std::byte>(random());
    for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(info.block_bytes)) {
      if (type.type == DType::kMXFP4) bytes[at] = static_cast<std::byte>(118 + random() % 16);
      if (type.type == DType::kF32) {
        const float value = normal(random);
        std::memcpy(&bytes[at], &value, 4);
      }
      if (type.type == DType::kBF16) {
        const uint16_t value = f32_to_bf16(normal(random));
        std::memcpy(&bytes[at], &value, 2);
      }
      for (const size_t offset : type.f16_at) {
        const uint16_t value = f32_to_f16(normal(random));
        std::memcpy(&bytes[at + offset], &value, 2);
      }
    }
  }

  TensorView view() const { return matrix_view(type.type, rows, cols, bytes); }
};

std::vector<float> random_input(int64_t count, uint32_t seed) {
  std::vector<float> x(static_cast<size_t>(count));
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (float& v : x) v = normal(random);
  return x;
}

std::vector<float> multiply(const Weight& weight, const std::vector<float>& x, int64_t n,
                            ThreadPool& pool, const float* bias = nullptr) {
  std::vector<float> out(static_cast<size_t>(n * weight.rows()), -1.0f);
  MatmulWorkspace workspace;
  const MatmulTask task{&weight, bias, out.data(), weight.rows()};
  matmul({x.data(), n, weight.cols()}, {&task, 1}, pool, workspace);
  return out;
}

/// The product in double, and how far a correct kernel may be from it:
///  - rounding of activations: half a step of amax / 127 or amax / 32512 per value, times |w|;
///  - float additions: two per block (quantised) or one per column within chunks of 128 (float),
///    each 2^-24 of the partial sums, which |code * scale| + |offset| bound; both are at most 3 max
///    |w| of a block with random codes.
struct Expected {
  std::vector<double> value;
  std::vector<double> tolerance;
};

constexpr Activations kBoth[] = {Activations::kInt8, Activations::kInt16};

Expected expect(const Matrix& m, const std::vector<float>& x, int64_t n, Activations activations) {
  const double steps = activations == Activations::kInt8 ? 254.0 : 65024.0;
  Expected e;
  const bool quantised = dtype_info(m.type.type).block_elements > 1;
  std::vector<float> row(static_cast<size_t>(m.cols));
  e.value.resize(static_cast<size_t>(n * m.rows));
  e.tolerance.resize(e.value.size());
  const double unit = std::ldexp(1.0, -24);
  for (int64_t o = 0; o < m.rows; ++o) {
    dequantize_row(m.type.type, m.view().row(o), row.data(), m.cols);
    for (int64_t r = 0; r < n; ++r) {
      const float* in = x.data() + r * m.cols;
      double sum = 0;
      double rounding = 0;
      double magnitude = 0;
      for (int64_t b = 0; b < m.cols; b += 32) {
        double w_sum = 0, w_max = 0, x_sum = 0, x_max = 0;
        for (int64_t i = b; i < std::min(b + 32, m.cols); ++i) {
          const double w = row[static_cast<size_t>(i)];
          sum += w * in[i];
          w_sum += std::abs(w);
          w_max = std::max(w_max, std::abs(w));
          x_sum += std::abs(in[i]);
          x_max = std::max<double>(x_max, std::abs(in[i]));
        }
        rounding += w_sum * x_max / steps * (1 + 4 * unit);
        magnitude += 3 * w_max * x_sum;
      }
      const auto at = static_cast<size_t>(r * m.rows + o);
      const double terms = quantised ? 4.0 * static_cast<double>(m.cols) / 32 + 8
                                     : 130.0 + static_cast<double>(m.cols) / 128;
      e.value[at] = sum;
      e.tolerance[at] = (quantised ? rounding : 0) + magnitude * terms * unit + 1e-30;
    }
  }
  return e;
}

void expect_near(const Expected& e, const std::vector<float>& got, const std::string& what) {
  ASSERT_EQ(e.value.size(), got.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_LE(std::abs(e.value[i] - static_cast<double>(got[i])), e.tolerance[i])
        << what << " at " << i << ": " << got[i] << " for " << e.value[i];
  }
}

std::string label(const WeightType& t, Isa isa, Activations activations, int64_t rows, int64_t cols,
                  int64_t n) {
  return std::string(dtype_info(t.type).name) +
         (activations == Activations::kInt8 ? " x int8 " : " x int16 ") +
         std::string(isa_name(isa)) + " " + std::to_string(rows) + "x" + std::to_string(cols) +
         " n " + std::to_string(n);
}

// Goal: every format on every instruction set is within the derived tolerance of the product in
// double, for rows that do not fill a panel, odd widths, and row counts on all sides of the tiles.
TEST(Matmul, EveryFormatAndIsaMatchesReference) {
  const IsaScope restore;
  ThreadPool pool(2);
  for (const WeightType& t : weight_types()) {
    const int block = dtype_info(t.type).block_elements;
    const std::vector<int64_t> widths = block == 1    ? std::vector<int64_t>{1, 37, 300}
                                        : block == 32 ? std::vector<int64_t>{32, 96, 544}
                                                      : std::vector<int64_t>{256, 768};
    for (const int64_t cols : widths) {
      for (const int64_t rows : {1, 16, 45, 83}) {
        const Matrix m(t, rows, cols, static_cast<uint32_t>(rows * 1000 + cols));
        const std::vector<float> x = random_input(59 * cols, 7);
        for (const Activations activations : kBoth) {
          const Expected all = expect(m, x, 59, activations);
          for (const Isa isa : available_isas()) {
            force_isa(isa);
            const Weight weight = Weight::prepare(m.view(), activations, pool).value();
            for (const int64_t n : {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 33, 59}) {
              Expected e = all;
              e.value.resize(static_cast<size_t>(n * rows));
              e.tolerance.resize(static_cast<size_t>(n * rows));
              expect_near(e, multiply(weight, x, n, pool),
                          label(t, isa, activations, rows, cols, n));
              if (HasFatalFailure()) return;
            }
          }
        }
      }
    }
  }
}

void check_rows_are_independent(const WeightType& t, Activations activations) {
  ThreadPool one(1);
  ThreadPool three(3);
  const bool quantised = dtype_info(t.type).block_elements > 1;
  const int64_t cols = 512;
  const int64_t n = 257;
  const Matrix m(t, 101, cols, 5);
  const std::vector<float> x = random_input(n * cols, 11);
  std::vector<float> across_isas;
  for (const Isa isa : available_isas()) {
    if (isa == Isa::kReference) continue;
    force_isa(isa);
    const Weight weight = Weight::prepare(m.view(), activations, one).value();
    const std::vector<float> all = multiply(weight, x, n, one);
    ASSERT_EQ(all, multiply(weight, x, n, three)) << label(t, isa, activations, 101, cols, n);
    for (const int64_t count : {1, 2, 5, 8, 33, 100}) {
      for (const int64_t first : {0, 30, 150}) {
        const std::vector<float> part(x.begin() + first * cols, x.begin() + (first + count) * cols);
        const std::vector<float> got = multiply(weight, part, count, count % 2 == 0 ? one : three);
        ASSERT_EQ(0, std::memcmp(got.data(), all.data() + first * 101, got.size() * 4))
            << label(t, isa, activations, 101, cols, count) << " from row " << first;
      }
    }
    if (quantised && !across_isas.empty()) {
      ASSERT_EQ(across_isas, all) << label(t, isa, activations, 101, cols, n);
    }
    across_isas = all;
  }
}

// Goal: a row's bits do not depend on how many rows are beside it, on the number of threads, nor on
// other products of the same call; quantised products are the same on every fast instruction set.
TEST(Matmul, RowsAreBitwiseIndependent) {
  const IsaScope restore;
  for (const WeightType& t : weight_types()) {
    for (const Activations activations : kBoth) {
      check_rows_are_independent(t, activations);
      if (HasFatalFailure()) return;
    }
  }
}

// Goal: products that share an input give the same as one by one, with biases and strides.
TEST(Matmul, GroupsBiasesAndStrides) {
  const IsaScope restore;
  ThreadPool pool(2);
  const int64_t cols = 256;
  const Matrix a({DType::kQ4_K, {0, 2}}, 40, cols, 1);
  const Matrix b({DType::kQ6_K, {208}}, 70, cols, 2);
  const std::vector<float> bias = random_input(70, 3);
  for (const Isa isa : available_isas()) {
    force_isa(isa);
    const Weight wa = Weight::prepare(a.view(), Activations::kInt8, pool).value();
    const Weight wb = Weight::prepare(b.view(), Activations::kInt16, pool).value();
    for (const int64_t n : {1, 3, 60}) {
      const std::vector<float> x = random_input(n * cols, 4);
      const std::vector<float> ya = multiply(wa, x, n, pool);
      const std::vector<float> yb = multiply(wb, x, n, pool, bias.data());
      const std::vector<float> plain = multiply(wb, x, n, pool);
      std::vector<float> out(static_cast<size_t>(n * 120), 99.0f);
      const MatmulTask tasks[] = {{&wa, nullptr, out.data(), 120},
                                  {&wb, bias.data(), out.data() + 45, 120}};
      MatmulWorkspace workspace;
      matmul({x.data(), n, cols}, tasks, pool, workspace);
      for (int64_t r = 0; r < n; ++r) {
        const float* row = out.data() + r * 120;
        for (int64_t i = 0; i < 40; ++i) ASSERT_EQ(row[i], ya[static_cast<size_t>(r * 40 + i)]);
        for (int64_t i = 40; i < 45; ++i) ASSERT_EQ(row[i], 99.0f) << "between the outputs";
        for (int64_t i = 0; i < 70; ++i) {
          const auto at = static_cast<size_t>(r * 70 + i);
          ASSERT_EQ(row[45 + i], yb[at]);
          ASSERT_NEAR(yb[at], plain[at] + bias[static_cast<size_t>(i)],
                      1e-4 * std::abs(yb[at]) + 1e-5);
        }
        for (int64_t i = 115; i < 120; ++i) ASSERT_EQ(row[i], 99.0f) << "behind the outputs";
      }
    }
  }
}

// Goal: extreme activations: one huge value per block, denormals, zeros and alternating extremes
// stay within the tolerance.
TEST(Matmul, ExtremeActivations) {
  const IsaScope restore;
  ThreadPool pool(2);
  const int64_t cols = 512;
  const int64_t n = 6;
  std::vector<float> x(static_cast<size_t>(n * cols), 0.0f);
  std::mt19937 random(3);
  for (int64_t i = 0; i < cols; ++i) {
    const auto at = [&](int64_t r) -> float& { return x[static_cast<size_t>(r * cols + i)]; };
    at(1) = i % 32 == 5 ? 3e4f : 1e-3f;
    at(2) = std::ldexp(1.0f, -140 + static_cast<int>(random() % 8));
    at(3) = i % 2 == 0 ? 1e15f : -1e15f;
    at(4) = i % 2 == 0 ? 1e-25f : -1e-25f;
    at(5) = 127.0f * (i % 64 < 32 ? 1.0f : -1.0f);
  }
  for (const WeightType& t : weight_types()) {
    const Matrix m(t, 50, cols, 9);
    for (const Activations activations : kBoth) {
      const Expected e = expect(m, x, n, activations);
      for (const Isa isa : available_isas()) {
        force_isa(isa);
        const Weight weight = Weight::prepare(m.view(), activations, pool).value();
        expect_near(e, multiply(weight, x, n, pool), label(t, isa, activations, 50, cols, n));
        if (HasFatalFailure()) return;
      }
    }
  }
}

/// All codes and scales of `fill`, the f16 factors `factor`.
Matrix extreme_matrix(const WeightType& t, int64_t cols, int fill, float factor) {
  Matrix m(t, 17, cols, 1);
  std::memset(m.bytes.data(), fill, m.bytes.size());
  const auto block = static_cast<size_t>(dtype_info(t.type).block_bytes);
  for (size_t at = 0; at < m.bytes.size(); at += block) {
    if (t.type == DType::kMXFP4) m.bytes[at] = static_cast<std::byte>(factor == 0 ? 1 : 200);
    for (const size_t offset : t.f16_at) {
      const uint16_t bits = f32_to_f16(factor);
      std::memcpy(&m.bytes[at + offset], &bits, 2);
    }
  }
  return m;
}

void check_extreme_weights(const WeightType& t, Activations activations, ThreadPool& pool) {
  const int64_t cols = 256;
  // The second row's activations are all at the ends of their range, where sums are largest.
  std::vector<float> x = random_input(2 * cols, 8);
  for (int64_t i = 0; i < cols; ++i) {
    x[static_cast<size_t>(cols + i)] = i < cols / 2 || i % 3 == 0 ? 2.0f : -2.0f;
  }
  for (const int fill : {0x00, 0xFF, 0x80, 0x7F}) {
    for (const float factor : {0.0f, 65504.0f, -65504.0f, 6e-8f}) {
      const Matrix m = extreme_matrix(t, cols, fill, factor);
      Expected e = expect(m, x, 2, activations);
      // Here codes are not random: a sum of offset and codes may cancel, so the partial sums are
      // bounded by the format's largest code instead of by the values.
      const double size = t.type == DType::kMXFP4 ? std::ldexp(1.0, 200 - 127) : std::abs(factor);
      double peak = 0;
      for (const float v : x) peak = std::max<double>(peak, std::abs(v));
      for (double& tolerance : e.tolerance) {
        tolerance += size * 256 * 64 * peak * cols * std::ldexp(1.0, -24);
      }
      for (const Isa isa : available_isas()) {
        force_isa(isa);
        const Weight weight = Weight::prepare(m.view(), activations, pool).value();
        expect_near(e, multiply(weight, x, 2, pool),
                    label(t, isa, activations, 17, cols, 2) + " fill " + std::to_string(fill));
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

// Goal: extreme codes: all bits clear and all bits set, largest and zero factors, against random
// and extreme activations: no partial sum of any instruction set saturates.
TEST(Matmul, ExtremeWeights) {
  const IsaScope restore;
  ThreadPool pool(1);
  for (const WeightType& t : weight_types()) {
    if (dtype_info(t.type).block_elements == 1) continue;
    for (const Activations activations : kBoth) {
      check_extreme_weights(t, activations, pool);
      if (HasFatalFailure()) return;
    }
  }
}

// Goal: NaN and infinity in one row come out as NaN there and leave the other rows alone.
TEST(Matmul, NonFiniteActivationsStayInTheirRow) {
  const IsaScope restore;
  ThreadPool pool(2);
  const int64_t cols = 256;
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    for (const WeightType& t : weight_types()) {
      const Matrix m(t, 20, cols, 2);
      std::vector<float> x = random_input(3 * cols, 6);
      for (const Isa isa : available_isas()) {
        force_isa(isa);
        const Activations activations = t.f16_at.size() > 1 ? kBoth[0] : kBoth[1];
        const Weight weight = Weight::prepare(m.view(), activations, pool).value();
        const std::vector<float> clean = multiply(weight, x, 3, pool);
        std::vector<float> dirty_x = x;
        dirty_x[static_cast<size_t>(cols + 77)] = bad;
        const std::vector<float> dirty = multiply(weight, dirty_x, 3, pool);
        for (size_t i = 0; i < dirty.size(); ++i) {
          if (i / 20 == 1) {
            ASSERT_FALSE(std::isfinite(dirty[i])) << label(t, isa, activations, 20, cols, 3);
          } else {
            ASSERT_EQ(dirty[i], clean[i]) << label(t, isa, activations, 20, cols, 3);
          }
        }
      }
    }
  }
}

// Goal: what cannot be a weight is refused with a reason.
TEST(Matmul, RefusesWhatIsNoWeight) {
  ThreadPool pool(1);
  const std::vector<std::byte> bytes(4096);
  TensorView view{.name = "ids",
                  .type = DType::kI32,
                  .n_dims = 2,
                  .ne = {32, 2, 1, 1},
                  .data = bytes.data(),
                  .bytes = 256};
  EXPECT_EQ(Weight::prepare(view, Activations::kInt8, pool).error().code, Code::kUnsupported);
  view.type = DType::kF32;
  view.ne = {4, 2, 3, 1};
  EXPECT_EQ(Weight::prepare(view, Activations::kInt8, pool).error().code, Code::kUnsupported);
}

// Goal: a packed form that lies elsewhere gives the same bits; one of another size is refused.
TEST(Matmul, BorrowsThePackedForm) {
  const IsaScope restore;
  ThreadPool pool(2);
  const Matrix m({DType::kQ4_K, {0, 2}}, 40, 512, 1);
  const std::vector<float> x = random_input(3 * 512, 4);
  for (const Isa isa : available_isas()) {
    force_isa(isa);
    const Weight own = Weight::prepare(m.view(), Activations::kInt8, pool).value();
    const std::vector<uint8_t> copy(own.packed_bytes().begin(), own.packed_bytes().end());
    const Weight borrowed = Weight::borrow_packed(m.view(), Activations::kInt8, copy).value();
    EXPECT_EQ(multiply(own, x, 3, pool), multiply(borrowed, x, 3, pool));
    EXPECT_EQ(borrowed.packed_bytes().data(), copy.data());
    std::vector<uint8_t> wrong = copy;
    wrong.push_back(0);
    EXPECT_EQ(Weight::borrow_packed(m.view(), Activations::kInt8, wrong).error().code,
              Code::kInvalidArgument);
  }
}

}  // namespace
}  // namespace hadal
