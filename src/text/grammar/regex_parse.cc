#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "base/parse.h"
#include "base/utf8.h"
#include "text/grammar/regex.h"
#include "text/tokenizer/unicode.h"

// Patterns as ECMA-262 and its relatives write them, as far as they are regular languages.

namespace hadal {
namespace {

Error wrong(size_t offset, std::string_view what) {
  return Error{Code::kInvalidArgument, fmt::format("pattern, offset {}: {}", offset, what)};
}

Error unsupported(size_t offset, std::string_view what) {
  return Error{Code::kUnsupported, fmt::format("pattern, offset {}: {}", offset, what)};
}

CharSet digits() {
  return CharSet::of({{'0', '9'}});
}
CharSet word() {
  return CharSet::of({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}});
}
CharSet space() {
  return CharSet::of({{0x09, 0x0D},
                      {' ', ' '},
                      {0xA0, 0xA0},
                      {0x1680, 0x1680},
                      {0x2000, 0x200A},
                      {0x2028, 0x2029},
                      {0x202F, 0x202F},
                      {0x205F, 0x205F},
                      {0x3000, 0x3000},
                      {0xFEFF, 0xFEFF}});
}
CharSet any_but_line_ends() {
  return CharSet::of({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}).negated();
}

/// \p{NAME}: the general categories without their subdivisions.
std::optional<CharSet> category(std::string_view name) {
  constexpr std::pair<std::string_view, uint16_t> kNames[] = {
      {"L", unicode::kLetter},
      {"Letter", unicode::kLetter},
      {"N", unicode::kNumber},
      {"Number", unicode::kNumber},
      {"P", unicode::kPunctuation},
      {"Punctuation", unicode::kPunctuation},
      {"S", unicode::kSymbol},
      {"Symbol", unicode::kSymbol},
      {"M", unicode::kMark},
      {"Mark", unicode::kMark},
      {"White_Space", unicode::kSpace},
      {"space", unicode::kSpace},
      {"C", unicode::kOther},
      {"Other", unicode::kOther},
      {"Alphabetic", unicode::kLetter},
      {"Mn", unicode::kNonspacing},
      {"Nonspacing_Mark", unicode::kNonspacing}};
  for (const auto& [known, bit] : kNames) {
    if (name != known) continue;
    const unicode::ClassTable& table = unicode::ClassTable::get();
    CharSet set;
    for (char32_t first = 0; first <= 0x10FFFF; ++first) {
      if ((table.of(first) & bit) == 0) continue;
      char32_t last = first;
      while (last < 0x10FFFF && (table.of(last + 1) & bit) != 0) ++last;
      set.add(first, last);
      first = last;
    }
    return set;
  }
  return std::nullopt;
}

/// Recursive descent; groups are bounded by limits::kGrammarDepth.
class Parser {
 public:
  Parser(std::string_view text, size_t position) : text_(text), at_(position) {}

  Result<Regex> all() {
    TRY(Regex regex, alternatives(0));
    if (at_ < text_.size()) return wrong(at_, "a ')' closes nothing");
    return regex;
  }

  Result<CharSet> bracket() {
    const size_t open = at_++;
    const bool negated = take('^');
    CharSet set;
    // ECMA: "[]" is the empty class and "[^]" everything; ']' is never a first member.
    while (true) {
      if (at_ >= text_.size()) return wrong(open, "the class is not closed");
      if (peek() == ']') break;
      if (text_.substr(at_).starts_with("[:")) {
        return unsupported(at_, "POSIX classes such as [:alpha:] are not supported");
      }
      TRY_STATUS(class_item(set));
    }
    ++at_;
    return negated ? set.negated() : set;
  }

  size_t position() const { return at_; }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  Result<Regex> alternatives(int depth) {
    if (depth > limits::kGrammarDepth) return wrong(at_, "groups are nested too deeply");
    std::vector<Regex> options;
    do {
      TRY(Regex option, sequence(depth));
      options.push_back(std::move(option));
    } while (take('|'));
    return Regex::alt(std::move(options));
  }

  Result<Regex> sequence(int depth) {
    std::vector<Regex> parts;
    while (at_ < text_.size() && peek() != '|' && peek() != ')') {
      TRY(Regex part, atom(depth));
      TRY(part, quantified(std::move(part)));
      parts.push_back(std::move(part));
    }
    return Regex::concat(std::move(parts));
  }

