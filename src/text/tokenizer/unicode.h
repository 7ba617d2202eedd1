#pragma once
/// What tokenizers need of Unicode: classes of code points and lower case (version 15.0), NFC and
/// NFD (9.0, as the reference tokenizers have it: see tools/make_unicode_tables.py). Everything is
/// pure and thread-safe; tables are unfolded once, at first use.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/utf8.h"

namespace hadal::unicode {

/// Bits of a code point's class. One general category bit at most, plus properties.
enum : uint16_t {
  kLetter = 1,        // L
  kNumber = 2,        // N
  kPunctuation = 4,   // P
  kSymbol = 8,        // S
  kMark = 16,         // M
  kSpace = 32,        // White_Space (not a category: U+0085 is also kOther)
  kOther = 64,        // C, unassigned code points included
  kNonspacing = 128,  // Mn
  kNfcCheck = 256     // may change under NFC, or change what stands before it
};

/// Two-stage table: code point >> 7 -> block -> class.
class ClassTable {
 public:
  static const ClassTable& get();
  uint16_t of(char32_t code_point) const {
    return blocks_[(static_cast<size_t>(stage1_[code_point >> 7]) << 7) | (code_point & 127)];
  }

 private:
  ClassTable();
  static constexpr size_t kBlocks = 0x110000 / 128;
  std::array<uint16_t, kBlocks> stage1_{};
  std::vector<uint16_t> blocks_;
};

/// Canonical composition of the valid stretches of `text`; invalid bytes stay as they are.
std::string nfc(std::string_view text);
/// Whether nfc() would leave `text` alone, judged quickly: false means "perhaps not".
bool surely_nfc(std::string_view text, const ClassTable& classes);
/// Full canonical decomposition, Hangul included. Invalid bytes become U+FFFD.
std::u32string nfd(std::u32string_view text);
/// Simple lower case of one code point.
char32_t lower(char32_t code_point);

}  // namespace hadal::unicode
