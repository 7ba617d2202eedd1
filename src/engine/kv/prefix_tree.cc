#include "engine/kv/prefix_tree.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace hadal {

PrefixTree::PrefixTree(TreeOptions options, std::span<const int64_t> lookbacks,
                       std::span<PageLedger> ledgers)
    : options_(std::move(options)),
      lookbacks_(lookbacks.begin(), lookbacks.end()),
      ledgers_(ledgers) {
  CHECK(options_.page_tokens > 0 && options_.nodes_max > 0);
  CHECK(!lookbacks.empty() && lookbacks.size() <= kPoolsMax && lookbacks.size() == ledgers.size());
  const auto count = static_cast<size_t>(options_.nodes_max);
  nodes_.resize(count);
  tokens_.resize(count * static_cast<size_t>(options_.page_tokens));
  buckets_.resize(std::bit_ceil(2 * count), kNoNode);
  for (size_t i = count; i-- > 0;) {
    nodes_[i].next = free_;
    free_ = static_cast<NodeId>(i);
  }
}

NodeId PrefixTree::open(std::string_view salt) {
  const auto [entry, is_new] = tenant_of_.try_emplace(std::string(salt), kNoNode);
  if (is_new) {
    if (free_tenants_.empty()) {
      free_tenants_.push_back(~static_cast<NodeId>(tenants_.size()));
      tenants_.emplace_back();
    }
    entry->second = free_tenants_.back();
    free_tenants_.pop_back();
    Tenant& created = tenant(entry->second);
    created.salt = salt;
    created.key = root_key(options_.fingerprint, salt);
  }
  ++tenant(entry->second).users;
  return entry->second;
}

void PrefixTree::close(NodeId root) {
  CHECK(root < 0 && tenant(root).users > 0);
  --tenant(root).users;
  forget_idle_tenant(root);
}

void PrefixTree::forget_idle_tenant(NodeId root) {
  Tenant& idle = tenant(root);
  if (idle.users > 0 || idle.nodes > 0) return;
  tenant_of_.erase(idle.salt);
  idle = {};
  free_tenants_.push_back(root);
}

const PageKey& PrefixTree::key(NodeId spot) const {
  return spot < 0 ? tenant(spot).key : at(spot).key;
}

std::span<const TokenId> PrefixTree::tokens(NodeId node) const {
  const auto count = static_cast<size_t>(options_.page_tokens);
  return std::span(tokens_).subspan(static_cast<size_t>(node) * count, count);
}

NodeId PrefixTree::find(NodeId parent, std::span<const TokenId> page) const {
  return find_keyed(next_key(key(parent), page), parent, page);
}

NodeId PrefixTree::find_keyed(const PageKey& key, NodeId parent,
                              std::span<const TokenId> page) const {
  for (NodeId node = buckets_[bucket(key)]; node != kNoNode; node = at(node).next) {
    if (at(node).key == key && at(node).parent == parent &&
        std::ranges::equal(tokens(node), page)) {
      return node;
    }
  }
  return kNoNode;
}

/// Pages behind a match's end that a sequence needs from `pool` to go on.
int64_t PrefixTree::pages_needed(size_t pool) const {
  if (!bounded(pool)) return kAllTokens;
  return (lookbacks_[pool] + options_.page_tokens - 1) / options_.page_tokens;
}

/// How many nodes of `chain` (below `from`) may be used: the deepest end where every pool has an
/// unbroken run of pages as long as its lookback, or back to the root.
size_t PrefixTree::usable_depth(NodeId from, std::span<const NodeId> chain) {
  std::array<int64_t, kPoolsMax> run = {};
  int64_t before = 0;  // nodes from the root to `from`
  for (NodeId node = from; node >= 0; node = at(node).parent) ++before;
  for (size_t pool = 0; pool < lookbacks_.size(); ++pool) {
    if (!bounded(pool)) continue;
    for (NodeId node = from; node >= 0 && at(node).pools[pool].page != kNoPage;) {
      if (++run[pool] >= pages_needed(pool)) break;
      node = at(node).parent;
    }
  }
  size_t usable = 0;
  std::array<size_t, kPoolsMax> alone = {};
  for (size_t i = 0; i < chain.size(); ++i) {
    bool all = true;
    const int64_t depth = before + static_cast<int64_t>(i) + 1;
    for (size_t pool = 0; pool < lookbacks_.size(); ++pool) {
      if (bounded(pool)) {
        run[pool] = at(chain[i]).pools[pool].page == kNoPage ? 0 : run[pool] + 1;
      }
      const bool enough = !bounded(pool) || run[pool] >= std::min(pages_needed(pool), depth);
      if (enough) alone[pool] = i + 1;
      all = all && enough;
    }
    if (all) usable = i + 1;
  }
  const auto page_tokens = static_cast<uint64_t>(options_.page_tokens);
  for (size_t pool = 0; pool < lookbacks_.size(); ++pool) {
    counters_.pools[pool].hit_tokens += alone[pool] * page_tokens;
  }
  counters_.hit_tokens += usable * page_tokens;
  return usable;
}