  Result<Regex> atom(int depth) {
    const size_t start = at_;
    const char c = peek();
    if (c == '(') return group(depth);
    if (c == '[') {
      TRY(CharSet set, bracket());
      return Regex::one_of(std::move(set));
    }
    if (c == '*' || c == '+' || c == '?') return wrong(start, "there is nothing to repeat");
    if (c == '\\') return escape();
    if (c == '^' || c == '$') {
      ++at_;
      Regex anchor;
      anchor.kind = c == '^' ? Regex::Kind::kStart : Regex::Kind::kEnd;
      return anchor;
    }
    if (c == '.') {
      ++at_;
      return Regex::one_of(any_but_line_ends());
    }
    TRY(const char32_t code_point, character());
    return Regex::one_of(CharSet::of({{code_point, code_point}}));
  }

  Result<char32_t> character() {
    const Utf8Step step = utf8_decode(text_, at_);
    if (!step.valid) return wrong(at_, "not UTF-8");
    at_ += step.size;
    return step.code_point;
  }

  Result<Regex> group(int depth) {
    const size_t open = at_++;
    if (take('?')) {
      if (text_.substr(at_).starts_with("P<")) ++at_;
      const std::string_view rest = text_.substr(at_);
      if (rest.starts_with("=") || rest.starts_with("!") || rest.starts_with("<=") ||
          rest.starts_with("<!")) {
        return unsupported(open, "look-around is not supported");
      }
      if (rest.starts_with("<")) {
        const size_t close = rest.find('>');
        if (close == std::string_view::npos) return wrong(open, "the group's name is not closed");
        at_ += close + 1;
      } else if (!take(':')) {
        return unsupported(open, "flags and special groups are not supported");
      }
    }
    TRY(Regex inside, alternatives(depth + 1));
    if (!take(')')) return wrong(open, "the group is not closed");
    return inside;
  }

  Result<Regex> quantified(Regex part) {
    for (int count = 0; at_ < text_.size(); ++count) {
      const size_t start = at_;
      uint32_t min = 0;
      uint32_t max = Regex::kUnbounded;
      if (take('+')) {
        min = 1;
      } else if (take('?')) {
        max = 1;
      } else if (!take('*')) {
        TRY(const bool braces, bounds(min, max));
        if (!braces) return part;
      }
      if (count > 0) return wrong(start, "a repetition is repeated; put it into a group");
      if (part.kind == Regex::Kind::kStart || part.kind == Regex::Kind::kEnd) {
        return wrong(start, "an anchor cannot be repeated");
      }
      if (peek() == '+') return unsupported(at_, "possessive repetition is not supported");
      take('?');  // lazy: the same texts
      part = Regex::repeat(std::move(part), min, max);
    }
    return part;
  }

  /// {m}, {m,}, {,n} or {m,n}; anything else in braces is literal text, as in ECMA's annex B.
  Result<bool> bounds(uint32_t& min, uint32_t& max) {
    if (peek() != '{') return false;
    const size_t close = text_.find('}', at_);
    if (close == std::string_view::npos) return false;
    const std::string_view inside = text_.substr(at_ + 1, close - at_ - 1);
    const size_t comma = inside.find(',');
    const std::string_view low = inside.substr(0, comma);
    const std::string_view high = comma == std::string_view::npos ? low : inside.substr(comma + 1);
    const auto number = [](std::string_view digits) {
      return !digits.empty() &&
             std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
    };
    if (!(number(low) || (low.empty() && number(high))) || !(number(high) || high.empty())) {
      return false;
    }
    const auto value = [&](std::string_view digits) { return parse_int<uint32_t>(digits); };
    const std::optional<uint32_t> from = low.empty() ? 0U : value(low);
    const std::optional<uint32_t> to = high.empty() ? Regex::kUnbounded : value(high);
    if (!from || !to || *from > limits::kGrammarRepeat ||
        (*to != Regex::kUnbounded && *to > limits::kGrammarRepeat)) {
      return Error{Code::kExhausted, fmt::format("pattern, offset {}: a bound exceeds {}", at_,
                                                 limits::kGrammarRepeat)};
    }
    if (*to < *from) return wrong(at_, "the bounds are in the wrong order");
    min = *from;
    max = *to;
    at_ = close + 1;
    return true;
  }

