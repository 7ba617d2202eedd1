#include "text/tokenizer/piece_trie.h"

#include <algorithm>

namespace hadal {

// Level by level: the nodes of a level are ranges of the sorted pieces that agree so far, so
// children come to lie in the order of their parents.
PieceTrie::PieceTrie(std::vector<std::pair<std::string_view, TokenId>> pieces) {
  std::sort(pieces.begin(), pieces.end());
  struct Range {
    size_t begin;
    size_t end;
  };
  std::vector<Range> level = {{0, pieces.size()}};
  bytes_ = {0};
  ids_ = {kNoToken};
  for (size_t depth = 0; !level.empty(); ++depth) {
    std::vector<Range> next;
    for (const Range& range : level) {
      first_.push_back(static_cast<uint32_t>(bytes_.size()));
      size_t i = range.begin;
      while (i < range.end && pieces[i].first.size() <= depth) ++i;  // those that end here
      while (i < range.end) {
        const auto byte = static_cast<uint8_t>(pieces[i].first[depth]);
        const size_t begin = i;
        while (i < range.end && static_cast<uint8_t>(pieces[i].first[depth]) == byte) ++i;
        const bool ends = pieces[begin].first.size() == depth + 1;
        if (depth == 0) roots_[byte] = static_cast<uint32_t>(bytes_.size());
        bytes_.push_back(byte);
        ids_.push_back(ends ? pieces[begin].second : kNoToken);
        next.push_back({begin, i});
      }
    }
    level = std::move(next);
  }
  first_.push_back(static_cast<uint32_t>(bytes_.size()));
}

}  // namespace hadal
