#pragma once
/// KvCache: the pages of running sequences, what they share, and the memory behind both.
///
///   SequenceKv   node node node | own own          a sequence's page table: nodes of the tree that
///                ---- shared --- --- own --         others may use too, then pages of its own
///
/// A page becomes a node as soon as it is full. When no page is free the least recently used node
/// nobody uses makes room; the tier, if there is one, is offered its page first.
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/kv/page_ledger.h"
#include "engine/kv/prefix_tree.h"
#include "engine/kv/tier.h"
#include "kernels/kv_pool.h"

namespace hadal {

/// Tokens per page. Small enough that little is computed twice (what follows the last full page of
/// a shared prompt) and that a sequence's last page wastes little; large enough that bookkeeping
/// costs nothing. Measured: docs/decisions/0009.
inline constexpr int64_t kKvPageTokens = 32;

/// One sequence's pages. Belongs to a KvCache from open() to close().
struct SequenceKv {
  std::vector<PageId> pages;
  int64_t shared = 0;     ///< the first so many are nodes of the tree
  NodeId tail = kNoNode;  ///< the last of them or the tenant's root; kNoNode: not open
  NodeId root = kNoNode;
  std::vector<PageKey> loading;  ///< pages behind `tail` that a tier is asked for, in order
  size_t loaded = 0;             ///< so many of them are done

  bool open() const { return tail != kNoNode; }
  KvSequence table() const { return {pages}; }
};

struct KvCacheOptions {
  int64_t n_pages = 0;
  int64_t page_tokens = kKvPageTokens;
  int64_t tenant_pages_max = 0;  ///< cached for one tenant; 0: no cap
  std::string fingerprint = {};  ///< of the model
  PageTier* tier = nullptr;      ///< may be null; must outlive the cache
};

/// Not thread-safe: the engine's thread owns it.
class KvCache {
 public:
  KvCache(const KvLayout& layout, KvCacheOptions options);

  KvPool& pool() { return pool_; }
  int64_t page_tokens() const { return pool_.page_tokens(); }
  int64_t n_pages() const { return pool_.n_pages(); }
  /// Pages that a sequence of so many tokens fills or begins.
  int64_t pages_for(int64_t tokens) const { return (tokens + page_tokens() - 1) / page_tokens(); }
  /// Pages that are free, or would be after evictions.
  int64_t available() const { return ledger().free_count() + tree_.unpinned(); }
  int64_t free_pages() const { return ledger().free_count(); }
  /// Nodes of the tree, in use or not.
  int64_t cached_pages() const { return tree_.size(); }
  const TreeCounters& counters() const { return tree_.counters(); }

  void open(SequenceKv& sequence, std::string_view tenant, int64_t tokens_max);
  /// Gives everything back; full pages stay in the tree.
  void close(SequenceKv& sequence);

  /// REQUIRES below: `tokens` are the sequence's own from the first on.

  /// Takes what the tree knows of the tokens behind the shared pages, whole pages within the first
  /// `limit` tokens. Returns how many tokens the shared pages hold then. REQUIRES: no own pages.
  int64_t match(SequenceKv& sequence, std::span<const TokenId> tokens, int64_t limit);
  /// The node that match() would take next, or kNoNode: a cheap look.
  NodeId next_node(const SequenceKv& sequence, std::span<const TokenId> tokens,
                   int64_t limit) const;
  /// Begins to fetch from the tier what it has behind the shared pages; false: nothing.
  bool begin_load(SequenceKv& sequence, std::span<const TokenId> tokens, int64_t limit);
  /// Goes on with it; true when there is nothing more to wait for.
  bool load(SequenceKv& sequence, std::span<const TokenId> tokens);

  /// Pages for the first `tokens` positions, as many as can be had. Returns the positions that have
  /// one.
  int64_t grow(SequenceKv& sequence, int64_t tokens);
  /// Shares the own pages that the first `computed` tokens fill. A page that another sequence
  /// shared first is used instead of the own one.
  void share(SequenceKv& sequence, std::span<const TokenId> tokens, int64_t computed);
  /// Nobody finds the shared pages any more: what was computed from them is no number.
  void forget(SequenceKv& sequence);

  /// Offers everything that is cached to the tier: the server goes down.
  void offer_all();
  /// CHECKs that each page has exactly the holders that its reference count says. `sequences`: all
  /// that are open.
  void check_integrity(std::span<const SequenceKv* const> sequences) const;

 private:
  const PageLedger& ledger() const { return *ledger_; }
  std::span<const TokenId> page_of(std::span<const TokenId> tokens, int64_t page) const;
  PageId acquire();
  void offer(NodeId node);

  KvPool pool_;
  std::unique_ptr<PageLedger> ledger_;
  PrefixTree tree_;
  PageTier* tier_;
  std::vector<NodeId> path_;  ///< scratch
};

}  // namespace hadal