  Result<Regex> escape() {
    const size_t start = at_;
    const char c = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
    if (c == 'b' || c == 'B') return unsupported(start, "word boundaries are not supported");
    if ((c >= '1' && c <= '9') || c == 'k') {
      return unsupported(start, "back references are not supported");
    }
    if (c == 'A' || c == 'z' || c == 'Z') {
      at_ += 2;
      Regex anchor;
      anchor.kind = c == 'A' ? Regex::Kind::kStart : Regex::Kind::kEnd;
      return anchor;
    }
    CharSet set;
    TRY_STATUS(escaped_set(set));
    return Regex::one_of(std::move(set));
  }

  /// A backslash and what it means, inside or outside a class.
  Status escaped_set(CharSet& set) {
    const size_t start = at_++;
    if (at_ >= text_.size()) return wrong(start, "a backslash ends the pattern");
    const char c = text_[at_];
    switch (c) {
      case 'd':
        return set_of(digits(), set);
      case 'D':
        return set_of(digits().negated(), set);
      case 'w':
        return set_of(word(), set);
      case 'W':
        return set_of(word().negated(), set);
      case 's':
        return set_of(space(), set);
      case 'S':
        return set_of(space().negated(), set);
      case 'p':
      case 'P':
        return property(start, set);
      default:
        break;
    }
    TRY(const char32_t code_point, escaped_character(start));
    set.add(code_point, code_point);
    return {};
  }

  Status set_of(const CharSet& value, CharSet& set) {
    ++at_;
    set.add(value);
    return {};
  }

  Status property(size_t start, CharSet& set) {
    const bool negated = text_[at_++] == 'P';
    std::string_view name;
    if (take('{')) {
      const size_t close = text_.find('}', at_);
      if (close == std::string_view::npos) return wrong(start, "the property is not closed");
      name = text_.substr(at_, close - at_);
      at_ = close + 1;
    } else {
      name = text_.substr(at_, 1);
      at_ += name.size();
    }
    for (const std::string_view prefix : {"General_Category=", "gc="}) {
      if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
    }
    const std::optional<CharSet> found = category(name);
    if (!found) {
      return unsupported(start, fmt::format("the property \"{:.40}\" is not supported (L, N, P, S, "
                                            "M, C, Mn and White_Space are)",
                                            name));
    }
    set.add(negated ? found->negated() : *found);
    return {};
  }

  Result<char32_t> escaped_character(size_t start) {
    const char c = text_[at_];
    switch (c) {
      case 't':
        ++at_;
        return U'\t';
      case 'n':
        ++at_;
        return U'\n';
      case 'r':
        ++at_;
        return U'\r';
      case 'f':
        ++at_;
        return U'\f';
      case 'v':
        ++at_;
        return U'\v';
      case 'a':
        ++at_;
        return U'\a';
      case 'e':
        ++at_;
        return U'\x1B';
      case '0':
        ++at_;
        return U'\0';
      case 'x':
        ++at_;
        return hex(start, 2);
      case 'u':
        ++at_;
        return unicode_escape(start);
      case 'c': {
        const char letter = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
        if ((letter | 0x20) < 'a' || (letter | 0x20) > 'z')
          return wrong(start, "\\c needs a letter");
        at_ += 2;
        return static_cast<char32_t>(letter & 31);
      }
      default:
        break;
    }
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) {
      return unsupported(start, fmt::format("the escape \\{} is not supported", c));
    }
    return character();
  }

  Result<char32_t> hex(size_t start, size_t digits_count) {
    char32_t value = 0;
    for (size_t i = 0; i < digits_count; ++i, ++at_) {
      const char c = peek();
      const char lower = static_cast<char>(c | 0x20);
      if (c >= '0' && c <= '9') {
        value = value * 16 + static_cast<char32_t>(c - '0');
      } else if (lower >= 'a' && lower <= 'f') {
        value = value * 16 + static_cast<char32_t>(lower - 'a' + 10);
      } else {
        return wrong(start, "a hexadecimal digit is missing");
      }
    }
    return value;
  }

  Result<char32_t> unicode_escape(size_t start) {
    if (take('{')) {
      const size_t close = text_.find('}', at_);
      if (close == std::string_view::npos || close == at_ || close - at_ > 6) {
        return wrong(start, "\\u{...} needs one to six hexadecimal digits");
      }
      TRY(const char32_t value, hex(start, close - at_));
      ++at_;
      return scalar(start, value);
    }
    TRY(const char32_t high, hex(start, 4));
    if (high < 0xD800 || high > 0xDBFF || !text_.substr(at_).starts_with("\\u")) {
      return scalar(start, high);
    }
    at_ += 2;
    TRY(const char32_t low, hex(start, 4));
    if (low < 0xDC00 || low > 0xDFFF) return wrong(start, "half a surrogate pair");
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
  }

