#include "text/grammar/lexeme.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"

namespace hadal {
namespace {

constexpr size_t kExitsMax = 8192;  // of a state; JSON strings have some hundreds
constexpr size_t kSparseMax = 512;  // tokens; a list of them is smaller than a mask
constexpr int kHeavyBytes = 24;     // first bytes from which slices pay off

void append_part(std::string& out, std::string_view part) {
  out += fmt::format("{}:", part.size());
  out += part;
}

bool contains(const std::vector<uint32_t>& list, uint32_t value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

}  // namespace

std::string LexemeSpec::key() const {
  std::string out = fmt::format("{}/{}/{}/", static_cast<int>(kind), min, max);
  append_part(out, text);
  append_part(out, suffix);
  for (const std::string& marker : markers) append_part(out, marker);
  for (const Regex& regex : regexes) regex.append_key(out);
  out += '!';
  for (const Regex& regex : excluded) regex.append_key(out);
  return out;
}

Result<std::unique_ptr<Lexeme>> Lexeme::build(const LexemeSpec& spec, const TokenTrie& trie,
                                              std::atomic<size_t>& memory, size_t& work) {
  std::unique_ptr<Lexeme> out(new Lexeme(trie, memory));
  out->kind_ = spec.kind;
  out->text_ = spec.text;
  switch (spec.kind) {
    case LexemeSpec::Kind::kLiteral:
      out->start_ = 1;
      break;
    case LexemeSpec::Kind::kRegex: {
      TRY(out->dfa_, build_dfa(spec.regexes.front(), work));
      for (size_t i = 1; i < spec.regexes.size(); ++i) {
        TRY(const Dfa other, build_dfa(spec.regexes[i], work));
        TRY(out->dfa_, intersect(out->dfa_, other, work));
      }
      for (const Regex& excluded : spec.excluded) {
        TRY(const Dfa other, build_dfa(excluded, work));
        TRY(out->dfa_, subtract(out->dfa_, other, work));
      }
      out->start_ = out->dfa_.start;
      break;
    }
    case LexemeSpec::Kind::kCounted: {
      TRY(out->dfa_, build_counted_dfa(spec.text, spec.regexes.front(), spec.suffix, work));
      out->min_ = spec.min;
      out->max_ = spec.max;
      out->has_suffix_ = !spec.suffix.empty();
      out->suffix_first_ = out->has_suffix_ ? static_cast<uint8_t>(spec.suffix.front()) : 0;
      out->start_ = out->dfa_.start;
      break;
    }
    case LexemeSpec::Kind::kUntil:
      out->dfa_ = build_until_dfa(spec.markers);
      out->start_ = out->dfa_.start;
      break;
  }
  const Dfa& dfa = out->dfa_;
  for (size_t state = 0; state < dfa.states(); ++state) {
    const auto row = dfa.next.begin() + static_cast<std::ptrdiff_t>(state * dfa.classes);
    out->goes_on_.push_back(
        std::any_of(row, row + dfa.classes, [](uint32_t to) { return to != Dfa::kDead; }));
  }
  memory += dfa.memory_bytes() + out->text_.size() + sizeof(Lexeme);
  return out;
}

Lexeme::~Lexeme() {
  size_t bytes = dfa_.memory_bytes() + text_.size() + sizeof(Lexeme);
  for (const auto& [key, mask] : masks_) bytes += mask->memory_bytes();
  memory_ -= bytes;
}

uint32_t Lexeme::step(uint32_t state, uint8_t byte) const {
  if (literal()) {
    return state <= text_.size() && static_cast<uint8_t>(text_[state - 1]) == byte ? state + 1
                                                                                   : kDead;
  }
  return counted() ? counted_step(state, byte) : dfa_.step(state, byte);
}

/// A counted state is the automaton's plus its size times the units begun (no more than `min` when
/// there is no most).
uint32_t Lexeme::counted_step(uint32_t state, uint8_t byte) const {
  const auto width = static_cast<uint32_t>(dfa_.states());
  const uint32_t at = state % width;
  uint32_t count = state / width;
  const uint32_t to = dfa_.step(at, byte);
  if (to == Dfa::kDead) return kDead;
  if (dfa_.boundary[at]) {
    if (has_suffix_ && byte == suffix_first_) {
      if (count < min_) return kDead;
    } else if (max_ == Regex::kUnbounded) {
      count = std::min(count + 1, min_);
    } else {
      if (count >= max_) return kDead;
      ++count;
    }
  }
  return count * width + to;
}

uint8_t Lexeme::accepts(uint32_t state) const {
  if (literal()) return state > text_.size() ? 1 : 0;
  if (!counted()) return dfa_.accepts[state];
  const auto width = static_cast<uint32_t>(dfa_.states());
  return state / width >= min_ ? dfa_.accepts[state % width] : 0;
}

bool Lexeme::goes_on(uint32_t state) const {
  if (literal()) return state <= text_.size();
  if (!counted()) return goes_on_[state];
  const auto width = static_cast<uint32_t>(dfa_.states());
  const uint32_t at = state % width;
  if (!has_suffix_ && dfa_.boundary[at] && state / width >= max_) return false;
  return goes_on_[at];
}

bool Lexeme::literal_mask(uint32_t state, std::span<uint64_t> bits, LexemeExit& exit) const {
  const TriePart& part = trie_.part(0);
  uint32_t node = 0;
  for (size_t at = state - 1; at < text_.size(); ++at) {
    const auto byte = static_cast<uint8_t>(text_[at]);
    uint32_t child = node == 0 ? part.root_child[byte] : node + 1;
    if (node == 0) {
      if (child == 0) return false;
    } else {
      while (child < part.end[node] && part.byte[child] < byte) child = part.end[child];
      if (child >= part.end[node] || part.byte[child] != byte) return false;
    }
    node = child;
    for (const TokenId id : part.own(node)) set_bit(bits, id);
  }
  exit = {0, node, 1};
  return !part.leaf(node);
}

/// States from which the same tokens pass have the same key: of a counted lexeme only the units
/// that one token can hold matter.
uint64_t Lexeme::mask_key(uint32_t state) const {
  if (!counted()) return state;
  const auto width = static_cast<uint32_t>(dfa_.states());
  const uint32_t count = state / width;
  const uint32_t most = trie_.token_bytes_max() + 1;
  const uint32_t left = max_ == Regex::kUnbounded ? most : std::min(max_ - count, most);
  const uint32_t needed = count >= min_ ? 0 : std::min(min_ - count, most);
  return (uint64_t{state % width} << 48) | (uint64_t{left} << 24) | needed;
}

StateMaskPtr Lexeme::mask(uint32_t state) const {
  const uint64_t key = mask_key(state);
  {
    const MutexLock lock(mu_);
    const auto it = masks_.find(key);
    if (it != masks_.end()) return it->second;
  }
  StateMaskPtr made = compute(state);
  if (memory_.load(std::memory_order_relaxed) < limits::kLexemeCacheBytes) {
    const MutexLock lock(mu_);
    const auto [it, fresh] = masks_.try_emplace(key, made);
    if (fresh) memory_ += made->memory_bytes();
    return it->second;
  }
  return made;
}

std::unique_ptr<StateMask> Lexeme::compute(uint32_t state) const {
  auto out = std::make_unique<StateMask>();
  int first_bytes = 0;
  for (unsigned byte = 0; byte < 256; ++byte) {
    first_bytes += step(state, static_cast<uint8_t>(byte)) != kDead ? 1 : 0;
  }
  std::vector<TokenId> ids;
  if (first_bytes < kHeavyBytes) {
    walk(state, 0, *out, ids);
  } else {
    out->dense.assign(trie_.words(), 0);
    for (size_t i = 0; i < trie_.slices().size();) {
      const size_t of_class = trie_.slices()[i].class_index;
      const Reach reach = reach_of(state, trie_.classes()[of_class]);
      const TokenTrie::Slice* whole = nullptr;  // the longest slice that passes
      for (; i < trie_.slices().size() && trie_.slices()[i].class_index == of_class; ++i) {
        const TokenTrie::Slice& slice = trie_.slices()[i];
        if (slice.chars_max <= reach.all) {
          whole = &slice;
        } else if (slice.chars_min < reach.none) {
          walk(state, 1 + i, *out, ids);
        }
      }
      if (whole == nullptr) continue;
      for (size_t w = 0; w < out->dense.size(); ++w) out->dense[w] |= whole->mask[w];
    }
    walk(state, trie_.rest_number(), *out, ids);
  }
  if (out->dense.empty() && ids.size() > kSparseMax) out->dense.assign(trie_.words(), 0);
  if (out->dense.empty()) {
    out->sparse = std::move(ids);
  } else {
    for (const TokenId id : ids) set_bit(out->dense, id);
  }
  if (out->loose) out->exits = {};
  return out;
}

void Lexeme::walk(uint32_t state, size_t part_number, StateMask& out,
                  std::vector<TokenId>& ids) const {
  const TriePart& part = trie_.part(part_number);
  std::vector<uint32_t> states(size_t{trie_.token_bytes_max()} + 1);
  states[0] = state;
  for (unsigned first = 0; first < 256; ++first) {
    const uint32_t top = part.root_child[first];
    if (top == 0) continue;
    const uint32_t end = part.end[top];
    for (uint32_t node = top; node < end;) {
      const uint32_t depth = part.depth[node];
      const uint32_t to = step(states[depth - 1], part.byte[node]);
      if (to == kDead) {
        node = part.end[node];
        continue;
      }
      states[depth] = to;
      for (const TokenId id : part.own(node)) ids.push_back(id);
      const uint8_t label = accepts(to);
      if (label != 0 && !part.leaf(node)) {
        if (out.exits.size() < kExitsMax) {
          out.exits.push_back({static_cast<uint32_t>(part_number), node, label});
        } else {
          out.loose = true;
        }
      }
      node = goes_on(to) ? node + 1 : part.end[node];
    }
  }
}

/// How far texts of these characters get from `state`.
Lexeme::Reach Lexeme::reach_of(uint32_t state, const std::vector<Utf8Sequence>& characters) const {
  Reach reach{0, Reach::kNever};
  std::vector<uint32_t> from = {state};
  std::vector<uint32_t> to;
  bool all = true;
  for (uint32_t chars = 1; chars <= Reach::kCharsMax; ++chars) {
    to.clear();
    all = advance(characters, from, to) && all;
    if (to.empty()) {
      reach.none = chars;
      return reach;
    }
    const bool ends =
        std::any_of(to.begin(), to.end(), [&](uint32_t reached) { return accepts(reached) != 0; });
    if (ends || to.size() > Reach::kStatesMax) return reach;
    if (all) reach.all = chars;
    if (!all && chars >= Reach::kMixedMax) return reach;
    std::sort(to.begin(), to.end());
    if (to == from) {  // and so on for ever
      if (all) reach.all = Reach::kCharsMax;
      return reach;
    }
    std::swap(from, to);
  }
  return reach;
}

/// States after one more character; false when some character does not pass.
bool Lexeme::advance(const std::vector<Utf8Sequence>& characters, const std::vector<uint32_t>& from,
                     std::vector<uint32_t>& to) const {
  bool all = true;
  std::vector<uint32_t> at;
  std::vector<uint32_t> next;
  for (const Utf8Sequence& sequence : characters) {
    at = from;
    for (uint8_t i = 0; i < sequence.size; ++i) {
      next.clear();
      const ByteRange range = sequence.bytes[i];
      for (const uint32_t state : at) {
        for (unsigned byte = range.first; byte <= range.last; ++byte) {
          if (byte > range.first && dfa_.class_of[byte] == dfa_.class_of[byte - 1]) continue;
          const uint32_t reached = step(state, static_cast<uint8_t>(byte));
          if (reached == kDead) {
            all = false;
          } else if (!contains(next, reached)) {
            next.push_back(reached);
          }
        }
      }
      std::swap(at, next);
    }
    for (const uint32_t reached : at) {
      if (!contains(to, reached)) to.push_back(reached);
    }
  }
  return all;
}

Result<LexemePtr> LexemeStore::get(const LexemeSpec& spec, size_t& work) {
  const std::string key = spec.key();
  {
    const MutexLock lock(mu_);
    const auto it = lexemes_.find(key);
    if (it != lexemes_.end()) return it->second;
  }
  auto built = Lexeme::build(spec, trie_, memory_, work);
  if (!built.ok()) {
    Error error = std::move(built).error();
    if (!spec.where.empty()) error.message = fmt::format("{}: {}", spec.where, error.message);
    return error;
  }
  LexemePtr lexeme = std::move(built).value();
  std::vector<LexemePtr> dropped;  // destroyed after the lock is gone
  const MutexLock lock(mu_);
  if (memory_bytes() > limits::kLexemeCacheBytes) {
    for (auto it = lexemes_.begin(); it != lexemes_.end();) {
      if (it->second.use_count() > 1) {
        ++it;
        continue;
      }
      dropped.push_back(std::move(it->second));
      it = lexemes_.erase(it);
    }
  }
  if (memory_bytes() > limits::kLexemeCacheBytes) return lexeme;
  return lexemes_.try_emplace(key, lexeme).first->second;
}

}  // namespace hadal
