#pragma once
/// SentencePiece Unigram (tokenizer.ggml.model "t5"; XLM-R's vocabularies): of all ways to cut a
/// text into pieces the one of the highest total score (1804.10959).
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"
#include "text/tokenizer/charsmap.h"
#include "text/tokenizer/piece_trie.h"
#include "text/tokenizer/vocabulary.h"

namespace hadal {

/// Text is normalised as SentencePiece does it: the longest entry of the charsmap at each place.
/// The `tokenizers` package tries whole grapheme clusters of up to five bytes first and takes the
/// shortest entry that begins one, which loses marks (e with dot below and circumflex, decomposed);
/// such texts give other ids there.
class UnigramTokenizer : public Tokenizer {
 public:
  static Result<std::unique_ptr<Tokenizer>> create(std::unique_ptr<Vocabulary> vocabulary);

 protected:
  void encode_plain(std::string_view text, bool starts, std::vector<TokenId>& ids) const override;

 private:
  UnigramTokenizer(std::unique_ptr<const Vocabulary> vocabulary, Charsmap charsmap);

  std::string normalise(std::string_view text, bool starts) const;
  void append_best(std::string_view text, std::vector<TokenId>& ids) const;
  void append_unknown(std::string_view text, std::vector<TokenId>& ids) const;

  Charsmap charsmap_;
  PieceTrie trie_;
  double unknown_score_ = 0;
  bool adds_blank_;       ///< before text that starts
  bool drops_blanks_;     ///< all but one between words, and those at the end
  bool blanks_separate_;  ///< no piece has a blank after another character: words are cut alone
  bool has_bytes_ = false;
  std::array<TokenId, 256> byte_ids_;
};

}  // namespace hadal
