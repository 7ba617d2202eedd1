#pragma once
/// Finds special and user-defined tokens in text: leftmost, then longest.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace hadal {

/// Where a special token stands. `id` is kNoToken when there is none up to the end.
struct SpecialMatch {
  size_t position = 0;
  size_t length = 0;
  TokenId id = kNoToken;
};

/// A sorted list that is narrowed byte by byte: the cost per position is bounded by the length of
/// the longest token (limits::kSpecialTokenBytes), whatever the vocabulary. Build with add() and
/// then seal().
class SpecialMatcher {
 public:
  /// `inert_in_user_text`: only matches where the template wrote every byte. Empty and over-long
  /// texts are left out. REQUIRES: `text` outlives the matcher.
  void add(std::string_view text, TokenId id, bool inert_in_user_text);
  void seal();

  /// The first match at or after `from`. `origin` says which bytes the template wrote (see
  /// MarkedText; missing ones count as the caller's).
  SpecialMatch find(std::string_view text, std::string_view origin, size_t from) const;

 private:
  struct Entry {
    std::string_view text;
    TokenId id;
    bool inert_in_user_text;
  };

  SpecialMatch match_at(std::string_view text, std::string_view origin, size_t position) const;

  std::vector<Entry> entries_;         ///< sorted by text
  std::array<bool, 256> may_start_{};  ///< first bytes of entries
};

}  // namespace hadal
