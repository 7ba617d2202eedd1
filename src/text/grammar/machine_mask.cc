#include <algorithm>
#include <bit>

#include "base/limits.h"
#include "text/grammar/machine.h"

// Masks: a union over the readings of what each lets come. A reading's own part is its lexeme's
// mask, which all grammars of the vocabulary share; tokens that reach beyond the lexeme are looked
// up below the nodes where they leave it.

namespace hadal {

void GrammarMachine::allowed(const Heads& heads, std::vector<uint64_t>& mask) {
  const MutexLock lock(mu_);
  make_room();
  const auto known = masks_.find(heads);
  if (known != masks_.end()) {
    mask.assign(known->second.begin(), known->second.end());
    return;
  }
  mask.assign(vocabulary_.words(), 0);
  for (const uint32_t head : heads) add_mask(head, mask);
  masks_.emplace(heads, mask);
}

void GrammarMachine::add_mask(uint32_t head, std::span<uint64_t> mask) {
  const TokenTrie& trie = vocabulary_.trie();
  if (head == 0) {
    for (const TokenId id : trie.tokenizer().end_of_generation()) set_bit(mask, id);
    return;
  }
  const Cell now = cells_[head];
  const Node& node = nodes_[now.node];
  if (node.kind == Kind::kToken) {
    set_bit(mask, static_cast<TokenId>(node.a));
    return;
  }
  const Lexeme& lexeme = *lexeme_of(head);
  if (lexeme.literal()) {
    LexemeExit exit{};
    if (lexeme.literal_mask(now.at, mask, exit)) {
      walk(trie.part(exit.part), exit.node, closure(now.tail), mask);
    }
    return;
  }
  const StateMaskPtr state = lexeme.mask(now.at);
  if (state->dense.empty()) {
    for (const TokenId id : state->sparse) set_bit(mask, id);
  } else {
    for (size_t w = 0; w < mask.size(); ++w) mask[w] |= state->dense[w];
  }
  if (node.kind == Kind::kFree) {
    const Free& free = frees_[node.a];
    for (const auto& [token, branch] : free.tokens) set_bit(mask, token);
    const std::span<const uint64_t> control = trie.control_mask();
    for (size_t w = 0; w < mask.size(); ++w) {
      if (free.passes) mask[w] |= control[w];
      for (uint64_t bits = free.passes ? 0 : control[w]; bits != 0; bits &= bits - 1) {
        const auto id = static_cast<TokenId>(w * 64 + static_cast<size_t>(std::countr_zero(bits)));
        Heads after;
        pass_control(head, id, after);
        if (!after.empty()) set_bit(mask, id);
      }
    }
  }
  add_exits(head, *state, mask);
}

void GrammarMachine::add_exits(uint32_t head, const StateMask& state, std::span<uint64_t> mask) {
  const TokenTrie& trie = vocabulary_.trie();
  const Cell now = cells_[head];
  const Node& node = nodes_[now.node];
  const bool free = node.kind == Kind::kFree;
  const bool ends_anywhere = free && frees_[node.a].may_end;
  if (state.loose || ends_anywhere) {
    // Ends almost everywhere: a list gains nothing, but often no bytes follow.
    const Heads& after = closure(now.tail).heads;
    const bool bytes_follow =
        std::any_of(after.begin(), after.end(),
                    [&](uint32_t next) REQUIRES(mu_) { return lexeme_of(next) != nullptr; });
    if (bytes_follow || (free && state.loose)) {
      Closure here;
      here.heads = {head};
      here.first = first_bytes(here.heads);
      walk(trie.part(0), 0, here, mask);
    }
    if (bytes_follow || state.loose) return;
  }
  uint8_t label = 0;
  Closure after;
  for (const LexemeExit& exit : state.exits) {
    if (exit.label != label) {
      label = exit.label;
      after.heads.clear();
      follow(now.node, now.tail, label, after.heads);
      after.first = first_bytes(after.heads);
    }
    walk(trie.part(exit.part), exit.node, after, mask);
  }
}

/// Sets the tokens below `node` that the readings `from`, which stand at the node, let come.
void GrammarMachine::walk(const TriePart& part, uint32_t node, const Closure& from,
                          std::span<uint64_t> mask) {
  if (from.first == std::array<uint64_t, 4>{}) return;
  const uint32_t end = part.end[node];
  const uint32_t base = part.depth[node];
  for (uint32_t at = node + 1; at < end;) {
    const uint32_t depth = part.depth[at] - base;
    const uint8_t byte = part.byte[at];
    const bool possible = depth > 1 || ((from.first[byte / 64] >> (byte % 64)) & 1) != 0;
    if (possible) step(depth == 1 ? from.heads : levels_[depth - 1], byte, levels_[depth]);
    if (!possible || levels_[depth].empty()) {
      at = part.end[at];
      continue;
    }
    for (const TokenId id : part.own(at)) set_bit(mask, id);
    ++at;
    // A grammar that is ambiguous beyond measure gets a smaller mask instead of the memory.
    if (cells_.size() - free_cells_.size() > 4 * limits::kGrammarStacks) return;
  }
}

}  // namespace hadal
