/// Weights with scales of their own (FP8 E4M3, FP4 E2M1): products against the reference twin.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/matmul.h"
#include "kernels/pack.h"
#include "kernels/testing/scoped_isa.h"
#include "tensor/tensor.h"

namespace hadal {
namespace {

/// A matrix with all codes and scales of many sizes.
struct ScaledMatrix {
  int64_t rows;
  int64_t cols;
  bool fp4;
  bool e8m0;
  int64_t block_rows;
  int64_t block_columns;
  std::vector<std::byte> codes;
  std::vector<std::byte> scales;

  ScaledMatrix(bool four_bits, bool powers, int64_t n_rows, int64_t n_cols, uint32_t seed)
      : rows(n_rows),
        cols(n_cols),
        fp4(four_bits),
        e8m0(powers),
        block_rows(four_bits ? 1 : 128),
        block_columns(four_bits ? 32 : 128) {
    std::mt19937 random(seed);
    codes.resize(static_cast<size_t>(rows * cols / (fp4 ? 2 : 1)));
    for (std::byte& code : codes) {
      auto bits = static_cast<uint8_t>(random());
      if (!fp4 && (bits & 0x7F) == 0x7F) bits ^= 1;  // no NaN; +-448 stays
      code = static_cast<std::byte>(bits);
    }
    const int64_t count = (rows + block_rows - 1) / block_rows * per_row();
    for (int64_t i = 0; i < count; ++i) {
      const float value = std::ldexp(1.0f + static_cast<float>(random() % 100) / 100,
                                     static_cast<int>(random() % 12) - 9);
      if (e8m0) {
        scales.push_back(static_cast<std::byte>(120 + random() % 12));
      } else {
        const auto* bytes = reinterpret_cast<const std::byte*>(&value);
        scales.insert(scales.end(), bytes, bytes + sizeof(value));
      }
    }
  }

  int64_t per_row() const { return (cols + block_columns - 1) / block_columns; }
  TensorView view() const {
    TensorView out;
    out.name = "w";
    out.type = fp4 ? DType::kF4_E2M1 : DType::kF8_E4M3;
    out.n_dims = 2;
    out.ne = {cols, rows, 1, 1};
    out.data = codes.data();
    out.bytes = codes.size();
    out.scales = {scales.data(), e8m0, block_rows, block_columns, per_row(), 0};
    return out;
  }
};

std::vector<float> decoded(const TensorView& view) {
  std::vector<float> out(static_cast<size_t>(view.elements()));
  for (int64_t r = 0; r < view.ne[1]; ++r) {
    dequantize_row(view, r, out.data() + r * view.ne[0]);
  }
  return out;
}

/// W for x = the unit vectors, as the kernel sees it: row i of the result is column i.
std::vector<float> columns_of(const Weight& weight, ThreadPool& pool) {
  const int64_t n = weight.cols();
  std::vector<float> unit(static_cast<size_t>(n * n), 0.0f);
  for (int64_t i = 0; i < n; ++i) unit[static_cast<size_t>(i * n + i)] = 1.0f;
  std::vector<float> out(static_cast<size_t>(n * weight.rows()));
  MatmulWorkspace workspace;
  const MatmulTask task{&weight, nullptr, out.data(), weight.rows()};
  matmul({unit.data(), n, n}, {&task, 1}, pool, workspace);
  return out;
}

// Goal: every E4M3 code, subnormals and +-448 among them, reaches the product exactly as the
// format defines it, on every instruction set and in every row of a panel.
TEST(ScaledWeight, EveryFp8CodeIsExact) {
  ThreadPool pool(1);
  ScaledMatrix m(false, true, 19, 256, 1);
  for (size_t i = 0; i < m.codes.size(); ++i) {
    const auto bits = static_cast<uint8_t>(i * 7 + i / 256);
    m.codes[i] = static_cast<std::byte>((bits & 0x7F) == 0x7F ? 0x7E : bits);
  }
  const std::vector<float> wanted = decoded(m.view());
  EXPECT_EQ(f8_e4m3_to_f32(0x01), 0x1p-9f);
  EXPECT_EQ(f8_e4m3_to_f32(0x87), -7 * 0x1p-9f);
  EXPECT_EQ(f8_e4m3_to_f32(0x08), 0x1p-6f);
  EXPECT_EQ(f8_e4m3_to_f32(0x7E), 448.0f);
  EXPECT_TRUE(std::isnan(f8_e4m3_to_f32(0xFF)));
  on_each_isa([&] {
    const Weight weight = Weight::prepare(m.view(), Activations::kInt16, pool).value();
    const std::vector<float> got = columns_of(weight, pool);
    for (int64_t r = 0; r < m.rows; ++r) {
      for (int64_t c = 0; c < m.cols; ++c) {
        ASSERT_EQ(got[static_cast<size_t>(c * m.rows + r)],
                  wanted[static_cast<size_t>(r * m.cols + c)])
            << r << " " << c;
      }
    }
  });
}

/// Largest distance from the product in double, in units of the sum of |w x| of its row.
double worst_error(const ScaledMatrix& m, const TensorView& view, Activations activations,
                   int64_t n, ThreadPool& pool) {
  const Weight weight = Weight::prepare(view, activations, pool).value();
  const std::vector<float> values = decoded(view);
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(n * m.cols));
  for (float& one : x) one = normal(random);
  std::vector<float> out(static_cast<size_t>(n * view.ne[1]));
  MatmulWorkspace workspace;
  const MatmulTask task{&weight, nullptr, out.data(), view.ne[1]};
  matmul({x.data(), n, m.cols}, {&task, 1}, pool, workspace);
  double worst = 0;
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t o = 0; o < view.ne[1]; ++o) {
      double sum = 0;
      double size = 0;
      for (int64_t i = 0; i < m.cols; ++i) {
        const double term = static_cast<double>(values[static_cast<size_t>(o * m.cols + i)]) *
                            x[static_cast<size_t>(r * m.cols + i)];
        sum += term;
        size += std::abs(term);
      }
      const double got = out[static_cast<size_t>(r * view.ne[1] + o)];
      const double error = std::abs(got - sum) / std::max(size, 1e-30);
      worst = std::isnan(error) ? INFINITY : std::max(worst, error);
    }
  }
  return worst;
}

