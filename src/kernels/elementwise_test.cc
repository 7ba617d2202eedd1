#include "kernels/elementwise.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/kernels.h"
#include "kernels/reference/reference.h"
#include "kernels/testing/scoped_isa.h"

namespace hadal {
namespace {

std::vector<float> random_values(int64_t n, uint32_t seed, float spread) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = normal(random);
  return x;
}

const int64_t kLengths[] = {1, 3, 8, 15, 16, 17, 63, 64, 65, 576, 1001};

// Goal: rms_norm is within 8 roundings of the reference at any length, also in place and strided.
TEST(Elementwise, RmsNorm) {
  on_each_isa([] {
    for (const int64_t n : kLengths) {
      const std::vector<float> x = random_values(3 * (n + 2), 1, 3.0f);
      const std::vector<float> w = random_values(n, 2, 1.0f);
      std::vector<float> want(static_cast<size_t>(3 * n));
      reference::rms_norm(x.data(), n + 2, w.data(), 1e-5f, 3, n, want.data(), n);
      std::vector<float> got(want.size());
      rms_norm(x.data(), n + 2, w.data(), 1e-5f, 3, n, got.data(), n);
      std::vector<float> in_place = x;
      rms_norm(in_place.data(), n + 2, w.data(), 1e-5f, 3, n, in_place.data(), n + 2);
      for (int64_t r = 0; r < 3; ++r) {
        for (int64_t i = 0; i < n; ++i) {
          const auto at = static_cast<size_t>(r * n + i);
          ASSERT_NEAR(got[at], want[at], std::abs(want[at]) * 1e-6) << n;
          ASSERT_EQ(in_place[static_cast<size_t>(r * (n + 2) + i)], got[at]);
        }
        ASSERT_EQ(in_place[static_cast<size_t>(r * (n + 2) + n)],
                  x[static_cast<size_t>(r * (n + 2) + n)]);
      }
    }
  });
}

// Goal: silu_mul is within 4 ulp of the reference from -100 to 100 and sane beyond; NaN stays.
TEST(Elementwise, SiluMul) {
  on_each_isa([] {
    for (const int64_t n : kLengths) {
      const std::vector<float> gate = random_values(n, 3, 30.0f);
      const std::vector<float> up = random_values(n, 4, 2.0f);
      std::vector<float> want(gate.size()), got(gate.size());
      reference::silu_mul(gate.data(), up.data(), n, want.data());
      silu_mul(gate.data(), up.data(), n, got.data());
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_NEAR(got[i], want[i], std::abs(want[i]) * 5e-7 + 1e-35) << gate[i];
      }
    }
    const float inf = std::numeric_limits<float>::infinity();
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> gate = {1e30f, -1e30f, inf, nan, 0.0f, -0.0f, 88.5f, -88.5f};
    const std::vector<float> up(gate.size(), 1.0f);
    std::vector<float> got(gate.size());
    silu_mul(gate.data(), up.data(), static_cast<int64_t>(gate.size()), got.data());
    EXPECT_FLOAT_EQ(got[0], 1e30f);
    EXPECT_EQ(got[2], inf);
    EXPECT_TRUE(std::isnan(got[3]));
    EXPECT_EQ(got[4], 0.0f);
    EXPECT_FLOAT_EQ(got[6], 88.5f);
    EXPECT_NEAR(got[7], 0.0, 1e-30);
  });
}

// Goal: layer_norm is within a few roundings of the reference at any length, also in place and with
// a mean far from 0.
TEST(Elementwise, LayerNorm) {
  on_each_isa([] {
    for (const int64_t n : kLengths) {
      std::vector<float> x = random_values(3 * n, 1, 3.0f);
      for (float& value : x) value += 5.0f;
      const std::vector<float> w = random_values(n, 2, 1.0f);
      const std::vector<float> b = random_values(n, 3, 1.0f);
      std::vector<float> got(x.size());
      layer_norm(x.data(), w.data(), b.data(), 1e-5f, 3, n, got.data());
      std::vector<float> want(static_cast<size_t>(n));
      for (int64_t r = 0; r < 3; ++r) {
        reference::layer_norm_row(x.data() + r * n, w.data(), b.data(), 1e-5f, n, want.data());
        for (int64_t i = 0; i < n; ++i) {
          const auto at = static_cast<size_t>(r * n + i);
          // A value of about 15 is off by 2^-21 before it is divided by a deviation of about 3.
          const float scale = n < 4 ? 1e-3f : 1e-5f;
          ASSERT_NEAR(got[at], want[static_cast<size_t>(i)],
                      scale * (1 + std::abs(w[static_cast<size_t>(i)])))
              << n;
        }
      }
      layer_norm(x.data(), w.data(), b.data(), 1e-5f, 3, n, x.data());
      ASSERT_EQ(x, got);
    }
  });
}

