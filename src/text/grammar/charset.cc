#include "text/grammar/charset.h"

#include <algorithm>
#include <array>
#include <string>

#include "base/utf8.h"

namespace hadal {
namespace {

constexpr char32_t kLast = 0x10FFFF;
constexpr CodeRange kSurrogates{0xD800, 0xDFFF};

/// Code points whose UTF-8 has the same length.
constexpr std::array<CodeRange, 4> kLengths = {
    {{0, 0x7F}, {0x80, 0x7FF}, {0x800, 0xFFFF}, {0x10000, kLast}}};

/// Splits until all but the first bytes of [first, last] that differ run over their whole range.
void split(char32_t first, char32_t last, std::vector<Utf8Sequence>& out) {
  std::string low;
  std::string high;
  utf8_append(low, first);
  utf8_append(high, last);
  const auto size = static_cast<uint8_t>(low.size());
  for (uint8_t tail = 1; tail < size; ++tail) {
    const char32_t mask = (char32_t{1} << (6 * tail)) - 1;
    if ((first & ~mask) == (last & ~mask)) continue;
    if ((first & mask) != 0) {
      split(first, first | mask, out);
      split((first | mask) + 1, last, out);
      return;
    }
    if ((last & mask) != mask) {
      split(first, (last & ~mask) - 1, out);
      split(last & ~mask, last, out);
      return;
    }
  }
  Utf8Sequence sequence;
  sequence.size = size;
  for (uint8_t i = 0; i < size; ++i) {
    sequence.bytes[i] = {static_cast<uint8_t>(low[i]), static_cast<uint8_t>(high[i])};
  }
  out.push_back(sequence);
}

}  // namespace

CharSet CharSet::all() {
  return of({{0, kSurrogates.first - 1}, {kSurrogates.last + 1, kLast}});
}

CharSet CharSet::of(std::initializer_list<CodeRange> ranges) {
  CharSet set;
  for (const CodeRange& range : ranges) set.add(range.first, range.last);
  return set;
}

void CharSet::add(char32_t first, char32_t last) {
  last = std::min(last, kLast);
  if (first > last) return;
  if (first < kSurrogates.first && last > kSurrogates.last) {
    add(first, kSurrogates.first - 1);
    add(kSurrogates.last + 1, last);
    return;
  }
  if (first >= kSurrogates.first && first <= kSurrogates.last) first = kSurrogates.last + 1;
  if (last >= kSurrogates.first && last <= kSurrogates.last) last = kSurrogates.first - 1;
  if (first > last) return;
  auto from = std::lower_bound(
      ranges_.begin(), ranges_.end(), first,
      [](const CodeRange& range, char32_t value) { return range.last + 1 < value; });
  auto to = from;
  while (to != ranges_.end() && to->first <= last + 1) {
    first = std::min(first, to->first);
    last = std::max(last, to->last);
    ++to;
  }
  from = ranges_.erase(from, to);
  ranges_.insert(from, {first, last});
}

void CharSet::add(const CharSet& other) {
  for (const CodeRange& range : other.ranges_) add(range.first, range.last);
}

CharSet CharSet::negated() const {
  CharSet out;
  char32_t next = 0;
  for (const CodeRange& range : ranges_) {
    if (range.first > next) out.add(next, range.first - 1);
    next = range.last + 1;
  }
  if (next <= kLast) out.add(next, kLast);
  return out;
}

CharSet CharSet::intersected(const CharSet& other) const {
  CharSet out;
  auto a = ranges_.begin();
  auto b = other.ranges_.begin();
  while (a != ranges_.end() && b != other.ranges_.end()) {
    const char32_t first = std::max(a->first, b->first);
    const char32_t last = std::min(a->last, b->last);
    if (first <= last) out.ranges_.push_back({first, last});
    (a->last < b->last ? a : b)++;
  }
  return out;
}

bool CharSet::contains(char32_t code_point) const {
  const auto it =
      std::lower_bound(ranges_.begin(), ranges_.end(), code_point,
                       [](const CodeRange& range, char32_t value) { return range.last < value; });
  return it != ranges_.end() && it->first <= code_point;
}

std::vector<Utf8Sequence> utf8_sequences(const CharSet& set) {
  std::vector<Utf8Sequence> out;
  for (const CodeRange& range : set.ranges()) {
    for (const CodeRange& length : kLengths) {
      const char32_t first = std::max(range.first, length.first);
      const char32_t last = std::min(range.last, length.last);
      if (first <= last) split(first, last, out);
    }
  }
  return out;
}

}  // namespace hadal
