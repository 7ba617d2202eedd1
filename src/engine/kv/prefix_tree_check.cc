// PrefixTree's walk over everything: what drains and integrity checks use, never a step.
#include <algorithm>

#include "base/check.h"
#include "engine/kv/prefix_tree.h"

namespace hadal {

void PrefixTree::for_each(const std::function<void(NodeId)>& visit) const {
  // By depth, deepest first: a counting pass per level would need no memory, but trees are deep.
  std::vector<std::pair<int32_t, NodeId>> by_depth;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const auto node = static_cast<NodeId>(i);
    if (nodes_[i].parent == kNoNode || !reachable(node)) continue;
    int32_t depth = 0;
    for (NodeId up = node; up >= 0; up = at(up).parent) ++depth;
    by_depth.emplace_back(-depth, node);
  }
  std::ranges::sort(by_depth);
  for (const auto& [depth, node] : by_depth) visit(node);
}

void PrefixTree::check_list(const List& list, size_t which, int64_t expected) const {
  int64_t count = 0;
  NodeId older = kNoNode;
  for (NodeId node = list.oldest; node != kNoNode; node = at(node).links[which].newer) {
    CHECK(at(node).links[which].older == older);
    CHECK(++count <= expected);
    older = node;
  }
  CHECK(list.newest == older && count == expected);
}

void PrefixTree::check_integrity(std::span<std::vector<int32_t>> holders) const {
  CHECK(holders.size() == lookbacks_.size());
  std::vector<int32_t> children(nodes_.size(), 0);
  std::vector<int64_t> of_tenant(tenants_.size(), 0);
  std::vector<int64_t> idle_of_tenant(tenants_.size(), 0);
  std::array<int64_t, kPoolsMax> idle_pages = {};
  int64_t used = 0;
  int64_t idle = 0;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = nodes_[i];
    if (node.parent == kNoNode) continue;
    ++used;
    CHECK(node.root == root_of(node.parent) && tenant(node.root).key == key(node.root));
    if (node.parent >= 0) ++children[static_cast<size_t>(node.parent)];
    const auto owner = static_cast<size_t>(~node.root);
    ++of_tenant[owner];
    if (node.pins == 0) ++idle, ++idle_of_tenant[owner];
    const auto self = static_cast<NodeId>(i);
    if (node.linked) {
      CHECK(node.key == next_key(key(node.parent), tokens(self)));
      CHECK(find_keyed(node.key, node.parent, tokens(self)) == self);
    }
    for (size_t pool = 0; pool < lookbacks_.size(); ++pool) {
      const PoolPart& part = node.pools[pool];
      CHECK(bounded(pool) || part.page != kNoPage);
      CHECK(part.holds <= node.pins);
      if (part.page == kNoPage) continue;
      ++holders[pool][static_cast<size_t>(part.page)];
      if (bounded(pool) && part.holds == 0) ++idle_pages[pool];
    }
  }
  CHECK(used == size_ && idle == unpinned_);
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].parent == kNoNode) continue;
    CHECK(nodes_[i].children == children[i]);
    CHECK(nodes_[i].parent < 0 || nodes_[i].pins <= at(nodes_[i].parent).pins);
  }
  for (size_t i = 0; i < tenants_.size(); ++i) {
    CHECK(tenants_[i].nodes == of_tenant[i]);
    check_list(tenants_[i].lru, kTenantList, idle_of_tenant[i]);
  }
  check_list(lru_, kGlobalList, idle);
  for (size_t pool = 0; pool < lookbacks_.size(); ++pool) {
    if (bounded(pool)) check_list(pool_lru_[pool], kPoolLists + pool, idle_pages[pool]);
  }
}

}  // namespace hadal
