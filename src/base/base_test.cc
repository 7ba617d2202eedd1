#include <gtest/gtest.h>

#include "base/env.h"
#include "base/json.h"
#include "base/parse.h"
#include "base/result.h"
#include "base/utf8.h"

namespace hadal {
namespace {

Result<int> parse_positive(int x) {
  if (x < 0) return Error{Code::kInvalidArgument, "negative"};
  return x;
}

Result<int> twice(int x) {
  TRY(int v, parse_positive(x));
  return v * 2;
}

// Goal: TRY hands on values and errors unchanged.
TEST(Result, TryPropagates) {
  EXPECT_EQ(twice(21).value(), 42);
  EXPECT_EQ(twice(-1).error().message, "negative");
}

// Goal: every byte string can be walked to its end, invalid bytes one at a time.
TEST(Utf8, DecodesStrictly) {
  EXPECT_TRUE(utf8_valid("naïve 你好 😁"));
  for (const char* bad : {"\xC0\x80", "\xED\xA0\x80", "\xF5\x80\x80\x80", "\xE4\xBD", "\x80"}) {
    EXPECT_FALSE(utf8_valid(bad)) << bad;
  }
  EXPECT_EQ(utf8_sanitized("a\xFFz"), "a\xEF\xBF\xBDz");
}

// Goal: a prefix is cut only where more bytes could still complete a character.
TEST(Utf8, CompletePrefix) {
  const std::string text = "好😁";
  EXPECT_EQ(utf8_complete_prefix(text.substr(0, 2)), 0u);
  EXPECT_EQ(utf8_complete_prefix(text.substr(0, 3)), 3u);
  for (size_t n = 4; n < 7; ++n) EXPECT_EQ(utf8_complete_prefix(text.substr(0, n)), 3u);
  EXPECT_EQ(utf8_complete_prefix(text), 7u);
  EXPECT_EQ(utf8_complete_prefix("a\xFF"), 2u);
  EXPECT_EQ(utf8_complete_prefix("\xED\xA0"), 2u);  // a surrogate can never become valid
}

// Goal: JSON numbers and strings come out as other programs write them.
TEST(Json, WritesShortestNumbers) {
  auto value = parse_json(R"({"a":[0.5,1,-2,1e30,"q\"\u4f60\n"],"b":null})");
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(to_json(value.value()), "{\"a\":[0.5,1,-2,1e+30,\"q\\\"你\\n\"],\"b\":null}");
}

// Goal: errors say where; depth is bounded.
TEST(Json, RejectsWithPosition) {
  EXPECT_NE(parse_json("{\n \"a\": }").error().message.find("line 2"), std::string::npos);
  EXPECT_FALSE(parse_json("{} x").ok());
  EXPECT_FALSE(parse_json("\"\xFF\"").ok());
  EXPECT_FALSE(parse_json(std::string(100000, '[')).ok());
  EXPECT_FALSE(parse_json("").ok());
}

// Goal: numbers are read whole or not at all.
TEST(Parse, WholeNumbersOnly) {
  EXPECT_EQ(parse_bytes("4096"), 4096u);
  EXPECT_EQ(parse_bytes("4GiB"), 4ull << 30);
  EXPECT_EQ(parse_bytes("1.5 MiB"), 3u << 19);
  EXPECT_EQ(parse_bytes("2MB"), 2'000'000u);
  EXPECT_EQ(parse_bytes("0"), 0u);
  for (const char* text : {"", "GiB", "-1", "4 gb", "4  GiB", "nan", "inf", "1e30", "4GiBx"}) {
    EXPECT_FALSE(parse_bytes(text).has_value()) << text;
  }
  EXPECT_EQ(parse_int<int>("42"), 42);
  EXPECT_FALSE(parse_int<int>("42x").has_value());
  EXPECT_FALSE(parse_int<int8_t>("300").has_value());
  EXPECT_FALSE(parse_double("").has_value());
}

// Goal: a written file is read back; a too large one is refused.
TEST(Env, WritesAndReadsFiles) {
  const auto path = std::filesystem::path(testing::TempDir()) / "hadal_env_test";
  ASSERT_TRUE(Env::real().write_file(path, "hello").ok());
  EXPECT_EQ(Env::real().read_file(path, 5).value(), "hello");
  EXPECT_EQ(Env::real().read_file(path, 4).error().code, Code::kExhausted);
  std::filesystem::remove(path);
  EXPECT_EQ(Env::real().read_file(path, 4).error().code, Code::kNotFound);
}

}  // namespace
}  // namespace hadal
