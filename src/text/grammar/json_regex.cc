#include "text/grammar/json_regex.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include "base/check.h"

namespace hadal::json_regex {
namespace {

constexpr uint32_t kIndentMax = 64;  // eight levels of eight

Regex digit(char first, char last) {
  return Regex::one_of(
      CharSet::of({{static_cast<unsigned char>(first), static_cast<unsigned char>(last)}}));
}
Regex digits(uint32_t min, uint32_t max) {
  return Regex::repeat(digit('0', '9'), min, max);
}
Regex zeros(uint32_t min, uint32_t max) {
  return Regex::repeat(Regex::text("0"), min, max);
}
Regex nothing() {
  return Regex::one_of(CharSet());
}
Regex whole() {
  return Regex::alt(
      {Regex::text("0"), Regex::concat({digit('1', '9'), digits(0, kIntegerDigits - 1)})});
}
Regex any_fraction() {
  return Regex::optional(Regex::concat({Regex::text("."), digits(1, kFractionDigits)}));
}
Regex any_positive() {
  return Regex::concat({whole(), any_fraction()});
}

/// Digit strings between `low` and `high`, all of one length.
Regex between(std::string_view low, std::string_view high) {
  const auto rest = static_cast<uint32_t>(low.size());
  if (low.find_first_not_of('0') == std::string_view::npos &&
      high.find_first_not_of('9') == std::string_view::npos) {
    return digits(rest, rest);
  }
  const char a = low.front();
  const char b = high.front();
  low.remove_prefix(1);
  high.remove_prefix(1);
  if (a == b) return Regex::concat({digit(a, a), between(low, high)});
  std::vector<Regex> options;
  options.push_back(Regex::concat({digit(a, a), between(low, std::string(low.size(), '9'))}));
  if (a + 1 < b) {
    options.push_back(Regex::concat(
        {digit(static_cast<char>(a + 1), static_cast<char>(b - 1)), digits(rest - 1, rest - 1)}));
  }
  options.push_back(Regex::concat({digit(b, b), between(std::string(high.size(), '0'), high)}));
  return Regex::alt(std::move(options));
}

/// Whole numbers without leading zeros between two digit strings of any lengths.
Regex whole_between(const std::string& low, const std::string& high) {
  std::vector<Regex> options;
  for (size_t length = low.size(); length <= high.size(); ++length) {
    const std::string from = length == low.size() ? low : "1" + std::string(length - 1, '0');
    const std::string to = length == high.size() ? high : std::string(length, '9');
    if (from <= to) options.push_back(between(from, to));
  }
  return Regex::alt(std::move(options));
}

/// A bound's magnitude as digits.
struct Decimal {
  std::string whole;     ///< no leading zeros but "0"
  std::string fraction;  ///< no trailing zeros
};

std::optional<Decimal> decimal_of(double magnitude) {
  std::array<char, 400> text{};
  const auto done =
      std::to_chars(text.data(), text.data() + text.size(), magnitude, std::chars_format::fixed);
  if (done.ec != std::errc{}) return std::nullopt;
  const std::string_view all(text.data(), static_cast<size_t>(done.ptr - text.data()));
  const size_t point = std::min(all.find('.'), all.size());
  Decimal out{std::string(all.substr(0, point)),
              std::string(point < all.size() ? all.substr(point + 1) : std::string_view())};
  while (out.fraction.ends_with('0')) out.fraction.pop_back();
  if (out.whole.size() > kIntegerDigits || out.fraction.size() > kFractionDigits) {
    return std::nullopt;
  }
  return out;
}

/// The whole number after, or before, `whole` (not 0).
std::string plus_one(std::string whole) {
  size_t i = whole.size();
  while (i > 0 && whole[i - 1] == '9') whole[--i] = '0';
  if (i == 0) return "1" + whole;
  ++whole[i - 1];
  return whole;
}
std::string minus_one(std::string whole) {
  size_t i = whole.size();
  while (whole[i - 1] == '0') whole[--i] = '9';
  --whole[i - 1];
  return whole.size() > 1 && whole.front() == '0' ? whole.substr(1) : whole;
}

/// Digits after the point of fractions that are at least `fraction`, of which `used` digits came.
Regex fraction_at_least(std::string_view fraction, bool exclusive, uint32_t used) {
  const uint32_t room = kFractionDigits - std::min(used, kFractionDigits);
  if (fraction.empty()) {
    if (!exclusive) return digits(0, room);
    if (room == 0) return nothing();
    return Regex::concat({zeros(0, room - 1), digit('1', '9'), digits(0, room - 1)});
  }
  const char first = fraction.front();
  std::vector<Regex> options;
  if (first < '9') {
    options.push_back(
        Regex::concat({digit(static_cast<char>(first + 1), '9'), digits(0, room - 1)}));
  }
  options.push_back(Regex::concat(
      {digit(first, first), fraction_at_least(fraction.substr(1), exclusive, used + 1)}));
  return Regex::alt(std::move(options));
}

/// The same for at most; at least one digit comes unless `used`.
Regex fraction_at_most(std::string_view fraction, bool exclusive, uint32_t used) {
  const uint32_t room = kFractionDigits - std::min(used, kFractionDigits);
  if (fraction.empty()) return exclusive ? nothing() : zeros(used == 0 ? 1 : 0, room);
  const char first = fraction.front();
  std::vector<Regex> options;
  if (first > '0') {
    options.push_back(
        Regex::concat({digit('0', static_cast<char>(first - 1)), digits(0, room - 1)}));
  }
  Regex rest = fraction_at_most(fraction.substr(1), exclusive, used + 1);
  if (fraction.size() > 1) rest = Regex::optional(std::move(rest));  // shorter is less
  options.push_back(Regex::concat({digit(first, first), std::move(rest)}));
  return Regex::alt(std::move(options));
}

Regex magnitude_at_least(const Decimal& bound, bool exclusive) {
  std::vector<Regex> options;
  Regex fraction =
      Regex::concat({Regex::text("."), fraction_at_least(bound.fraction, exclusive, 0)});
  if (bound.fraction.empty() && !exclusive) fraction = any_fraction();
  options.push_back(Regex::concat({Regex::text(bound.whole), std::move(fraction)}));
  const std::string next = plus_one(bound.whole);
  if (next.size() <= kIntegerDigits) {
    options.push_back(
        Regex::concat({whole_between(next, std::string(kIntegerDigits, '9')), any_fraction()}));
  }
  return Regex::alt(std::move(options));
}

Regex magnitude_at_most(const Decimal& bound, bool exclusive) {
  std::vector<Regex> options;
  if (bound.whole != "0") {
    options.push_back(Regex::concat({whole_between("0", minus_one(bound.whole)), any_fraction()}));
  }
  Regex fraction =
      Regex::concat({Regex::text("."), fraction_at_most(bound.fraction, exclusive, 0)});
  if (!bound.fraction.empty() || !exclusive) fraction = Regex::optional(std::move(fraction));
  options.push_back(Regex::concat({Regex::text(bound.whole), std::move(fraction)}));
  return Regex::alt(std::move(options));
}

Regex negative(Regex magnitude) {
  return Regex::concat({Regex::text("-"), std::move(magnitude)});
}

Regex pattern(std::string_view text) {
  auto parsed = parse_regex(text, false);
  CHECK(parsed.ok());
  return std::move(parsed).value();
}

constexpr const char* kTime =
    "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";
constexpr const char* kByte = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
constexpr const char* kUriCharacter = "(?:[a-zA-Z0-9._~!$&'()*+,;=@-]|%[0-9a-fA-F]{2})";

/// RFC 3339's full-date, with the days that a month has.
std::string date_pattern() {
  return "(?:\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])"
         "|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))"
         "|(?:\\d{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)";
}

/// RFC 3339's appendix A: units in falling order without gaps.
std::string duration_pattern() {
  const std::string n = "\\d{1,6}";
  const std::string time =
      "T(?:" + n + "H(?:" + n + "M(?:" + n + "S)?)?|" + n + "M(?:" + n + "S)?|" + n + "S)";
  return "P(?:" + n + "W|(?:" + n + "Y(?:" + n + "M(?:" + n + "D)?)?|" + n + "M(?:" + n + "D)?|" +
         n + "D)(?:" + time + ")?|" + time + ")";
}

/// RFC 4291's text form without embedded IPv4: eight groups, or fewer around one "::".
std::string ipv6_pattern() {
  const std::string group = "[0-9a-fA-F]{1,4}";
  std::string out = "(?:" + group + ":){7}" + group + "|::(?:" + group + "(?::" + group +
                    "){0,6})?|(?:" + group + ":){1,7}:";
  for (int before = 1; before <= 6; ++before) {
    out += "|(?:" + group + ":){" + std::to_string(before) + "}(?::" + group + "){1," +
           std::to_string(7 - before) + "}";
  }
  return out;
}

/// RFC 3986 with an authority, or one of the well-known schemes without.
std::string uri_pattern(const std::string& label) {
  const std::string c = kUriCharacter;
  return "(?:[a-zA-Z][a-zA-Z0-9+.-]{1,15}://" + label + "(?:\\." + label + "){0,4}(?::\\d{1,4})?" +
         "(?:/" + c + "*)*(?:\\?(?:" + c + "|[/?:])*)?(?:#(?:" + c + "|[/?:])*)?" +
         "|(?:mailto|urn|tel|data):(?:" + c + "|[/:])+)";
}

}  // namespace

Regex blanks() {
  return Regex::optional(Regex::alt(
      {Regex::text(" "), Regex::concat({Regex::optional(Regex::text("\r")), Regex::text("\n"),
                                        Regex::repeat(Regex::one_of(" \t"), 0, kIndentMax)})}));
}

Regex leading_blanks() {
  return Regex::optional(Regex::alt({Regex::text(" "), Regex::repeat(Regex::text("\n"), 1, 2)}));
}

Regex string_character() {
  CharSet raw = CharSet::all();
  raw.remove(CharSet::of({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}}));
  const Regex hex = Regex::one_of("0-9a-fA-F");
  const Regex plain =
      Regex::concat({Regex::alt({Regex::concat({Regex::one_of("0-9a-ce-fA-CE-F"), hex}),
                                 Regex::concat({Regex::one_of("dD"), Regex::one_of("0-7")})}),
                     hex, hex});
  const Regex pair =
      Regex::concat({Regex::one_of("dD"), Regex::one_of("89abAB"), hex, hex, Regex::text("\\u"),
                     Regex::one_of("dD"), Regex::one_of("c-fC-F"), hex, hex});
  const Regex escape =
      Regex::concat({Regex::text("\\"),
                     Regex::alt({Regex::one_of("\"\\/bfnrt"),
                                 Regex::concat({Regex::text("u"), Regex::alt({plain, pair})})})});
  return Regex::alt({Regex::one_of(std::move(raw)), escape});
}