void PrefixTree::match(NodeId from, std::span<const TokenId> tokens, std::vector<NodeId>& path) {
  const auto page_tokens = static_cast<size_t>(options_.page_tokens);
  const size_t first = path.size();
  counters_.lookups += 1;
  counters_.lookup_tokens += tokens.size() / page_tokens * page_tokens;
  NodeId spot = from;
  for (size_t begin = 0; begin + page_tokens <= tokens.size(); begin += page_tokens) {
    spot = find(spot, tokens.subspan(begin, page_tokens));
    if (spot == kNoNode) break;
    path.push_back(spot);
  }
  path.resize(first + usable_depth(from, std::span(path).subspan(first)));
  const auto found = static_cast<int64_t>(path.size() - first);
  for (int64_t i = 0; i < found; ++i) {
    const NodeId node = path[first + static_cast<size_t>(i)];
    pin(node);
    ++at(node).hits;
    for (size_t pool = 0; pool < lookbacks_.size(); ++pool) {
      if (bounded(pool) && found - i <= pages_needed(pool)) hold(node, pool);
    }
  }
}

/// A node to fill, if need be instead of the tenant's oldest one.
NodeId PrefixTree::take_free_node(NodeId root) {
  Tenant& owner = tenant(root);
  const bool capped = options_.tenant_nodes_max > 0 && !owner.salt.empty();
  if (capped && owner.nodes >= options_.tenant_nodes_max) {
    if (owner.lru.oldest == kNoNode) return kNoNode;
    remove(owner.lru.oldest);
  }
  if (free_ == kNoNode) {
    if (lru_.oldest == kNoNode) return kNoNode;
    remove(lru_.oldest);
  }
  const NodeId node = free_;
  free_ = at(node).next;
  return node;
}

NodeId PrefixTree::insert(NodeId parent, std::span<const TokenId> page,
                          std::span<const PageId> pages) {
  const Placed placed = find_or_insert(parent, page, pages);
  CHECK(!placed.found);
  return placed.node;
}

PrefixTree::Placed PrefixTree::find_or_insert(NodeId parent, std::span<const TokenId> page,
                                              std::span<const PageId> pages) {
  const PageKey key = next_key(this->key(parent), page);
  const NodeId node = find_keyed(key, parent, page);
  if (node == kNoNode) return {insert_keyed(key, parent, page, pages), false};
  pin(node);
  return {node, true};
}

/// A new child that is known not to be there.
NodeId PrefixTree::insert_keyed(const PageKey& key, NodeId parent, std::span<const TokenId> page,
                                std::span<const PageId> pages) {
  CHECK(page.size() == static_cast<size_t>(options_.page_tokens));
  CHECK(pages.size() == lookbacks_.size());
  const NodeId root = root_of(parent);
  const NodeId node = take_free_node(root);
  if (node == kNoNode) return kNoNode;
  Node& created = at(node);
  created = {.key = key, .parent = parent, .root = root, .pins = 1, .linked = true};
  std::ranges::copy(page, tokens_.begin() + node * options_.page_tokens);
  for (size_t pool = 0; pool < pages.size(); ++pool) {
    CHECK(bounded(pool) || pages[pool] != kNoPage);
    created.pools[pool].page = pages[pool];
    if (pages[pool] == kNoPage) continue;
    ledgers_[pool].retain(pages[pool]);
    created.pools[pool].holds = bounded(pool) ? 1 : 0;
  }
  created.next = buckets_[bucket(key)];
  buckets_[bucket(key)] = node;
  if (parent >= 0) ++at(parent).children;
  ++tenant(root).nodes;
  ++size_;
  return node;
}