// Goal: products with FP8 weights stay within float rounding (130 additions of 2^-24 in a chunk of
// 128, as for other float weights) on every instruction set, with either kind of scale, for edges
// that cut blocks, panels and chunks, and row counts on all sides of the tiles.
TEST(ScaledWeight, Fp8MatchesReference) {
  ThreadPool pool(2);
  for (const bool e8m0 : {false, true}) {
    for (const int64_t cols : {1, 37, 128, 300}) {
      for (const int64_t rows : {1, 45, 150}) {
        const ScaledMatrix m(false, e8m0, rows, cols, static_cast<uint32_t>(rows + cols));
        on_each_isa([&] {
          for (const int64_t n : {1, 2, 5, 17}) {
            EXPECT_LE(worst_error(m, m.view(), Activations::kInt8, n, pool), 140 * 0x1p-24)
                << rows << "x" << cols << " n " << n;
          }
        });
      }
    }
  }
}

// Goal: FP4 experts give the product of their values; what remains is the rounding of activations
// to 16 bits (2^-16 of a block's largest one; random ones reach 5 times the usual).
TEST(ScaledWeight, Fp4MatchesReference) {
  ThreadPool pool(2);
  for (const int64_t cols : {32, 160, 512}) {
    for (const int64_t rows : {1, 45}) {
      const ScaledMatrix m(true, true, rows, cols, static_cast<uint32_t>(rows + cols));
      on_each_isa([&] {
        for (const int64_t n : {1, 3, 17}) {
          EXPECT_LE(worst_error(m, m.view(), Activations::kInt16, n, pool), 6 * 0x1p-16)
              << rows << "x" << cols << " n " << n;
        }
      });
    }
  }
}

// Goal: FP4 lies in memory as the MXFP4 of the same values does, byte for byte: nothing is lost and
// nothing grows.
TEST(ScaledWeight, Fp4PacksAsMxfp4) {
  const int64_t rows = 20;
  const int64_t cols = 96;
  const ScaledMatrix m(true, true, rows, cols, 9);
  std::vector<std::byte> blocks;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t b = 0; b < cols / 32; ++b) {
      blocks.push_back(m.scales[static_cast<size_t>(r * m.per_row() + b)]);
      const std::byte* codes = m.codes.data() + (r * cols + b * 32) / 2;
      const auto code = [&](int64_t i) {
        return static_cast<int>(codes[i / 2]) >> (i % 2 == 0 ? 0 : 4) & 15;
      };
      for (int64_t j = 0; j < 16; ++j) {
        blocks.push_back(static_cast<std::byte>(code(j) | code(j + 16) << 4));
      }
    }
  }
  TensorView plain = m.view();
  plain.type = DType::kMXFP4;
  plain.scales = {};
  plain.data = blocks.data();
  plain.bytes = blocks.size();
  EXPECT_EQ(decoded(plain), decoded(m.view()));
  const int64_t bytes = pack_panel_bytes(cpu::kFormatMXFP4, cols);
  for (int64_t panel = 0; panel < 2; ++panel) {
    std::vector<uint8_t> one(static_cast<size_t>(bytes), 0xAA);
    std::vector<uint8_t> two(static_cast<size_t>(bytes), 0x55);
    pack_panel(plain, cpu::kFormatMXFP4, panel, one.data());
    pack_panel(m.view(), cpu::kFormatMXFP4, panel, two.data());
    EXPECT_EQ(one, two) << panel;
  }
}