Regex key_character() {
  CharSet raw = CharSet::all();
  raw.remove(CharSet::of({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}}));
  return Regex::one_of(std::move(raw));
}

Regex quoted(Regex inside) {
  return Regex::concat({Regex::text("\""), std::move(inside), Regex::text("\"")});
}

Regex integer() {
  return Regex::concat({Regex::optional(Regex::text("-")), whole()});
}

Regex number() {
  return Regex::concat(
      {Regex::optional(Regex::text("-")), any_positive(),
       Regex::optional(Regex::concat(
           {Regex::one_of("eE"), Regex::optional(Regex::one_of("+-")), digits(1, 2)}))});
}

std::optional<Regex> at_least(double bound, bool exclusive) {
  const std::optional<Decimal> decimal = decimal_of(std::fabs(bound));
  if (!decimal) return std::nullopt;
  if (bound >= 0) return magnitude_at_least(*decimal, exclusive);
  return Regex::alt({any_positive(), negative(magnitude_at_most(*decimal, exclusive))});
}

std::optional<Regex> at_most(double bound, bool exclusive) {
  const std::optional<Decimal> decimal = decimal_of(std::fabs(bound));
  if (!decimal) return std::nullopt;
  if (bound < 0) return negative(magnitude_at_least(*decimal, exclusive));
  if (bound == 0 && exclusive) return negative(magnitude_at_least(*decimal, true));
  return Regex::alt({negative(any_positive()), magnitude_at_most(*decimal, exclusive)});
}

