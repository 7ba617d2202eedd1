#include "text/tokenizer/unicode.h"

#include <gtest/gtest.h>

#include "text/tokenizer/scanner.h"

namespace hadal::unicode {
namespace {

// Goal: classes at hand-picked places, both ends of the code space included.
TEST(Unicode, Classes) {
  const ClassTable& t = ClassTable::get();
  EXPECT_EQ(t.of('a'), kLetter);
  EXPECT_EQ(t.of(U'你') & kLetter, kLetter);
  EXPECT_EQ(t.of(U'½'), kNumber);
  EXPECT_EQ(t.of(U'。'), kPunctuation);
  EXPECT_EQ(t.of(0x1F601), kSymbol);
  EXPECT_EQ(t.of(0x301), kMark | kNonspacing | kNfcCheck);
  EXPECT_EQ(t.of(0x3000), kSpace);
  EXPECT_EQ(t.of(0x85), kSpace | kOther);
  EXPECT_EQ(t.of(0x1C), kOther);  // white space to Python, not to Unicode
  EXPECT_EQ(t.of(0x200B), kOther);
  EXPECT_EQ(t.of(0xFFFD), kSymbol);
  EXPECT_EQ(t.of(0x10FFFF), kOther);
}

// Goal: the hand-written ASCII table agrees with the generated one.
TEST(Unicode, AsciiFastPathAgrees) {
  for (char32_t c = 0; c < 128; ++c) {
    EXPECT_EQ(kAsciiClasses[c], ClassTable::get().of(c) & ~kNfcCheck) << static_cast<uint32_t>(c);
  }
}

// Goal: composition, reordering, exclusions and Hangul, and quick judgement never wrong.
TEST(Unicode, Nfc) {
  const std::pair<std::string, std::string> cases[] = {
      {"e\u0301", "\u00e9"},
      {"q\u0307\u0323", "q\u0323\u0307"},
      {"\u1e0b\u0323", "\u1e0d\u0307"},
      {"\u212b\u2126\u212a", "\u00c5\u03a9K"},
      {"\u0958", "\u0915\u093c"},  // excluded from composition
      {"\u1100\u1161\u11a8", "\uac01"},
      {"\uac00\u11a8", "\uac01"},
      {"\u1100\u1161\u11a7", "\uac00\u11a7"},
      {"\U0002f800", "\u4e3d"},
      {"a\xFF\u0301", "a\xFF\u0301"},
      {"\u0301e", "\u0301e"},
      {"e\u0323\u0301x\u0301", "\u1eb9\u0301x\u0301"},
      {"plain", "plain"}};
  for (const auto& [text, wanted] : cases) {
    EXPECT_EQ(nfc(text), wanted) << text;
    EXPECT_EQ(nfc(wanted), wanted) << text;
    EXPECT_TRUE(text == wanted || !surely_nfc(text, ClassTable::get())) << text;
  }
  EXPECT_TRUE(surely_nfc("plain é 你好 😁", ClassTable::get()));
}

// Goal: decomposition is complete and marks come in canonical order.
TEST(Unicode, Nfd) {
  EXPECT_EQ(nfd(U"\u1ed9"), U"o\u0323\u0302");
  EXPECT_EQ(nfd(U"각"), U"\u1100\u1161\u11a8");
  EXPECT_EQ(nfd(U"\u0344"), U"\u0308\u0301");
}

// Goal: lower case in runs of stride one and two, and none where there is none.
TEST(Unicode, Lower) {
  EXPECT_EQ(lower(U'Z'), U'z');
  EXPECT_EQ(lower(U'z'), U'z');
  EXPECT_EQ(lower(0x100), 0x101u);
  EXPECT_EQ(lower(0x101), 0x101u);
  EXPECT_EQ(lower(U'Σ'), U'σ');
  EXPECT_EQ(lower(0x10400), 0x10428u);
  EXPECT_EQ(lower(U'你'), U'你');
}

}  // namespace
}  // namespace hadal::unicode
