#pragma once
/// TokenFilter: which tokens a row may go on with. Structured output reaches the engine through it:
/// whoever submits a request knows about text and grammars, the engine knows ids.
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/ids.h"

namespace hadal {

/// One per row, in the row's state; the engine's thread only.
class TokenFilter {
 public:
  virtual ~TokenFilter() = default;
  /// Token `id` may come now if bit id % 64 of word id / 64 is set; ids behind the last word may
  /// not. Empty: any token may. Stop ids are tokens like others: they are allowed where the text
  /// may end. Holds until accept().
  virtual std::span<const uint64_t> allowed() = 0;
  /// The row goes on with `id`, one of allowed() or a stop id. False: it cannot go on after it.
  virtual bool accept(TokenId id) = 0;
  /// Appends at most `most` tokens that the row can hardly help going on with. A wrong one costs
  /// time only.
  virtual void forced(int64_t most, std::vector<TokenId>& out) = 0;
  /// An independent copy in the same state.
  virtual std::unique_ptr<TokenFilter> fork() const = 0;
};

/// Owns a filter, or none. A copy has one of its own in the same state.
class FilterSlot {
 public:
  FilterSlot() = default;
  template <typename T>
  FilterSlot(std::unique_ptr<T> filter)  // NOLINT(google-explicit-constructor): as unique_ptr
      : filter_(std::move(filter)) {}
  FilterSlot(const FilterSlot& other)
      : filter_(other.filter_ == nullptr ? nullptr : other.filter_->fork()) {}
  FilterSlot(FilterSlot&&) noexcept = default;
  FilterSlot& operator=(FilterSlot other) noexcept {
    filter_ = std::move(other.filter_);
    return *this;
  }
  ~FilterSlot() = default;

  explicit operator bool() const { return filter_ != nullptr; }
  TokenFilter* operator->() const { return filter_.get(); }

 private:
  std::unique_ptr<TokenFilter> filter_;
};

}  // namespace hadal
