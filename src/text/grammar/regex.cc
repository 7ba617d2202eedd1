#include "text/grammar/regex.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/utf8.h"

namespace hadal {
namespace {

uint32_t saturating_add(uint32_t a, uint32_t b) {
  return a > Regex::kUnbounded - b ? Regex::kUnbounded : a + b;
}

uint32_t saturating_multiply(uint32_t a, uint32_t b) {
  return static_cast<uint32_t>(std::min<uint64_t>(uint64_t{a} * b, Regex::kUnbounded));
}

void append_number(std::string& out, uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(value >> shift));
}

/// How one code point is written inside a JSON string beside its raw form, or instead of it.
std::vector<Regex> escapes_of(const CharSet& set) {
  std::vector<Regex> out;
  constexpr std::pair<char, char> kShort[] = {{'"', '"'},  {'\\', '\\'}, {'/', '/'},  {'\b', 'b'},
                                              {'\f', 'f'}, {'\n', 'n'},  {'\r', 'r'}, {'\t', 't'}};
  for (const auto& [value, letter] : kShort) {
    if (set.contains(static_cast<unsigned char>(value))) {
      out.push_back(Regex::text(std::string("\\") + letter));
    }
  }
  for (unsigned control = 0; control < 0x20; ++control) {
    const auto letter = std::find_if(std::begin(kShort), std::end(kShort), [&](const auto& pair) {
      return static_cast<unsigned char>(pair.first) == control;
    });
    if (letter == std::end(kShort) && set.contains(control)) {
      out.push_back(Regex::text(fmt::format("\\u{:04x}", control)));
    }
  }
  return out;
}

}  // namespace

Regex Regex::text(std::string_view bytes) {
  Regex out;
  out.bytes = bytes;
  return out;
}

Regex Regex::one_of(CharSet set) {
  Regex out;
  out.kind = Kind::kSet;
  out.set = std::move(set);
  return out;
}

Regex Regex::one_of(std::string_view ascii) {
  CharSet set;
  for (size_t i = 0; i < ascii.size(); ++i) {
    const auto first = static_cast<unsigned char>(ascii[i]);
    if (i + 2 < ascii.size() && ascii[i + 1] == '-') {
      set.add(first, static_cast<unsigned char>(ascii[i + 2]));
      i += 2;
    } else {
      set.add(first, first);
    }
  }
  return one_of(std::move(set));
}

Regex Regex::concat(std::vector<Regex> parts) {
  if (parts.size() == 1) return std::move(parts.front());
  Regex out;
  out.kind = Kind::kConcat;
  out.children = std::move(parts);
  return out;
}

Regex Regex::alt(std::vector<Regex> options) {
  if (options.size() == 1) return std::move(options.front());
  if (options.empty()) return one_of(CharSet());
  Regex out;
  out.kind = Kind::kAlt;
  out.children = std::move(options);
  return out;
}

Regex Regex::repeat(Regex part, uint32_t min, uint32_t max) {
  Regex out;
  out.kind = Kind::kRepeat;
  out.min = min;
  out.max = max;
  out.children.push_back(std::move(part));
  return out;
}

Regex Regex::modulo(uint32_t divisor) {
  Regex out;
  out.kind = Kind::kModulo;
  out.min = divisor;
  return out;
}

void Regex::append_key(std::string& out) const {
  out.push_back(static_cast<char>('A' + static_cast<int>(kind)));
  append_number(out, min);
  append_number(out, max);
  append_number(out, static_cast<uint32_t>(bytes.size()));
  out.append(bytes);
  append_number(out, static_cast<uint32_t>(set.ranges().size()));
  for (const CodeRange& range : set.ranges()) {
    append_number(out, range.first);
    append_number(out, range.last);
  }
  append_number(out, static_cast<uint32_t>(children.size()));
  for (const Regex& child : children) child.append_key(out);
}

std::pair<uint32_t, uint32_t> Regex::lengths() const {
  switch (kind) {
    case Kind::kBytes: {
      const auto length = static_cast<uint32_t>(utf8_length(bytes));
      return {length, length};
    }
    case Kind::kSet:
      return {1, 1};
    case Kind::kModulo:
      return {1, kUnbounded};
    case Kind::kStart:
    case Kind::kEnd:
      return {0, 0};
    case Kind::kRepeat: {
      const auto [least, most] = children.front().lengths();
      return {saturating_multiply(least, min), most == 0 ? 0 : saturating_multiply(most, max)};
    }
    case Kind::kConcat: {
      std::pair<uint32_t, uint32_t> sum{0, 0};
      for (const Regex& child : children) {
        const auto [least, most] = child.lengths();
        sum = {saturating_add(sum.first, least), saturating_add(sum.second, most)};
      }
      return sum;
    }
    case Kind::kAlt: {
      std::pair<uint32_t, uint32_t> all{kUnbounded, 0};
      for (const Regex& child : children) {
        const auto [least, most] = child.lengths();
        all = {std::min(all.first, least), std::max(all.second, most)};
      }
      return all;
    }
  }
  return {0, kUnbounded};
}

Regex json_escaped(const Regex& regex) {
  if (regex.kind == Regex::Kind::kBytes) {
    std::vector<Regex> parts;
    for (size_t i = 0; i < regex.bytes.size();) {
      const Utf8Step step = utf8_decode(regex.bytes, i);
      i += step.size;
      parts.push_back(
          json_escaped(Regex::one_of(CharSet::of({{step.code_point, step.code_point}}))));
    }
    return Regex::concat(std::move(parts));
  }
  if (regex.kind == Regex::Kind::kSet) {
    std::vector<Regex> options = escapes_of(regex.set);
    CharSet raw = regex.set;
    raw.remove(CharSet::of({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}}));
    options.push_back(Regex::one_of(std::move(raw)));
    return Regex::alt(std::move(options));
  }
  Regex out = regex;
  for (Regex& child : out.children) child = json_escaped(child);
  return out;
}

}  // namespace hadal
