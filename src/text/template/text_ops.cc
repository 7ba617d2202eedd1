#include "text/template/text_ops.h"

#include <algorithm>

#include <string.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "text/template/unicode.h"

namespace hadal::jinja {
namespace {

void append_character(Text& out, char32_t c, char mark) {
  std::string bytes;
  utf8_append(bytes, c);
  out.append(bytes, mark);
}

/// Walks characters; `change` gives the new one and may look at what came before.
template <typename Change>
Text mapped(const Text& text, Change change) {
  Text out;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_decode(text.bytes, i);
    if (step.valid) {
      append_character(out, change(step.code_point), text.mark_at(i));
    } else {
      out.append(text, i, step.size);
    }
    i += step.size;
  }
  return out;
}

bool cased(char32_t c) {
  return is_alpha(c) && (to_upper(c) != c || to_lower(c) != c);
}

size_t last_character(std::string_view text) {
  size_t begin = text.size() - 1;
  while (begin > 0 && text.size() - begin < 4 &&
         (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) {
    --begin;
  }
  return begin + utf8_decode(text, begin).size == text.size() ? begin : text.size() - 1;
}

/// What one part of a split string costs: as much as walking this many bytes.
constexpr size_t kPartCost = 32;

bool line_break(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

}  // namespace

Text strip(const Text& text, const Text* characters, bool left, bool right) {
  std::string_view rest = text.bytes;
  size_t from = 0;
  if (characters == nullptr) {
    if (left) from = leading_space(rest);
    rest.remove_prefix(from);
    if (right) rest.remove_suffix(trailing_space(rest));
    return text.sub(from, rest.size());
  }
  const auto listed = [&](std::string_view character) {
    return characters->bytes.find(character) != std::string::npos;
  };
  while (left && !rest.empty()) {
    const size_t size = utf8_decode(rest, 0).size;
    if (!listed(rest.substr(0, size))) break;
    rest.remove_prefix(size);
    from += size;
  }
  while (right && !rest.empty()) {
    const size_t begin = last_character(rest);
    if (!listed(rest.substr(begin))) break;
    rest = rest.substr(0, begin);
  }
  return text.sub(from, rest.size());
}

Text upper(const Text& text) {
  Text out;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_decode(text.bytes, i);
    if (step.code_point == 0xDF) {
      out.append("SS", text.mark_at(i));
    } else if (step.valid) {
      append_character(out, to_upper(step.code_point), text.mark_at(i));
    } else {
      out.append(text, i, step.size);
    }
    i += step.size;
  }
  return out;
}

Text lower(const Text& text) {
  return mapped(text, [](char32_t c) { return to_lower(c); });
}

Text capitalized(const Text& text) {
  bool first = true;
  return mapped(
      text, [&](char32_t c) { return std::exchange(first, false) ? to_upper(c) : to_lower(c); });
}

Text titled(const Text& text) {
  bool in_word = false;
  return mapped(text, [&](char32_t c) {
    const char32_t out = in_word ? to_lower(c) : to_upper(c);
    in_word = cased(c);
    return out;
  });
}

size_t find_bytes(const std::string& hay, const std::string& needle, size_t from) {
  if (from > hay.size()) return std::string::npos;
  if (needle.empty()) return from;
  const void* found = memmem(hay.data() + from, hay.size() - from, needle.data(), needle.size());
  if (found == nullptr) return std::string::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - hay.data());
}

std::optional<Text> replaced(Run& run, const Text& text, const Text& from, const Text& to,
                             int64_t count) {
  if (!run.charge(text.size())) return {};
  Text out;
  size_t at = 0;
  if (from.size() == 0) {
    // Python puts the new text around every character.
    for (int64_t n = 0; count < 0 || n < count; ++n) {
      if (!run.fits(out.size() + to.size() > limits::kTemplateOutputBytes ? SIZE_MAX : to.size())) {
        return {};
      }
      out.append(to);
      if (!run.charge_walk(2)) return {};
      if (at >= text.size()) return out;
      const size_t size = utf8_decode(text.bytes, at).size;
      out.append(text, at, size);
      at += size;
    }
  }
  while (from.size() > 0 && count != 0) {
    const size_t found = find_bytes(text.bytes, from.bytes, at);
    if (found == std::string::npos) break;
    if (!run.fits(out.size() + to.size() > limits::kTemplateOutputBytes ? SIZE_MAX : to.size())) {
      return {};
    }
    out.append(text, at, found - at);
    out.append(to);
    at = found + from.size();
    if (count > 0) --count;
  }
  out.append(text, at, text.size() - at);
  return out;
}

