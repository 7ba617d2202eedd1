#include <algorithm>
#include <utility>

#include "base/utf8.h"
#include "text/tokenizer.h"

namespace hadal {
namespace {

/// Bytes of the longest beginning of a character at `position`, where utf8_decode() found none:
/// one U+FFFD stands for all of them (The Unicode Standard, section 3.9, "maximal subpart").
size_t broken_length(std::string_view text, size_t position) {
  size_t length = 1;
  // A prefix that more bytes could complete is a beginning; the longest such prefix is the part.
  while (length < 3 && position + length < text.size() &&
         utf8_complete_prefix(text.substr(position, length + 1)) == 0) {
    ++length;
  }
  return utf8_complete_prefix(text.substr(position, 1)) == 0 ? length : 1;
}

std::string replace_invalid(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_decode(text, i);
    if (step.valid) {
      out.append(text.substr(i, step.size));
      i += step.size;
    } else {
      utf8_append(out, kReplacementCharacter);
      i += broken_length(text, i);
    }
  }
  return out;
}

}  // namespace

std::string Detokenizer::push(TokenId id) {
  const bool shown = show_control_ || std::ranges::find(shown_, id) != shown_.end();
  std::string_view piece = tokenizer_.piece(id, shown);
  if (piece.empty()) return {};
  if (std::exchange(first_, false) && tokenizer_.drops_leading_blank() && piece.starts_with(' ')) {
    piece.remove_prefix(1);
  }
  const auto ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
  if (pending_.empty() && std::ranges::all_of(piece, ascii)) return std::string(piece);
  pending_.append(piece);
  const size_t complete = utf8_complete_prefix(pending_);
  std::string out = replace_invalid(std::string_view(pending_).substr(0, complete));
  pending_.erase(0, complete);
  return out;
}

std::string Detokenizer::finish() {
  first_ = true;
  return replace_invalid(std::exchange(pending_, {}));
}

}  // namespace hadal
