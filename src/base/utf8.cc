#include "base/utf8.h"

namespace hadal {
namespace {

/// Bytes a character has by its first byte, 0 when no character starts so.
int sequence_length(uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

/// Whether `next` may follow `lead` (rules out overlong forms, surrogates, beyond U+10FFFF).
bool second_byte_fits(uint8_t lead, uint8_t next) {
  switch (lead) {
    case 0xE0:
      return next >= 0xA0 && next <= 0xBF;
    case 0xED:
      return next >= 0x80 && next <= 0x9F;
    case 0xF0:
      return next >= 0x90 && next <= 0xBF;
    case 0xF4:
      return next >= 0x80 && next <= 0x8F;
    default:
      return (next & 0xC0) == 0x80;
  }
}

}  // namespace

Utf8Step utf8_decode(std::string_view text, size_t position) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[position + i]); };
  const uint8_t lead = byte(0);
  const int length = sequence_length(lead);
  if (length == 1) return {lead, 1, true};
  if (length == 0 || text.size() - position < static_cast<size_t>(length) ||
      !second_byte_fits(lead, byte(1))) {
    return {kReplacementCharacter, 1, false};
  }
  char32_t code_point = lead & (0xFF >> (length + 1));
  for (int i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {kReplacementCharacter, 1, false};
    code_point = (code_point << 6) | (byte(i) & 0x3F);
  }
  return {code_point, static_cast<uint8_t>(length), true};
}

void utf8_append(std::string& out, char32_t code_point) {
  if (code_point > 0x10FFFF) code_point = kReplacementCharacter;
  if (code_point < 0x80) {
    out.push_back(static_cast<char>(code_point));
  } else if (code_point < 0x800) {
    out.push_back(static_cast<char>(0xC0 | (code_point >> 6)));
    out.push_back(static_cast<char>(0x80 | (code_point & 0x3F)));
  } else if (code_point < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | (code_point >> 12)));
    out.push_back(static_cast<char>(0x80 | ((code_point >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (code_point & 0x3F)));
  } else {
    out.push_back(static_cast<char>(0xF0 | (code_point >> 18)));
    out.push_back(static_cast<char>(0x80 | ((code_point >> 12) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | ((code_point >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (code_point & 0x3F)));
  }
}

bool utf8_valid(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_decode(text, i);
    if (!step.valid) return false;
    i += step.size;
  }
  return true;
}

size_t utf8_complete_prefix(std::string_view text) {
  // An unfinished character has its first byte among the last three.
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const auto lead = static_cast<uint8_t>(text[text.size() - back]);
    if ((lead & 0xC0) == 0x80) continue;
    const auto length = static_cast<size_t>(sequence_length(lead));
    const bool open =
        length > back &&
        (back == 1 || second_byte_fits(lead, static_cast<uint8_t>(text[text.size() - back + 1])));
    return open ? text.size() - back : text.size();
  }
  return text.size();
}

std::string utf8_sanitized(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_decode(text, i);
    if (step.valid) {
      out.append(text.substr(i, step.size));
    } else {
      utf8_append(out, kReplacementCharacter);
    }
    i += step.size;
  }
  return out;
}

size_t utf8_length(std::string_view text) {
  size_t count = 0;
  for (size_t i = 0; i < text.size(); ++count) i += utf8_decode(text, i).size;
  return count;
}

}  // namespace hadal
