#pragma once
/// CharSet: a set of Unicode code points (surrogates are none), and its spelling in UTF-8.
#include <cstdint>
#include <vector>

namespace hadal {

struct CodeRange {
  char32_t first, last;
  bool operator==(const CodeRange&) const = default;
};

/// Sorted, disjoint, not adjacent ranges. A plain value.
class CharSet {
 public:
  static CharSet all();
  static CharSet of(std::initializer_list<CodeRange> ranges);

  void add(char32_t first, char32_t last);
  void add(const CharSet& other);
  void remove(const CharSet& other) { *this = intersected(other.negated()); }
  CharSet negated() const;
  CharSet intersected(const CharSet& other) const;
  bool contains(char32_t code_point) const;
  bool empty() const { return ranges_.empty(); }
  const std::vector<CodeRange>& ranges() const { return ranges_; }
  bool operator==(const CharSet&) const = default;

 private:
  std::vector<CodeRange> ranges_;
};

struct ByteRange {
  uint8_t first, last;
};

/// One to four byte ranges in a row: every combination is a character of the set.
struct Utf8Sequence {
  uint8_t size = 0;
  ByteRange bytes[4] = {};
};

/// Sequences whose union is exactly the set, as UTF-8.
std::vector<Utf8Sequence> utf8_sequences(const CharSet& set);

}  // namespace hadal
