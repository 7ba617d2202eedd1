#pragma once
/// Pre-tokenizers: cut a text into the pieces inside which byte-level BPE merges.
///
/// Model files name a list of regular expressions, applied one after the other: each splits every
/// piece that the ones before it left into matches and the gaps between them. Here every list is a
/// hand-written scanner with the same result and without a regex engine: linear time, no stack.
/// Sources: reference tokenizers' published patterns; classes from unicode.h.
///
/// Invalid UTF-8: every invalid byte counts as one U+FFFD (a symbol); its byte stays in the piece.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace hadal {

enum class PreTokenizer : uint8_t {
  kGpt2,
  kSmolLm,
  kLlama3,
  kQwen2,
  kDeepSeekLlm,
  kDeepSeekCoder,
  kDeepSeekV3,
  kDefault,
};

/// The scanner for a GGUF tokenizer.ggml.pre name; nothing for names that we do not know.
std::optional<PreTokenizer> find_pre_tokenizer(std::string_view name);

/// Appends the end offset of every piece of `text`; pieces cover the text without gaps.
void pre_tokenize(PreTokenizer kind, std::string_view text, std::vector<size_t>& ends);

}  // namespace hadal
