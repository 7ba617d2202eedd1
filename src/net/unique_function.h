#pragma once
/// UniqueFunction: a callable that owns what it captured and can only be moved. Small ones lie
/// inside it: handing a token over to another thread allocates nothing.
#include <cstddef>
#include <memory>
#include <new>
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
      : kind_(&kKindOf<std::remove_cvref_t<F>>) {
    using Stored = std::remove_cvref_t<F>;
    if constexpr (kFits<Stored>) {
      ::new (static_cast<void*>(memory_)) Stored(std::forward<F>(callable));
    } else {
      ::new (static_cast<void*>(memory_)) Stored*(new Stored(std::forward<F>(callable)));
    }
  }
  UniqueFunction(UniqueFunction&& other) noexcept { take(other); }
  UniqueFunction& operator=(UniqueFunction&& other) noexcept {
    if (this != &other) {
      reset();
      take(other);
    }
    return *this;
  }
  ~UniqueFunction() { reset(); }

  R operator()(Args... args) { return kind_->call(memory_, std::forward<Args>(args)...); }
  explicit operator bool() const { return kind_ != nullptr; }

 private:
  // What hands a token over (serve/generation.cc) has 56 bytes.
  static constexpr size_t kInlineBytes = 56;
  template <typename F>
  static constexpr bool kFits =
      sizeof(F) <= kInlineBytes &&
      alignof(F) <= alignof(void*) && std::is_nothrow_move_constructible_v<F>;

  /// What can be done with a callable of one type, in `memory` or pointed to from there.
  struct Kind {
    R (*call)(std::byte* memory, Args&&... args);
    void (*move)(std::byte* from, std::byte* to) noexcept;  ///< and ends the one at `from`
    void (*destroy)(std::byte* memory) noexcept;
  };

  template <typename F>
  static F& stored(std::byte* memory) {
    if constexpr (kFits<F>) {
      return *std::launder(reinterpret_cast<F*>(memory));
    } else {
      return **std::launder(reinterpret_cast<F**>(memory));
    }
  }
  template <typename F>
  static R call_stored(std::byte* memory, Args&&... args) {
    return stored<F>(memory)(std::forward<Args>(args)...);
  }
  template <typename F>
  static void move_stored(std::byte* from, std::byte* to) noexcept {
    if constexpr (kFits<F>) {
      ::new (static_cast<void*>(to)) F(std::move(stored<F>(from)));
      stored<F>(from).~F();
    } else {
      ::new (static_cast<void*>(to)) F*(&stored<F>(from));
    }
  }
  template <typename F>
  static void destroy_stored(std::byte* memory) noexcept {
    if constexpr (kFits<F>) {
      stored<F>(memory).~F();
    } else {
      delete &stored<F>(memory);
    }
  }
  template <typename F>
  static constexpr Kind kKindOf = {call_stored<F>, move_stored<F>, destroy_stored<F>};

  void take(UniqueFunction& other) noexcept {
    kind_ = std::exchange(other.kind_, nullptr);
    if (kind_ != nullptr) kind_->move(other.memory_, memory_);
  }
  void reset() noexcept {
    if (kind_ != nullptr) std::exchange(kind_, nullptr)->destroy(memory_);
  }

  alignas(void*) std::byte memory_[kInlineBytes];
  const Kind* kind_ = nullptr;
};

}  // namespace hadal
