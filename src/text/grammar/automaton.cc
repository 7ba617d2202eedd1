#include "text/grammar/automaton.h"

#include <algorithm>
#include <queue>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"

namespace hadal {
namespace {

Error too_large() {
  return Error{Code::kExhausted, "the expression is too large or explodes",
               "shorten its repetitions or split it"};
}

/// Thompson's construction. State 0 is the start, each state has byte edges and empty ones.
class Nfa {
 public:
  struct Edge {
    ByteRange bytes;
    uint32_t to;
  };
  static constexpr uint32_t kNone = UINT32_MAX;

  uint32_t add_state() {
    edges_.emplace_back();
    empty_.emplace_back();
    return static_cast<uint32_t>(edges_.size() - 1);
  }
  bool full() const { return edges_.size() > limits::kGrammarNfaStates; }
  void empty_edge(uint32_t from, uint32_t to) { empty_[from].push_back(to); }
  void edge(uint32_t from, ByteRange bytes, uint32_t to) { edges_[from].push_back({bytes, to}); }

  /// The state where `regex` ends when it begins at `from`. Stops early when full().
  uint32_t add(const Regex& regex, uint32_t from);

  const std::vector<Edge>& edges(uint32_t state) const { return edges_[state]; }
  const std::vector<uint32_t>& empties(uint32_t state) const { return empty_[state]; }
  size_t size() const { return edges_.size(); }

  uint32_t accept = kNone;
  uint32_t loop = kNone;  ///< state to mark as a boundary

 private:
  uint32_t add_set(const CharSet& set, uint32_t from);
  uint32_t add_repeat(const Regex& regex, uint32_t from);
  uint32_t add_modulo(uint32_t divisor, uint32_t from);