std::optional<std::vector<Text>> split(Run& run, const Text& text, const Text* separator,
                                       int64_t most) {
  std::vector<Text> parts;
  size_t at = 0;
  if (separator != nullptr) {
    while (most < 0 || static_cast<int64_t>(parts.size()) < most) {
      const size_t found = find_bytes(text.bytes, separator->bytes, at);
      if (found == std::string::npos) break;
      if (!run.charge_walk(kPartCost)) return {};
      parts.push_back(text.sub(at, found - at));
      at = found + separator->size();
    }
    if (!run.charge_walk(kPartCost)) return {};
    parts.push_back(text.sub(at, text.size() - at));
    return parts;
  }
  if (!run.charge_walk(text.size())) return {};
  while (true) {
    at += leading_space(std::string_view(text.bytes).substr(at));
    if (at >= text.size()) return parts;
    if (most >= 0 && static_cast<int64_t>(parts.size()) >= most) break;
    const size_t begin = at;
    while (at < text.size()) {
      const Utf8Step step = utf8_decode(text.bytes, at);
      if (step.valid && is_space(step.code_point)) break;
      at += step.size;
    }
    if (!run.charge_walk(kPartCost)) return {};
    parts.push_back(text.sub(begin, at - begin));
  }
  if (!run.charge_walk(kPartCost)) return {};
  parts.push_back(strip(text.sub(at, text.size() - at), nullptr, false, true));
  return parts;
}

std::optional<std::vector<Text>> split_right(Run& run, const Text& text, const Text* separator,
                                             int64_t most) {
  std::vector<Text> parts;
  size_t end = text.size();
  if (separator != nullptr) {
    while ((most < 0 || static_cast<int64_t>(parts.size()) < most) && end >= separator->size()) {
      const size_t found = text.bytes.rfind(separator->bytes, end - separator->size());
      if (found == std::string::npos) break;
      const size_t begin = found + separator->size();
      if (!run.charge_walk(kPartCost)) return {};
      parts.push_back(text.sub(begin, end - begin));
      end = found;
    }
    if (!run.charge_walk(kPartCost)) return {};
    parts.push_back(text.sub(0, end));
  } else {
    if (!run.charge_walk(text.size() * 2)) return {};
    while (true) {
      end -= trailing_space(std::string_view(text.bytes).substr(0, end));
      if (end == 0) break;
      if (most >= 0 && static_cast<int64_t>(parts.size()) >= most) {
        if (!run.charge_walk(kPartCost)) return {};
        parts.push_back(strip(text.sub(0, end), nullptr, true, false));
        break;
      }
      size_t begin = end;
      while (begin > 0 && trailing_space(std::string_view(text.bytes).substr(0, begin)) == 0) {
        begin = last_character(std::string_view(text.bytes).substr(0, begin));
      }
      if (!run.charge_walk(kPartCost)) return {};
      parts.push_back(text.sub(begin, end - begin));
      end = begin;
    }
  }
  std::ranges::reverse(parts);
  return parts;
}

std::optional<std::vector<Text>> split_lines(Run& run, const Text& text, bool keep_ends) {
  if (!run.charge_walk(text.size())) return {};
  std::vector<Text> lines;
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_decode(text.bytes, i);
    const size_t line_end = i;
    i += step.size;
    if (!step.valid || !line_break(step.code_point)) continue;
    if (step.code_point == '\r' && i < text.size() && text.bytes[i] == '\n') ++i;
    if (!run.charge_walk(kPartCost)) return {};
    lines.push_back(text.sub(begin, (keep_ends ? i : line_end) - begin));
    begin = i;
  }
  if (begin < text.size()) lines.push_back(text.sub(begin, text.size() - begin));
  return lines;
}

Maybe string_list(Run& run, std::vector<Text> parts, bool markup) {
  std::vector<Value> items;
  items.reserve(parts.size());
  for (Text& part : parts) {
    GET(Value item, run.string(std::move(part), markup));
    items.push_back(std::move(item));
  }
  return run.sequence(std::move(items));
}

Maybe padded(Run& run, const Text& text, int64_t left, int64_t right, const Text& fill) {
  if (left > limits::kTemplateWidth || right > limits::kTemplateWidth) {
    return run.fail("a width is too large", Code::kExhausted);
  }
  Text out;
  if (!run.charge_walk(static_cast<size_t>(std::max<int64_t>(left, 0)) / 2 +
                       static_cast<size_t>(std::max<int64_t>(right, 0)) / 2)) {
    return {};
  }
  for (; left > 0; --left) out.append(fill);
  out.append(text);
  for (; right > 0; --right) out.append(fill);
  return run.string(std::move(out));
}

}  // namespace hadal::jinja
