#include <gtest/gtest.h>

#include "base/utf8.h"
#include "text/tokenizer.h"
#include "text/tokenizer/test_vocabulary.h"

namespace hadal {
namespace {

std::unique_ptr<Tokenizer> bytes_tokenizer() {
  return std::move(Tokenizer::create(byte_spec("gpt-2", {"\xE4|\xBD", "\xA0|\xE5"}))).value();
}

/// All bytes of `text` pushed one token each; every push must give whole characters.
std::string pushed(const Tokenizer& tokenizer, const std::string& text) {
  Detokenizer out(tokenizer);
  std::string all;
  for (const char byte : text) {
    const std::string part = out.push(static_cast<uint8_t>(byte));
    EXPECT_TRUE(utf8_valid(part));
    all += part;
  }
  return all + out.finish();
}

// Goal: characters spread over tokens come out whole, as soon as they are complete.
TEST(Detokenizer, HoldsBackUnfinishedCharacters) {
  const auto t = bytes_tokenizer();
  Detokenizer out(*t);
  EXPECT_EQ(out.push(256), "");    // E4 BD
  EXPECT_EQ(out.push(257), "你");  // A0 E5
  EXPECT_EQ(out.push(0xA5), "");
  EXPECT_EQ(out.push(0xBD), "好");
  EXPECT_EQ(out.finish(), "");
}

// Goal: broken bytes become U+FFFD as in Python's errors="replace", however they are split.
TEST(Detokenizer, ReplacesLikePython) {
  const auto t = bytes_tokenizer();
  const std::pair<std::string, std::string> cases[] = {
      {"a\xFF z", "a\uFFFD z"},
      {"\xE4\xBD", "\uFFFD"},  // one unfinished character
      {"\xE4\xBDz", "\uFFFDz"},
      {"\xE4z", "\uFFFDz"},
      {"\xF0\x9F\x98z", "\uFFFDz"},
      {"\xF0\x9F\x98\xF0\x9F\x98\x81", "\uFFFD😁"},
      {"\xC0\x80", "\uFFFD\uFFFD"},                      // overlong
      {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},            // surrogate
      {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},  // beyond U+10FFFF
      {"\xE0\x80\x80", "\uFFFD\uFFFD\uFFFD"},
      {"\x80\xBF", "\uFFFD\uFFFD"},
      {"\xF0\x9F", "\uFFFD"},
      {"\xE4\xE4\xBD\xA0", "\uFFFD你"}};
  for (const auto& [bytes, wanted] : cases) EXPECT_EQ(pushed(*t, bytes), wanted);
}

// Goal: the blank that SentencePiece puts before a text is dropped once, and only at the start.
TEST(Detokenizer, DropsTheLeadingBlankOnce) {
  const auto t = std::move(Tokenizer::create(sentencepiece_spec({"▁a", "b"}))).value();
  Detokenizer out(*t);
  EXPECT_EQ(out.push(1), "");  // <s>
  EXPECT_EQ(out.push(259), "a");
  EXPECT_EQ(out.push(259), " a");
  EXPECT_EQ(out.push(260), "b");
  EXPECT_EQ(out.push(3 + 0xC3), "");
  EXPECT_EQ(out.push(3 + 0xA9), "é");
  EXPECT_EQ(out.finish(), "");
}

// Goal: after other text the blank of a SentencePiece token is a blank of the text.
TEST(Detokenizer, KeepsTheBlankOfAContinuation) {
  const auto t = std::move(Tokenizer::create(sentencepiece_spec({"▁a"}))).value();
  Detokenizer out(*t, false, true);
  EXPECT_EQ(out.push(259), " a");
  EXPECT_EQ(out.push(259), " a");
}

}  // namespace
}  // namespace hadal
