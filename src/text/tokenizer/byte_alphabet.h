#pragma once
/// GPT-2's byte alphabet: every byte has a printable character, so that vocabularies can be text.
/// Bytes 33-126, 161-172 and 174-255 are themselves, the other 68 are U+0100 and up, in order.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/utf8.h"

namespace hadal {

/// Byte -> code point.
inline constexpr std::array<char32_t, 256> kByteAlphabet = [] {
  std::array<char32_t, 256> table{};
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    table[byte] = itself ? byte : next++;
  }
  return table;
}();

/// Code point below U+0144 -> byte, or -1.
inline constexpr std::array<int16_t, 0x144> kAlphabetBytes = [] {
  std::array<int16_t, 0x144> table{};
  table.fill(-1);
  for (unsigned byte = 0; byte < 256; ++byte)
    table[kByteAlphabet[byte]] = static_cast<int16_t>(byte);
  return table;
}();

inline std::string to_byte_alphabet(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char byte : bytes) utf8_append(text, kByteAlphabet[static_cast<uint8_t>(byte)]);
  return text;
}

/// Nothing when `text` holds a character that is not of the alphabet.
inline std::optional<std::string> from_byte_alphabet(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_decode(text, i);
    const bool known = step.valid && step.code_point < kAlphabetBytes.size();
    const int16_t byte = known ? kAlphabetBytes[step.code_point] : int16_t{-1};
    if (byte < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte));
    i += step.size;
  }
  return bytes;
}

}  // namespace hadal
