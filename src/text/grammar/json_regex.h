#pragma once
/// The regular pieces of JSON texts: blanks, strings, numbers, formats.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "text/grammar.h"
#include "text/grammar/regex.h"

namespace hadal::json_regex {

/// Digits of a number that no bound limits: what 64-bit integers and doubles hold without loss.
inline constexpr uint32_t kIntegerDigits = 18;
inline constexpr uint32_t kFractionDigits = 17;

/// Nothing, one blank, or one line break with indentation.
Regex blanks();
/// Before a whole text: nothing, a blank, or up to two line breaks.
Regex leading_blanks();

/// One character inside a string in all its spellings; pairs of surrogates count as one.
Regex string_character();
/// A character of a map's key, unescaped.
Regex key_character();
/// `"`, inside, `"`.
Regex quoted(Regex inside);

Regex integer();
Regex number();
/// A number (with at most kIntegerDigits and kFractionDigits, without an exponent) that is at
/// least, or at most, `bound`. Nothing when the bound has more digits.
std::optional<Regex> at_least(double bound, bool exclusive);
std::optional<Regex> at_most(double bound, bool exclusive);
/// Numbers with so few digits that one beside `bound` is not read as `bound` by those who read
/// doubles.
Regex told_apart_from(double bound);

/// What a format's texts look like, unescaped; nothing for formats that are only annotations.
std::optional<Regex> format(std::string_view name);

}  // namespace hadal::json_regex
