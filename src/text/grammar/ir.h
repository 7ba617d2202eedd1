#pragma once
/// GrammarIr: what every front end produces. A context-free grammar whose terminals are lexemes
/// (regular pieces over bytes) and single tokens.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/grammar.h"
#include "text/grammar/lexeme.h"

namespace hadal {

struct GrammarIr {
  enum class Kind : uint8_t {
    kEmpty,    ///< the empty text
    kNothing,  ///< no text at all
    kLexeme,   ///< a: index into lexemes
    kToken,    ///< a: the token's id
    kSeq,
    kAlt,
    kRepeat,  ///< the child a to b times (Regex::kUnbounded: no most)
    kRef,     ///< a: a node, perhaps one that holds this one
    kFree,    ///< a: index into frees; children: what follows each marker
  };
  struct Node {
    Kind kind;
    uint32_t a = 0, b = 0;
    std::vector<uint32_t> children = {};
  };
  struct Free {
    std::vector<TextMarker> markers;
    bool may_end = false;
    bool only_listed_tokens = false;
  };
  std::vector<Node> nodes;
  std::vector<LexemeSpec> lexemes;
  std::vector<Free> frees;
  uint32_t root = 0;
};

/// Adds nodes and gives their numbers. Equal lexemes are kept once, neighbouring literals become
/// one.
class IrBuilder {
 public:
  using Id = uint32_t;
  using Kind = GrammarIr::Kind;

  Id empty() { return add({Kind::kEmpty}); }
  Id nothing() { return add({Kind::kNothing}); }
  Id literal(std::string_view text);
  Id lexeme(LexemeSpec spec);
  Id regex(Regex regex, std::string_view where = {});
  /// One of these texts.
  Id choices(std::span<const std::string> texts, std::string_view where);
  Id token(TokenId id) { return add({Kind::kToken, static_cast<uint32_t>(id)}); }
  Id seq(std::vector<Id> parts);
  Id alt(std::vector<Id> options);
  Id repeat(Id part, uint32_t min, uint32_t max) { return add({Kind::kRepeat, min, max, {part}}); }
  Id optional(Id part) { return repeat(part, 0, 1); }
  Id free(GrammarIr::Free spec, std::vector<Id> branches);

  /// A node whose meaning is given later by define().
  Id declare() { return add({Kind::kRef, kUndefined}); }
  void define(Id declared, Id target) { ir_.nodes[declared].a = target; }
  bool defined(Id declared) const { return ir_.nodes[declared].a != kUndefined; }

  /// Copies a whole grammar in; its root.
  Id include(const GrammarIr& other);

  size_t size() const { return ir_.nodes.size(); }
  Grammar finish(Id root);

 private:
  static constexpr uint32_t kUndefined = UINT32_MAX;
  Id add(GrammarIr::Node node) {
    ir_.nodes.push_back(std::move(node));
    return static_cast<Id>(ir_.nodes.size() - 1);
  }
  const LexemeSpec* literal_of(Id id) const;

  GrammarIr ir_;
  std::unordered_map<std::string, uint32_t> lexeme_ids_;
};

}  // namespace hadal
