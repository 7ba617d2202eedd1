#include "text/tokenizer/split_steps.h"

#include <algorithm>
#include <iterator>

#include "text/tokenizer/scanner.h"

namespace hadal {
namespace {

using unicode::kLetter;
using unicode::kNumber;
using unicode::kPunctuation;
using unicode::kSpace;

struct Range {
  char32_t first;
  char32_t last;
};

/// The letters of deepseek-llm's second step beyond ASCII, as code points on purpose: six of them
/// (U+1F7D, U+1FBE, U+1FD3, U+1FDB, U+2126, U+212A) are characters that NFC rewrites, and a pasted
/// copy of the class that an editor normalised would swallow nearly all text.
// clang-format off
constexpr Range kDeepSeekLetters[] = {
    {0xB5, 0xB5}, {0xC0, 0xD6}, {0xD8, 0xF6}, {0xF8, 0x1BA}, {0x1BC, 0x1BF}, {0x1C4, 0x293},
    {0x295, 0x2AF}, {0x370, 0x373}, {0x376, 0x376}, {0x377, 0x377}, {0x37B, 0x37D}, {0x37F, 0x37F},
    {0x386, 0x386}, {0x388, 0x38A}, {0x38C, 0x38C}, {0x38E, 0x3A1}, {0x3A3, 0x3F5}, {0x3F7, 0x481},
    {0x48A, 0x52F}, {0x531, 0x556}, {0x10A0, 0x10C5}, {0x13A0, 0x13F5}, {0x13F8, 0x13FD},
    {0x1C90, 0x1CBA}, {0x1CBD, 0x1CBF}, {0x1D00, 0x1D2B}, {0x1D6B, 0x1D77}, {0x1D79, 0x1D9A},
    {0x1E00, 0x1F15}, {0x1F18, 0x1F1D}, {0x1F20, 0x1F45}, {0x1F48, 0x1F4D}, {0x1F50, 0x1F57},
    {0x1F59, 0x1F59}, {0x1F5B, 0x1F5B}, {0x1F5D, 0x1F5D}, {0x1F5F, 0x1F7D}, {0x1F80, 0x1FB4},
    {0x1FB6, 0x1FBC}, {0x1FBE, 0x1FBE}, {0x1FC2, 0x1FC4}, {0x1FC6, 0x1FCC}, {0x1FD0, 0x1FD3},
    {0x1FD6, 0x1FDB}, {0x1FE0, 0x1FEC}, {0x1FF2, 0x1FF4}, {0x1FF6, 0x1FFC}, {0x2102, 0x2102},
    {0x2107, 0x2107}, {0x210A, 0x2113}, {0x2115, 0x2115}, {0x2119, 0x211D}, {0x2124, 0x2124},
    {0x2126, 0x2126}, {0x2128, 0x2128}, {0x212A, 0x212D}, {0x212F, 0x2134}, {0x2139, 0x2139},
    {0x213C, 0x213F}, {0x2145, 0x2149}, {0x214E, 0x214E}, {0x2183, 0x2183}, {0x2184, 0x2184},
    {0x2C00, 0x2C7B}, {0x2C7E, 0x2CE4}, {0x2CEB, 0x2CEE}, {0x2CF2, 0x2CF2}, {0x2CF3, 0x2CF3},
    {0xA640, 0xA66D}, {0xA680, 0xA69B}, {0xA722, 0xA76F}, {0xA771, 0xA787}, {0xA78B, 0xA78E},
    {0xAB70, 0xABBF}, {0xFB00, 0xFB06}, {0xFB13, 0xFB17}, {0xFF21, 0xFF3A}, {0xFF41, 0xFF5A},
    {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB}, {0x10C80, 0x10CB2},
    {0x10CC0, 0x10CF2}, {0x118A0, 0x118DF}, {0x1E900, 0x1E943},
};
// clang-format on

bool is_deepseek_letter(const ScannedChar& c) {
  if (c.code_point < 128) return c.is(kLetter);
  const auto* end = std::end(kDeepSeekLetters);
  const auto* at =
      std::lower_bound(std::begin(kDeepSeekLetters), end, c.code_point,
                       [](const Range& range, char32_t wanted) { return range.last < wanted; });
  return at != end && at->first <= c.code_point;
}

/// [!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]: the range ":-~" also holds every
/// ASCII letter, so this step cuts words of the step before wherever they hold other letters.
bool is_deepseek_punctuation(const ScannedChar& c) {
  const char32_t p = c.code_point;
  return (p >= '!' && p <= '/') || (p >= ':' && p <= '~') || (p >= 0xFF01 && p <= 0xFF0F) ||
         (p >= 0xFF1A && p <= 0xFF5E) || (p >= 0x2018 && p <= 0x201F) ||
         (p >= 0x3000 && p <= 0x3002);
}

/// [\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]
bool is_deepseek_cjk(const ScannedChar& c) {
  const char32_t p = c.code_point;
  return (p >= 0x800 && p <= 0x9FA5) || (p >= 0xAC00 && p <= 0xD7FF);
}

bool is_newline(const ScannedChar& c) {
  return c.code_point == '\r' || c.code_point == '\n';
}
bool is_letter(const ScannedChar& c) {
  return c.is(kLetter);
}
bool is_number(const ScannedChar& c) {
  return c.is(kNumber);
}
bool is_punctuation(const ScannedChar& c) {
  return c.is(kPunctuation);
}

/// Where a step's match at `position` ends; `position` itself when there is none there.
using Match = size_t (*)(const Scanner&, size_t);

/// X
template <bool (*X)(const ScannedChar&)>
size_t one(const Scanner& s, size_t position) {
  const ScannedChar c = s.look(position);
  return X(c) ? position + c.size : position;
}

/// X+
template <bool (*X)(const ScannedChar&)>
size_t many(const Scanner& s, size_t position) {
  return s.run(position, X);
}

/// \s?X+
template <bool (*X)(const ScannedChar&)>
size_t blank_then_many(const Scanner& s, size_t position) {
  const ScannedChar c = s.look(position);
  if (c.is(kSpace) && s.look(position + c.size).size != 0 && X(s.look(position + c.size))) {
    return s.run(position + c.size, X);
  }
  return s.run(position, X);
}

/// One step over all pieces. A text of one long run that does not match costs one test per
/// character, whatever the step.
template <Match match>
void split_step(std::string_view text, std::vector<size_t>& ends) {
  std::vector<size_t> out;
  out.reserve(ends.size() * 2);
  size_t position = 0;
  for (const size_t end : ends) {
    const Scanner s(text, end);
    size_t gap = position;
    while (position < end) {
      const size_t after = match(s, position);
      if (after == position) {
        position += s.look(position).size;
        continue;
      }
      if (gap < position) out.push_back(position);
      out.push_back(after);
      position = gap = after;
    }
    if (gap < end) out.push_back(end);
  }
  ends.swap(out);
}

/// \s+$: white space at the end of a piece. Looked for from the end, so that long runs of white
/// space inside a piece are not scanned again and again.
void split_trailing_space(std::string_view text, std::vector<size_t>& ends) {
  std::vector<size_t> out;
  out.reserve(ends.size() + ends.size() / 4);
  size_t start = 0;
  for (const size_t end : ends) {
    const Scanner s(text, end);
    size_t space = end;
    for (size_t position = start; position < end;) {
      const ScannedChar c = s.look(position);
      if (!c.is(kSpace)) {
        space = end;
      } else if (space == end) {
        space = position;
      }
      position += c.size;
    }
    if (start < space && space < end) out.push_back(space);
    out.push_back(end);
    start = end;
  }
  ends.swap(out);
}

/// [\p{P}\$\+<=>\^~\|]
bool is_default_mark(const ScannedChar& c) {
  return c.is(kPunctuation) ||
         (c.code_point < 128 && c.is(unicode::kSymbol) && c.code_point != '`');
}

/// [0-9][0-9][0-9]
size_t three_digits(const Scanner& s, size_t position) {
  for (size_t i = 0; i < 3; ++i) {
    const ScannedChar c = s.look(position + i);
    if (c.code_point < '0' || c.code_point > '9') return position;
  }
  return position + 3;
}

/// Runs `steps` over `text` as one piece and appends the result.
template <typename Steps>
void split_all(std::string_view text, std::vector<size_t>& ends, Steps steps) {
  if (text.empty()) return;
  std::vector<size_t> own = {text.size()};
  steps(own);
  ends.insert(ends.end(), own.begin(), own.end());
}

}  // namespace

void split_deepseek_llm(std::string_view text, std::vector<size_t>& ends) {
  split_all(text, ends, [text](std::vector<size_t>& own) {
    split_step<one<is_newline>>(text, own);
    split_step<blank_then_many<is_deepseek_letter>>(text, own);
    split_step<blank_then_many<is_deepseek_punctuation>>(text, own);
    split_trailing_space(text, own);
    split_step<many<is_deepseek_cjk>>(text, own);
    split_step<many<is_number>>(text, own);
  });
}

void split_deepseek_coder(std::string_view text, std::vector<size_t>& ends) {
  split_all(text, ends, [text](std::vector<size_t>& own) {
    split_step<one<is_newline>>(text, own);
    split_step<blank_then_many<is_letter>>(text, own);
    split_step<blank_then_many<is_punctuation>>(text, own);
    split_step<many<is_deepseek_cjk>>(text, own);
    split_step<one<is_number>>(text, own);
  });
}

void split_default(std::string_view text, std::vector<size_t>& ends,
                   size_t (*gpt2_piece)(const Scanner&, size_t)) {
  split_all(text, ends, [&](std::vector<size_t>& own) {
    split_step<many<is_default_mark>>(text, own);
    std::vector<size_t> words;
    size_t position = 0;
    for (const size_t end : own) {
      const Scanner s(text, end);
      while (position < end) words.push_back(position = gpt2_piece(s, position));
    }
    own.swap(words);
    split_step<many<is_number>>(text, own);
    split_step<three_digits>(text, own);
  });
}

}  // namespace hadal
