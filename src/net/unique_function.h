#pragma once
/// UniqueFunction: a callable that owns what it captured and can only be moved.
#include <memory>
#include <type_traits>
#include <utility>

namespace hadal {

template <typename Signature>
class UniqueFunction;

/// Calling an empty one is our bug. Not thread-safe.
template <typename R, typename... Args>
class UniqueFunction<R(Args...)> {
 public:
  UniqueFunction() = default;
  template <typename F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, UniqueFunction>)
      UniqueFunction(F&& callable)  // NOLINT(google-explicit-constructor)
      : box_(std::make_unique<Box<std::remove_cvref_t<F>>>(std::forward<F>(callable))) {}

  R operator()(Args... args) { return box_->call(std::forward<Args>(args)...); }
  explicit operator bool() const { return box_ != nullptr; }

 private:
  struct Callable {
    virtual ~Callable() = default;
    virtual R call(Args... args) = 0;
  };
  template <typename F>
  struct Box final : Callable {
    explicit Box(F&& f) : function(std::move(f)) {}
    explicit Box(const F& f) : function(f) {}
    R call(Args... args) override { return function(std::forward<Args>(args)...); }
    F function;
  };
  std::unique_ptr<Callable> box_;
};

}  // namespace hadal
