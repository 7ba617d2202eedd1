/// Encoders against the decoders, against testdata/encode_vectors.txt
/// (tools/make_encode_vectors.py) and on blocks made to break them.
#include "tensor/quantize.h"

#include <bit>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace hadal {
namespace {

constexpr int64_t kRow = 512;

std::vector<uint8_t> encode(DType type, const std::vector<float>& x,
                            const float* importance = nullptr) {
  const auto n = static_cast<int64_t>(x.size());
  std::vector<uint8_t> out(dtype_row_bytes(type, n));
  const Status done = quantize_row(type, x.data(), importance, out.data(), n);
  EXPECT_TRUE(done.ok()) << dtype_info(type).name << ": " << done.error().text();
  return out;
}

std::vector<float> round_trip(DType type, const std::vector<float>& x,
                              const float* importance = nullptr) {
  const auto bytes = encode(type, x, importance);
  std::vector<float> out(x.size());
  dequantize_row(type, bytes.data(), out.data(), static_cast<int64_t>(x.size()));
  return out;
}

double error_of(const std::vector<float>& x, const std::vector<float>& y,
                const std::vector<float>& weights = {}) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double off = static_cast<double>(x[i]) - static_cast<double>(y[i]);
    sum += (weights.empty() ? 1.0 : static_cast<double>(weights[i])) * off * off;
  }
  return sum;
}

std::vector<float> normal_row(int64_t n, float deviation, unsigned seed = 7) {
  std::mt19937 source(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& value : x) value = normal(source);
  return x;
}

// Goal: the relative error of each type on Gaussian rows is what its bits allow. The bounds are
// those of an ideal uniform quantiser of so many bits with block maxima, rounded up; a wrong bit
// order or sign gives errors near 1.
TEST(Quantize, RoundTripBounds) {
  const std::map<DType, double> bounds = {
      {DType::kF32, 0},        {DType::kF16, 5e-4},    {DType::kBF16, 4e-3},
      {DType::kQ8_0, 0.006},   {DType::kQ6_K, 0.021},  {DType::kQ5_1, 0.037},
      {DType::kQ5_0, 0.042},   {DType::kQ5_K, 0.038},  {DType::kQ4_1, 0.076},
      {DType::kQ4_K, 0.080},   {DType::kQ4_0, 0.085},  {DType::kIQ4_NL, 0.075},
      {DType::kIQ4_XS, 0.078}, {DType::kMXFP4, 0.115}, {DType::kQ3_K, 0.165},
      {DType::kQ2_K, 0.31},
  };
  const auto x = normal_row(16 * kRow, 0.03f);
  const std::vector<float> flat(x.size(), 1.0f);
  const double all = error_of(x, std::vector<float>(x.size()));
  ASSERT_EQ(bounds.size(), quantize_targets().size());
  for (const DType type : quantize_targets()) {
    const double error = std::sqrt(error_of(x, round_trip(type, x, flat.data())) / all);
    RecordProperty(std::string(dtype_info(type).name), std::to_string(error));
    EXPECT_LE(error, bounds.at(type)) << dtype_info(type).name;
  }
}

// Goal: encoding what a type decoded gives the same values again, so that requantising to the same
// type loses nothing that it need not.
TEST(Quantize, OwnValuesStay) {
  for (const DType type : quantize_targets()) {
    const auto once = round_trip(type, normal_row(4 * kRow, 1.0f));
    const double all = error_of(once, std::vector<float>(once.size()));
    const double error = std::sqrt(error_of(once, round_trip(type, once)) / all);
    const bool two_levels = dtype_info(type).block_elements == 256;
    EXPECT_LE(error, two_levels ? 0.02 : 1e-3) << dtype_info(type).name;
  }
}

// Goal: importance moves the error away from the values that count.
TEST(Quantize, ImportanceLowersTheWeightedError) {
  const auto x = normal_row(4 * kRow, 0.02f);
  std::mt19937 source(3);
  std::vector<float> weights(x.size());
  for (float& weight : weights) weight = source() % 8 == 0 ? 30.0f : 0.3f;
  const std::vector<float> flat(x.size(), 1.0f);
  for (const DType type : quantize_targets()) {
    if (dtype_info(type).block_elements == 1) continue;
    const double with = error_of(x, round_trip(type, x, weights.data()), weights);
    const double without = error_of(x, round_trip(type, x, flat.data()), weights);
    EXPECT_LT(with, type == DType::kMXFP4 ? without * 1.0001 : without * 0.97)
        << dtype_info(type).name;
  }
}

std::vector<float> floats_of(const std::string& words) {
  std::vector<float> out;
  std::istringstream in(words);
  for (std::string word; std::getline(in, word, ',');) {
    out.push_back(
        std::bit_cast<float>(static_cast<uint32_t>(std::strtoul(word.c_str(), nullptr, 16))));
  }
  return out;
}

std::string hex(const std::vector<uint8_t>& bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const uint8_t byte : bytes) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

// Goal: without importance the formats that define their encoder are written bit by bit as the
// independent encoder does; searched for, no type is worse than it.
TEST(Quantize, MatchesIndependentEncoder) {
  std::ifstream file(HADAL_SOURCE_DIR "/src/tensor/testdata/encode_vectors.txt");
  ASSERT_TRUE(file.is_open());
  std::map<std::string, std::vector<float>> rows;
  int codes = 0;
  int errors = 0;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string kind, first, name, value;
    words >> kind >> first >> name >> value;
    if (kind == "row") {
      rows[first] = floats_of(name);
      continue;
    }
    const auto type = dtype_named(first);
    ASSERT_TRUE(type.has_value()) << line;
    const std::vector<float>& x = rows[name];
    if (kind == "code") {
      EXPECT_EQ(hex(encode(*type, x)), value) << first << " of " << name;
      ++codes;
    } else {
      const std::vector<float> flat(x.size(), 1.0f);
      const double error = error_of(x, round_trip(*type, x, flat.data()));
      const double all = error_of(x, std::vector<float>(x.size()));
      EXPECT_LE(error, std::strtod(value.c_str(), nullptr) * 1.0001 + 1e-12 * all)
          << first << " of " << name;
      ++errors;
    }
  }
  EXPECT_EQ(codes, 30);
  EXPECT_EQ(errors, 60);
}

