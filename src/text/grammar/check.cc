#include "text/grammar/check.h"

#include <functional>

namespace hadal {
namespace {

using Kind = GrammarIr::Kind;

/// The least set of nodes that holds `base` (per node without children) and is closed: sequences of
/// members, choices with a member, repetitions of a member or of `min` 0, references to members.
std::vector<bool> least_set(const GrammarIr& ir,
                            const std::function<bool(const GrammarIr::Node&)>& base) {
  const size_t count = ir.nodes.size();
  std::vector<std::vector<uint32_t>> parents(count);
  std::vector<uint32_t> missing(count, 0);  // of a sequence: children that are no members yet
  std::vector<bool> member(count, false);
  std::vector<uint32_t> queue;
  const auto add = [&](uint32_t node) {
    if (member[node]) return;
    member[node] = true;
    queue.push_back(node);
  };
  for (uint32_t id = 0; id < count; ++id) {
    const GrammarIr::Node& node = ir.nodes[id];
    for (const uint32_t child : node.children) parents[child].push_back(id);
    if (node.kind == Kind::kRef) parents[node.a].push_back(id);
    missing[id] = static_cast<uint32_t>(node.children.size());
    if (node.kind == Kind::kEmpty || (node.kind == Kind::kRepeat && node.a == 0) || base(node)) {
      add(id);
    }
  }
  while (!queue.empty()) {
    const uint32_t id = queue.back();
    queue.pop_back();
    for (const uint32_t parent : parents[id]) {
      const Kind kind = ir.nodes[parent].kind;
      if (kind == Kind::kFree) continue;
      if (kind != Kind::kSeq || --missing[parent] == 0) add(parent);
    }
  }
  return member;
}

}  // namespace

std::vector<bool> productive_nodes(const GrammarIr& ir, const std::vector<bool>& empty_lexemes) {
  return least_set(ir, [&](const GrammarIr::Node& node) {
    return node.kind == Kind::kToken || node.kind == Kind::kFree ||
           (node.kind == Kind::kLexeme && !empty_lexemes[node.a]);
  });
}

std::vector<bool> nullable_nodes(const GrammarIr& ir, const std::vector<bool>& nullable_lexemes) {
  return least_set(ir, [&](const GrammarIr::Node& node) {
    return (node.kind == Kind::kLexeme && nullable_lexemes[node.a]) ||
           (node.kind == Kind::kFree && ir.frees[node.a].may_end);
  });
}

Status check_left_recursion(const GrammarIr& ir, const std::vector<bool>& nullable) {
  // Depth first along "may begin with"; an edge back to a node on the path closes a circle.
  enum : uint8_t { kNew, kOnPath, kDone };
  struct Visit {
    uint32_t node;
    size_t next;
  };
  std::vector<uint8_t> state(ir.nodes.size(), kNew);
  const auto beginning = [&](uint32_t id, size_t index) -> int64_t {
    const GrammarIr::Node& node = ir.nodes[id];
    if (node.kind == Kind::kRef) return index == 0 ? int64_t{node.a} : -1;
    if (node.kind == Kind::kFree || index >= node.children.size()) return -1;
    if (node.kind == Kind::kSeq && index > 0 && !nullable[node.children[index - 1]]) return -1;
    return node.children[index];
  };
  std::vector<Visit> path;
  for (uint32_t start = 0; start < ir.nodes.size(); ++start) {
    if (state[start] != kNew) continue;
    state[start] = kOnPath;
    path.push_back({start, 0});
    while (!path.empty()) {
      const int64_t to = beginning(path.back().node, path.back().next++);
      if (to < 0) {
        state[path.back().node] = kDone;
        path.pop_back();
        continue;
      }
      const auto next = static_cast<uint32_t>(to);
      if (state[next] == kOnPath) {
        return Error{Code::kInvalidArgument,
                     "the grammar is left-recursive: a rule can begin with itself",
                     "write repetitions with * or + instead"};
      }
      if (state[next] == kNew) {
        state[next] = kOnPath;
        path.push_back({next, 0});
      }
    }
  }
  return {};
}

}  // namespace hadal
