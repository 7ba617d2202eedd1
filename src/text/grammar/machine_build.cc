#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "text/grammar/check.h"
#include "text/grammar/machine.h"

// From a GrammarIr to something that runs: automata for its lexemes, checks, compact nodes.

namespace hadal {

GrammarMachine::GrammarMachine(const GrammarVocabulary& vocabulary) : vocabulary_(vocabulary) {}

Result<std::unique_ptr<GrammarMachine>> GrammarMachine::build(const GrammarIr& ir,
                                                              const GrammarVocabulary& vocabulary) {
  if (ir.nodes.size() > limits::kGrammarNodes) {
    return Error{Code::kExhausted,
                 fmt::format("the grammar has more than {} parts", limits::kGrammarNodes)};
  }
  std::unique_ptr<GrammarMachine> out(new GrammarMachine(vocabulary));
  TRY_STATUS(out->take(ir));
  const MutexLock lock(out->mu_);
  out->table_.assign(256, 0);
  out->cells_.push_back({0, 0, 0});
  out->stamps_.push_back(0);
  out->levels_.resize(size_t{vocabulary.trie().token_bytes_max()} + 1);
  return out;
}

Status GrammarMachine::take(const GrammarIr& ir) {
  size_t work = limits::kGrammarDfaWork;
  std::vector<bool> empty;
  std::vector<bool> nullable;
  for (const LexemeSpec& spec : ir.lexemes) {
    TRY(LexemePtr lexeme, vocabulary_.lexemes().get(spec, work));
    empty.push_back(lexeme->empty());
    nullable.push_back(!lexeme->empty() && lexeme->accepts(lexeme->start()) != 0);
    lexemes_.push_back(std::move(lexeme));
  }
  const std::vector<bool> productive = productive_nodes(ir, empty);
  if (!productive[ir.root]) {
    return Error{Code::kInvalidArgument, "no text matches the grammar",
                 "a rule that always needs itself again, or bounds that exclude each other"};
  }
  const std::vector<bool> nullables = nullable_nodes(ir, nullable);
  TRY_STATUS(check_left_recursion(ir, nullables));
  root_ = ir.root;
  for (size_t id = 0; id < ir.nodes.size(); ++id) {
    const GrammarIr::Node& source = ir.nodes[id];
    Node node{source.kind, source.a, source.b, static_cast<uint32_t>(children_.size()),
              static_cast<uint32_t>(source.children.size())};
    if (!productive[id]) node = {Kind::kNothing, 0, 0, 0, 0};
    switch (node.kind) {
      case Kind::kRepeat:
        // Where the part may be empty, fewer times are as good as more.
        if (nullables[source.children.front()]) node.a = 0;
        break;
      case Kind::kToken:
        if (source.a >= vocabulary_.size() ||
            vocabulary_.tokenizer().is_end_of_generation(static_cast<TokenId>(source.a))) {
          return Error{Code::kInvalidArgument,
                       fmt::format("token {} is not in the vocabulary or ends the answer",
                                   static_cast<TokenId>(source.a))};
        }
        break;
      case Kind::kFree:
        for (const uint32_t branch : source.children) {
          if (!productive[branch]) {
            return Error{Code::kInvalidArgument,
                         "no text matches what follows a marker in free text"};
          }
        }
        node.a = static_cast<uint32_t>(frees_.size());
        TRY_STATUS(take_free(ir.frees[source.a], source.children, work));
        break;
      default:
        break;
    }
    if (node.kind != Kind::kNothing) {
      children_.insert(children_.end(), source.children.begin(), source.children.end());
    }
    nodes_.push_back(node);
  }
  return {};
}

Status GrammarMachine::take_free(const GrammarIr::Free& spec, std::span<const uint32_t> branches,
                                 size_t& work) {
  Free out{0, {}, {}, spec.may_end, !spec.only_listed_tokens};
  const Tokenizer& tokenizer = vocabulary_.tokenizer();
  std::map<std::string, size_t> labels;
  LexemeSpec lexeme;
  lexeme.kind = LexemeSpec::Kind::kUntil;
  for (size_t i = 0; i < branches.size(); ++i) {
    const TextMarker& marker = spec.markers[i];
    TokenId token = marker.token;
    if (token != kNoToken && (token < 0 || static_cast<size_t>(token) >= vocabulary_.size() ||
                              tokenizer.is_end_of_generation(token))) {
      return Error{
          Code::kInvalidArgument,
          fmt::format("marker token {} is not in the vocabulary or ends the answer", token)};
    }
    if (!marker.text.empty()) {
      const auto [it, fresh] = labels.try_emplace(marker.text, lexeme.markers.size());
      if (fresh) {
        lexeme.markers.push_back(marker.text);
        out.branches.emplace_back();
      }
      out.branches[it->second].push_back(branches[i]);
      // A control token whose text is the marker means the same.
      const std::optional<TokenId> same = tokenizer.find(marker.text);
      if (token == kNoToken && same && vocabulary_.trie().bytes(*same).empty() &&
          !tokenizer.is_end_of_generation(*same)) {
        token = *same;
      }
    }
    if (token != kNoToken) out.tokens.emplace_back(token, branches[i]);
  }
  TRY(LexemePtr built, vocabulary_.lexemes().get(lexeme, work));
  out.lexeme = static_cast<uint32_t>(lexemes_.size());
  lexemes_.push_back(std::move(built));
  frees_.push_back(std::move(out));
  return {};
}

size_t GrammarMachine::memory_bytes() const {
  const MutexLock lock(mu_);
  size_t sum = nodes_.size() * sizeof(Node) + children_.size() * 4 +
               cells_.size() * (sizeof(Cell) + 8) + table_.size() * 4;
  for (const auto& [tail, closure] : closures_) sum += sizeof(Closure) + closure.heads.size() * 4;
  for (const auto& [heads, mask] : masks_) sum += mask.size() * 8 + heads.size() * 4;
  return sum;
}

}  // namespace hadal
