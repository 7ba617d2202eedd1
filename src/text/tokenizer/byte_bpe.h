#pragma once
/// Byte-level BPE (tokenizer.ggml.model "gpt2"): GPT-2, Llama 3, Qwen, DeepSeek.
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"
#include "text/tokenizer/merge_table.h"
#include "text/tokenizer/pretokenizer.h"
#include "text/tokenizer/vocabulary.h"

namespace hadal {

class ByteBpeTokenizer : public Tokenizer {
 public:
  static Result<std::unique_ptr<Tokenizer>> create(std::unique_ptr<Vocabulary> vocabulary);

 protected:
  void encode_plain(std::string_view text, bool starts, std::vector<TokenId>& ids) const override;

 private:
  struct Rules;
  ByteBpeTokenizer(std::unique_ptr<const Vocabulary> vocabulary, Rules rules);

  void append_piece(std::string_view piece, std::vector<Symbol>& scratch,
                    std::vector<TokenId>& ids) const;
  void append_bytes(std::string_view bytes, std::vector<TokenId>& ids) const;

  PreTokenizer pre_;
  bool normalises_;      ///< NFC before everything else
  bool ignores_merges_;  ///< a piece that is a token is that token, whatever merges say
  uint32_t cache_owner_;
  MergeTable merges_;
  std::array<Symbol, 256> byte_symbols_;    ///< every byte, virtual when the vocabulary lacks it
  std::vector<std::string> virtual_bytes_;  ///< of symbols from vocabulary().size() on
  std::vector<TokenId> replacement_;        ///< ids for a byte that has no token
};

}  // namespace hadal
