#pragma once
/// UTF-8 in, code points out, and back. Invalid bytes are never dropped: they decode as one
/// replacement per byte, so a caller can always walk any byte string to its end.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace hadal {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;

/// One decoded step: `size` bytes were read; `valid` is false for a byte that begins no character.
struct Utf8Step {
  char32_t code_point;
  uint8_t size;  ///< 1..4, never 0
  bool valid;
};

/// Decodes at `position` (must be < text.size()). Overlong forms and surrogates are invalid.
Utf8Step utf8_decode(std::string_view text, size_t position);

/// Appends `code_point` (<= U+10FFFF, else U+FFFD is written).
void utf8_append(std::string& out, char32_t code_point);

bool utf8_valid(std::string_view text);

/// Length of the longest prefix that does not end inside a character which more bytes could
/// complete. Bytes that can never become valid count as complete.
size_t utf8_complete_prefix(std::string_view text);

/// `text` with every invalid byte replaced by U+FFFD.
std::string utf8_sanitized(std::string_view text);

/// Number of code points (an invalid byte counts as one).
size_t utf8_length(std::string_view text);

}  // namespace hadal
