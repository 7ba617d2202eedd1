#pragma once
/// PrefixTree: which pages hold the keys and values of which beginnings of texts.
///
///   root of a tenant -- page of tokens -- page of tokens -- ...      a node = one page of tokens
///                                    \--- page of tokens
///
/// A node is a range of virtual token slots. What a model really keeps for them lies in one or more
/// pools, each with its own pages and its own idea of how much a continuing sequence needs behind
/// it (the pool's lookback):
///
///   full attention, compressed keys     everything: kAllTokens
///   sliding window of W tokens          the last W tokens
///   state snapshots at page ends        1: the last page alone
///
/// So a match may end only behind a node where every pool finds its lookback. Pages of pools with a
/// bounded lookback may go while their node stays; the node itself goes only as a leaf.
///
/// Order of eviction: least recently used first. A sequence lets go of its nodes from the last to
/// the first, so that in the list a child is always older than its parent, and the oldest node
/// nobody uses is a leaf.
///
/// Children are found by the chained key (tier.h, which starts with tenant and model), and tokens
/// and parent are compared, so a collision costs a page, never a wrong token.
#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "engine/kv/page_ledger.h"
#include "engine/kv/tier.h"

namespace hadal {

/// A node, or a tenant's root: those are negative.
using NodeId = int32_t;
inline constexpr NodeId kNoNode = INT32_MIN;
inline constexpr int64_t kAllTokens = INT64_MAX;
inline constexpr size_t kPoolsMax = 4;

struct TreeOptions {
  int64_t page_tokens = 0;
  int64_t nodes_max = 0;
  /// Nodes of one tenant; 0: no cap. What all share (the empty salt) has none.
  int64_t tenant_nodes_max = 0;
  std::string fingerprint = {};  ///< of model and page format; part of every key
};

/// Totals since the start; tokens.
struct PoolCounters {
  uint64_t hit_tokens = 0;  ///< found, had this pool been the only one
  uint64_t evictions = 0;   ///< pages
};
struct TreeCounters {
  uint64_t lookups = 0;
  uint64_t lookup_tokens = 0;
  uint64_t hit_tokens = 0;  ///< usable in every pool
  std::array<PoolCounters, kPoolsMax> pools = {};
};

/// Not thread-safe: the engine's thread owns it. Allocates for new tenants only.
class PrefixTree {
 public:
  /// `lookbacks` and `ledgers` go together, one of each per pool; the ledgers must outlive the
  /// tree.
  PrefixTree(TreeOptions options, std::span<const int64_t> lookbacks,
             std::span<PageLedger> ledgers);

  /// The tenant's root; every open() needs its close(), after which a tenant without nodes is
  /// forgotten.
  NodeId open(std::string_view salt);
  void close(NodeId root);

  /// The longest usable chain below `from` whose pages are the first ones of `tokens`. Appends its
  /// nodes to `path` and pins them; of pools with a bounded lookback it holds the pages that are
  /// needed from the chain's end.
  void match(NodeId from, std::span<const TokenId> tokens, std::vector<NodeId>& path);
  /// The child with these tokens, or kNoNode. Counts nothing, pins nothing.
  NodeId find(NodeId parent, std::span<const TokenId> page) const;
  /// A new child, pinned, that shares `pages` (one per pool, kNoPage where it has none) with the
  /// caller. kNoNode when there is no room for it. REQUIRES: find() finds nothing.
  NodeId insert(NodeId parent, std::span<const TokenId> page, std::span<const PageId> pages);
  /// The child with these tokens, pinned, if there is one, else insert(): the key, which costs most
  /// of both, is computed once.
  struct Placed {
    NodeId node = kNoNode;
    bool found = false;
  };
  Placed find_or_insert(NodeId parent, std::span<const TokenId> page,
                        std::span<const PageId> pages);

  /// A pinned node and its pages in unbounded pools stay. REQUIRES for pin: the parent is pinned or
  /// a root; for unpin: children that the caller pinned are unpinned.
  void pin(NodeId node);
  void unpin(NodeId node);
  /// The same for one page of a pool with a bounded lookback. REQUIRES for hold: it has the page.
  void hold(NodeId node, size_t pool);
  void drop(NodeId node, size_t pool);

  /// Frees the least recently used page of `pool` that nobody uses; false when there is none.
  bool evict(size_t pool);
  /// Nothing below `from`'s root that leads to `from` is found any more (its contents are
  /// doubtful); the nodes go when nobody uses them.
  void forget(NodeId from);

