#include "text/tokenizer/pretokenizer.h"

#include <array>
#include <utility>

#include "text/tokenizer/scanner.h"
#include "text/tokenizer/split_steps.h"

namespace hadal {
namespace {

// In every function below: REQUIRES position < scanner.end(). The result is > position.

using unicode::kLetter;
using unicode::kMark;
using unicode::kNumber;
using unicode::kPunctuation;
using unicode::kSpace;
using unicode::kSymbol;

bool is_newline(const ScannedChar& c) {
  return c.code_point == '\r' || c.code_point == '\n';
}

/// ` ?` before `\s+(?!\S)|\s+`: a run of white space leaves its last character to what follows it,
/// unless it is all there is or the text ends.
size_t space_piece(const Scanner& s, size_t position) {
  size_t end = position;
  size_t last = position;
  for (ScannedChar c = s.look(end); c.is(kSpace); c = s.look(end)) {
    last = end;
    end += c.size;
  }
  return end == s.end() || last == position ? end : last;
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+`: up to the last line break of the run, if it has one.
size_t line_space_piece(const Scanner& s, size_t position) {
  size_t end = position;
  size_t last = position;
  size_t after_newline = 0;
  for (ScannedChar c = s.look(end); c.is(kSpace); c = s.look(end)) {
    last = end;
    end += c.size;
    if (is_newline(c)) after_newline = end;
  }
  if (after_newline != 0) return after_newline;
  return end == s.end() || last == position ? end : last;
}

/// Length of 's 't 're 've 'm 'll 'd at `position`, 0 if none. `fold`: letters of either case, and
/// U+017F (long s), which folds to s.
size_t contraction(const Scanner& s, size_t position, bool fold) {
  const auto letter = [&](size_t at) -> char32_t {
    const char32_t c = s.look(at).code_point;
    if (!fold) return c;
    if (c == 0x17F) return 's';
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
  };
  switch (letter(position + 1)) {
    case 's':
      return 1u + s.look(position + 1).size;
    case 't':
    case 'm':
    case 'd':
      return 2;
    case 'r':
    case 'v':
      return letter(position + 2) == 'e' ? 3 : 0;
    case 'l':
      return letter(position + 2) == 'l' ? 3 : 0;
    default:
      return 0;
  }
}

/// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
size_t gpt2_piece(const Scanner& s, size_t position) {
  ScannedChar c = s.look(position);
  if (c.code_point == '\'') {
    if (const size_t length = contraction(s, position, false); length != 0)
      return position + length;
  }
  size_t start = position;
  if (c.code_point == ' ') {
    const ScannedChar next = s.look(position + 1);
    if (next.size == 0 || next.is(kSpace)) return space_piece(s, position);
    start = position + 1;
    c = next;
  }
  if (c.is(kLetter)) return s.run(start, [](const ScannedChar& x) { return x.is(kLetter); });
  if (c.is(kNumber)) return s.run(start, [](const ScannedChar& x) { return x.is(kNumber); });
  if (c.is(kSpace)) return space_piece(s, position);
  return s.run(start, [](const ScannedChar& x) { return !x.is(kSpace | kLetter | kNumber); });
}

size_t number_run(const Scanner& s, size_t position, int digits_max) {
  for (int i = 0; i < digits_max; ++i) {
    const ScannedChar c = s.look(position);
    if (!c.is(kNumber)) break;
    position += c.size;
  }
  return position;
}

/// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,D}| ?[^\s\p{L}\p{N}]+[\r\n]*
/// |\s*[\r\n]+|\s+(?!\S)|\s+       with D = digits_max
size_t llama3_piece(const Scanner& s, size_t position, int digits_max) {
  constexpr auto is_letter = [](const ScannedChar& x) { return x.is(kLetter); };
  const ScannedChar c = s.look(position);
  if (c.is(kLetter)) return s.run(position, is_letter);
  if (c.is(kNumber)) return number_run(s, position, digits_max);
  if (c.code_point == '\'') {
    if (const size_t length = contraction(s, position, true); length != 0) return position + length;
  }
  const ScannedChar next = s.look(position + c.size);
  if (next.is(kLetter) && !is_newline(c)) return s.run(position + c.size, is_letter);
  const bool blank_before_other =
      c.code_point == ' ' && next.size != 0 && !next.is(kSpace | kLetter | kNumber);
  if (!c.is(kSpace) || blank_before_other) {
    const size_t end = s.run(
        position + c.size, [](const ScannedChar& x) { return !x.is(kSpace | kLetter | kNumber); });
    return s.run(end, is_newline);
  }
  return line_space_piece(s, position);
}

bool is_ascii_letter(const ScannedChar& c) {
  return c.code_point < 128 && c.is(kLetter);
}

bool is_ascii_mark(const ScannedChar& c) {
  return c.code_point < 128 && c.is(kPunctuation | kSymbol);
}

/// [!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*
/// |\s*[\r\n]+|\s+(?!\S)|\s+       0 when nothing matches (control characters, unassigned ones)
size_t deepseek_v3_match(const Scanner& s, size_t position) {
  constexpr auto is_word = [](const ScannedChar& x) { return x.is(kLetter | kMark); };
  const ScannedChar c = s.look(position);
  const ScannedChar next = s.look(position + c.size);
  if (is_ascii_mark(c) && is_ascii_letter(next)) return s.run(position + 1, is_ascii_letter);
  if (is_word(c)) return s.run(position, is_word);
  const bool mark = c.is(kPunctuation | kSymbol);
  if (!mark && !is_newline(c) && is_word(next)) return s.run(position + c.size, is_word);
  if (mark || (c.code_point == ' ' && next.is(kPunctuation | kSymbol))) {
    const size_t end =
        s.run(position + c.size, [](const ScannedChar& x) { return x.is(kPunctuation | kSymbol); });
    return s.run(end, is_newline);
  }
  return c.is(kSpace) ? line_space_piece(s, position) : 0;
}

/// The last step of deepseek-v3 inside one piece of the steps before; gaps become pieces.
void deepseek_v3_segment(const Scanner& s, size_t position, std::vector<size_t>& ends) {
  size_t gap = position;
  while (position < s.end()) {
    const size_t end = deepseek_v3_match(s, position);
    if (end == 0) {
      position += s.look(position).size;
      continue;
    }
    if (gap < position) ends.push_back(position);
    ends.push_back(end);
    position = gap = end;
  }
  if (gap < s.end()) ends.push_back(s.end());
}

/// 1 \p{N}{1,3}   2 [\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+   3 deepseek_v3_match
void deepseek_v3(std::string_view text, std::vector<size_t>& ends) {
  constexpr auto is_cjk = [](const ScannedChar& x) {
    return (x.code_point >= 0x4E00 && x.code_point <= 0x9FA5) ||
           (x.code_point >= 0x3040 && x.code_point <= 0x30FF);
  };
  const Scanner all(text, text.size());
  for (size_t position = 0; position < text.size();) {
    const ScannedChar c = all.look(position);
    if (c.is(kNumber)) {
      position = number_run(all, position, 3);
      ends.push_back(position);
      continue;
    }
    const bool cjk = is_cjk(c);
    const size_t end =
        all.run(position, [&](const ScannedChar& x) { return is_cjk(x) == cjk && !x.is(kNumber); });
    deepseek_v3_segment(Scanner(text, end), position, ends);
    position = end;
  }
}

/// 1 \p{N}   2 gpt2_piece
void smollm(std::string_view text, std::vector<size_t>& ends) {
  const Scanner all(text, text.size());
  for (size_t position = 0; position < text.size();) {
    const ScannedChar c = all.look(position);
    if (c.is(kNumber)) {
      position += c.size;
      ends.push_back(position);
      continue;
    }
    const Scanner segment(text,
                          all.run(position, [](const ScannedChar& x) { return !x.is(kNumber); }));
    while (position < segment.end()) {
      position = gpt2_piece(segment, position);
      ends.push_back(position);
    }
  }
}

template <typename Piece>
void whole_text(std::string_view text, std::vector<size_t>& ends, Piece piece) {
  const Scanner all(text, text.size());
  for (size_t position = 0; position < text.size();) {
    position = piece(all, position);
    ends.push_back(position);
  }
}

constexpr std::array kNames = {
    std::pair{std::string_view("gpt-2"), PreTokenizer::kGpt2},
    std::pair{std::string_view("gpt2"), PreTokenizer::kGpt2},
    std::pair{std::string_view("phi-2"), PreTokenizer::kGpt2},
    std::pair{std::string_view("roberta-bpe"), PreTokenizer::kGpt2},
    std::pair{std::string_view("smollm"), PreTokenizer::kSmolLm},
    std::pair{std::string_view("starcoder"), PreTokenizer::kSmolLm},
    std::pair{std::string_view("refact"), PreTokenizer::kSmolLm},
    std::pair{std::string_view("command-r"), PreTokenizer::kSmolLm},
    std::pair{std::string_view("llama-bpe"), PreTokenizer::kLlama3},
    std::pair{std::string_view("llama3"), PreTokenizer::kLlama3},
    std::pair{std::string_view("llama-v3"), PreTokenizer::kLlama3},
    std::pair{std::string_view("qwen2"), PreTokenizer::kQwen2},
    std::pair{std::string_view("deepseek-r1-qwen"), PreTokenizer::kQwen2},
    std::pair{std::string_view("deepseek-llm"), PreTokenizer::kDeepSeekLlm},
    std::pair{std::string_view("deepseek-coder"), PreTokenizer::kDeepSeekCoder},
    std::pair{std::string_view("deepseek-v3"), PreTokenizer::kDeepSeekV3},
    std::pair{std::string_view("joyai-llm"), PreTokenizer::kDeepSeekV3},
    std::pair{std::string_view("hunyuan-dense"), PreTokenizer::kDeepSeekV3},
    std::pair{std::string_view("default"), PreTokenizer::kDefault},
};

}  // namespace

std::optional<PreTokenizer> find_pre_tokenizer(std::string_view name) {
  for (const auto& [known, kind] : kNames) {
    if (known == name) return kind;
  }
  return std::nullopt;
}

void pre_tokenize(PreTokenizer kind, std::string_view text, std::vector<size_t>& ends) {
  switch (kind) {
    case PreTokenizer::kGpt2:
      return whole_text(text, ends, gpt2_piece);
    case PreTokenizer::kSmolLm:
      return smollm(text, ends);
    case PreTokenizer::kLlama3:
      return whole_text(text, ends,
                        [](const Scanner& s, size_t p) { return llama3_piece(s, p, 3); });
    case PreTokenizer::kQwen2:
      return whole_text(text, ends,
                        [](const Scanner& s, size_t p) { return llama3_piece(s, p, 1); });
    case PreTokenizer::kDeepSeekV3:
      return deepseek_v3(text, ends);
    case PreTokenizer::kDeepSeekLlm:
      return split_deepseek_llm(text, ends);
    case PreTokenizer::kDeepSeekCoder:
      return split_deepseek_coder(text, ends);
    case PreTokenizer::kDefault:
      return split_default(text, ends, gpt2_piece);
  }
}

}  // namespace hadal
