#pragma once
/// MergeTable: which pairs of symbols byte-level BPE joins, in which order, into what; and the two
/// ways to run it. Symbols are vocabulary ids, or numbers above them for texts that only merges
/// know.
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace hadal {

using Symbol = int32_t;

class MergeTable {
 public:
  static constexpr uint32_t kNoRank = std::numeric_limits<uint32_t>::max();

  /// Room for `count` merges.
  explicit MergeTable(size_t count);

  /// Adds the next merge in rank order; a pair that is there already keeps its lower rank.
  void add(Symbol left, Symbol right, Symbol merged);

  uint32_t rank(Symbol left, Symbol right) const {
    const uint64_t key = make_key(left, right);
    for (size_t at = slot_of(key);; at = (at + 1) & mask_) {
      if (slots_[at].key == key) return slots_[at].rank;
      if (slots_[at].key == kEmpty) return kNoRank;
    }
  }
  Symbol merged(uint32_t rank) const { return merged_[rank]; }

  /// Joins the adjacent pair of lowest rank, the leftmost of equals, until none is left. Short
  /// pieces are scanned again for every merge; long ones keep their pairs in a heap, so that a run
  /// of a million characters costs n log n.
  void merge(std::vector<Symbol>& symbols) const;

 private:
  struct Slot {
    uint64_t key = kEmpty;
    uint32_t rank = kNoRank;
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};

  static uint64_t make_key(Symbol left, Symbol right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t slot_of(uint64_t key) const { return (key * 0x9E3779B97F4A7C15u) >> shift_; }

  void merge_short(std::vector<Symbol>& symbols) const;
  void merge_long(std::vector<Symbol>& symbols) const;

  std::vector<Slot> slots_;
  size_t mask_;
  int shift_;
  std::vector<Symbol> merged_;
};

}  // namespace hadal
