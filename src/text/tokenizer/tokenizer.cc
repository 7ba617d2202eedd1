#include "text/tokenizer.h"

#include <algorithm>

#include <fmt/format.h>

#include "text/tokenizer/byte_bpe.h"
#include "text/tokenizer/sentencepiece.h"
#include "text/tokenizer/unigram.h"
#include "text/tokenizer/vocabulary.h"
#include "text/tokenizer/wordpiece.h"

namespace hadal {

Result<std::unique_ptr<Tokenizer>> Tokenizer::create(VocabSpec spec) {
  const std::string model = spec.model;
  if (model != "gpt2" && model != "llama" && model != "bert" && model != "t5") {
    return Error{Code::kUnsupported,
                 model.empty() ? std::string("the file names no tokenizer model")
                               : fmt::format("tokenizer model \"{:.40}\" is not supported", model),
                 "supported: gpt2 (byte-level BPE), llama (SentencePiece BPE), bert (WordPiece), "
                 "t5 (Unigram)"};
  }
  TRY(auto vocabulary, Vocabulary::build(std::move(spec)));
  if (model == "gpt2") return ByteBpeTokenizer::create(std::move(vocabulary));
  if (model == "llama") return SentencePieceTokenizer::create(std::move(vocabulary));
  if (model == "t5") return UnigramTokenizer::create(std::move(vocabulary));
  return WordPieceTokenizer::create(std::move(vocabulary));
}

Tokenizer::Tokenizer(std::unique_ptr<const Vocabulary> vocabulary)
    : vocabulary_(std::move(vocabulary)) {}
Tokenizer::~Tokenizer() = default;

std::vector<TokenId> Tokenizer::encode(std::string_view text, Specials specials) const {
  const std::string origin(specials == Specials::kParse ? text.size() : 0, MarkedText::kTemplate);
  return encode_marked(text, origin);
}

std::vector<TokenId> Tokenizer::encode(const MarkedText& text) const {
  return encode_marked(text.bytes, text.origin);
}

std::vector<TokenId> Tokenizer::encode_marked(std::string_view text,
                                              std::string_view origin) const {
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 4 + 4);
  bool starts = true;
  for (size_t position = 0; position < text.size();) {
    const SpecialMatch special = vocabulary_->specials().find(text, origin, position);
    if (position < special.position) {
      encode_plain(text.substr(position, special.position - position), starts, ids);
    }
    if (special.id == kNoToken) break;
    ids.push_back(special.id);
    starts = true;
    position = special.position + special.length;
  }
  return ids;
}

std::vector<TokenId> Tokenizer::with_bos(std::vector<TokenId> ids) const {
  const auto begin = bos();
  const auto end = eos();
  if (adds_bos() && begin && (ids.empty() || ids.front() != *begin)) {
    ids.insert(ids.begin(), *begin);
  }
  if (adds_eos() && end && (ids.empty() || ids.back() != *end)) ids.push_back(*end);
  return ids;
}

std::string_view Tokenizer::piece(TokenId id, bool show_control) const {
  const TokenKind k = kind(id);
  const bool control = k == TokenKind::kControl || k == TokenKind::kUnknown;
  if (!vocabulary_->contains(id) || (control && !show_control)) return {};
  return vocabulary_->pieces[static_cast<size_t>(id)];
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool show_control) const {
  std::string text;
  for (const TokenId id : ids) text.append(piece(id, show_control));
  if (drops_leading_blank() && text.starts_with(' ')) text.erase(0, 1);
  return text;
}

bool Tokenizer::drops_leading_blank() const {
  return vocabulary_->drops_leading_blank;
}

int64_t Tokenizer::size() const {
  return static_cast<int64_t>(vocabulary_->size());
}

TokenKind Tokenizer::kind(TokenId id) const {
  return vocabulary_->contains(id) ? vocabulary_->kind(static_cast<size_t>(id))
                                   : TokenKind::kUndefined;
}

std::optional<TokenId> Tokenizer::find(std::string_view token_text) const {
  return vocabulary_->find(token_text);
}

std::optional<TokenId> Tokenizer::bos() const {
  return vocabulary_->bos;
}
std::optional<TokenId> Tokenizer::eos() const {
  return vocabulary_->eos;
}
bool Tokenizer::adds_bos() const {
  return vocabulary_->adds_bos;
}
bool Tokenizer::adds_eos() const {
  return vocabulary_->adds_eos;
}

bool Tokenizer::is_end_of_generation(TokenId id) const {
  const auto ids = end_of_generation();
  return std::binary_search(ids.begin(), ids.end(), id);
}

std::span<const TokenId> Tokenizer::end_of_generation() const {
  return vocabulary_->end_of_generation();
}

const VocabSpec& Tokenizer::spec() const {
  return vocabulary_->spec();
}
const std::string& Tokenizer::warning() const {
  return vocabulary_->warning;
}

}  // namespace hadal
