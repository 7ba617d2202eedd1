#include "text/tokenizer/charsmap.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/limits.h"
#include "base/utf8.h"

namespace hadal {
namespace {

constexpr std::string_view kReplacementText = "\xEF\xBF\xBD";  // U+FFFD

uint32_t read_u32(std::string_view bytes, size_t at) {
  uint32_t out = 0;
  for (size_t i = 0; i < 4; ++i) {
    out |= static_cast<uint32_t>(static_cast<uint8_t>(bytes[at + i])) << (8 * i);
  }
  return out;
}

// A unit of the double array (Aoe, 1989, as Darts-clone lays it out).
bool has_leaf(uint32_t unit) {
  return ((unit >> 8) & 1) != 0;
}
uint32_t label_of(uint32_t unit) {
  return unit & 0x800000FFU;
}
size_t offset_of(uint32_t unit) {
  return (unit >> 10) << ((unit & 0x200U) >> 6);
}
size_t value_of(uint32_t unit) {
  return unit & 0x7FFFFFFFU;
}

}  // namespace

Result<Charsmap> Charsmap::parse(std::string_view bytes) {
  Charsmap out;
  if (bytes.empty()) return out;
  if (bytes.size() > limits::kCharsmapBytes) {
    return Error{Code::kExhausted,
                 fmt::format("the vocabulary's precompiled_charsmap has {} bytes; "
                             "at most {} are read",
                             bytes.size(), limits::kCharsmapBytes)};
  }
  const size_t trie = bytes.size() < 4 ? 0 : read_u32(bytes, 0);
  if (bytes.size() < 4 || trie == 0 || trie % 4 != 0 || trie > bytes.size() - 4) {
    return Error{Code::kCorrupt,
                 fmt::format("the vocabulary's precompiled_charsmap of {} bytes is damaged: its "
                             "table would have {} bytes",
                             bytes.size(), trie)};
  }
  out.units_.reserve(trie / 4);
  for (size_t at = 4; at < 4 + trie; at += 4) out.units_.push_back(read_u32(bytes, at));
  out.replacements_ = bytes.substr(4 + trie);
  return out;
}

Charsmap::Replacement Charsmap::longest(std::string_view text, size_t position) const {
  const Utf8Step step = utf8_decode(text, position);
  Replacement best{step.size, step.valid ? text.substr(position, step.size) : kReplacementText};
  if (units_.empty()) return best;
  size_t node = offset_of(units_[0]);
  for (size_t i = position; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    node ^= byte;
    if (node >= units_.size() || label_of(units_[node]) != byte) break;
    const uint32_t unit = units_[node];
    node ^= offset_of(unit);
    if (!has_leaf(unit)) continue;
    const size_t place = node < units_.size() ? value_of(units_[node]) : replacements_.size();
    const size_t end = replacements_.find('\0', place);
    // A place outside the table, or an endless entry, is a damaged table's: as if there were none.
    if (place >= replacements_.size() || end == std::string::npos) continue;
    if (end - place > limits::kCharsmapEntryBytes) continue;
    best = {i + 1 - position, std::string_view(replacements_).substr(place, end - place)};
  }
  return best;
}

}  // namespace hadal