  std::vector<std::vector<Edge>> edges_;
  std::vector<std::vector<uint32_t>> empty_;
};

uint32_t Nfa::add(const Regex& regex, uint32_t from) {
  if (full()) return from;
  switch (regex.kind) {
    case Regex::Kind::kBytes:
      for (const char c : regex.bytes) {
        const uint32_t to = add_state();
        edge(from, {static_cast<uint8_t>(c), static_cast<uint8_t>(c)}, to);
        from = to;
      }
      return from;
    case Regex::Kind::kSet:
      return add_set(regex.set, from);
    case Regex::Kind::kConcat:
      for (const Regex& child : regex.children) from = add(child, from);
      return from;
    case Regex::Kind::kAlt: {
      const uint32_t end = add_state();
      for (const Regex& child : regex.children) {
        const uint32_t begin = add_state();  // a loop of a child must not reach its siblings
        empty_edge(from, begin);
        empty_edge(add(child, begin), end);
        if (full()) break;
      }
      return end;
    }
    case Regex::Kind::kRepeat:
      return add_repeat(regex, from);
    case Regex::Kind::kModulo:
      return add_modulo(regex.min, from);
    case Regex::Kind::kStart:
    case Regex::Kind::kEnd:
      return from;
  }
  return from;
}

uint32_t Nfa::add_set(const CharSet& set, uint32_t from) {
  const uint32_t end = add_state();
  std::unordered_map<uint64_t, uint32_t> shared;  // (state, range) -> state: common beginnings
  for (const Utf8Sequence& sequence : utf8_sequences(set)) {
    uint32_t at = from;
    for (uint8_t i = 0; i + 1 < sequence.size; ++i) {
      const ByteRange bytes = sequence.bytes[i];
      const uint64_t key = (uint64_t{at} << 16) | (uint64_t{bytes.first} << 8) | bytes.last;
      const auto [it, fresh] = shared.try_emplace(key, 0);
      if (fresh) {
        it->second = add_state();
        edge(at, bytes, it->second);
      }
      at = it->second;
    }
    edge(at, sequence.bytes[sequence.size - 1], end);
  }
  return end;
}

uint32_t Nfa::add_repeat(const Regex& regex, uint32_t from) {
  const Regex& child = regex.children.front();
  for (uint32_t i = 0; i < regex.min && !full(); ++i) from = add(child, from);
  if (regex.max == Regex::kUnbounded) {
    const uint32_t begin = add_state();
    empty_edge(from, begin);
    empty_edge(add(child, begin), begin);
    const uint32_t end = add_state();
    empty_edge(begin, end);
    return end;
  }
  const uint32_t end = add_state();
  for (uint32_t i = regex.min; i < regex.max && !full(); ++i) {
    empty_edge(from, end);
    const uint32_t begin = add_state();
    empty_edge(from, begin);
    from = add(child, begin);
  }
  empty_edge(from, end);
  return end;
}

uint32_t Nfa::add_modulo(uint32_t divisor, uint32_t from) {
  const auto first = static_cast<uint32_t>(edges_.size());
  for (uint32_t i = 0; i < divisor && !full(); ++i) add_state();
  const uint32_t end = add_state();
  if (full()) return end;
  for (uint32_t value = 0; value < divisor; ++value) {
    for (uint8_t digit = 0; digit < 10; ++digit) {
      const uint32_t rest = (value * 10 + digit) % divisor;
      const auto byte = static_cast<uint8_t>('0' + digit);
      edge(first + value, {byte, byte}, first + rest);
      if (value == 0) edge(from, {byte, byte}, first + rest);
    }
  }
  empty_edge(first, end);
  return end;
}

/// Bytes that no edge tells apart share a class.
void make_classes(const Nfa& nfa, Dfa& dfa) {
  std::array<bool, 257> cut = {};
  for (uint32_t state = 0; state < nfa.size(); ++state) {
    for (const Nfa::Edge& edge : nfa.edges(state)) {
      cut[edge.bytes.first] = true;
      cut[size_t{edge.bytes.last} + 1] = true;
    }
  }
  uint8_t current = 0;
  for (size_t byte = 0; byte < 256; ++byte) {
    if (byte > 0 && cut[byte]) ++current;
    dfa.class_of[byte] = current;
  }
  dfa.classes = uint32_t{current} + 1;
}

struct SetHash {
  size_t operator()(const std::vector<uint32_t>& set) const {
    uint64_t hash = 0x9E3779B97F4A7C15u;
    for (const uint32_t value : set) hash = (hash ^ value) * 0x100000001B3u + (hash >> 29);
    return hash;
  }
};

/// Subset construction.
class Determiniser {
 public:
  Determiniser(const Nfa& nfa, size_t& work) : nfa_(nfa), mark_(nfa.size(), 0), work_(work) {}

  Result<Dfa> run() {
    make_classes(nfa_, dfa_);
    sets_.emplace_back();  // dead
    ids_.emplace(sets_.back(), 0);
    dfa_.accepts.push_back(0);
    dfa_.boundary.push_back(false);
    dfa_.start = state_of({0});
    std::array<uint8_t, 256> sample = {};
    for (int byte = 255; byte >= 0; --byte)
      sample[dfa_.class_of[byte]] = static_cast<uint8_t>(byte);
    dfa_.next.assign(dfa_.classes, Dfa::kDead);
    for (uint32_t state = 1; state < sets_.size(); ++state) {
      if (sets_.size() > limits::kGrammarDfaStates || work_ == 0) {
        return too_large();
      }
      std::vector<std::vector<uint32_t>> targets(dfa_.classes);
      for (const uint32_t from : sets_[state]) {
        for (const Nfa::Edge& edge : nfa_.edges(from)) {
          const uint8_t last = dfa_.class_of[edge.bytes.last];
          for (unsigned c = dfa_.class_of[edge.bytes.first]; c <= last; ++c) {
            targets[c].push_back(edge.to);
            spend();
          }
        }
      }
      for (std::vector<uint32_t>& target : targets) {
        dfa_.next.push_back(target.empty() ? Dfa::kDead : state_of(std::move(target)));
      }
    }
    return std::move(dfa_);
  }

