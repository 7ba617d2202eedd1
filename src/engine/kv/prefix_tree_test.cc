// Goal: pages are counted exactly; the tree finds what was inserted under the same tenant and
// nothing else, ends matches where every pool can go on, and evicts the oldest leaf nobody uses.
#include "engine/kv/prefix_tree.h"

#include <algorithm>
#include <random>

#include <gtest/gtest.h>

namespace hadal {
namespace {

constexpr int64_t kPage = 4;

/// A tree over pools of `pages` pages each, and callers' own references to count against.
struct Forest {
  Forest(std::vector<int64_t> lookbacks, int64_t pages, int64_t tenant_max = 0)
      : pools(lookbacks.size()),
        ledgers(lookbacks.size(), PageLedger(pages)),
        tree({.page_tokens = kPage, .nodes_max = pages, .tenant_nodes_max = tenant_max}, lookbacks,
             ledgers) {}

  /// Tokens of a page that only `number` has.
  static std::vector<TokenId> page(int number) { return {number, number + 1, 7 * number, 5}; }
  static std::vector<TokenId> text(const std::vector<int>& numbers) {
    std::vector<TokenId> out;
    for (int number : numbers) std::ranges::copy(page(number), std::back_inserter(out));
    return out;
  }
  /// A child with a fresh page in each pool, left pinned; its pages stay held.
  NodeId add(NodeId parent, int number) {
    std::vector<PageId> fresh;
    for (PageLedger& ledger : ledgers) fresh.push_back(ledger.acquire().value());
    const NodeId node = tree.insert(parent, page(number), fresh);
    if (node == kNoNode) {
      for (size_t pool = 0; pool < pools; ++pool) ledgers[pool].release(fresh[pool]);
    }
    return node;
  }
  /// Adds the chain and lets go of it, last first.
  std::vector<NodeId> add_chain(NodeId root, const std::vector<int>& numbers,
                                const std::vector<size_t>& bounded = {}) {
    std::vector<NodeId> chain;
    for (int number : numbers) chain.push_back(add(chain.empty() ? root : chain.back(), number));
    for (size_t i = chain.size(); i-- > 0;) {
      for (size_t pool : bounded) tree.drop(chain[i], pool);
      tree.unpin(chain[i]);
    }
    return chain;
  }
  size_t match_length(NodeId root, const std::vector<int>& numbers) {
    std::vector<NodeId> path;
    tree.match(root, text(numbers), path);
    for (size_t i = path.size(); i-- > 0;) tree.unpin(path[i]);
    return path.size();
  }
  /// Nobody but the tree holds pages.
  void check() const {
    std::vector<std::vector<int32_t>> holders;
    for (const PageLedger& ledger : ledgers) {
      holders.emplace_back(static_cast<size_t>(ledger.n_pages()), 0);
    }
    tree.check_integrity(holders);
    for (size_t pool = 0; pool < pools; ++pool) ledgers[pool].check_integrity(holders[pool]);
  }

