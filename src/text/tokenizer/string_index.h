#pragma once
/// StringIndex: text -> id over strings that live elsewhere. Open addressing, built once, read by
/// many threads. About twice as fast to build as std::unordered_map, which a start-up notices.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace hadal {

class StringIndex {
 public:
  /// Room for `count` strings.
  explicit StringIndex(size_t count = 0)
      : slots_(std::bit_ceil(count * 2 + 2)), mask_(slots_.size() - 1) {}

  /// False (and no change) when the text is there already. REQUIRES: not more strings than the
  /// constructor was told; `text` outlives the index.
  bool insert(std::string_view text, TokenId id) {
    Slot& slot = slots_[probe(text)];
    if (slot.id != kNoToken) return false;
    slot = {text, id};
    return true;
  }

  std::optional<TokenId> find(std::string_view text) const {
    const Slot& slot = slots_[probe(text)];
    if (slot.id == kNoToken) return std::nullopt;
    return slot.id;
  }

 private:
  struct Slot {
    std::string_view text;
    TokenId id = kNoToken;
  };

  size_t probe(std::string_view text) const {
    size_t at = std::hash<std::string_view>{}(text)&mask_;
    while (slots_[at].id != kNoToken && slots_[at].text != text) at = (at + 1) & mask_;
    return at;
  }

  std::vector<Slot> slots_;
  size_t mask_;
};

}  // namespace hadal