// Goal: packing FP8 writes every byte of its panels, so that images of one checkpoint are equal.
TEST(ScaledWeight, Fp8PanelsAreWhole) {
  const ScaledMatrix m(false, false, 20, 300, 4);
  const auto bytes = static_cast<size_t>(pack_panel_bytes(cpu::kFormatF8_E4M3, 300));
  EXPECT_EQ(bytes, 300u * 16 + 3 * 64);
  for (int64_t panel = 0; panel < 2; ++panel) {
    std::vector<uint8_t> one(bytes, 0xAA);
    std::vector<uint8_t> two(bytes, 0x55);
    pack_panel(m.view(), cpu::kFormatF8_E4M3, panel, one.data());
    pack_panel(m.view(), cpu::kFormatF8_E4M3, panel, two.data());
    EXPECT_EQ(one, two) << panel;
  }
}

// Goal: rows cut out of a matrix keep their scales, also where the cut is inside a block.
TEST(ScaledWeight, SlicesKeepTheirScales) {
  ThreadPool pool(1);
  for (const bool fp4 : {false, true}) {
    const ScaledMatrix m(fp4, true, 300, 160, 3);
    const std::vector<float> all = decoded(m.view());
    const TensorView part = m.view().slice_rows(100, 90);
    const std::vector<float> rows = decoded(part);
    EXPECT_TRUE(std::equal(rows.begin(), rows.end(), all.begin() + 100 * 160));
    on_each_isa(
        [&] { EXPECT_LE(worst_error(m, part, Activations::kInt16, 2, pool), 6 * 0x1p-16); });
  }
}

// Goal: values and scales that are no numbers are refused, wherever they are: fast decoders would
// read 480 for NaN.
TEST(ScaledWeight, NanIsRefused) {
  ThreadPool pool(2);
  on_each_isa([&] {
    for (const size_t at : {size_t{0}, size_t{36}, size_t{37 * 40 + 8}}) {
      ScaledMatrix m(false, false, 45, 37, 1);
      m.codes[at] = std::byte{0xFF};
      EXPECT_FALSE(Weight::prepare(m.view(), Activations::kInt8, pool).ok()) << at;
    }
    ScaledMatrix m(false, false, 45, 37, 1);
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(m.scales.data(), &nan, sizeof(nan));
    EXPECT_FALSE(Weight::prepare(m.view(), Activations::kInt8, pool).ok());
    for (const bool fp4 : {false, true}) {
      ScaledMatrix small(fp4, true, 45, 64, 1);
      small.scales.back() = std::byte{0xFF};
      EXPECT_FALSE(Weight::prepare(small.view(), Activations::kInt8, pool).ok());
    }
  });
}

// Goal: packing piece by piece gives the bytes of packing at once, and finds what is no number in
// the piece where it lies, naming the tensor.
TEST(ScaledWeight, PackedInPieces) {
  ThreadPool pool(2);
  on_each_isa([&] {
    if (current_isa() == Isa::kReference) return;  // nothing is packed
    ScaledMatrix m(false, false, 45, 37, 1);
    const Weight whole = Weight::prepare(m.view(), Activations::kInt8, pool).value();
    const Weight::PackedSize size = Weight::packed_size(m.view()).value();
    ASSERT_EQ(size.panels, 3);
    ASSERT_EQ(size.bytes(), whole.packed_bytes().size());
    std::vector<uint8_t> out(size.bytes());
    const std::span<uint8_t> all = out;
    const auto panel = static_cast<size_t>(size.panel_bytes);
    ASSERT_TRUE(Weight::pack(m.view(), 0, all.first(panel), pool).ok());
    ASSERT_TRUE(Weight::pack(m.view(), 1, all.subspan(panel), pool).ok());
    EXPECT_TRUE(std::equal(out.begin(), out.end(), whole.packed_bytes().begin()));
    m.codes[static_cast<size_t>(37 * 40)] = std::byte{0xFF};
    EXPECT_TRUE(Weight::pack(m.view(), 0, all.first(2 * panel), pool).ok());
    const Status status = Weight::pack(m.view(), 2, all.subspan(2 * panel), pool);
    ASSERT_FALSE(status.ok());
    EXPECT_NE(status.error().message.find("tensor w "), std::string::npos);
  });
}

// Goal: blocks that no kernel knows are refused with their size; they are not computed wrongly.
TEST(ScaledWeight, OtherBlocksAreRefused) {
  ThreadPool pool(1);
  const ScaledMatrix m(false, true, 32, 64, 1);
  TensorView view = m.view();
  view.scales.columns = 32;
  const auto weight = Weight::prepare(view, Activations::kInt8, pool);
  ASSERT_FALSE(weight.ok());
  EXPECT_NE(weight.error().message.find("128 x 32"), std::string::npos) << weight.error().message;
}

}  // namespace
}  // namespace hadal
