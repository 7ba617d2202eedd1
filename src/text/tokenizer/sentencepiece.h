#pragma once
/// SentencePiece BPE (tokenizer.ggml.model "llama"): merges by score, bytes where no token fits.
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"
#include "text/tokenizer/vocabulary.h"

namespace hadal {

class SentencePieceTokenizer : public Tokenizer {
 public:
  static Result<std::unique_ptr<Tokenizer>> create(std::unique_ptr<Vocabulary> vocabulary);

 protected:
  void encode_plain(std::string_view text, bool starts, std::vector<TokenId>& ids) const override;

 private:
  explicit SentencePieceTokenizer(std::unique_ptr<const Vocabulary> vocabulary);

  void append_word(std::string_view word, std::vector<TokenId>& ids) const;
  void append_unmerged(std::string_view symbol, std::vector<TokenId>& ids) const;

  bool adds_blank_;       ///< before text that starts
  bool blanks_separate_;  ///< no token has a blank after another character: words merge alone
  uint32_t cache_owner_;
  std::array<TokenId, 256> byte_ids_;
};

}  // namespace hadal
