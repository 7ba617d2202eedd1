/// Decoders against testdata/quant_vectors.txt, which tools/make_quant_vectors.py wrote with an
/// independent numpy decoder (the file's form is described there). Equality is of float bits for
/// every type: the order of roundings is the formula's in both. NaN is left out, as its payload is
/// not part of any format.
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tensor/dtype.h"

namespace hadal {
namespace {

uint64_t next_random(uint64_t& state) {
  state += 0x9E3779B97F4A7C15;
  uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

constexpr uint64_t kFnvStart = 0xCBF29CE484222325;
uint64_t fnv_step(uint64_t hash, uint32_t word) {
  return (hash ^ word) * 0x100000001B3;
}

DType type_named(const std::string& name) {
  for (uint32_t id = 0; id < 64; ++id) {
    const auto type = dtype_from_gguf(id);
    if (type.ok() && dtype_info(type.value()).name == name) return type.value();
  }
  ADD_FAILURE() << "no type " << name;
  return DType::kF32;
}

std::vector<uint8_t> from_hex(const std::string& text) {
  std::vector<uint8_t> out;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    out.push_back(static_cast<uint8_t>(std::strtoul(text.substr(i, 2).c_str(), nullptr, 16)));
  }
  return out;
}

uint64_t hex(const std::string& text) {
  return std::strtoull(text.c_str(), nullptr, 16);
}

std::vector<float> decode(DType type, const std::vector<uint8_t>& bytes) {
  const DTypeInfo& info = dtype_info(type);
  EXPECT_EQ(bytes.size() % static_cast<size_t>(info.block_bytes), 0u);
  std::vector<float> out(bytes.size() / static_cast<size_t>(info.block_bytes) *
                         static_cast<size_t>(info.block_elements));
  dequantize_row(type, bytes.data(), out.data(), static_cast<int64_t>(out.size()));
  return out;
}

uint64_t hash_floats(const std::vector<float>& values) {
  uint64_t hash = kFnvStart;
  for (const float value : values) hash = fnv_step(hash, std::bit_cast<uint32_t>(value));
  return hash;
}

std::vector<uint8_t> random_blocks(const std::string& scales, size_t block_bytes, uint64_t seed,
                                   size_t count) {
  std::vector<uint8_t> bytes;
  while (bytes.size() < block_bytes * count) {
    const uint64_t word = next_random(seed);
    for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<uint8_t>(word >> (8 * i)));
  }
  bytes.resize(block_bytes * count);
  std::istringstream offsets(scales == "-" ? "" : scales);
  for (std::string offset; std::getline(offsets, offset, ',');) {
    for (size_t i = std::strtoul(offset.c_str(), nullptr, 10) + 1; i < bytes.size();
         i += block_bytes) {
      if ((bytes[i] & 0x7C) == 0x7C) bytes[i] &= 0xBF;
    }
  }
  return bytes;
}

uint64_t hash_table(DType type) {
  uint64_t hash = kFnvStart;
  for (uint32_t code = 0; code < 65536; ++code) {
    const auto bits = static_cast<uint16_t>(code);
    float value = 0;
    dequantize_row(type, &bits, &value, 1);
    if (!std::isnan(value)) hash = fnv_step(hash, std::bit_cast<uint32_t>(value));
  }
  return hash;
}

/// The floats of the generator's "encode" lines.
uint64_t hash_encoded(bool half, uint64_t seed, size_t count) {
  uint64_t hash = kFnvStart;
  for (size_t i = 0; i < count; ++i) {
    auto word = static_cast<uint32_t>(next_random(seed) >> 32);
    if (i % 2 == 0) {
      const uint32_t top = ((word >> 12) & 0x7FFF) % 0x3800 + 0x3300;
      word = (word & 0x80000FFF) | ((top << 12) & 0x7FFFF000);
    }
    const auto value = std::bit_cast<float>(word);
    if (!std::isnan(value)) hash = fnv_step(hash, half ? f32_to_f16(value) : f32_to_bf16(value));
  }
  return hash;
}

// Goal: every block format decodes to the same bits as the independent decoder.
TEST(Quant, MatchesIndependentDecoder) {
  std::ifstream file(HADAL_SOURCE_DIR "/src/tensor/testdata/quant_vectors.txt");
  ASSERT_TRUE(file.is_open());
  std::map<std::string, int> seen;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string form;
    std::string name;
    words >> form >> name;
    std::vector<std::string> rest;
    for (std::string word; words >> word;) rest.push_back(word);
    const DType type = type_named(name);
    ++seen[form];
    if (form == "blocks") {
      const auto bytes = random_blocks(rest[1], std::strtoul(rest[0].c_str(), nullptr, 10),
                                       hex(rest[2]), std::strtoul(rest[3].c_str(), nullptr, 10));
      EXPECT_EQ(hash_floats(decode(type, bytes)), hex(rest[4])) << name;
    } else if (form == "block") {
      EXPECT_EQ(hash_floats(decode(type, from_hex(rest[0]))), hex(rest[1])) << line;
    } else if (form == "floats") {
      const auto values = decode(type, from_hex(rest[0]));
      std::istringstream expected(rest[1]);
      size_t i = 0;
      for (std::string word; std::getline(expected, word, ','); ++i) {
        ASSERT_LT(i, values.size());
        EXPECT_EQ(std::bit_cast<uint32_t>(values[i]), hex(word)) << name << " value " << i;
      }
      EXPECT_EQ(i, values.size());
    } else if (form == "table") {
      EXPECT_EQ(hash_table(type), hex(rest[0])) << name;
    } else if (form == "encode") {
      EXPECT_EQ(hash_encoded(type == DType::kF16, hex(rest[0]),
                             std::strtoul(rest[1].c_str(), nullptr, 10)),
                hex(rest[2]))
          << name;
    } else {
      ADD_FAILURE() << line;
    }
  }
  EXPECT_EQ(seen["blocks"], 13);
  EXPECT_EQ(seen["floats"], 13);
  EXPECT_EQ(seen["table"], 2);
  EXPECT_EQ(seen["encode"], 2);
  EXPECT_GE(seen["block"], 13 * 28);
}

