#pragma once
/// Lexeme: a regular piece of a grammar as an automaton over bytes, with the tokens that each of
/// its states lets pass.
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "text/grammar/automaton.h"
#include "text/grammar/regex.h"
#include "text/grammar/token_trie.h"

namespace hadal {

/// What a lexeme is to be made from. A plain value.
struct LexemeSpec {
  enum class Kind : uint8_t {
    kLiteral,  ///< exactly `text`
    kRegex,    ///< texts of all of `regexes` and of none of `excluded`
    kCounted,  ///< text, then regexes[0] min to max times, then `suffix`
    kUntil,    ///< any bytes until one of `markers`, whose index is the label of the end
  };
  Kind kind = Kind::kLiteral;
  std::string text = {};
  std::vector<Regex> regexes = {};
  std::vector<Regex> excluded = {};
  std::string suffix = {};
  uint32_t min = 0, max = Regex::kUnbounded;
  std::vector<std::string> markers = {};
  std::string where = {};  ///< place in the source, for errors; not part of its identity

  /// Equal for equal lexemes.
  std::string key() const;
};

/// Where a token leaves a lexeme: below `node` of trie part `part` its other bytes belong to what
/// follows the end with this label.
struct LexemeExit {
  uint32_t part;
  uint32_t node;
  uint8_t label;  ///< as Dfa::accepts: 1 + index
};

/// Tokens whose bytes a state lets pass, up to their end or to an exit.
struct StateMask {
  std::vector<uint64_t> dense;  ///< empty when `sparse` says it
  std::vector<TokenId> sparse;
  std::vector<LexemeExit> exits;
  bool loose = false;  ///< more exits than are worth a list: walk the trie where something follows

  size_t memory_bytes() const {
    return dense.size() * 8 + sparse.size() * 4 + exits.size() * sizeof(LexemeExit) + 64;
  }
};
using StateMaskPtr = std::shared_ptr<const StateMask>;  // tidy: allow (immutable)

/// Immutable but for the masks it remembers behind a lock; thread-safe. States are numbers; 0 is
/// dead, and from every other one the lexeme can be completed.
class Lexeme {
 public:
  static constexpr uint32_t kDead = 0;

  /// `memory` counts the bytes of all lexemes of a vocabulary; both are borrowed.
  static Result<std::unique_ptr<Lexeme>> build(const LexemeSpec& spec, const TokenTrie& trie,
                                               std::atomic<size_t>& memory, size_t& work);
  ~Lexeme();
  Lexeme(const Lexeme&) = delete;
  Lexeme& operator=(const Lexeme&) = delete;

  uint32_t start() const { return start_; }
  uint32_t step(uint32_t state, uint8_t byte) const;
  uint8_t accepts(uint32_t state) const;  ///< 0, or 1 + label
  bool goes_on(uint32_t state) const;     ///< false: no byte can follow
  bool literal() const { return kind_ == LexemeSpec::Kind::kLiteral; }
  bool empty() const { return start_ == kDead; }
  uint8_t literal_byte(uint32_t state) const { return static_cast<uint8_t>(text_[state - 1]); }

  /// The tokens that may begin at `state`.
  StateMaskPtr mask(uint32_t state) const;
  /// The same for a literal, straight into `bits`; true when `exit` was set.
  bool literal_mask(uint32_t state, std::span<uint64_t> bits, LexemeExit& exit) const;

 private:
  Lexeme(const TokenTrie& trie, std::atomic<size_t>& memory) : trie_(trie), memory_(memory) {}
  bool counted() const { return kind_ == LexemeSpec::Kind::kCounted; }
  uint32_t counted_step(uint32_t state, uint8_t byte) const;
  uint64_t mask_key(uint32_t state) const;
  std::unique_ptr<StateMask> compute(uint32_t state) const;
  void walk(uint32_t state, size_t part_number, StateMask& out, std::vector<TokenId>& ids) const;
  /// Texts of up to `all` characters of a class pass, whatever they are; of those of `none` and
  /// more not one does, and none leaves the lexeme on the way.
  struct Reach {
    static constexpr uint32_t kCharsMax = 32, kNever = UINT32_MAX;
    static constexpr uint32_t kMixedMax = 6;  ///< where some pass, `none` is worth so many
    static constexpr size_t kStatesMax = 64;
    uint32_t all, none;
  };
  Reach reach_of(uint32_t state, const std::vector<Utf8Sequence>& characters) const;
  bool advance(const std::vector<Utf8Sequence>& characters, const std::vector<uint32_t>& from,
               std::vector<uint32_t>& to) const;

  const TokenTrie& trie_;
  std::atomic<size_t>& memory_;
  LexemeSpec::Kind kind_ = LexemeSpec::Kind::kLiteral;
  std::string text_;
  Dfa dfa_;
  std::vector<bool> goes_on_;
  uint32_t start_ = kDead;
  uint32_t min_ = 0, max_ = 0;  ///< of a counted lexeme
  uint8_t suffix_first_ = 0;
  bool has_suffix_ = false;

  mutable Mutex mu_;
  mutable std::unordered_map<uint64_t, StateMaskPtr> masks_ GUARDED_BY(mu_);
};
using LexemePtr = std::shared_ptr<const Lexeme>;  // tidy: allow (immutable)

/// The lexemes of one vocabulary: equal ones are made once. Thread-safe. Bounded by
/// limits::kLexemeCacheBytes; those that no grammar uses are dropped first.
class LexemeStore {
 public:
  explicit LexemeStore(const TokenTrie& trie) : trie_(trie) {}
  /// kExhausted names spec.where. `work`: steps left for automata.
  Result<LexemePtr> get(const LexemeSpec& spec, size_t& work);
  size_t memory_bytes() const { return memory_.load(std::memory_order_relaxed); }

 private:
  const TokenTrie& trie_;
  std::atomic<size_t> memory_ = 0;
  Mutex mu_;
  std::unordered_map<std::string, LexemePtr> lexemes_ GUARDED_BY(mu_);
};

}  // namespace hadal