  static Result<char32_t> scalar(size_t start, char32_t value) {
    if (value > 0x10FFFF) return wrong(start, "no such code point");
    if (value >= 0xD800 && value <= 0xDFFF) return wrong(start, "half a surrogate pair");
    return value;
  }

  Status class_item(CharSet& set) {
    const size_t start = at_;
    CharSet low;
    TRY_STATUS(class_member(low));
    const bool single = low.ranges().size() == 1 && low.ranges()[0].first == low.ranges()[0].last;
    const bool range = peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']';
    if (!range) {
      set.add(low);
      return {};
    }
    ++at_;
    CharSet high;
    TRY_STATUS(class_member(high));
    const bool both =
        single && high.ranges().size() == 1 && high.ranges()[0].first == high.ranges()[0].last;
    if (!both) {  // [\w-.]: the minus is a character
      set.add(low);
      set.add('-', '-');
      set.add(high);
      return {};
    }
    if (high.ranges()[0].first < low.ranges()[0].first) {
      return wrong(start, "the range is in the wrong order");
    }
    set.add(low.ranges()[0].first, high.ranges()[0].first);
    return {};
  }

  Status class_member(CharSet& set) {
    if (peek() == '\\') {
      if (at_ + 1 < text_.size() && text_[at_ + 1] == 'b') {
        at_ += 2;
        set.add('\b', '\b');
        return {};
      }
      return escaped_set(set);
    }
    TRY(const char32_t code_point, character());
    set.add(code_point, code_point);
    return {};
  }

  std::string_view text_;
  size_t at_;
};

/// Any text, where a search may begin or end.
Regex anything() {
  return Regex::repeat(Regex::one_of(CharSet::all()), 0, Regex::kUnbounded);
}

bool has_anchor(const Regex& regex) {
  if (regex.kind == Regex::Kind::kStart || regex.kind == Regex::Kind::kEnd) return true;
  return std::any_of(regex.children.begin(), regex.children.end(), has_anchor);
}

/// An end of the pattern, as a part of it sees it.
struct Side {
  bool outer = true;  ///< the part reaches to it: an anchor is allowed
  bool pad = false;   ///< any text may stand there unless an anchor does
};

/// Replaces the anchors at the ends of the pattern by nothing, and missing ones by any text.
Result<Regex> anchored(Regex regex, Side left, Side right) {
  if (regex.kind == Regex::Kind::kAlt) {
    for (Regex& option : regex.children) {
      TRY(option, anchored(std::move(option), left, right));
    }
    return regex;
  }
  std::vector<Regex> parts;
  if (regex.kind == Regex::Kind::kConcat) {
    parts = std::move(regex.children);
  } else {
    parts.push_back(std::move(regex));
  }
  while (left.outer && !parts.empty() && parts.front().kind == Regex::Kind::kStart) {
    parts.erase(parts.begin());
    left.pad = false;
  }
  while (right.outer && !parts.empty() && parts.back().kind == Regex::Kind::kEnd) {
    parts.pop_back();
    right.pad = false;
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!has_anchor(parts[i])) continue;
    const bool group = parts[i].kind == Regex::Kind::kAlt || parts[i].kind == Regex::Kind::kConcat;
    const bool first = left.outer && i == 0;
    const bool last = right.outer && i + 1 == parts.size();
    if (!group || !(first || last)) {
      return Error{Code::kUnsupported,
                   "pattern: an anchor is supported only at the beginning and the end"};
    }
    TRY(parts[i],
        anchored(std::move(parts[i]), {first, first && left.pad}, {last, last && right.pad}));
    if (first) left.pad = false;
    if (last) right.pad = false;
  }
  if (left.pad) parts.insert(parts.begin(), anything());
  if (right.pad) parts.push_back(anything());
  return Regex::concat(std::move(parts));
}

}  // namespace

Result<Regex> parse_regex(std::string_view pattern, bool search) {
  if (pattern.size() > limits::kGrammarTextBytes) {
    return Error{Code::kExhausted,
                 fmt::format("the pattern exceeds {} bytes", limits::kGrammarTextBytes)};
  }
  TRY(Regex regex, Parser(pattern, 0).all());
  return anchored(std::move(regex), {true, search}, {true, search});
}

Result<CharSet> parse_class(std::string_view pattern, size_t& position) {
  Parser parser(pattern, position);
  TRY(CharSet set, parser.bracket());
  position = parser.position();
  return set;
}

}  // namespace hadal