  NodeId parent(NodeId node) const { return at(node).parent; }
  PageId page(NodeId node, size_t pool) const { return at(node).pools[pool].page; }
  std::span<const TokenId> tokens(NodeId node) const;
  uint32_t hits(NodeId node) const { return at(node).hits; }
  const PageKey& key(NodeId spot) const;
  /// Nodes that evict() could take, one after the other.
  int64_t unpinned() const { return unpinned_; }
  int64_t size() const { return size_; }
  int64_t tenants() const { return static_cast<int64_t>(tenant_of_.size()); }
  const TreeCounters& counters() const { return counters_; }

  /// Calls for every node that can be found, children before parents.
  void for_each(const std::function<void(NodeId)>& visit) const;
  /// Adds the tree's own references to holders[pool][page], and CHECKs links, lists and counts.
  void check_integrity(std::span<std::vector<int32_t>> holders) const;

  /// Called before a node's pages go, if set.
  std::function<void(NodeId)> on_evict;

 private:
  static constexpr size_t kGlobalList = 0;
  static constexpr size_t kTenantList = 1;
  static constexpr size_t kPoolLists = 2;  ///< and one for each pool

  struct Link {
    NodeId older = kNoNode;
    NodeId newer = kNoNode;
  };
  struct List {
    NodeId oldest = kNoNode;
    NodeId newest = kNoNode;
  };
  struct PoolPart {
    PageId page = kNoPage;
    int32_t holds = 0;
  };
  struct Node {
    PageKey key;
    NodeId parent = kNoNode;  ///< kNoNode: the node is free
    NodeId root = kNoNode;
    NodeId next = kNoNode;  ///< in its bucket, or among the free nodes
    int32_t children = 0;
    int32_t pins = 0;
    uint32_t hits = 0;
    bool linked = false;  ///< can be found
    std::array<PoolPart, kPoolsMax> pools = {};
    std::array<Link, kPoolLists + kPoolsMax> links = {};
  };
  struct Tenant {
    std::string salt;
    PageKey key;
    int64_t users = 0;
    int64_t nodes = 0;
    List lru;
  };

  Node& at(NodeId node) { return nodes_[static_cast<size_t>(node)]; }
  const Node& at(NodeId node) const { return nodes_[static_cast<size_t>(node)]; }
  Tenant& tenant(NodeId root) { return tenants_[static_cast<size_t>(~root)]; }
  const Tenant& tenant(NodeId root) const { return tenants_[static_cast<size_t>(~root)]; }
  NodeId root_of(NodeId spot) const { return spot < 0 ? spot : at(spot).root; }
  NodeId find_keyed(const PageKey& key, NodeId parent, std::span<const TokenId> page) const;
  NodeId insert_keyed(const PageKey& key, NodeId parent, std::span<const TokenId> page,
                      std::span<const PageId> pages);
  size_t bucket(const PageKey& key) const { return key.low & (buckets_.size() - 1); }
  bool bounded(size_t pool) const { return lookbacks_[pool] != kAllTokens; }
  int64_t pages_needed(size_t pool) const;
  size_t usable_depth(NodeId from, std::span<const NodeId> chain);
  NodeId take_free_node(NodeId root);
  bool reachable(NodeId node) const;
  void unlink(NodeId node);
  void remove(NodeId node);
  void free_page(NodeId node, size_t pool);
  void push(List& list, NodeId node, size_t which);
  void erase(List& list, NodeId node, size_t which);
  void forget_idle_tenant(NodeId root);
  void check_list(const List& list, size_t which, int64_t expected) const;

  TreeOptions options_;
  std::vector<int64_t> lookbacks_;
  std::span<PageLedger> ledgers_;
  std::vector<Node> nodes_;
  std::vector<TokenId> tokens_;  ///< page_tokens per node
  std::vector<NodeId> buckets_;
  NodeId free_ = kNoNode;
  int64_t size_ = 0;
  int64_t unpinned_ = 0;
  List lru_;                              ///< nodes that are not pinned
  std::array<List, kPoolsMax> pool_lru_;  ///< pages of bounded pools that are not held
  std::vector<Tenant> tenants_;
  std::vector<NodeId> free_tenants_;
  std::unordered_map<std::string, NodeId> tenant_of_;
  TreeCounters counters_;
};

}  // namespace hadal
