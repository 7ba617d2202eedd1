#include "text/tokenizer/wordpiece.h"

#include "text/tokenizer/unicode.h"

namespace hadal {
namespace {

constexpr std::string_view kWordStart = "▁";  // U+2581
constexpr size_t kWordCharacters = 100;       // longer words are unknown

bool is_cjk_ideograph(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

/// Category P, and every ASCII character that is neither letter, digit, blank nor control.
bool is_punctuation(char32_t c, uint16_t classes) {
  return (classes & unicode::kPunctuation) != 0 || (c < 128 && (classes & unicode::kSymbol) != 0);
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> WordPieceTokenizer::create(
    std::unique_ptr<Vocabulary> vocabulary) {
  const VocabSpec& spec = vocabulary->spec();
  const auto named = [&](const std::optional<int64_t>& id, const char* text) {
    const bool given = id && *id >= 0 && static_cast<size_t>(*id) < vocabulary->size();
    return given ? std::optional(static_cast<TokenId>(*id)) : vocabulary->find(text);
  };
  vocabulary->bos = named(spec.cls, "[CLS]");
  vocabulary->eos = named(spec.separator, "[SEP]");
  vocabulary->unknown = named(spec.unknown, "[UNK]");
  if (!vocabulary->unknown) {
    return Error{Code::kCorrupt, "the WordPiece vocabulary has no token for unknown words"};
  }
  vocabulary->pieces.reserve(vocabulary->size());
  for (size_t id = 0; id < vocabulary->size(); ++id) {
    const std::string_view text = vocabulary->text(id);
    const bool begins = vocabulary->is_plain(id) && text.starts_with(kWordStart);
    vocabulary->pieces.push_back(begins ? " " + std::string(text.substr(kWordStart.size()))
                                        : std::string(text));
  }
  vocabulary->adds_bos = spec.add_bos.value_or(true);
  vocabulary->adds_eos = spec.add_eos.value_or(true);
  vocabulary->drops_leading_blank = true;
  return std::unique_ptr<Tokenizer>(new WordPieceTokenizer(std::move(vocabulary)));
}

WordPieceTokenizer::WordPieceTokenizer(std::unique_ptr<const Vocabulary> vocabulary_in)
    : Tokenizer(std::move(vocabulary_in)),
      lowercase_(vocabulary().spec().lowercase.value_or(true)),
      strip_accents_(vocabulary().spec().strip_accents.value_or(lowercase_)) {}

void WordPieceTokenizer::encode_plain(std::string_view text, bool /*starts*/,
                                      std::vector<TokenId>& ids) const {
  const auto& classes = unicode::ClassTable::get();
  const std::u32string normal = normalise(text);
  const std::u32string_view view = normal;
  size_t start = 0;
  for (size_t i = 0; i < view.size(); ++i) {
    const uint16_t c = classes.of(view[i]);
    const bool punctuation = is_punctuation(view[i], c);
    if (!punctuation && (c & unicode::kSpace) == 0) continue;
    append_word(view.substr(start, i - start), ids);
    if (punctuation) append_word(view.substr(i, 1), ids);
    start = i + 1;
  }
  append_word(view.substr(start), ids);
}

/// Controls dropped, ideographs set apart by blanks, accents stripped, lower case.
std::u32string WordPieceTokenizer::normalise(std::string_view text) const {
  const auto& classes = unicode::ClassTable::get();
  std::u32string out;
  out.reserve(text.size() + text.size() / 4);
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_decode(text, i);
    i += step.size;
    const char32_t c = step.code_point;
    const uint16_t kinds = classes.of(c);
    const bool line = c == '\t' || c == '\n' || c == '\r';
    if (line || (kinds & (unicode::kSpace | unicode::kOther)) == unicode::kSpace) {
      out.push_back(' ');
    } else if (is_cjk_ideograph(c)) {
      out.append({U' ', c, U' '});
    } else if (c != kReplacementCharacter && (kinds & unicode::kOther) == 0) {
      out.push_back(c);
    }
  }
  if (strip_accents_) {
    out = unicode::nfd(out);
    std::erase_if(out, [&](char32_t c) { return (classes.of(c) & unicode::kNonspacing) != 0; });
  }
  if (lowercase_) {
    for (char32_t& c : out) c = unicode::lower(c);
  }
  return out;
}

/// Greedy: the longest piece each time; a word that is not fully covered is one unknown token.
void WordPieceTokenizer::append_word(std::u32string_view word, std::vector<TokenId>& ids) const {
  if (word.empty()) return;
  const size_t before = ids.size();
  std::string text(kWordStart);
  std::vector<size_t> boundaries = {text.size()};
  if (word.size() <= kWordCharacters) {
    for (const char32_t c : word) {
      utf8_append(text, c);
      boundaries.push_back(text.size());
    }
  }
  size_t done = 0;
  while (done + 1 < boundaries.size()) {
    const size_t from = done == 0 ? 0 : boundaries[done];
    size_t end = boundaries.size() - 1;
    std::optional<TokenId> id;
    for (; end > done; --end) {
      id = vocabulary().find_plain(std::string_view(text).substr(from, boundaries[end] - from));
      if (id) break;
    }
    if (!id) break;
    ids.push_back(*id);
    done = end;
  }
  if (done < word.size()) {
    ids.resize(before);
    ids.push_back(*vocabulary().unknown);
  }
}

}  // namespace hadal