// Goal: FP4 values under power-of-two scales go to MXFP4 without any loss, so that checkpoints in
// that format convert exactly.
TEST(Quantize, Fp4IsKeptExactly) {
  constexpr float kValues[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  std::mt19937 source(11);
  std::vector<float> x(64 * 32);
  for (size_t block = 0; block < 64; ++block) {
    const size_t largest = 1 + block % 7;
    const float scale = std::ldexp(1.0f, static_cast<int>(block) - 40);
    for (size_t j = 0; j < 32; ++j) {
      const float value = kValues[source() % (largest + 1)] * scale;
      x[32 * block + j] = source() % 2 == 0 ? value : -value;
    }
  }
  EXPECT_EQ(error_of(x, round_trip(DType::kMXFP4, x)), 0);
  const std::vector<float> flat(x.size(), 1.0f);
  EXPECT_EQ(error_of(x, round_trip(DType::kMXFP4, x, flat.data())), 0);
}

// Goal: blocks made to break a search come back finite and no worse than zeros would be.
TEST(Quantize, AdversarialBlocks) {
  const float least = std::numeric_limits<float>::denorm_min();
  std::map<std::string, std::vector<float>> rows;
  rows["zeros"] = std::vector<float>(256);
  rows["minus zeros"] = std::vector<float>(256, -0.0f);
  rows["equal"] = std::vector<float>(256, 0.37f);
  rows["negative"] = std::vector<float>(256, -2.0f);
  rows["denormal"] = std::vector<float>(256, least);
  rows["tiny"] = std::vector<float>(256, 3e-20f);
  rows["below f16"] = std::vector<float>(256, 2e-8f);
  rows["subnormal scale"] = normal_row(256, 1e-5f);
  rows["large"] = normal_row(256, 1e4f);
  rows["outlier"] = normal_row(256, 1e-3f);
  rows["outlier"][200] = 900.0f;
  rows["two outliers"] = rows["outlier"];
  rows["two outliers"][3] = -900.0f;
  rows["alternating"] = std::vector<float>(256, 1.0f);
  for (size_t i = 0; i < 256; i += 2) rows["alternating"][i] = -1.0f;
  rows["one group"] = std::vector<float>(256);
  for (size_t i = 32; i < 48; ++i) rows["one group"][i] = static_cast<float>(i);
  const std::vector<float> flat(256, 1.0f);
  const std::vector<float> none(256, 0.0f);
  std::vector<float> spread(256, 1e-30f);
  spread[17] = 1e30f;
  for (const DType type : quantize_targets()) {
    for (const auto& [name, x] : rows) {
      const double all = error_of(x, std::vector<float>(256));
      const std::vector<float>* const kinds[] = {&flat, &none, &spread};
      for (const std::vector<float>* weights : kinds) {
        const auto y = round_trip(type, x, weights->data());
        for (const float value : y) ASSERT_TRUE(std::isfinite(value)) << name;
        if (weights == &spread) continue;
        EXPECT_LE(error_of(x, y), all * 1.0001) << dtype_info(type).name << " of " << name;
      }
      round_trip(type, x);
    }
  }
}

// Goal: values that no file may hold are refused by column, also where a scale would overflow.
TEST(Quantize, RefusesWhatIsNotFinite) {
  for (const DType type : quantize_targets()) {
    for (const float bad : {std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity(), std::nanf("")}) {
      std::vector<float> x(512, 1.0f);
      x[300] = bad;
      std::vector<uint8_t> out(dtype_row_bytes(type, 512));
      const Status done = quantize_row(type, x.data(), nullptr, out.data(), 512);
      ASSERT_FALSE(done.ok());
      EXPECT_EQ(done.error().code, Code::kInvalidArgument);
      EXPECT_NE(done.error().message.find("column 300"), std::string::npos) << done.error().text();
    }
    if (type == DType::kF32 || type == DType::kBF16 || type == DType::kMXFP4) continue;
    std::vector<float> huge(256, 1e30f);
    const std::vector<float> flat(256, 1.0f);
    std::vector<uint8_t> out(dtype_row_bytes(type, 256));
    for (const float* weights : {flat.data(), static_cast<const float*>(nullptr)}) {
      const Status done = quantize_row(type, huge.data(), weights, out.data(), 256);
      ASSERT_FALSE(done.ok()) << dtype_info(type).name;
      EXPECT_NE(done.error().message.find("too large for"), std::string::npos);
    }
  }
}

// Goal: names in any case; what is no target is not found.
TEST(Quantize, Names) {
  EXPECT_EQ(dtype_named("q4_k"), DType::kQ4_K);
  EXPECT_EQ(dtype_named("BF16"), DType::kBF16);
  EXPECT_EQ(dtype_named("Q4_K_M"), std::nullopt);
  EXPECT_EQ(dtype_named("I32"), std::nullopt);
  EXPECT_EQ(dtype_named(""), std::nullopt);
}

}  // namespace
}  // namespace hadal
