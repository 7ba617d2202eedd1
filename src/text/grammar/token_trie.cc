#include "text/grammar/token_trie.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string_view>

#include "base/utf8.h"

namespace hadal {
namespace {

struct Entry {
  std::string_view bytes;
  TokenId id;
};

/// Classes of characters whose tokens are sliced off, the narrow before the wide: a token belongs
/// to the first that holds it. Chosen by what schemas ask for: names, identifiers, plain text, and
/// the inside of JSON strings.
std::vector<CharSet> slice_classes() {
  CharSet letters = CharSet::of({{'A', 'Z'}, {'a', 'z'}});
  CharSet blank_letters = letters;
  blank_letters.add(' ', ' ');
  CharSet printable = CharSet::of({{' ', '~'}});
  printable.remove(CharSet::of({{'"', '"'}, {'\\', '\\'}}));
  CharSet beyond = CharSet::of({{0x80, 0x10FFFF}});
  CharSet text = printable;
  text.add(beyond);
  return {CharSet::of({{'a', 'z'}}), letters, blank_letters, printable, text};
}

constexpr uint32_t kSliceChars[] = {1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 32};

TriePart build_part(const std::vector<Entry>& sorted) {
  TriePart part;
  const auto add_node = [&](uint8_t byte, size_t depth) {
    part.byte.push_back(byte);
    part.depth.push_back(static_cast<uint32_t>(depth));
    part.end.push_back(0);
    part.first_token.push_back(static_cast<uint32_t>(part.tokens.size()));
  };
  add_node(0, 0);
  std::vector<uint32_t> path = {0};  // nodes of the current text
  std::string_view previous;
  for (const Entry& entry : sorted) {
    const size_t common = static_cast<size_t>(
        std::mismatch(previous.begin(), previous.end(), entry.bytes.begin(), entry.bytes.end())
            .first -
        previous.begin());
    while (path.size() > common + 1) {
      part.end[path.back()] = static_cast<uint32_t>(part.byte.size());
      path.pop_back();
    }
    for (size_t i = common; i < entry.bytes.size(); ++i) {
      const auto byte = static_cast<uint8_t>(entry.bytes[i]);
      const auto node = static_cast<uint32_t>(part.byte.size());
      add_node(byte, i + 1);
      if (i == 0) part.root_child[byte] = node;
      path.push_back(node);
    }
    part.tokens.push_back(entry.id);
    previous = entry.bytes;
  }
  for (const uint32_t node : path) part.end[node] = static_cast<uint32_t>(part.byte.size());
  part.first_token.push_back(static_cast<uint32_t>(part.tokens.size()));
  return part;
}

/// Number of characters when all of them are of the class, else nothing.
std::optional<uint32_t> chars_of(std::string_view bytes, const CharSet& set) {
  uint32_t count = 0;
  for (size_t at = 0; at < bytes.size(); ++count) {
    const Utf8Step step = utf8_decode(bytes, at);
    if (!step.valid || !set.contains(step.code_point)) return std::nullopt;
    at += step.size;
  }
  return count;
}

}  // namespace

TokenTrie::TokenTrie(const Tokenizer& tokenizer)
    : tokenizer_(tokenizer), size_(static_cast<size_t>(tokenizer.size())) {
  control_mask_.assign(words(), 0);
  std::vector<Entry> entries;
  for (TokenId id = 0; static_cast<size_t>(id) < size_; ++id) {
    const std::string_view text = bytes(id);
    if (!text.empty()) {
      entries.push_back({text, id});
      token_bytes_max_ = std::max(token_bytes_max_, static_cast<uint32_t>(text.size()));
    } else if (!tokenizer.is_end_of_generation(id)) {
      set_bit(control_mask_, id);
    }
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.bytes != b.bytes ? a.bytes < b.bytes : a.id < b.id;
  });
  all_ = build_part(entries);

  const std::vector<CharSet> sets = slice_classes();
  for (const CharSet& set : sets) classes_.push_back(utf8_sequences(set));
  constexpr size_t kLengths = std::size(kSliceChars);
  std::vector<std::vector<Entry>> members(sets.size() * kLengths + 1);  // the last: the rest
  for (const Entry& entry : entries) {
    size_t slot = members.size() - 1;
    for (size_t c = 0; c < sets.size() && slot + 1 == members.size(); ++c) {
      const std::optional<uint32_t> chars = chars_of(entry.bytes, sets[c]);
      if (!chars || *chars > kSliceChars[kLengths - 1]) continue;
      const size_t length = static_cast<size_t>(
          std::lower_bound(std::begin(kSliceChars), std::end(kSliceChars), *chars) -
          std::begin(kSliceChars));
      slot = c * kLengths + length;
    }
    members[slot].push_back(entry);
  }
  for (size_t slot = 0; slot + 1 < members.size(); ++slot) {
    const size_t length = slot % kLengths;
    Slice slice{slot / kLengths, length == 0 ? 1 : kSliceChars[length - 1] + 1, kSliceChars[length],
                build_part(members[slot]),
                length == 0 ? std::vector<uint64_t>(words(), 0) : slices_.back().mask};
    for (const Entry& entry : members[slot]) set_bit(slice.mask, entry.id);
    slices_.push_back(std::move(slice));
  }
  rest_ = build_part(members.back());
}

std::string_view TokenTrie::bytes(TokenId id) const {
  // An end of generation is never text, even where a vocabulary calls it user-defined.
  const bool text =
      tokenizer_.kind(id) != TokenKind::kUnused && !tokenizer_.is_end_of_generation(id);
  return text ? tokenizer_.piece(id, false) : std::string_view();
}

size_t TokenTrie::memory_bytes() const {
  size_t sum = all_.memory_bytes() + rest_.memory_bytes();
  for (const Slice& slice : slices_) sum += slice.part.memory_bytes() + slice.mask.size() * 8;
  return sum;
}

}  // namespace hadal
