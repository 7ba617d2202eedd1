#pragma once
/// Slower places for KV pages that left the pool, and the names under which pages lie there.
///
/// A page's key is a chain: root_key() of model and tenant, then next_key() for each full page of
/// the prompt. Equal keys mean equal model, tenant and tokens up to the page's end, so the keys and
/// values are equal too (they depend on nothing else; docs/decisions/0012).
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/ids.h"

namespace hadal {

/// Names a page by everything before it: model fingerprint, tenant salt and all tokens up to the
/// page's end.
struct PageKey {
  uint64_t high = 0;
  uint64_t low = 0;
  bool operator==(const PageKey&) const = default;
};

/// For hash tables: a key is as good as random already.
struct PageKeyHash {
  size_t operator()(const PageKey& key) const { return static_cast<size_t>(key.low); }
};

/// Every page of a pool has the same size.
struct PageShape {
  int64_t tokens = 0;
  uint64_t bytes = 0;
  bool operator==(const PageShape&) const = default;
};

/// Parent of a sequence's first page. `model_fingerprint` should contain a secret (TieredPages
/// gives one): who does not know it cannot search for two prompts with one key. `salt` is the
/// tenant's, empty for what all share.
PageKey root_key(std::string_view model_fingerprint, std::string_view salt);
/// SipHash-2-4-128 of the tokens under the parent as key; about 0.2 us for 64 tokens.
PageKey next_key(const PageKey& parent, std::span<const TokenId> page_tokens);

/// A slower place for pages that left the pool. Called from the engine's thread only; must not wait
/// for a disk.
class PageTier {
 public:
  virtual ~PageTier() = default;
  enum class Fetch : uint8_t { kReady, kPending, kGone };

  /// A full page leaves the pool (or the server drains). Copies `bytes` if it takes the page.
  /// `hits`: how often the prefix was reused. Offer a prefix's last page first (but at the end
  /// of the server the first one, as there may be room for a part): what came last is
  /// kept longest, and a page without its parents is of no use.
  virtual void offer(const PageKey& key, std::span<const TokenId> tokens,
                     std::span<const std::byte> bytes, uint32_t hits) = 0;
  /// Without I/O. Asking for a page that was refused tells the tier that it would have been of use.
  virtual bool holds(const PageKey& key) const = 0;
  /// Begins to read, in this order; `keys` are a prefix's pages from first to last.
  virtual void prefetch(std::span<const PageKey> keys) = 0;
  /// Copies the page into `out` when it is there and its stored tokens equal `tokens`; kPending:
  /// ask again next step; kGone: recompute. `out` is untouched unless kReady.
  virtual Fetch fetch(const PageKey& key, std::span<const TokenId> tokens,
                      std::span<std::byte> out) = 0;
};

}  // namespace hadal
