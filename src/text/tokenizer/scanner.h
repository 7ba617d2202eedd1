#pragma once
/// Character access for the pre-tokenizers: code point, length and class at a byte position.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/utf8.h"
#include "text/tokenizer/unicode.h"

namespace hadal {

/// One character as a scanner sees it. `size` 0 (and no class) past the end of the window.
struct ScannedChar {
  char32_t code_point = 0;
  uint16_t classes = 0;
  uint8_t size = 0;
  bool is(uint16_t any_of) const { return (classes & any_of) != 0; }
};

/// Classes of ASCII, for the fast path.
inline constexpr std::array<uint16_t, 128> kAsciiClasses = [] {
  using namespace unicode;  // NOLINT(google-build-using-namespace) class bits only
  std::array<uint16_t, 128> table{};
  for (unsigned c = 0; c < 128; ++c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool symbol = c == '$' || c == '+' || (c >= '<' && c <= '>') || c == '^' || c == '`' ||
                        c == '|' || c == '~';
    if (letter)
      table[c] = kLetter;
    else if (c >= '0' && c <= '9')
      table[c] = kNumber;
    else if (c >= 9 && c <= 13)
      table[c] = kSpace | kOther;
    else if (c == ' ')
      table[c] = kSpace;
    else if (c < 32 || c == 127)
      table[c] = kOther;
    else
      table[c] = symbol ? kSymbol : kPunctuation;
  }
  return table;
}();

/// A window of the text; positions are absolute byte offsets.
class Scanner {
 public:
  Scanner(std::string_view text, size_t end)
      : text_(text.substr(0, end)), classes_(unicode::ClassTable::get()) {}

  size_t end() const { return text_.size(); }

  ScannedChar look(size_t position) const {
    if (position >= text_.size()) return {};
    const auto byte = static_cast<uint8_t>(text_[position]);
    if (byte < 0x80) return {byte, kAsciiClasses[byte], 1};
    const Utf8Step step = utf8_decode(text_, position);
    return {step.code_point, classes_.of(step.code_point), step.size};
  }

  /// End of the run of characters from `position` that satisfy `wanted`.
  template <typename Predicate>
  size_t run(size_t position, Predicate wanted) const {
    for (;;) {
      const ScannedChar c = look(position);
      if (c.size == 0 || !wanted(c)) return position;
      position += c.size;
    }
  }

 private:
  std::string_view text_;
  const unicode::ClassTable& classes_;
};

}  // namespace hadal
