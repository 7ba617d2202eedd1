#pragma once
/// Vocabulary: a VocabSpec that has been checked, with what all tokenizers derive from it.
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"
#include "text/tokenizer/special_matcher.h"
#include "text/tokenizer/string_index.h"

namespace hadal {

/// Immutable after build(), except by the tokenizer that is being created from it.
class Vocabulary {
 public:
  /// Checks everything that does not depend on the model.
  static Result<std::unique_ptr<Vocabulary>> build(VocabSpec spec);

  const VocabSpec& spec() const { return spec_; }
  size_t size() const { return spec_.tokens.size(); }
  TokenKind kind(size_t id) const {
    return spec_.kinds.empty() ? TokenKind::kNormal : static_cast<TokenKind>(spec_.kinds[id]);
  }
  float score(size_t id) const { return spec_.scores.empty() ? 0.0F : spec_.scores[id]; }
  const std::string& text(size_t id) const { return spec_.tokens[id]; }
  bool contains(TokenId id) const { return id >= 0 && static_cast<size_t>(id) < size(); }
  std::optional<TokenId> find(std::string_view text) const { return index_.find(text); }
  /// Whether ordinary text may become this token: not a control, user-defined or byte token, which
  /// only their own rules produce.
  bool is_plain(size_t id) const {
    const TokenKind k = kind(id);
    return k == TokenKind::kNormal || k == TokenKind::kUnused || k == TokenKind::kUndefined;
  }
  std::optional<TokenId> find_plain(std::string_view text) const {
    const auto id = index_.find(text);
    return id && is_plain(static_cast<size_t>(*id)) ? id : std::nullopt;
  }
  const SpecialMatcher& specials() const { return specials_; }
  std::span<const TokenId> end_of_generation() const { return end_of_generation_; }

  std::optional<TokenId> bos;
  std::optional<TokenId> eos;
  std::optional<TokenId> unknown;
  bool adds_bos = false;
  bool adds_eos = false;
  bool drops_leading_blank = false;
  std::string warning;
  std::vector<std::string> pieces;  ///< by id: the bytes decode() writes

 private:
  explicit Vocabulary(VocabSpec spec);
  Status check() const;
  void find_specials();
  void find_end_of_generation();

  VocabSpec spec_;
  StringIndex index_;
  SpecialMatcher specials_;
  std::vector<TokenId> end_of_generation_;
};

/// Whether a user-defined token is a marker of a chat format (<|...|>, <think>, ...), which must
/// stay inert in user text, and not just a piece of text.
bool looks_like_control(std::string_view text);

/// NN of "<0xNN>", exactly two hexadecimal digits.
std::optional<uint8_t> parse_byte_token(std::string_view text);

}  // namespace hadal
