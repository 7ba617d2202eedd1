#include "text/grammar/machine.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"
#include "base/limits.h"

namespace hadal {
namespace {

constexpr uint32_t kEnd = 0;  ///< the head of a whole text
constexpr size_t kHeadsInToken = 4 * limits::kGrammarHeads;

uint64_t mix(uint64_t value) {
  value = (value ^ (value >> 31)) * 0xBF58476D1CE4E5B9u;
  return value ^ (value >> 29);
}

void normalise(Heads& heads, size_t most) {
  if (heads.size() < 2) return;
  std::sort(heads.begin(), heads.end());
  heads.erase(std::unique(heads.begin(), heads.end()), heads.end());
  if (heads.size() > most) heads.resize(most);
}

bool has_end(const Heads& heads) {
  return !heads.empty() && heads.front() == kEnd;
}

}  // namespace

size_t GrammarMachine::HeadsHash::operator()(const Heads& heads) const {
  uint64_t hash = heads.size();
  for (const uint32_t head : heads) hash = mix(hash * 0x9E3779B97F4A7C15u + head);
  return hash;
}

// Cells.

uint32_t GrammarMachine::cell(uint32_t node, uint32_t at, uint32_t tail) {
  const uint64_t hash = mix((uint64_t{node} << 32 | at) * 0x9E3779B97F4A7C15u + tail);
  const size_t mask = table_.size() - 1;
  size_t slot = hash & mask;
  while (table_[slot] != 0) {
    const Cell& known = cells_[table_[slot]];
    if (known.node == node && known.at == at && known.tail == tail) return table_[slot];
    slot = (slot + 1) & mask;
  }
  uint32_t id = 0;
  if (!free_cells_.empty()) {
    id = free_cells_.back();
    free_cells_.pop_back();
    cells_[id] = {node, at, tail};
    stamps_[id] = 0;
  } else {
    id = static_cast<uint32_t>(cells_.size());
    cells_.push_back({node, at, tail});
    stamps_.push_back(0);
  }
  table_[slot] = id;
  if ((cells_.size() - free_cells_.size()) * 2 > table_.size()) grow_table();
  return id;
}

void GrammarMachine::grow_table() {
  std::vector<bool> unused(cells_.size(), false);
  for (const uint32_t id : free_cells_) unused[id] = true;
  size_t size = 256;
  while (size < (cells_.size() - free_cells_.size()) * 4) size *= 2;
  table_.assign(size, 0);
  for (uint32_t id = 1; id < cells_.size(); ++id) {
    if (unused[id]) continue;
    const Cell& c = cells_[id];
    size_t slot = mix((uint64_t{c.node} << 32 | c.at) * 0x9E3779B97F4A7C15u + c.tail) & (size - 1);
    while (table_[slot] != 0) slot = (slot + 1) & (size - 1);
    table_[slot] = id;
  }
}

/// Frees the cells that no attached list of heads reaches, and forgets what was remembered.
void GrammarMachine::collect() {
  closures_.clear();
  masks_.clear();
  std::vector<bool> used(cells_.size(), false);
  used[kEnd] = true;
  for (const Heads* heads : attached_) {
    for (uint32_t id : *heads) {
      for (; !used[id]; id = cells_[id].tail) used[id] = true;
    }
  }
  free_cells_.clear();
  for (uint32_t id = 1; id < cells_.size(); ++id) {
    if (!used[id]) free_cells_.push_back(id);
  }
  grow_table();
}

/// Called where no cell is held but by attached lists.
void GrammarMachine::make_room() {
  if (cells_.size() - free_cells_.size() > limits::kGrammarStacks) collect();
  if (closures_.size() > limits::kGrammarStacks / 8) closures_.clear();
  if (masks_.size() * vocabulary_.words() * 8 > limits::kGrammarCacheBytes) masks_.clear();
}

void GrammarMachine::attach(Heads* heads) {
  const MutexLock lock(mu_);
  attached_.insert(heads);
}

void GrammarMachine::detach(Heads* heads) {
  const MutexLock lock(mu_);
  attached_.erase(heads);
}

void GrammarMachine::copy(const Heads& from, Heads& to) {
  const MutexLock lock(mu_);
  to = from;
  attached_.insert(&to);
}

void GrammarMachine::move(Heads& from, Heads& to) {
  const MutexLock lock(mu_);
  to = std::move(from);
  from.clear();
  attached_.erase(&from);
  attached_.insert(&to);
}

// Readings.

void GrammarMachine::push_cell(uint32_t id, Heads& heads, std::vector<Pending>& stack) {
  if (id == kEnd) {
    heads.push_back(kEnd);
  } else if (stamps_[id] != round_) {
    stamps_[id] = round_;
    stack.push_back({cells_[id].node, cells_[id].at, cells_[id].tail});
  }
}

void GrammarMachine::expand_lexeme(const Pending& top, Heads& heads, std::vector<Pending>& stack) {
  const Node& node = nodes_[top.node];
  const bool free = node.kind == Kind::kFree;
  const Lexeme& lexeme = *lexemes_[free ? frees_[node.a].lexeme : node.a];
  const uint32_t state = top.at == 0 ? lexeme.start() : top.at;
  if (free || lexeme.goes_on(state)) heads.push_back(cell(top.node, state, top.tail));
  if (free ? frees_[node.a].may_end : lexeme.accepts(state) != 0) {
    push_cell(top.tail, heads, stack);
  }
}

void GrammarMachine::expand_repeat(const Pending& top, Heads& heads, std::vector<Pending>& stack) {
  const Node& node = nodes_[top.node];  // `at` counts the times begun, up to what still matters
  const uint32_t done = top.at;
  if (done >= node.a) push_cell(top.tail, heads, stack);
  if (done >= node.b) return;
  const bool last = node.b != Regex::kUnbounded && done + 1 == node.b;
  const uint32_t now = node.b == Regex::kUnbounded ? std::min(done + 1, node.a) : done + 1;
  const uint32_t next = last ? top.tail : cell(top.node, now, top.tail);
  // Once more after nothing gives nothing new: what follows is already being looked at.
  if (!last && node.a == 0 && node.b != Regex::kUnbounded) stamps_[next] = round_;
  stack.push_back({children_[node.first_child], 0, next});
}

void GrammarMachine::expand(std::vector<Pending>& stack, Heads& heads) {
  while (!stack.empty()) {
    const Pending top = stack.back();
    stack.pop_back();
    const Node& node = nodes_[top.node];
    switch (node.kind) {
      case Kind::kNothing:
        break;
      case Kind::kEmpty:
        push_cell(top.tail, heads, stack);
        break;
      case Kind::kToken:
        heads.push_back(cell(top.node, 0, top.tail));
        break;
      case Kind::kLexeme:
      case Kind::kFree:
        expand_lexeme(top, heads, stack);
        break;
      case Kind::kRef:
        push_cell(cell(node.a, 0, top.tail), heads, stack);
        break;
      case Kind::kRepeat:
        expand_repeat(top, heads, stack);
        break;
      case Kind::kSeq: {
        const uint32_t next = top.at + 1;
        const uint32_t tail = next < node.child_count ? cell(top.node, next, top.tail) : top.tail;
        stack.push_back({children_[node.first_child + top.at], 0, tail});
        break;
      }
      case Kind::kAlt:
        for (uint32_t i = node.child_count; i-- > 0;) {
          stack.push_back({children_[node.first_child + i], 0, top.tail});
        }
        break;
    }
  }
}

const GrammarMachine::Closure& GrammarMachine::closure(uint32_t tail) {
  const auto it = closures_.find(tail);
  if (it != closures_.end()) return it->second;
  Closure out;
  std::vector<Pending> stack;
  ++round_;
  push_cell(tail, out.heads, stack);
  expand(stack, out.heads);
  normalise(out.heads, kHeadsInToken);
  out.first = first_bytes(out.heads);
  return closures_.emplace(tail, std::move(out)).first->second;
}

void GrammarMachine::begin(Heads& heads) {
  const MutexLock lock(mu_);
  make_room();
  heads = closure(cell(root_, 0, kEnd)).heads;
  normalise(heads, limits::kGrammarHeads);
}

const Lexeme* GrammarMachine::lexeme_of(uint32_t head) const {
  if (head == kEnd) return nullptr;
  const Node& node = nodes_[cells_[head].node];
  if (node.kind == Kind::kLexeme) return lexemes_[node.a].get();
  return node.kind == Kind::kFree ? lexemes_[frees_[node.a].lexeme].get() : nullptr;
}

std::array<uint64_t, 4> GrammarMachine::first_bytes(const Heads& heads) const {
  std::array<uint64_t, 4> out = {};
  for (const uint32_t head : heads) {
    const Lexeme* lexeme = lexeme_of(head);
    if (lexeme == nullptr) continue;
    if (lexeme->literal()) {
      const uint8_t byte = lexeme->literal_byte(cells_[head].at);
      out[byte / 64] |= uint64_t{1} << (byte % 64);
      continue;
    }
    for (unsigned byte = 0; byte < 256; ++byte) {
      if (lexeme->step(cells_[head].at, static_cast<uint8_t>(byte)) != Lexeme::kDead) {
        out[byte / 64] |= uint64_t{1} << (byte % 64);
      }
    }
  }
  return out;
}

/// Readings after the end with `label` of the lexeme of `node`.
void GrammarMachine::follow(uint32_t node, uint32_t tail, uint8_t label, Heads& out) {
  // Many readings of a grammar with many beginnings: the later ones are dropped.
  if (cells_.size() - free_cells_.size() > 2 * limits::kGrammarStacks) return;
  if (nodes_[node].kind != Kind::kFree) {
    const Heads& heads = closure(tail).heads;
    out.insert(out.end(), heads.begin(), heads.end());
    return;
  }
  for (const uint32_t branch : frees_[nodes_[node].a].branches[label - 1]) {
    const Heads& heads = closure(cell(branch, 0, tail)).heads;
    out.insert(out.end(), heads.begin(), heads.end());
  }
}

void GrammarMachine::step(const Heads& from, uint8_t byte, Heads& to) {
  to.clear();
  for (const uint32_t head : from) {
    const Lexeme* lexeme = lexeme_of(head);
    if (lexeme == nullptr) continue;
    const Cell now = cells_[head];
    const uint32_t state = lexeme->step(now.at, byte);
    if (state == Lexeme::kDead) continue;
    const uint8_t label = lexeme->accepts(state);
    if (label != 0) follow(now.node, now.tail, label, to);
    if (!lexeme->goes_on(state)) continue;
    to.push_back(cell(now.node, state, now.tail));
    const Node& node = nodes_[now.node];
    if (node.kind == Kind::kFree && frees_[node.a].may_end) {
      const Heads& heads = closure(now.tail).heads;
      to.insert(to.end(), heads.begin(), heads.end());
    }
  }
  normalise(to, kHeadsInToken);
}

/// A control token in free text: for a marker its text counts like any other. Where only listed
/// tokens may come it must be a part of one.
void GrammarMachine::pass_control(uint32_t head, TokenId id, Heads& out) {
  const Cell at = cells_[head];
  const Free& free = frees_[nodes_[at.node].a];
  const Lexeme& lexeme = *lexemes_[free.lexeme];
  const Tokenizer& tokenizer = vocabulary_.tokenizer();
  if (tokenizer.is_end_of_generation(id)) return;
  uint32_t state = at.at;
  for (const char c : tokenizer.piece(id, true)) {
    state = lexeme.step(state, static_cast<uint8_t>(c));
    if (state == Lexeme::kDead) state = lexeme.start();
  }
  if (!free.passes && state == lexeme.start()) return;
  const uint8_t label = lexeme.accepts(state);
  if (label != 0) follow(at.node, at.tail, label, out);
  if (!lexeme.goes_on(state)) return;
  out.push_back(cell(at.node, state, at.tail));
  if (!free.may_end) return;
  const Heads& after = closure(at.tail).heads;
  out.insert(out.end(), after.begin(), after.end());
}

bool GrammarMachine::step_token(const Heads& from, TokenId id, Heads& to) {
  const std::string_view bytes = vocabulary_.trie().bytes(id);
  Heads now;
  if (!bytes.empty()) {
    now = from;
    Heads next;
    for (const char c : bytes) {
      step(now, static_cast<uint8_t>(c), next);
      std::swap(now, next);
      if (now.empty()) break;
    }
  }
  const auto add = [&](uint32_t tail) REQUIRES(mu_) {
    const Heads& heads = closure(tail).heads;
    now.insert(now.end(), heads.begin(), heads.end());
  };
  for (const uint32_t head : from) {
    if (head == kEnd) continue;
    const Cell at = cells_[head];
    const Node& node = nodes_[at.node];
    if (node.kind == Kind::kToken && node.a == static_cast<uint32_t>(id)) add(at.tail);
    if (node.kind != Kind::kFree) continue;
    const Free& free = frees_[node.a];
    bool marker = false;
    for (const auto& [token, branch] : free.tokens) {
      if (token != id) continue;
      marker = true;
      add(cell(branch, 0, at.tail));
    }
    if (!marker && bytes.empty()) pass_control(head, id, now);
  }
  normalise(now, limits::kGrammarHeads);
  if (now.empty()) return false;
  to = std::move(now);
  return true;
}

bool GrammarMachine::accept(Heads& heads, TokenId id) {
  const MutexLock lock(mu_);
  make_room();
  return step_token(heads, id, heads);
}

bool GrammarMachine::is_allowed(const Heads& heads, TokenId id) {
  const MutexLock lock(mu_);
  make_room();
  Heads after;
  return step_token(heads, id, after);
}

bool GrammarMachine::accept_text(Heads& heads, std::string_view text) {
  const MutexLock lock(mu_);
  make_room();
  Heads now = heads;
  Heads next;
  for (const char c : text) {
    step(now, static_cast<uint8_t>(c), next);
    std::swap(now, next);
    if (now.empty()) return false;
  }
  normalise(now, limits::kGrammarHeads);
  heads = std::move(now);
  return true;
}

std::string GrammarMachine::forced(const Heads& heads, size_t max, bool& ends) {
  const MutexLock lock(mu_);
  make_room();
  std::string out;
  Heads now = heads;
  Heads next;
  ends = false;
  while (out.size() < max) {
    if (has_end(now)) {
      ends = now.size() == 1;
      break;
    }
    const bool bytes_only = std::all_of(now.begin(), now.end(), [&](uint32_t head) REQUIRES(mu_) {
      const Kind kind = nodes_[cells_[head].node].kind;
      return kind == Kind::kLexeme;
    });
    if (!bytes_only) break;
    const std::array<uint64_t, 4> first = first_bytes(now);
    int count = 0;
    uint8_t byte = 0;
    for (size_t word = 0; word < 4; ++word) {
      count += std::popcount(first[word]);
      if (first[word] != 0) {
        byte = static_cast<uint8_t>(word * 64 + static_cast<size_t>(std::countr_zero(first[word])));
      }
    }
    if (count != 1) break;
    step(now, byte, next);
    std::swap(now, next);
    out.push_back(static_cast<char>(byte));
  }
  return out;
}

TokenId GrammarMachine::forced_token(const Heads& heads) {
  const MutexLock lock(mu_);
  TokenId only = kNoToken;
  for (const uint32_t head : heads) {
    if (head == kEnd || nodes_[cells_[head].node].kind != Kind::kToken) return kNoToken;
    const auto id = static_cast<TokenId>(nodes_[cells_[head].node].a);
    if (only != kNoToken && id != only) return kNoToken;
    only = id;
  }
  return only;
}

}  // namespace hadal