// Goal: gelu is within 5e-7 of the exact function everywhere; infinities and NaN give what the
// formula gives.
TEST(Elementwise, Gelu) {
  on_each_isa([] {
    for (const int64_t n : kLengths) {
      std::vector<float> got = random_values(n, 5, 3.0f);
      std::vector<float> want = got;
      reference::gelu_in_place(want.data(), n);
      gelu_in_place(got.data(), n);
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_NEAR(got[i], want[i], 5e-7 + std::abs(want[i]) * 2e-7) << i;
      }
    }
    const float inf = std::numeric_limits<float>::infinity();
    std::vector<float> x = {1e30f, -1e30f, inf, std::nanf(""), 0.0f, -20.0f, 20.0f, -3.0f};
    gelu_in_place(x.data(), static_cast<int64_t>(x.size()));
    EXPECT_EQ(x[0], 1e30f);
    EXPECT_EQ(x[1], 0.0f);
    EXPECT_EQ(x[2], inf);
    EXPECT_TRUE(std::isnan(x[3]));
    EXPECT_EQ(x[4], 0.0f);
    EXPECT_EQ(x[5], 0.0f);
    EXPECT_EQ(x[6], 20.0f);
    EXPECT_NEAR(x[7], -0.00404969409, 5e-7);
  });
}

// Goal: add and arg_max are exact; the lowest index wins a tie.
TEST(Elementwise, AddAndArgMax) {
  on_each_isa([] {
    for (const int64_t n : kLengths) {
      std::vector<float> x = random_values(n, 5, 1.0f);
      const std::vector<float> before = x;
      const std::vector<float> y = random_values(n, 6, 1.0f);
      add_in_place(x.data(), y.data(), n);
      for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(x[i], before[i] + y[i]);
      ASSERT_EQ(arg_max(x.data(), n), reference::arg_max(x.data(), n));
      for (const int64_t at : {int64_t{0}, n / 2, n - 1}) {
        std::vector<float> peaks = x;
        peaks[static_cast<size_t>(at)] = 100.0f;
        peaks.back() = 100.0f;
        ASSERT_EQ(arg_max(peaks.data(), n), at);
      }
    }
  });
}

// Goal: rope equals the reference in both pair orders, leaves the rest of a head alone, and the
// shared angles give the same bits as a call of their own. Positions up to 10^5 keep their angle.
TEST(Elementwise, Rope) {
  on_each_isa([] {
    for (const bool half_split : {false, true}) {
      RopeTable table;
      table.half_split = half_split;
      table.magnitude = 1.25f;
      for (int i = 0; i < 12; ++i) {
        table.frequency.push_back(static_cast<float>(std::pow(10000.0, -i / 12.0)));
      }
      const std::vector<int32_t> positions = {0, 1, 77, 100000};
      const int64_t heads = 3, d = 30, stride = heads * d + 5;
      const std::vector<float> x = random_values(4 * stride, 8, 1.0f);
      std::vector<float> want = x, got = x, shared = x;
      for (int64_t r = 0; r < 4; ++r) {
        reference::rope_row(table, want.data() + r * stride, heads, d,
                            positions[static_cast<size_t>(r)]);
      }
      rope(table, got.data(), stride, heads, d, positions);
      RopeAngles angles;
      angles.compute(table, positions);
      rope(angles, {0, angles.rows()}, shared.data(), stride, heads, d);
      ASSERT_EQ(got, shared);
      for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(got[i], want[i], 3e-6) << i;
      ASSERT_EQ(got[24], x[24]) << "beyond the rotated dimensions";
      ASSERT_EQ(got[static_cast<size_t>(heads * d)], x[static_cast<size_t>(heads * d)]);
    }
  });
}

}  // namespace
}  // namespace hadal
