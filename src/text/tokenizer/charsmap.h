#pragma once
/// The table of replacements that SentencePiece models bring along ("precompiled_charsmap": NFKC
/// and more). Its bytes come from files: every index is checked while reading.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hadal {

/// Layout: u32 size of a double-array trie in bytes; the trie, an array of u32; replacements, each
/// ended by a zero byte. The trie maps a few bytes of text to the place of their replacement.
/// Immutable; thread-safe.
class Charsmap {
 public:
  /// Replaces nothing.
  Charsmap() = default;
  /// kCorrupt when the sizes contradict each other; empty bytes give a map that replaces nothing.
  static Result<Charsmap> parse(std::string_view bytes);

  /// `size` bytes of text become `text`.
  struct Replacement {
    size_t size = 0;
    std::string_view text;
  };
  /// The longest entry at `position`; without one the character itself (U+FFFD for a byte that
  /// begins none). REQUIRES: position < text.size().
  Replacement longest(std::string_view text, size_t position) const;

 private:
  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace hadal