void PrefixTree::pin(NodeId node) {
  Node& pinned = at(node);
  CHECK(pinned.parent != kNoNode);
  if (pinned.pins++ == 0) {
    erase(lru_, node, kGlobalList);
    erase(tenant(pinned.root).lru, node, kTenantList);
    --unpinned_;
  }
  for (size_t pool = 0; pool < lookbacks_.size(); ++pool) {
    if (!bounded(pool)) ledgers_[pool].retain(pinned.pools[pool].page);
  }
}

void PrefixTree::unpin(NodeId node) {
  Node& pinned = at(node);
  CHECK(pinned.pins > 0);
  for (size_t pool = 0; pool < lookbacks_.size(); ++pool) {
    if (!bounded(pool)) ledgers_[pool].release(pinned.pools[pool].page);
  }
  if (--pinned.pins > 0) return;
  push(lru_, node, kGlobalList);
  push(tenant(pinned.root).lru, node, kTenantList);
  ++unpinned_;
}

void PrefixTree::hold(NodeId node, size_t pool) {
  CHECK(bounded(pool));
  PoolPart& part = at(node).pools[pool];
  CHECK(part.page != kNoPage && at(node).pins > 0);
  ledgers_[pool].retain(part.page);
  if (part.holds++ == 0) erase(pool_lru_[pool], node, kPoolLists + pool);
}

void PrefixTree::drop(NodeId node, size_t pool) {
  CHECK(bounded(pool));
  PoolPart& part = at(node).pools[pool];
  CHECK(part.holds > 0);
  ledgers_[pool].release(part.page);
  if (--part.holds == 0) push(pool_lru_[pool], node, kPoolLists + pool);
}

bool PrefixTree::evict(size_t pool) {
  if (bounded(pool)) {
    const NodeId node = pool_lru_[pool].oldest;
    if (node == kNoNode) return false;
    free_page(node, pool);
    return true;
  }
  if (lru_.oldest == kNoNode) return false;
  remove(lru_.oldest);
  return true;
}

void PrefixTree::free_page(NodeId node, size_t pool) {
  PoolPart& part = at(node).pools[pool];
  if (bounded(pool)) erase(pool_lru_[pool], node, kPoolLists + pool);
  ledgers_[pool].release(part.page);
  part.page = kNoPage;
  ++counters_.pools[pool].evictions;
}

void PrefixTree::remove(NodeId node) {
  Node& gone = at(node);
  CHECK(gone.pins == 0 && gone.children == 0);
  if (on_evict && reachable(node)) on_evict(node);
  for (size_t pool = 0; pool < lookbacks_.size(); ++pool) {
    if (gone.pools[pool].page != kNoPage) free_page(node, pool);
  }
  if (gone.linked) unlink(node);
  erase(lru_, node, kGlobalList);
  erase(tenant(gone.root).lru, node, kTenantList);
  --unpinned_;
  --size_;
  if (gone.parent >= 0) --at(gone.parent).children;
  --tenant(gone.root).nodes;
  const NodeId root = gone.root;
  gone = {};
  gone.next = free_;
  free_ = node;
  forget_idle_tenant(root);
}

bool PrefixTree::reachable(NodeId node) const {
  while (node >= 0 && at(node).linked) node = at(node).parent;
  return node < 0;
}

void PrefixTree::unlink(NodeId node) {
  NodeId* link = &buckets_[bucket(at(node).key)];
  while (*link != node) link = &at(*link).next;
  *link = at(node).next;
  at(node).linked = false;
}

void PrefixTree::forget(NodeId from) {
  for (NodeId node = from; node >= 0; node = at(node).parent) {
    if (at(node).linked) unlink(node);
  }
}

void PrefixTree::push(List& list, NodeId node, size_t which) {
  at(node).links[which] = {.older = list.newest, .newer = kNoNode};
  if (list.newest != kNoNode) at(list.newest).links[which].newer = node;
  list.newest = node;
  if (list.oldest == kNoNode) list.oldest = node;
}

void PrefixTree::erase(List& list, NodeId node, size_t which) {
  const Link link = at(node).links[which];
  (link.older == kNoNode ? list.oldest : at(link.older).links[which].newer) = link.newer;
  (link.newer == kNoNode ? list.newest : at(link.newer).links[which].older) = link.older;
}

}  // namespace hadal