  size_t pools;
  std::vector<PageLedger> ledgers;
  PrefixTree tree;
};

TEST(PageLedger, GivesEachPageOnceAndTheWarmestFirst) {
  PageLedger ledger(3);
  const PageId a = ledger.acquire().value();
  const PageId b = ledger.acquire().value();
  EXPECT_NE(a, b);
  ledger.retain(a);
  ledger.release(a);
  EXPECT_EQ(ledger.free_count(), 1);
  ledger.check_integrity(std::vector<int32_t>{1, 1, 0});
  ledger.release(a);
  EXPECT_EQ(ledger.acquire().value(), a);
  EXPECT_TRUE(ledger.acquire().has_value());
  EXPECT_FALSE(ledger.acquire().has_value());
  ledger.check_integrity(std::vector<int32_t>{1, 1, 1});
}

TEST(PageLedgerDeathTest, WrongCountsStop) {
  PageLedger ledger(2);
  EXPECT_DEATH(ledger.release(0), "references_");
  EXPECT_DEATH(ledger.retain(1), "references_");
  EXPECT_DEATH(ledger.release(2), "page");
  EXPECT_DEATH(ledger.check_integrity(std::vector<int32_t>{1, 0}), "holders");
}

TEST(PrefixTree, FindsTheLongestChainOfWholePages) {
  Forest f({kAllTokens}, 16);
  const NodeId root = f.tree.open("");
  f.add_chain(root, {1, 2, 3});
  EXPECT_EQ(f.match_length(root, {1, 2, 3, 4}), 3u);
  EXPECT_EQ(f.match_length(root, {1, 2}), 2u);
  EXPECT_EQ(f.match_length(root, {1, 3}), 1u);
  EXPECT_EQ(f.match_length(root, {2, 3}), 0u);
  std::vector<NodeId> path;
  std::vector<TokenId> tokens = f.text({1, 2, 3});
  tokens.pop_back();  // the third page is not whole
  f.tree.match(root, tokens, path);
  EXPECT_EQ(path.size(), 2u);
  for (size_t i = path.size(); i-- > 0;) f.tree.unpin(path[i]);
  EXPECT_EQ(f.tree.counters().lookups, 5u);
  EXPECT_EQ(f.tree.counters().hit_tokens, 4u * (3 + 2 + 1 + 0 + 2));
  f.tree.close(root);
  f.check();
}

TEST(PrefixTree, WhatIsThereIsFoundInsteadOfInserted) {
  Forest forest({kAllTokens}, 4);
  const NodeId root = forest.tree.open("");
  const NodeId first = forest.add(root, 1);
  const PageId own = forest.ledgers[0].acquire().value();
  const auto again = forest.tree.find_or_insert(root, Forest::page(1), {&own, 1});
  EXPECT_TRUE(again.found);
  EXPECT_EQ(again.node, first);
  EXPECT_NE(forest.tree.page(first, 0), own);  // which stays the caller's alone
  const auto other = forest.tree.find_or_insert(root, Forest::page(2), {&own, 1});
  EXPECT_FALSE(other.found);
  EXPECT_EQ(forest.tree.page(other.node, 0), own);
  for (const NodeId node : {other.node, first, first}) forest.tree.unpin(node);  // pinned twice
  forest.tree.close(root);
  forest.check();
}

TEST(PrefixTree, TenantsSeeTheirOwnPagesOnly) {
  Forest f({kAllTokens}, 16);
  const NodeId shared = f.tree.open("");
  const NodeId a = f.tree.open("a");
  const NodeId b = f.tree.open("b");
  EXPECT_EQ(f.tree.open("a"), a);
  f.tree.close(a);
  f.add_chain(shared, {1, 2});
  f.add_chain(a, {1, 2, 3});
  EXPECT_EQ(f.match_length(shared, {1, 2, 3}), 2u);
  EXPECT_EQ(f.match_length(a, {1, 2, 3}), 3u);
  EXPECT_EQ(f.match_length(b, {1, 2, 3}), 0u);
  EXPECT_NE(f.tree.key(a), f.tree.key(b));
  EXPECT_EQ(f.tree.tenants(), 3);
  f.tree.close(b);  // nothing of b's is left
  EXPECT_EQ(f.tree.tenants(), 2);
  f.tree.close(a);
  EXPECT_EQ(f.tree.tenants(), 2);
  while (f.tree.evict(0)) {
  }
  f.tree.close(shared);
  EXPECT_EQ(f.tree.tenants(), 0);
  f.check();
}

TEST(PrefixTree, EvictsTheOldestLeafNobodyUses) {
  Forest f({kAllTokens}, 16);
  std::vector<TokenId> evicted;
  f.tree.on_evict = [&](NodeId node) { evicted.push_back(f.tree.tokens(node)[0]); };
  const NodeId root = f.tree.open("");
  f.add_chain(root, {1, 2, 3});
  const std::vector<NodeId> second = f.add_chain(root, {4, 5});
  EXPECT_EQ(f.match_length(root, {1, 2}), 2u);  // fresher than 4 and 5 now; 3 is not
  f.tree.pin(second[0]);
  EXPECT_EQ(f.tree.unpinned(), 4);
  while (f.tree.evict(0)) {
  }
  EXPECT_EQ(evicted, (std::vector<TokenId>{3, 5, 2, 1}));
  EXPECT_EQ(f.tree.size(), 1);
  f.tree.unpin(second[0]);
  EXPECT_TRUE(f.tree.evict(0));
  EXPECT_EQ(f.tree.counters().pools[0].evictions, 5u);
  f.tree.close(root);
  f.check();
}

TEST(PrefixTree, ATenantsCapCostsItsOwnOldestPages) {
  Forest f({kAllTokens}, 16, 3);
  const NodeId shared = f.tree.open("");
  const NodeId a = f.tree.open("a");
  f.add_chain(shared, {1, 2, 3, 4, 5});  // no cap for what all share
  f.add_chain(a, {1, 2});
  f.add_chain(a, {6, 7});  // 1, 2 of a: the leaf goes
  EXPECT_EQ(f.match_length(a, {1, 2}), 1u);
  EXPECT_EQ(f.match_length(a, {6, 7}), 2u);
  EXPECT_EQ(f.match_length(shared, {1, 2, 3, 4, 5}), 5u);
  std::vector<NodeId> path;
  f.tree.match(a, f.text({6, 7}), path);
  const NodeId third = f.add(path.back(), 8);  // instead of 1
  ASSERT_NE(third, kNoNode);
  EXPECT_EQ(f.add(third, 9), kNoNode);  // all three are in use
  f.tree.unpin(third);
  f.tree.unpin(path[1]);
  f.tree.unpin(path[0]);
  f.tree.close(a);
  f.tree.close(shared);
  f.check();
}

TEST(PrefixTree, ForgottenChainsAreNotFoundAndGo) {
  Forest f({kAllTokens}, 16);
  int offered = 0;
  f.tree.on_evict = [&](NodeId) { ++offered; };
  const NodeId root = f.tree.open("");
  const std::vector<NodeId> chain = f.add_chain(root, {1, 2, 3});
  f.tree.forget(chain[1]);
  EXPECT_EQ(f.match_length(root, {1, 2, 3}), 0u);
  f.add_chain(root, {1});  // computed again
  EXPECT_EQ(f.match_length(root, {1, 2, 3}), 1u);
  f.check();
  while (f.tree.evict(0)) {
  }
  EXPECT_EQ(offered, 1);  // the new one; what cannot be reached is nobody's
  f.tree.close(root);
  f.check();
}

/// The pools of a model that has all three kinds of memory.
constexpr size_t kWindow = 1;
constexpr size_t kState = 2;
const std::vector<int64_t> kThreeKinds = {kAllTokens, 2 * kPage, 1};

TEST(PrefixTreePools, AMatchEndsWhereEveryPoolCanGoOn) {
  Forest f(kThreeKinds, 16);
  const NodeId root = f.tree.open("");
  f.add_chain(root, {1, 2, 3, 4}, {kWindow, kState});
  const auto usable = [&](const std::vector<int>& numbers) {
    std::vector<NodeId> path;
    f.tree.match(root, f.text(numbers), path);
    for (size_t i = path.size(); i-- > 0;) {
      if (i + 1 == path.size()) f.tree.drop(path[i], kState);
      if (i + 2 >= path.size()) f.tree.drop(path[i], kWindow);
      f.tree.unpin(path[i]);
    }
    return path.size();
  };
  EXPECT_EQ(usable({1, 2, 3, 4}), 4u);
  // Pages of 4 and 3 were used last; the window's page of 1 goes first (2 is in no window used yet
  // but was let go of later).
  EXPECT_TRUE(f.tree.evict(kWindow));
  EXPECT_TRUE(f.tree.evict(kWindow));
  EXPECT_EQ(usable({1, 2, 3, 4}), 4u);  // 3 and 4 are a whole window
  EXPECT_EQ(usable({1, 2, 3}), 0u);     // here 2 is missing, and 1
  EXPECT_EQ(usable({1}), 0u);
  EXPECT_TRUE(f.tree.evict(kState));
  EXPECT_TRUE(f.tree.evict(kState));
  EXPECT_TRUE(f.tree.evict(kState));
  EXPECT_EQ(usable({1, 2, 3, 4}), 4u);  // the state behind 4 is the one used last
  EXPECT_TRUE(f.tree.evict(kState));
  EXPECT_FALSE(f.tree.evict(kState));
  EXPECT_EQ(usable({1, 2, 3, 4}), 0u);
  const TreeCounters& counters = f.tree.counters();
  EXPECT_EQ(counters.pools[0].hit_tokens, kPage * (4u + 4 + 3 + 1 + 4 + 4));
  EXPECT_EQ(counters.pools[kWindow].hit_tokens, kPage * (4u + 4 + 0 + 0 + 4 + 4));
  EXPECT_EQ(counters.pools[kState].hit_tokens, kPage * (4u + 4 + 3 + 1 + 4 + 0));
  EXPECT_EQ(counters.hit_tokens, kPage * (4u + 4 + 0 + 0 + 4 + 0));
  EXPECT_EQ(f.tree.size(), 4);
  f.tree.close(root);
  f.check();
}

TEST(PrefixTreePools, AMatchFromTheMiddleCountsTheWindowBehindIt) {
  Forest f({kAllTokens, 2 * kPage}, 16);
  const NodeId root = f.tree.open("");
  f.add_chain(root, {1, 2, 3, 4}, {1});
  EXPECT_TRUE(f.tree.evict(1));
  EXPECT_TRUE(f.tree.evict(1));  // of 4 and 3
  std::vector<NodeId> path;
  f.tree.match(root, f.text({1}), path);
  ASSERT_EQ(path.size(), 1u);
  f.tree.match(path[0], f.text({2, 3, 4}), path);  // 1 and 2 are a whole window
  ASSERT_EQ(path.size(), 2u);
  f.tree.drop(path[1], 1);
  f.tree.unpin(path[1]);
  f.tree.drop(path[0], 1);
  f.tree.unpin(path[0]);
  f.tree.close(root);
  f.check();
}

TEST(PrefixTreePools, ALeafTakesThePagesOfAllPoolsAlong) {
  Forest f(kThreeKinds, 4);
  const NodeId root = f.tree.open("");
  f.add_chain(root, {1, 2}, {kWindow, kState});
  for (const PageLedger& ledger : f.ledgers) EXPECT_EQ(ledger.free_count(), 2);
  EXPECT_TRUE(f.tree.evict(0));
  for (const PageLedger& ledger : f.ledgers) EXPECT_EQ(ledger.free_count(), 3);
  f.tree.close(root);
  f.check();
}

// Goal: whatever happens in whatever order, counts, lists and links agree and no
// page is lost.
TEST(PrefixTree, RandomUseKeepsEverythingInOrder) {
  for (uint32_t seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const bool pools = seed % 2 == 1;
    Forest f(pools ? kThreeKinds : std::vector<int64_t>{kAllTokens}, 12, seed % 3 == 0 ? 5 : 0);
    const std::vector<size_t> bounded = pools ? std::vector<size_t>{1, 2} : std::vector<size_t>{};
    const NodeId roots[] = {f.tree.open(""), f.tree.open("a"), f.tree.open("b")};
    const auto draw = [&](int n) { return static_cast<int>(random() % static_cast<uint32_t>(n)); };
    for (int step = 0; step < 120; ++step) {
      const NodeId root = roots[draw(3)];
      std::vector<int> numbers;
      for (int i = draw(5); i >= 0; --i) numbers.push_back(draw(3));
      // As a sequence does: match, then add what is missing, then let go from the last to the
      // first.
      std::vector<NodeId> path;
      f.tree.match(root, f.text(numbers), path);
      const size_t matched = path.size();
      bool own_part = true;
      for (size_t i = matched; i < numbers.size() && own_part; ++i) {
        const NodeId parent = path.empty() ? root : path.back();
        if (f.tree.find(parent, f.page(numbers[i])) != kNoNode) break;  // a pool lacks its part
        for (size_t pool = 0; pool < f.pools; ++pool) {
          while (f.ledgers[pool].free_count() == 0 && f.tree.evict(pool)) {
          }
          own_part = own_part && f.ledgers[pool].free_count() > 0;
        }
        const NodeId node = own_part ? f.add(parent, numbers[i]) : kNoNode;
        own_part = node != kNoNode;
        if (own_part) path.push_back(node);
      }
      for (size_t i = path.size(); i-- > 0;) {
        for (size_t pool : bounded) {
          const size_t needed = pool == kWindow ? 2 : 1;
          if (i >= matched || matched - i <= needed) f.tree.drop(path[i], pool);
        }
        f.tree.unpin(path[i]);
      }
      if (draw(4) == 0) f.tree.evict(static_cast<size_t>(draw(static_cast<int>(f.pools))));
      f.check();
    }
    for (NodeId root : roots) f.tree.close(root);
    while (f.tree.evict(0)) {
    }
    f.check();
    for (const PageLedger& ledger : f.ledgers) EXPECT_EQ(ledger.free_count(), 12);
    EXPECT_EQ(f.tree.tenants(), 0);
  }
}

}  // namespace
}  // namespace hadal
