#pragma once
/// What Python's str methods need to know about characters.
#include <cstddef>
#include <string>
#include <string_view>

namespace hadal::jinja {

bool is_space(char32_t c);
/// Alphabetic, decimal digit: exact for ASCII, by block for other scripts.
bool is_alpha(char32_t c);
bool is_digit(char32_t c);
/// Whether repr() shows the character as it is.
bool is_printable(char32_t c);
/// Simple case mapping (one character to one).
char32_t to_upper(char32_t c);
char32_t to_lower(char32_t c);

/// Bytes of white space at the front and the end.
size_t leading_space(std::string_view text);
size_t trailing_space(std::string_view text);

}  // namespace hadal::jinja
