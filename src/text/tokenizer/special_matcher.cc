#include "text/tokenizer/special_matcher.h"

#include <algorithm>

#include "base/limits.h"
#include "text/text.h"

namespace hadal {

void SpecialMatcher::add(std::string_view text, TokenId id, bool inert_in_user_text) {
  if (text.empty() || text.size() > limits::kSpecialTokenBytes) return;
  entries_.push_back({text, id, inert_in_user_text});
  may_start_[static_cast<uint8_t>(text[0])] = true;
}

void SpecialMatcher::seal() {
  // Of equal texts the lowest id stays, as in StringIndex.
  std::stable_sort(entries_.begin(), entries_.end(),
                   [](const Entry& a, const Entry& b) { return a.text < b.text; });
  const auto same = [](const Entry& a, const Entry& b) { return a.text == b.text; };
  entries_.erase(std::unique(entries_.begin(), entries_.end(), same), entries_.end());
}

SpecialMatch SpecialMatcher::find(std::string_view text, std::string_view origin,
                                  size_t from) const {
  if (!entries_.empty()) {
    for (size_t i = from; i < text.size(); ++i) {
      if (!may_start_[static_cast<uint8_t>(text[i])]) continue;
      const SpecialMatch match = match_at(text, origin, i);
      if (match.id != kNoToken) return match;
    }
  }
  return {text.size(), 0, kNoToken};
}

SpecialMatch SpecialMatcher::match_at(std::string_view text, std::string_view origin,
                                      size_t position) const {
  SpecialMatch best;
  bool template_wrote_all = true;
  auto low = entries_.begin();
  auto high = entries_.end();
  for (size_t depth = 0; position + depth < text.size(); ++depth) {
    const auto byte = static_cast<uint8_t>(text[position + depth]);
    // Entries [low, high) share the first `depth` bytes and are longer than that.
    const auto at_depth = [depth](const Entry& e) { return static_cast<uint8_t>(e.text[depth]); };
    low = std::partition_point(low, high, [&](const Entry& e) { return at_depth(e) < byte; });
    high = std::partition_point(low, high, [&](const Entry& e) { return at_depth(e) == byte; });
    if (low == high) break;
    template_wrote_all = template_wrote_all && position + depth < origin.size() &&
                         origin[position + depth] == MarkedText::kTemplate;
    if (low->text.size() == depth + 1) {
      if (template_wrote_all || !low->inert_in_user_text) best = {position, depth + 1, low->id};
      ++low;
    }
  }
  return best;
}

}  // namespace hadal
