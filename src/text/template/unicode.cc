#include "text/template/unicode.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "base/utf8.h"

namespace hadal::jinja {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

template <size_t N>
bool in_ranges(const std::array<Range, N>& ranges, char32_t c) {
  const auto* after = std::upper_bound(ranges.begin(), ranges.end(), c,
                                       [](char32_t x, const Range& r) { return x < r.first; });
  return after != ranges.begin() && c <= std::prev(after)->last;
}

// White space as Python's str.isspace() has it.
constexpr std::array<Range, 10> kSpaces = {{{0x09, 0x0D},
                                            {0x1C, 0x20},
                                            {0x85, 0x85},
                                            {0xA0, 0xA0},
                                            {0x1680, 0x1680},
                                            {0x2000, 0x200A},
                                            {0x2028, 0x2029},
                                            {0x202F, 0x202F},
                                            {0x205F, 0x205F},
                                            {0x3000, 0x3000}}};

// Control, format, separator, surrogate and private characters.
constexpr std::array<Range, 19> kHidden = {{{0x00, 0x1F},
                                            {0x7F, 0xA0},
                                            {0xAD, 0xAD},
                                            {0x600, 0x605},
                                            {0x61C, 0x61C},
                                            {0x6DD, 0x6DD},
                                            {0x70F, 0x70F},
                                            {0x8E2, 0x8E2},
                                            {0x1680, 0x1680},
                                            {0x180E, 0x180E},
                                            {0x2000, 0x200F},
                                            {0x2028, 0x202F},
                                            {0x205F, 0x206F},
                                            {0x3000, 0x3000},
                                            {0xD800, 0xF8FF},
                                            {0xFEFF, 0xFEFF},
                                            {0xFFF0, 0xFFFB},
                                            {0xFFFE, 0xFFFF},
                                            {0xE0000, 0x10FFFF}}};

// Letters by block; marks and punctuation inside these blocks count as letters.
constexpr std::array<Range, 24> kLetters = {
    {{'A', 'Z'},       {'a', 'z'},       {0xAA, 0xAA},     {0xB5, 0xB5},      {0xBA, 0xBA},
     {0xC0, 0xD6},     {0xD8, 0xF6},     {0xF8, 0x2C1},    {0x370, 0x373},    {0x376, 0x37D},
     {0x386, 0x386},   {0x388, 0x481},   {0x48A, 0x556},   {0x561, 0x587},    {0x5D0, 0x5F2},
     {0x620, 0x64A},   {0x904, 0x939},   {0xE01, 0xE30},   {0x10A0, 0x1FFC},  {0x3041, 0x3096},
     {0x30A1, 0x30FA}, {0x3105, 0x9FFF}, {0xAC00, 0xD7A3}, {0x20000, 0x3134F}}};

/// Pairs "upper, lower, upper, lower": in these ranges the even or odd one is the upper case.
bool alternating(char32_t c, bool& upper_is_even) {
  upper_is_even = true;
  if ((c >= 0x100 && c <= 0x12F) || (c >= 0x132 && c <= 0x137) || (c >= 0x14A && c <= 0x177) ||
      (c >= 0x460 && c <= 0x481) || (c >= 0x48A && c <= 0x4BF) || (c >= 0x4D0 && c <= 0x52F) ||
      (c >= 0x1E00 && c <= 0x1E95) || (c >= 0x1EA0 && c <= 0x1EFF)) {
    return true;
  }
  upper_is_even = false;
  return (c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E) || (c >= 0x4C1 && c <= 0x4CE);
}

}  // namespace

bool is_space(char32_t c) {
  return in_ranges(kSpaces, c);
}
bool is_alpha(char32_t c) {
  return in_ranges(kLetters, c);
}

bool is_digit(char32_t c) {
  return (c >= '0' && c <= '9') || (c >= 0xFF10 && c <= 0xFF19) || (c >= 0x660 && c <= 0x669);
}

bool is_printable(char32_t c) {
  return c == ' ' || !in_ranges(kHidden, c);
}

char32_t to_upper(char32_t c) {
  if (c < 0x80) return c >= 'a' && c <= 'z' ? c - 32 : c;
  if (c == 0xB5) return 0x39C;
  if (c == 0xFF) return 0x178;
  if (c >= 0xE0 && c <= 0xFE && c != 0xF7) return c - 32;
  if (c >= 0x3B1 && c <= 0x3C9) return c == 0x3C2 ? 0x3A3 : c - 32;
  if (c >= 0x430 && c <= 0x44F) return c - 32;
  if (c >= 0x450 && c <= 0x45F) return c - 80;
  if (c >= 0x561 && c <= 0x586) return c - 48;
  if (c >= 0xFF41 && c <= 0xFF5A) return c - 32;
  if (c == 0x131) return 'I';
  bool even = false;
  if (alternating(c, even) && (c % 2 == 1) == even) return c - 1;
  return c;
}

char32_t to_lower(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  if (c == 0x178) return 0xFF;
  if (c >= 0xC0 && c <= 0xDE && c != 0xD7) return c + 32;
  if (c >= 0x391 && c <= 0x3A9 && c != 0x3A2) return c + 32;
  if (c >= 0x410 && c <= 0x42F) return c + 32;
  if (c >= 0x400 && c <= 0x40F) return c + 80;
  if (c >= 0x531 && c <= 0x556) return c + 48;
  if (c >= 0xFF21 && c <= 0xFF3A) return c + 32;
  bool even = false;
  if (alternating(c, even) && (c % 2 == 0) == even) return c + 1;
  return c;
}

size_t leading_space(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const Utf8Step step = utf8_decode(text, at);
    if (!step.valid || !is_space(step.code_point)) break;
    at += step.size;
  }
  return at;
}

size_t trailing_space(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t begin = end - 1;
    while (begin > 0 && end - begin < 4 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) {
      --begin;
    }
    const Utf8Step step = utf8_decode(text, begin);
    if (!step.valid || begin + step.size != end || !is_space(step.code_point)) break;
    end = begin;
  }
  return text.size() - end;
}

}  // namespace hadal::jinja