Regex told_apart_from(double bound) {
  // Of 15 digits each text is a double of its own. Numbers near the bound have its digits before
  // the point, or one more.
  constexpr uint32_t kDigits = 15;
  const std::optional<Decimal> decimal = decimal_of(std::fabs(bound));
  const auto before = decimal ? static_cast<uint32_t>(decimal->whole.size()) + 1 : kDigits;
  const uint32_t after = before < kDigits ? kDigits - before : 0;
  Regex fraction = Regex::text("");
  if (after > 0) {
    fraction = Regex::optional(Regex::concat({Regex::text("."), digits(1, after)}));
  }
  return Regex::concat(
      {Regex::optional(Regex::text("-")), digits(1, kIntegerDigits), std::move(fraction)});
}

std::optional<Regex> format(std::string_view name) {
  // No two hyphens in a row: those are of encoded names, of which few are valid.
  const std::string label = "[a-zA-Z0-9](?:-?[a-zA-Z0-9]){0,30}";
  if (name == "date") return pattern(date_pattern());
  if (name == "time") return pattern(kTime);
  if (name == "date-time") return pattern(date_pattern() + "T" + kTime);
  if (name == "duration") return pattern(duration_pattern());
  if (name == "uuid") return pattern("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}");
  if (name == "email" || name == "idn-email") {
    const std::string atom = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]";
    return pattern(atom + "{1,32}(?:\\." + atom + "{1,15})?@" + label + "(?:\\." + label +
                   "){1,3}");
  }
  if (name == "hostname" || name == "idn-hostname") {
    return pattern(label + "(?:\\." + label + "){0,4}");
  }
  if (name == "ipv4") return pattern(std::string(kByte) + "(?:\\." + kByte + "){3}");
  if (name == "ipv6") return pattern(ipv6_pattern());
  if (name == "uri" || name == "iri" || name == "url") return pattern(uri_pattern(label));
  if (name == "uri-reference" || name == "iri-reference") {
    return pattern("/?(?:" + std::string(kUriCharacter) + "+/?)*");
  }
  if (name == "json-pointer") return pattern("(?:/(?:[^~/\"\\\\\\x00-\\x1f]|~[01])*)*");
  if (name == "byte") {
    return pattern("(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?");
  }
  return std::nullopt;
}

}  // namespace hadal::json_regex
