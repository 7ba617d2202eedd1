#pragma once
/// Regex: a regular language over code points and bytes, as a tree. What patterns, formats,
/// numbers and literals of all front ends become before they are automata.
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "text/grammar/charset.h"

namespace hadal {

/// A plain value. Trees are at most a few hundred levels high: parsers bound them.
struct Regex {
  enum class Kind : uint8_t {
    kBytes,   ///< exactly `bytes`; the empty text if there are none
    kSet,     ///< one code point of `set`; none of them: matches nothing
    kConcat,  ///< children in a row
    kAlt,     ///< one of the children
    kRepeat,  ///< child `min` to `max` times
    kModulo,  ///< digits whose number is divisible by `min` (at least one digit)
    kStart,   ///< ^, only while parsing
    kEnd,     ///< $, only while parsing
  };
  static constexpr uint32_t kUnbounded = std::numeric_limits<uint32_t>::max();

  Kind kind = Kind::kBytes;
  uint32_t min = 0, max = 0;
  std::string bytes = {};
  CharSet set = {};
  std::vector<Regex> children = {};

  static Regex text(std::string_view bytes);
  static Regex one_of(CharSet set);
  /// One code point of these ASCII characters and ranges, written as in "0-9a-f_" ('-' last).
  static Regex one_of(std::string_view ascii);
  static Regex concat(std::vector<Regex> parts);
  static Regex alt(std::vector<Regex> options);
  static Regex repeat(Regex part, uint32_t min, uint32_t max);
  static Regex optional(Regex part) { return repeat(std::move(part), 0, 1); }
  static Regex modulo(uint32_t divisor);

  /// A key that is equal exactly for equal trees is appended to `out`.
  void append_key(std::string& out) const;
  /// Least and most code points of a matching text (kUnbounded: no most).
  std::pair<uint32_t, uint32_t> lengths() const;
};

/// Reads a pattern. Offsets in errors are bytes. `search`: without anchors the pattern may match
/// anywhere (JSON Schema); otherwise the whole text (anchors are allowed at its ends).
Result<Regex> parse_regex(std::string_view pattern, bool search);

/// Reads one bracket class at `position` ('[' stands there), which moves behind it.
Result<CharSet> parse_class(std::string_view pattern, size_t& position);

/// The same texts inside a JSON string: quotes, backslashes and control characters escaped, the
/// solidus either way.
Regex json_escaped(const Regex& regex);

}  // namespace hadal
