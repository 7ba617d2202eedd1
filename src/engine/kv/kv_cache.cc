#include "engine/kv/kv_cache.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/check.h"

namespace hadal {
namespace {

/// What else a page's bytes depend on.
std::string page_fingerprint(const std::string& model, const KvLayout& layout,
                             int64_t page_tokens) {
  return fmt::format("{};{};{};{};{};{}", model, layout.n_layers, layout.n_kv_heads, layout.d_head,
                     static_cast<int>(layout.type), page_tokens);
}

constexpr int64_t kFullAttention[] = {kAllTokens};

}  // namespace

KvCache::KvCache(const KvLayout& layout, KvCacheOptions options)
    : pool_(layout, options.page_tokens, options.n_pages),
      ledger_(std::make_unique<PageLedger>(options.n_pages)),
      tree_({.page_tokens = pool_.page_tokens(),
             .nodes_max = options.n_pages,
             .tenant_nodes_max = options.tenant_pages_max,
             .fingerprint = page_fingerprint(options.fingerprint, layout, pool_.page_tokens())},
            kFullAttention, {ledger_.get(), 1}),
      tier_(options.tier) {
  if (tier_ != nullptr) tree_.on_evict = [this](NodeId node) { offer(node); };
  path_.reserve(static_cast<size_t>(options.n_pages));
}

std::span<const TokenId> KvCache::page_of(std::span<const TokenId> tokens, int64_t page) const {
  const auto count = static_cast<size_t>(page_tokens());
  return tokens.subspan(static_cast<size_t>(page) * count, count);
}

void KvCache::open(SequenceKv& sequence, std::string_view tenant, int64_t tokens_max) {
  CHECK(!sequence.open());
  sequence.root = tree_.open(tenant);
  sequence.tail = sequence.root;
  sequence.pages.reserve(static_cast<size_t>(pages_for(tokens_max)));
}

void KvCache::close(SequenceKv& sequence) {
  CHECK(sequence.open());
  // From the last to the first: the first ones are used again most likely, and lie warm on top.
  const auto shared = static_cast<size_t>(sequence.shared);
  for (size_t i = sequence.pages.size(); i-- > shared;) ledger_->release(sequence.pages[i]);
  for (NodeId node = sequence.tail; node >= 0;) {
    const NodeId up = tree_.parent(node);
    tree_.unpin(node);
    node = up;
  }
  tree_.close(sequence.root);
  sequence.pages.clear();
  sequence.loading.clear();
  sequence.loaded = 0;
  sequence.shared = 0;
  sequence.root = sequence.tail = kNoNode;
}

int64_t KvCache::match(SequenceKv& sequence, std::span<const TokenId> tokens, int64_t limit) {
  CHECK(sequence.open() && static_cast<int64_t>(sequence.pages.size()) == sequence.shared);
  const int64_t known = sequence.shared * page_tokens();
  if (limit > known) {
    path_.clear();
    tree_.match(sequence.tail,
                tokens.subspan(static_cast<size_t>(known), static_cast<size_t>(limit - known)),
                path_);
    for (const NodeId node : path_) sequence.pages.push_back(tree_.page(node, 0));
    if (!path_.empty()) sequence.tail = path_.back();
    sequence.shared += static_cast<int64_t>(path_.size());
  }
  return sequence.shared * page_tokens();
}

NodeId KvCache::next_node(const SequenceKv& sequence, std::span<const TokenId> tokens,
                          int64_t limit) const {
  if ((sequence.shared + 1) * page_tokens() > limit) return kNoNode;
  return tree_.find(sequence.tail, page_of(tokens, sequence.shared));
}

bool KvCache::begin_load(SequenceKv& sequence, std::span<const TokenId> tokens, int64_t limit) {
  if (tier_ == nullptr) return false;
  sequence.loading.clear();
  sequence.loaded = 0;
  PageKey key = tree_.key(sequence.tail);
  for (int64_t page = sequence.shared; (page + 1) * page_tokens() <= limit; ++page) {
    key = next_key(key, page_of(tokens, page));
    if (!tier_->holds(key)) break;
    sequence.loading.push_back(key);
  }
  if (!sequence.loading.empty()) tier_->prefetch(sequence.loading);
  return !sequence.loading.empty();
}

bool KvCache::load(SequenceKv& sequence, std::span<const TokenId> tokens) {
  while (sequence.loaded < sequence.loading.size()) {
    const std::span<const TokenId> page_tokens = page_of(tokens, sequence.shared);
    NodeId node = tree_.find(sequence.tail, page_tokens);
    if (node != kNoNode) {  // another sequence was faster
      tree_.pin(node);
    } else {
      const PageId page = acquire();
      if (page == kNoPage) break;
      const PageTier::Fetch fetched =
          tier_->fetch(sequence.loading[sequence.loaded], page_tokens, pool_.page_bytes(page));
      if (fetched == PageTier::Fetch::kReady) {
        node = tree_.insert(sequence.tail, page_tokens, {&page, 1});
      }
      if (node == kNoNode) ledger_->release(page);
      if (fetched == PageTier::Fetch::kPending) return false;
      if (node == kNoNode) break;
    }
    sequence.pages.push_back(tree_.page(node, 0));
    sequence.tail = node;
    ++sequence.shared;
    ++sequence.loaded;
  }
  sequence.loading.clear();
  sequence.loaded = 0;
  return true;
}

PageId KvCache::acquire() {
  if (ledger_->free_count() == 0 && !tree_.evict(0)) return kNoPage;
  return *ledger_->acquire();
}

int64_t KvCache::grow(SequenceKv& sequence, int64_t tokens) {
  const auto wanted = static_cast<size_t>(pages_for(tokens));
  while (sequence.pages.size() < wanted) {
    const PageId page = acquire();
    if (page == kNoPage) break;
    sequence.pages.push_back(page);
  }
  return std::min(tokens, static_cast<int64_t>(sequence.pages.size()) * page_tokens());
}

void KvCache::share(SequenceKv& sequence, std::span<const TokenId> tokens, int64_t computed) {
  while ((sequence.shared + 1) * page_tokens() <= computed) {
    PageId& own = sequence.pages[static_cast<size_t>(sequence.shared)];
    const std::span<const TokenId> page_tokens = page_of(tokens, sequence.shared);
    const auto [node, found] = tree_.find_or_insert(sequence.tail, page_tokens, {&own, 1});
    if (node == kNoNode) return;  // the tenant's cap; the page stays the sequence's own
    if (found) {
      ledger_->release(own);
      own = tree_.page(node, 0);
    }
    sequence.tail = node;
    ++sequence.shared;
  }
}

void KvCache::forget(SequenceKv& sequence) {
  tree_.forget(sequence.tail);
}

void KvCache::offer(NodeId node) {
  tier_->offer(tree_.key(node), tree_.tokens(node), pool_.page_bytes(tree_.page(node, 0)),
               tree_.hits(node));
}

void KvCache::offer_all() {
  if (tier_ == nullptr) return;
  // A tier may have room for a part: most reused first, and parents before their children.
  std::vector<NodeId> nodes;
  tree_.for_each([&](NodeId node) { nodes.push_back(node); });
  std::reverse(nodes.begin(), nodes.end());
  std::stable_sort(nodes.begin(), nodes.end(),
                   [this](NodeId a, NodeId b) { return tree_.hits(a) > tree_.hits(b); });
  for (const NodeId node : nodes) offer(node);
}

void KvCache::check_integrity(std::span<const SequenceKv* const> sequences) const {
  std::vector<std::vector<int32_t>> holders(
      1, std::vector<int32_t>(static_cast<size_t>(n_pages()), 0));
  tree_.check_integrity(holders);
  for (const SequenceKv* sequence : sequences) {
    CHECK(sequence->open());
    CHECK(sequence->shared <= static_cast<int64_t>(sequence->pages.size()));
    for (const PageId page : sequence->pages) ++holders[0][static_cast<size_t>(page)];
    int64_t at = sequence->shared;
    for (NodeId node = sequence->tail; node >= 0; node = tree_.parent(node)) {
      CHECK(--at >= 0 && sequence->pages[static_cast<size_t>(at)] == tree_.page(node, 0));
    }
    CHECK(at == 0);
  }
  ledger_->check_integrity(holders[0]);
}

}  // namespace hadal
