#pragma once
/// The pieces of a vocabulary by their beginnings: all that start at a place of a text in one walk.
#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"

namespace hadal {

/// Children of a node lie side by side, in the order of their bytes. Immutable after the
/// constructor; thread-safe.
class PieceTrie {
 public:
  PieceTrie() : PieceTrie(std::vector<std::pair<std::string_view, TokenId>>()) {}
  /// Of equal texts the lowest id counts; empty ones are left out. The texts need not outlive it.
  explicit PieceTrie(std::vector<std::pair<std::string_view, TokenId>> pieces);

  /// Calls visit(size, id) for every piece that `text` begins with, shortest first.
  template <typename Visit>
  void each_prefix(std::string_view text, Visit&& visit) const {
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      node = child(node, static_cast<uint8_t>(text[i]));
      if (node == 0) return;
      if (ids_[node] != kNoToken) visit(i + 1, ids_[node]);
    }
  }

 private:
  uint32_t child(uint32_t node, uint8_t byte) const {
    if (node == 0) return roots_[byte];
    uint32_t low = first_[node];
    uint32_t high = first_[node + 1];
    while (low < high) {
      const uint32_t middle = low + (high - low) / 2;
      if (bytes_[middle] == byte) return middle;
      if (bytes_[middle] < byte) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return 0;
  }

  std::array<uint32_t, 256> roots_{};  ///< children of the root; 0: none
  std::vector<uint32_t> first_;        ///< of a node: its children are [first_[n], first_[n + 1])
  std::vector<uint8_t> bytes_;         ///< by which a node is reached
  std::vector<TokenId> ids_;           ///< of the piece that ends here, or kNoToken
};

}  // namespace hadal
