#pragma once
/// GrammarMatcher: which tokens may come next in an answer that must keep to a Grammar.
///
///   auto vocabulary = GrammarVocabulary::create(tokenizer);               // once per model
///   TRY(auto compiled, CompiledGrammar::compile(grammar, *vocabulary));   // once per grammar
///   GrammarMatcher matcher(compiled);                                     // once per answer
///   ... matcher.allowed() -> sample -> matcher.accept(id) ... until matcher.finished()
///
/// A mask is exact: a token is allowed when and only when the text with it can still be completed
/// to a text of the grammar (limits::kGrammarHeads is the one exception: of a very ambiguous
/// grammar some readings are dropped, so that a mask may allow less, never more).
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/grammar.h"

namespace hadal {

class GrammarMachine;  // private: text/grammar/machine.h
class TokenTrie;       // private: text/grammar/token_trie.h
class LexemeStore;     // private: text/grammar/lexeme.h

/// A trie over the bytes of a vocabulary's ordinary tokens, and the automata that grammars of this
/// vocabulary share (the inside of a JSON string, numbers) with their masks. Thread-safe. Borrows
/// the tokenizer; outlives every CompiledGrammar made with it.
class GrammarVocabulary {
 public:
  static std::unique_ptr<GrammarVocabulary> create(const Tokenizer& tokenizer);
  ~GrammarVocabulary();
  GrammarVocabulary(const GrammarVocabulary&) = delete;
  GrammarVocabulary& operator=(const GrammarVocabulary&) = delete;

  const Tokenizer& tokenizer() const { return tokenizer_; }
  size_t size() const;          ///< tokens; bits of a mask
  size_t words() const;         ///< 64-bit words of a mask
  size_t memory_bytes() const;  ///< trie and shared automata, with their masks
  const TokenTrie& trie() const { return *trie_; }
  LexemeStore& lexemes() const { return *lexemes_; }

 private:
  explicit GrammarVocabulary(const Tokenizer& tokenizer);
  const Tokenizer& tokenizer_;
  std::unique_ptr<TokenTrie> trie_;
  std::unique_ptr<LexemeStore> lexemes_;
};

class CompiledGrammar;
/// Shared by the rows that use it and whoever keeps it for later ones.
using CompiledGrammarPtr = std::shared_ptr<const CompiledGrammar>;  // tidy: allow (immutable)

/// A grammar made ready for one vocabulary. Immutable to its users, thread-safe; its matchers share
/// what they find out about it behind a lock (bounded by limits::kGrammarCacheBytes).
class CompiledGrammar {
 public:
  /// kInvalidArgument for left recursion, a rule that never ends or token ids out of range;
  /// kExhausted for a grammar beyond the caps.
  static Result<CompiledGrammarPtr> compile(const Grammar& grammar,
                                            const GrammarVocabulary& vocabulary);
  ~CompiledGrammar();
  CompiledGrammar(const CompiledGrammar&) = delete;
  CompiledGrammar& operator=(const CompiledGrammar&) = delete;

  const GrammarVocabulary& vocabulary() const { return vocabulary_; }
  size_t memory_bytes() const;  ///< roughly, without what the vocabulary shares
  GrammarMachine& machine() const { return *machine_; }

 private:
  CompiledGrammar(const GrammarVocabulary& vocabulary, std::unique_ptr<GrammarMachine> machine);
  const GrammarVocabulary& vocabulary_;
  std::unique_ptr<GrammarMachine> machine_;
};

/// Bit `i % 64` of word `i / 64`: token i may come next. Model ids beyond the words may not.
struct AllowedTokens {
  std::span<const uint64_t> bits;
  bool everything = false;  ///< every bit of the vocabulary is set: no mask is needed
};

/// Where one answer stands. Movable, not copyable (fork() says what it does); not thread-safe, but
/// matchers of one grammar may be used by several threads at once.
class GrammarMatcher {
 public:
  explicit GrammarMatcher(CompiledGrammarPtr grammar);
  GrammarMatcher(GrammarMatcher&& other) noexcept;
  GrammarMatcher& operator=(GrammarMatcher&& other) noexcept;
  ~GrammarMatcher();

  /// The tokens that may come next; valid until the next call that is not const. Ends of generation
  /// are among them when and only when the text may end here. Nothing once finished().
  AllowedTokens allowed();
  bool is_allowed(TokenId id) const;
  /// Takes `id`. False, and nothing changed, when it may not come here. An end of generation makes
  /// the matcher finished().
  bool accept(TokenId id);
  /// Takes bytes without looking at tokens. False, and nothing changed, when no text goes on so.
  bool accept_text(std::string_view text);

  bool can_end() const;   ///< the text so far is a whole text of the grammar
  bool must_end() const;  ///< and nothing can follow
  bool finished() const { return finished_; }

  /// The bytes that every continuation begins with, at most `max_bytes` of them.
  std::string forced_text(size_t max_bytes);
  /// Tokens that may be taken without asking the model: the tokenizer's ids of forced_text(), less
  /// those that another token might reach beyond. Also a single control token where only it can
  /// come. Does not take them: call accept() for each.
  std::vector<TokenId> forced(size_t max_tokens);

  /// An independent copy: a few words, whatever the length of the text.
  GrammarMatcher fork() const;

  const CompiledGrammar& grammar() const { return *grammar_; }

 private:
  friend class GrammarMachine;
  CompiledGrammarPtr grammar_;
  std::vector<uint32_t> heads_;  ///< readings of the text so far; kept alive in the machine
  std::vector<uint64_t> mask_;   ///< what allowed() gave last
  bool finished_ = false;
};

}  // namespace hadal
