#pragma once
/// WordPiece (tokenizer.ggml.model "bert"), after Hugging Face's BERT tokenizer.
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"
#include "text/tokenizer/vocabulary.h"

namespace hadal {

/// GGUF stores pieces that begin a word with U+2581 before them, and pieces that continue one bare.
class WordPieceTokenizer : public Tokenizer {
 public:
  static Result<std::unique_ptr<Tokenizer>> create(std::unique_ptr<Vocabulary> vocabulary);

 protected:
  void encode_plain(std::string_view text, bool starts, std::vector<TokenId>& ids) const override;

 private:
  explicit WordPieceTokenizer(std::unique_ptr<const Vocabulary> vocabulary);

  std::u32string normalise(std::string_view text) const;
  void append_word(std::u32string_view word, std::vector<TokenId>& ids) const;

  bool lowercase_;
  bool strip_accents_;
};

}  // namespace hadal