 private:
  void spend() { work_ -= work_ > 0 ? 1 : 0; }

  /// The state of the closure of `seeds`. States without byte edges need not be remembered, except
  /// the accepting one and the loop.
  uint32_t state_of(std::vector<uint32_t> seeds) {
    ++round_;
    std::vector<uint32_t> set;
    while (!seeds.empty()) {
      const uint32_t state = seeds.back();
      seeds.pop_back();
      if (mark_[state] == round_) continue;
      mark_[state] = round_;
      spend();
      if (!nfa_.edges(state).empty() || state == nfa_.accept || state == nfa_.loop) {
        set.push_back(state);
      }
      seeds.insert(seeds.end(), nfa_.empties(state).begin(), nfa_.empties(state).end());
    }
    std::sort(set.begin(), set.end());
    const auto [it, fresh] = ids_.try_emplace(set, static_cast<uint32_t>(sets_.size()));
    if (fresh) {
      dfa_.accepts.push_back(mark_[nfa_.accept] == round_ ? 1 : 0);
      dfa_.boundary.push_back(nfa_.loop != Nfa::kNone && mark_[nfa_.loop] == round_);
      sets_.push_back(std::move(set));
    }
    return it->second;
  }

  const Nfa& nfa_;
  Dfa dfa_;
  std::vector<std::vector<uint32_t>> sets_;
  std::unordered_map<std::vector<uint32_t>, uint32_t, SetHash> ids_;
  std::vector<uint32_t> mark_;
  uint32_t round_ = 0;
  size_t& work_;
};

/// Redirects every way into a state that cannot reach an end to the dead one, and drops states
/// that are left unreachable.
Dfa pruned(const Dfa& dfa) {
  const size_t count = dfa.states();
  std::vector<std::vector<uint32_t>> back(count);
  for (uint32_t state = 1; state < count; ++state) {
    uint32_t previous = Dfa::kDead;
    for (uint32_t c = 0; c < dfa.classes; ++c) {
      const uint32_t to = dfa.next[size_t{state} * dfa.classes + c];
      if (to != Dfa::kDead && to != previous) back[to].push_back(state);
      previous = to;
    }
  }
  std::vector<bool> alive(count, false);
  std::vector<uint32_t> queue;
  for (uint32_t state = 1; state < count; ++state) {
    if (dfa.accepts[state] != 0) {
      alive[state] = true;
      queue.push_back(state);
    }
  }
  while (!queue.empty()) {
    const uint32_t state = queue.back();
    queue.pop_back();
    for (const uint32_t from : back[state]) {
      if (alive[from]) continue;
      alive[from] = true;
      queue.push_back(from);
    }
  }
  Dfa out;
  out.class_of = dfa.class_of;
  out.classes = dfa.classes;
  std::vector<uint32_t> id(count, Dfa::kDead);
  std::vector<uint32_t> order = {Dfa::kDead};
  const auto number = [&](uint32_t state) {
    if (state == Dfa::kDead || !alive[state]) return Dfa::kDead;
    if (id[state] == Dfa::kDead) {
      id[state] = static_cast<uint32_t>(order.size());
      order.push_back(state);
    }
    return id[state];
  };
  out.start = number(dfa.start);
  out.next.assign(dfa.classes, Dfa::kDead);
  for (size_t i = 1; i < order.size(); ++i) {
    for (uint32_t c = 0; c < dfa.classes; ++c) {
      out.next.push_back(number(dfa.next[size_t{order[i]} * dfa.classes + c]));
    }
  }
  for (const uint32_t state : order) {
    out.accepts.push_back(state == Dfa::kDead ? 0 : dfa.accepts[state]);
    out.boundary.push_back(state != Dfa::kDead && dfa.boundary[state]);
  }
  return out;
}

/// Merges states that no text tells apart (Moore's rounds).
Dfa minimised(Dfa dfa) {
  constexpr size_t kStatesMax = 1024;  // beyond, rounds cost more than shared masks save
  const size_t count = dfa.states();
  if (count > kStatesMax) return dfa;
  std::vector<uint32_t> group(count);
  for (size_t i = 0; i < count; ++i) {
    group[i] = i == 0 ? 0 : 1 + 2 * uint32_t{dfa.accepts[i]} + (dfa.boundary[i] ? 1 : 0);
  }
  size_t groups = 0;
  std::vector<uint32_t> row;
  while (true) {
    std::unordered_map<std::vector<uint32_t>, uint32_t, SetHash> ids;
    std::vector<uint32_t> refined(count);
    for (size_t i = 0; i < count; ++i) {
      row.assign(1, group[i]);
      for (uint32_t c = 0; c < dfa.classes; ++c)
        row.push_back(group[dfa.next[i * dfa.classes + c]]);
      refined[i] = ids.try_emplace(row, static_cast<uint32_t>(ids.size())).first->second;
    }
    group = std::move(refined);
    if (ids.size() == groups) break;
    groups = ids.size();
  }
  if (groups == count) return dfa;
  Dfa out;
  out.class_of = dfa.class_of;
  out.classes = dfa.classes;
  out.next.assign(groups * dfa.classes, Dfa::kDead);
  out.accepts.assign(groups, 0);
  out.boundary.assign(groups, false);
  for (size_t i = 0; i < count; ++i) {  // the dead state was first, so its group is 0
    for (uint32_t c = 0; c < dfa.classes; ++c) {
      out.next[size_t{group[i]} * dfa.classes + c] = group[dfa.next[i * dfa.classes + c]];
    }
    out.accepts[group[i]] = dfa.accepts[i];
    out.boundary[group[i]] = dfa.boundary[i];
  }
  out.start = group[dfa.start];
  return out;
}

Result<Dfa> finish(const Nfa& nfa, size_t& work) {
  if (nfa.full()) return too_large();
  TRY(const Dfa dfa, Determiniser(nfa, work).run());
  return minimised(pruned(dfa));
}

/// Both at once: texts of `a` that `b` has, or (`without`) has not.
Result<Dfa> product(const Dfa& a, const Dfa& b, bool without, size_t& work) {
  Dfa out;
  std::unordered_map<uint32_t, uint8_t> classes;  // (class of a, class of b) -> class
  std::vector<std::pair<uint8_t, uint8_t>> pairs;
  for (size_t byte = 0; byte < 256; ++byte) {
    const uint32_t key = uint32_t{a.class_of[byte]} * 256 + b.class_of[byte];
    const auto [it, fresh] = classes.try_emplace(key, static_cast<uint8_t>(pairs.size()));
    if (fresh) pairs.emplace_back(a.class_of[byte], b.class_of[byte]);
    out.class_of[byte] = it->second;
  }
  out.classes = static_cast<uint32_t>(pairs.size());
  std::unordered_map<uint64_t, uint32_t> ids;
  std::vector<std::pair<uint32_t, uint32_t>> states = {{Dfa::kDead, Dfa::kDead}};
  const auto id = [&](uint32_t x, uint32_t y) {
    if (x == Dfa::kDead || (y == Dfa::kDead && !without)) return Dfa::kDead;
    const auto [it, fresh] =
        ids.try_emplace((uint64_t{x} << 32) | y, static_cast<uint32_t>(states.size()));
    if (fresh) states.emplace_back(x, y);
    return it->second;
  };
  out.start = id(a.start, b.start);
  out.next.assign(out.classes, Dfa::kDead);
  for (size_t i = 1; i < states.size(); ++i) {
    if (states.size() > limits::kGrammarDfaStates || work < pairs.size()) return too_large();
    work -= pairs.size();
    const auto [x, y] = states[i];
    for (const auto& [class_a, class_b] : pairs) {
      out.next.push_back(
          id(a.next[size_t{x} * a.classes + class_a], b.next[size_t{y} * b.classes + class_b]));
    }
  }
  for (const auto& [x, y] : states) {
    out.accepts.push_back(a.accepts[x] != 0 && (b.accepts[y] != 0) != without ? 1 : 0);
    out.boundary.push_back(a.boundary[x]);
  }
  return minimised(pruned(out));
}

}  // namespace

Result<Dfa> build_dfa(const Regex& regex, size_t& work) {
  Nfa nfa;
  nfa.accept = nfa.add(regex, nfa.add_state());
  return finish(nfa, work);
}

Result<Dfa> build_counted_dfa(const std::string& prefix, const Regex& unit,
                              const std::string& suffix, size_t& work) {
  Nfa nfa;
  uint32_t at = nfa.add(Regex::text(prefix), nfa.add_state());
  nfa.loop = nfa.add_state();
  nfa.empty_edge(at, nfa.loop);
  nfa.empty_edge(nfa.add(unit, nfa.loop), nfa.loop);
  at = nfa.add_state();
  nfa.empty_edge(nfa.loop, at);
  nfa.accept = nfa.add(Regex::text(suffix), at);
  return finish(nfa, work);
}

Result<Dfa> intersect(const Dfa& a, const Dfa& b, size_t& work) {
  return product(a, b, false, work);
}

Result<Dfa> subtract(const Dfa& a, const Dfa& b, size_t& work) {
  return product(a, b, true, work);
}

Dfa build_until_dfa(std::span<const std::string> markers) {
  // Aho and Corasick's automaton; a state is a prefix of some marker.
  constexpr uint32_t kRoot = 1;
  Dfa out;
  for (const std::string& marker : markers) {
    for (const char c : marker) out.class_of[static_cast<uint8_t>(c)] = 1;
  }
  const bool others = std::count(out.class_of.begin(), out.class_of.end(), 0) > 0;
  out.classes = others ? 1 : 0;  // class 0: the bytes of no marker
  for (uint8_t& byte_class : out.class_of) {
    if (byte_class != 0) byte_class = static_cast<uint8_t>(out.classes++);
  }
  const size_t width = out.classes;
  out.start = kRoot;
  out.next.assign(2 * width, Dfa::kDead);
  out.accepts.assign(2, 0);
  for (size_t label = 0; label < markers.size(); ++label) {
    uint32_t at = kRoot;
    for (const char c : markers[label]) {
      const size_t slot = at * width + out.class_of[static_cast<uint8_t>(c)];
      if (out.next[slot] == Dfa::kDead) {
        out.next[slot] = static_cast<uint32_t>(out.accepts.size());
        out.accepts.push_back(0);
        out.next.resize(out.next.size() + width, Dfa::kDead);
      }
      at = out.next[slot];
    }
    if (out.accepts[at] == 0) out.accepts[at] = static_cast<uint8_t>(1 + label);
  }
  std::vector<uint32_t> fallback(out.accepts.size(), kRoot);
  std::queue<uint32_t> queue;
  queue.push(kRoot);
  while (!queue.empty()) {
    const uint32_t at = queue.front();
    queue.pop();
    if (out.accepts[at] == 0) out.accepts[at] = out.accepts[fallback[at]];
    for (size_t c = 0; c < width; ++c) {
      uint32_t& to = out.next[at * width + c];
      const uint32_t beside = at == kRoot ? kRoot : out.next[fallback[at] * width + c];
      if (to == Dfa::kDead) {
        to = beside;
      } else {
        fallback[to] = beside;
        queue.push(to);
      }
    }
  }
  for (size_t state = 1; state < out.accepts.size(); ++state) {  // nothing follows a marker
    if (out.accepts[state] == 0) continue;
    std::fill_n(out.next.begin() + static_cast<std::ptrdiff_t>(state * width), width, Dfa::kDead);
  }
  out.boundary.assign(out.accepts.size(), false);
  return out;
}

}  // namespace hadal
