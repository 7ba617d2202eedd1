#pragma once
/// TokenTrie: the bytes of a vocabulary's ordinary tokens as tries, in the order of a walk.
#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "text/grammar/charset.h"
#include "text/tokenizer.h"

namespace hadal {

/// Nodes in preorder; node 0 is the root. A node's subtree is [node, end[node]).
struct TriePart {
  std::vector<uint8_t> byte;                  ///< on the edge to the node
  std::vector<uint32_t> depth;                ///< bytes from the root
  std::vector<uint32_t> end;                  ///< behind the subtree
  std::vector<uint32_t> first_token;          ///< into tokens; one more than nodes
  std::vector<TokenId> tokens;                ///< a node's own come before those below it
  std::array<uint32_t, 256> root_child = {};  ///< 0: none

  bool leaf(uint32_t node) const { return end[node] == node + 1; }
  std::span<const TokenId> own(uint32_t node) const {
    return {tokens.data() + first_token[node], tokens.data() + first_token[node + 1]};
  }
  size_t memory_bytes() const { return byte.size() * 13 + tokens.size() * 4; }
};

/// Immutable, thread-safe. Beside the trie of all tokens, the same tokens are cut into slices:
/// those made of characters of one class and no longer than so many, whose mask is known. An
/// automaton that lets all texts of a slice pass, or none, needs to walk only the others (decision
/// 0023).
class TokenTrie {
 public:
  explicit TokenTrie(const Tokenizer& tokenizer);

  /// Classes are numbered; slices of one class follow each other, the short ones first. `mask` has
  /// the tokens of the slice and of those before it in its class.
  struct Slice {
    size_t class_index;
    uint32_t chars_min, chars_max;
    TriePart part;
    std::vector<uint64_t> mask;
  };

  size_t size() const { return size_; }
  size_t words() const { return (size_ + 63) / 64; }
  /// Parts by number: 0 is the trie of all tokens, 1 + i that of slice i, then that of the rest.
  const TriePart& part(size_t number) const {
    return number == 0 ? all_ : number <= slices_.size() ? slices_[number - 1].part : rest_;
  }
  std::span<const Slice> slices() const { return slices_; }
  size_t rest_number() const { return slices_.size() + 1; }
  std::span<const std::vector<Utf8Sequence>> classes() const { return classes_; }
  uint32_t token_bytes_max() const { return token_bytes_max_; }

  /// Bytes of an ordinary token; empty for control tokens and the like.
  std::string_view bytes(TokenId id) const;
  /// Tokens without bytes that end nothing: they pass through free text.
  std::span<const uint64_t> control_mask() const { return control_mask_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  size_t memory_bytes() const;

 private:
  const Tokenizer& tokenizer_;
  size_t size_;
  uint32_t token_bytes_max_ = 0;
  TriePart all_, rest_;
  std::vector<Slice> slices_;
  std::vector<std::vector<Utf8Sequence>> classes_;
  std::vector<uint64_t> control_mask_;
};

inline void set_bit(std::span<uint64_t> bits, TokenId id) {
  bits[static_cast<size_t>(id) / 64] |= uint64_t{1} << (static_cast<size_t>(id) % 64);
}
inline bool get_bit(std::span<const uint64_t> bits, TokenId id) {
  return ((bits[static_cast<size_t>(id) / 64] >> (static_cast<size_t>(id) % 64)) & 1) != 0;
}

}  // namespace hadal
