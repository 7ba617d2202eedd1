#pragma once
/// Tokenizer: text to ids and back, exact to the model's own reference.
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/text.h"

namespace hadal {

/// GGUF's token_type.
enum class TokenKind : uint8_t {
  kUndefined = 0,
  kNormal,
  kUnknown,
  kControl,
  kUserDefined,
  kUnused,
  kByte
};

/// A vocabulary as a file describes it (GGUF names: tokenizer.ggml.*). Untrusted: create() checks.
struct VocabSpec {
  /// "gpt2" (byte-level BPE), "llama" (SentencePiece BPE), "bert" (WordPiece), "t5" (Unigram)
  std::string model;
  std::string pre;  ///< pre-tokenizer of gpt2 models: "smollm", "qwen2", "deepseek-v3", ...
  std::vector<std::string> tokens;
  std::vector<float> scores;        ///< empty or one per token
  std::vector<uint8_t> kinds;       ///< empty (all normal) or one per token, TokenKind values
  std::vector<std::string> merges;  ///< "left right", rank = index
  std::string charsmap;  ///< precompiled_charsmap of t5 models: text/tokenizer/charsmap.h
  std::optional<int64_t> bos, eos, eot, eom, unknown, separator, padding, cls, mask;
  std::optional<int64_t> fim_prefix, fim_suffix, fim_middle, fim_pad, fim_repo, fim_separator;
  std::optional<bool> add_bos, add_eos, add_space_prefix, remove_extra_whitespaces;
  std::optional<bool> lowercase, strip_accents;
};

enum class Specials : uint8_t {
  kText,   ///< control-token strings in the text are plain text (user input)
  kParse,  ///< control-token strings become their ids (text we wrote)
};

class Vocabulary;  // private: text/tokenizer/vocabulary.h

/// Immutable and thread-safe after create().
class Tokenizer {
 public:
  /// kUnsupported for unknown models; kCorrupt for a vocabulary that contradicts itself (wrong
  /// lengths, special ids out of range, malformed byte tokens); an unknown `pre` falls back to the
  /// "default" rules and is reported by warning().
  static Result<std::unique_ptr<Tokenizer>> create(VocabSpec spec);
  virtual ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  /// Ids of `text`, any bytes (invalid UTF-8 included); no BOS/EOS added.
  std::vector<TokenId> encode(std::string_view text, Specials specials) const;
  /// Specials are found only where every byte came from the template.
  std::vector<TokenId> encode(const MarkedText& text) const;

  /// Adds BOS (and EOS, for encoders) as the vocabulary asks, unless the ids start with BOS.
  std::vector<TokenId> with_bos(std::vector<TokenId> ids) const;

  /// The bytes a token stands for; control tokens give their text when `show_control`, else "".
  /// Ids out of range give "".
  std::string_view piece(TokenId id, bool show_control) const;
  /// Whole sequence to bytes (SentencePiece's leading blank dropped once).
  std::string decode(std::span<const TokenId> ids, bool show_control) const;
  /// Whether decode() drops a blank at the start of the text (SentencePiece, WordPiece).
  bool drops_leading_blank() const;

  int64_t size() const;              ///< vocabulary entries
  TokenKind kind(TokenId id) const;  ///< kUndefined for ids out of range
  std::optional<TokenId> find(std::string_view token_text) const;  ///< exact entry text
  std::optional<TokenId> bos() const;                              ///< WordPiece: [CLS]
  std::optional<TokenId> eos() const;                              ///< WordPiece: [SEP]
  bool adds_bos() const;
  bool adds_eos() const;
  bool is_end_of_generation(TokenId id) const;         ///< eos, eot, eom and their well-known texts
  std::span<const TokenId> end_of_generation() const;  ///< ascending
  const VocabSpec& spec() const;
  const std::string& warning() const;  ///< empty, or what is doubtful about this vocabulary

 protected:
  explicit Tokenizer(std::unique_ptr<const Vocabulary> vocabulary);
  const Vocabulary& vocabulary() const { return *vocabulary_; }
  /// Appends the ids of text without special tokens. `starts`: it begins the whole text or follows
  /// a special token.
  virtual void encode_plain(std::string_view text, bool starts,
                            std::vector<TokenId>& ids) const = 0;

 private:
  std::vector<TokenId> encode_marked(std::string_view text, std::string_view origin) const;
  std::unique_ptr<const Vocabulary> vocabulary_;
};

/// Ids in, whole characters out: holds back the bytes of an unfinished character.
/// One per stream; not thread-safe.
class Detokenizer {
 public:
  /// `continues_text`: the ids go on with a text, so a blank at their start belongs to it.
  explicit Detokenizer(const Tokenizer& tokenizer, bool show_control = false,
                       bool continues_text = false)
      : tokenizer_(tokenizer), show_control_(show_control), first_(!continues_text) {}
  /// Control tokens that come out as their text although others do not.
  void show(std::vector<TokenId> ids) { shown_ = std::move(ids); }
  /// The characters that `id` completes (may be empty). Invalid UTF-8 comes out as U+FFFD: one for
  /// every longest beginning of a character, as Python's errors="replace" does, however the bytes
  /// are spread over tokens.
  std::string push(TokenId id);
  /// What is left at the end; an unfinished character comes out as U+FFFD.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  bool show_control_;
  std::vector<TokenId> shown_;
  bool first_;  ///< nothing came yet that a leading blank could be dropped from
  std::string pending_;
};

}  // namespace hadal
