#pragma once
/// Small made-up vocabularies for the tests of this room.
#include <string>
#include <utility>
#include <vector>

#include "text/tokenizer.h"
#include "text/tokenizer/byte_alphabet.h"

namespace hadal {

inline constexpr uint8_t kNormalKind = static_cast<uint8_t>(TokenKind::kNormal);
inline constexpr uint8_t kControlKind = static_cast<uint8_t>(TokenKind::kControl);
inline constexpr uint8_t kUserKind = static_cast<uint8_t>(TokenKind::kUserDefined);
inline constexpr uint8_t kByteKind = static_cast<uint8_t>(TokenKind::kByte);

inline TokenId add_token(VocabSpec& spec, std::string text, uint8_t kind, float score = 0) {
  spec.tokens.push_back(std::move(text));
  spec.kinds.push_back(kind);
  if (!spec.scores.empty() || spec.model == "llama") spec.scores.push_back(score);
  return static_cast<TokenId>(spec.tokens.size() - 1);
}

/// Byte-level BPE with ids 0..255 = bytes, then one token per merge. Merges are "left right" in
/// plain bytes (a blank is written as usual: the split is at the bar): "h|e".
inline VocabSpec byte_spec(const std::string& pre, const std::vector<std::string>& merges) {
  VocabSpec spec;
  spec.model = "gpt2";
  spec.pre = pre;
  for (int byte = 0; byte < 256; ++byte) {
    add_token(spec, to_byte_alphabet(std::string(1, static_cast<char>(byte))), kNormalKind);
  }
  for (const std::string& merge : merges) {
    const size_t bar = merge.find('|');
    const std::string left = to_byte_alphabet(merge.substr(0, bar));
    const std::string right = to_byte_alphabet(merge.substr(bar + 1));
    spec.merges.push_back(left + " " + right);
    add_token(spec, left + right, kNormalKind);
  }
  return spec;
}

/// SentencePiece with <unk>, <s>, </s>, 256 byte tokens from id 3 on, then `pieces` with falling
/// scores.
inline VocabSpec sentencepiece_spec(const std::vector<std::string>& pieces) {
  VocabSpec spec;
  spec.model = "llama";
  add_token(spec, "<unk>", static_cast<uint8_t>(TokenKind::kUnknown));
  add_token(spec, "<s>", kControlKind);
  add_token(spec, "</s>", kControlKind);
  spec.unknown = 0;
  spec.bos = 1;
  spec.eos = 2;
  constexpr char kHex[] = "0123456789ABCDEF";
  for (unsigned byte = 0; byte < 256; ++byte) {
    add_token(spec, std::string("<0x") + kHex[byte / 16] + kHex[byte % 16] + ">", kByteKind);
  }
  float score = 0;
  for (const std::string& piece : pieces) add_token(spec, piece, kNormalKind, score -= 1);
  return spec;
}

}  // namespace hadal
