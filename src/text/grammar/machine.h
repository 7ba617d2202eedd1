#pragma once
/// GrammarMachine: runs a grammar over bytes. A reading of the text so far is a stack: a lexeme (or
/// a token) in some state on top, below it what follows. Equal stacks are one cell, so a reading is
/// a number and readings share their tails; a text that can be read in several ways has several.
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "text/grammar/ir.h"
#include "text/grammar/lexeme.h"
#include "text/grammar_matcher.h"

namespace hadal {

/// Heads: the readings of one text, ascending, without repetition. 0 is the end of the grammar.
using Heads = std::vector<uint32_t>;

/// Thread-safe: every call takes the lock. Heads of attached lists stay valid.
class GrammarMachine {
 public:
  static Result<std::unique_ptr<GrammarMachine>> build(const GrammarIr& ir,
                                                       const GrammarVocabulary& vocabulary);

  /// `heads` is kept alive from attach() to detach(), wherever its owner changes it by the calls
  /// below.
  void attach(Heads* heads) EXCLUDES(mu_);
  void detach(Heads* heads) EXCLUDES(mu_);
  void begin(Heads& heads) EXCLUDES(mu_);
  void copy(const Heads& from, Heads& to) EXCLUDES(mu_);
  /// `to` takes the place of `from`, which is detached.
  void move(Heads& from, Heads& to) EXCLUDES(mu_);

  /// Sets the bits of all tokens that may come next.
  void allowed(const Heads& heads, std::vector<uint64_t>& mask) EXCLUDES(mu_);
  /// False, and `heads` as they were, when the token or text may not come. Ends of generation are
  /// not for accept().
  bool accept(Heads& heads, TokenId id) EXCLUDES(mu_);
  bool is_allowed(const Heads& heads, TokenId id) EXCLUDES(mu_);
  bool accept_text(Heads& heads, std::string_view text) EXCLUDES(mu_);
  /// Bytes that must come next, at most `max`; `ends`: nothing can follow them.
  std::string forced(const Heads& heads, size_t max, bool& ends) EXCLUDES(mu_);
  /// The one token that can come where only tokens, not bytes, can; kNoToken otherwise.
  TokenId forced_token(const Heads& heads) EXCLUDES(mu_);

  size_t memory_bytes() const EXCLUDES(mu_);

 private:
  using Kind = GrammarIr::Kind;
  struct Node {
    Kind kind;
    uint32_t a, b;  ///< as in the IR; of kRepeat the bounds
    uint32_t first_child, child_count;
  };
  /// Free text, with its lexeme and what follows each end.
  struct Free {
    uint32_t lexeme;
    std::vector<std::vector<uint32_t>> branches;  ///< by label: nodes
    std::vector<std::pair<TokenId, uint32_t>> tokens;
    bool may_end;
    bool passes;  ///< control tokens that are no marker
  };
  /// A stack: `node` in state `at` above `tail`. Cell 0 is the end.
  struct Cell {
    uint32_t node, at, tail;
  };
  /// What the stacks that begin at a cell can be next.
  struct Closure {
    Heads heads;
    std::array<uint64_t, 4> first = {};  ///< bytes that one of them takes
  };
  struct Pending {
    uint32_t node, at, tail;
  };
  struct HeadsHash {
    size_t operator()(const Heads& heads) const;
  };

  explicit GrammarMachine(const GrammarVocabulary& vocabulary);
  Status take(const GrammarIr& ir);
  Status take_free(const GrammarIr::Free& spec, std::span<const uint32_t> branches, size_t& work);

  uint32_t cell(uint32_t node, uint32_t at, uint32_t tail) REQUIRES(mu_);
  void grow_table() REQUIRES(mu_);
  void collect() REQUIRES(mu_);
  void make_room() REQUIRES(mu_);
  const Closure& closure(uint32_t tail) REQUIRES(mu_);
  void push_cell(uint32_t id, Heads& heads, std::vector<Pending>& stack) REQUIRES(mu_);
  void expand(std::vector<Pending>& stack, Heads& heads) REQUIRES(mu_);
  void expand_lexeme(const Pending& top, Heads& heads, std::vector<Pending>& stack) REQUIRES(mu_);
  void expand_repeat(const Pending& top, Heads& heads, std::vector<Pending>& stack) REQUIRES(mu_);
  void follow(uint32_t node, uint32_t tail, uint8_t label, Heads& out) REQUIRES(mu_);
  void pass_control(uint32_t head, TokenId id, Heads& out) REQUIRES(mu_);

  const Lexeme* lexeme_of(uint32_t head) const REQUIRES(mu_);
  void step(const Heads& from, uint8_t byte, Heads& to) REQUIRES(mu_);
  bool step_token(const Heads& from, TokenId id, Heads& to) REQUIRES(mu_);
  void add_mask(uint32_t head, std::span<uint64_t> mask) REQUIRES(mu_);
  void add_exits(uint32_t head, const StateMask& state, std::span<uint64_t> mask) REQUIRES(mu_);
  void walk(const TriePart& part, uint32_t node, const Closure& from, std::span<uint64_t> mask)
      REQUIRES(mu_);
  std::array<uint64_t, 4> first_bytes(const Heads& heads) const REQUIRES(mu_);

  const GrammarVocabulary& vocabulary_;
  std::vector<Node> nodes_;
  std::vector<uint32_t> children_;
  std::vector<LexemePtr> lexemes_;
  std::vector<Free> frees_;
  uint32_t root_ = 0;

  mutable Mutex mu_;
  std::vector<Cell> cells_ GUARDED_BY(mu_);
  std::vector<uint32_t> stamps_ GUARDED_BY(mu_);  ///< per cell: the round it was expanded in
  uint32_t round_ GUARDED_BY(mu_) = 0;
  std::vector<uint32_t> free_cells_ GUARDED_BY(mu_);
  std::vector<uint32_t> table_ GUARDED_BY(mu_);  ///< open addressing; 0: empty
  std::unordered_map<uint32_t, Closure> closures_ GUARDED_BY(mu_);
  std::unordered_map<Heads, std::vector<uint64_t>, HeadsHash> masks_ GUARDED_BY(mu_);
  std::unordered_set<Heads*> attached_ GUARDED_BY(mu_);
  std::vector<Heads> levels_ GUARDED_BY(mu_);  ///< of a walk, by depth
};

}  // namespace hadal