// Goal: plain integer and float arrays convert by value, from any address.
TEST(Quant, PlainTypesConvertFromAnyAddress) {
  const auto check = [](DType type, auto number, float expected) {
    std::vector<uint8_t> bytes(1 + 2 * sizeof(number));
    std::memcpy(bytes.data() + 1, &number, sizeof(number));
    std::memcpy(bytes.data() + 1 + sizeof(number), &number, sizeof(number));
    float out[2] = {};
    dequantize_row(type, bytes.data() + 1, out, 2);
    EXPECT_EQ(out[0], expected) << dtype_info(type).name;
    EXPECT_EQ(out[1], expected) << dtype_info(type).name;
  };
  check(DType::kF32, -1.5F, -1.5F);
  check(DType::kF64, 1e-3, 1e-3F);
  check(DType::kI8, int8_t{-128}, -128.0F);
  check(DType::kI16, int16_t{-32768}, -32768.0F);
  check(DType::kI32, int32_t{-2147483647 - 1}, -2147483648.0F);
  check(DType::kI64, int64_t{1} << 40, 1099511627776.0F);
}

// Goal: half and bfloat16 survive the way through float and back; NaN stays NaN, edges round right.
TEST(Half, RoundTripsAndEdges) {
  for (uint32_t code = 0; code < 65536; ++code) {
    const auto bits = static_cast<uint16_t>(code);
    if (std::isnan(f16_to_f32(bits))) {
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(f16_to_f32(bits)))));
    } else {
      ASSERT_EQ(f32_to_f16(f16_to_f32(bits)), bits);
    }
    if (std::isnan(bf16_to_f32(bits))) {
      EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(bf16_to_f32(bits)))));
    } else {
      ASSERT_EQ(f32_to_bf16(bf16_to_f32(bits)), bits);
    }
  }
  EXPECT_EQ(f32_to_f16(65519.99F), 0x7BFF);
  EXPECT_EQ(f32_to_f16(65520.0F), 0x7C00);
  EXPECT_EQ(f32_to_f16(0x1p-25F), 0);  // a tie, to even
  EXPECT_EQ(f32_to_f16(std::nextafter(0x1p-25F, 1.0F)), 1);
  EXPECT_EQ(f32_to_f16(-0x1.8p-24F), 0x8002);  // a tie, to even
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3F808000U)), 0x3F80);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3F818000U)), 0x3F82);
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7F800001U)))));
}

// Goal: ids that exist but are not decoded are refused by name, invented ones as corrupt.
TEST(DTypeIds, RefusedByName) {
  const std::map<uint32_t, std::string> known = {
      {9, "Q8_1"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"},
      {19, "IQ1_S"}, {21, "IQ3_S"}, {22, "IQ2_S"},   {29, "IQ1_M"},  {34, "TQ1_0"},
      {35, "TQ2_0"}, {40, "NVFP4"}, {41, "Q1_0"},    {42, "Q2_0"}};
  for (const auto& [id, name] : known) {
    const auto type = dtype_from_gguf(id);
    ASSERT_FALSE(type.ok());
    EXPECT_EQ(type.error().code, Code::kUnsupported);
    EXPECT_NE(type.error().message.find(name + " "), std::string::npos) << type.error().message;
    EXPECT_NE(type.error().message.find("not supported yet"), std::string::npos);
  }
  for (const uint32_t id : {4U, 31U, 38U, 137U, 399U}) {
    EXPECT_EQ(dtype_from_gguf(id).error().code, Code::kUnsupported) << id;
  }
  for (const uint32_t id : {43U, 96U, 400U, 0x7FFFFFFFU, 0xFFFFFFFFU}) {
    EXPECT_EQ(dtype_from_gguf(id).error().code, Code::kCorrupt) << id;
  }
}

}  // namespace
}  // namespace hadal
