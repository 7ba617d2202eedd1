#pragma once
/// NgramIndex: where did the last tokens of a growing text occur before?
#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"

namespace hadal {

/// Every n-gram of kNgram tokens is chained to its previous occurrence: appending a token is one
/// lookup in a hash table, a search walks at most kCandidates links. Memory: 4 bytes for a token, 4
/// for its link, 8 to 16 for its place in the table. Not thread-safe.
class NgramIndex {
 public:
  static constexpr int64_t kNgram = 3;       ///< shortest match; pairs recur by chance too often
  static constexpr int64_t kMatchMax = 32;   ///< a match counts as no longer than this
  static constexpr int64_t kCandidates = 8;  ///< the newest occurrences only

  struct Match {
    int64_t next = 0;    ///< the position behind the earlier occurrence
    int64_t length = 0;  ///< tokens that agree, kNgram to kMatchMax; 0: none was found
  };

  void append(std::span<const TokenId> tokens);
  /// The longest match of the text's end among its kCandidates newest earlier occurrences; the
  /// newest of equals.
  Match find() const;
  std::span<const TokenId> tokens() const { return tokens_; }

 private:
  void append_one(TokenId token);
  size_t slot_of(int64_t end) const;
  bool same_ngram(int64_t a, int64_t b) const;
  void grow();

  std::vector<TokenId> tokens_;
  /// For the n-gram that ends at a position: where it ended before, or kNone.
  std::vector<int32_t> previous_;
  /// Open addressing, a power of two: the newest end of an n-gram, or kNone.
  std::vector<int32_t> slots_;
  size_t used_ = 0;
};

}  // namespace hadal
