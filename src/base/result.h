#pragma once
/// Result<T>: a value or an Error. For whatever can fail for reasons outside our code.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/check.h"

namespace hadal {

/// Why something failed, as a caller may act on it. serve/ maps codes to HTTP status in one table.
enum class Code : uint8_t {
  kInvalidArgument,  ///< the caller's input is wrong; repeating it will not help
  kNotFound,         ///< a name that does not exist
  kCorrupt,          ///< a file or message contradicts itself
  kUnsupported,      ///< well formed, but not something this version can do
  kExhausted,        ///< a memory, size or queue limit was reached
  kUnavailable,      ///< not now; may work later
  kCancelled,        ///< the caller went away
  kDenied,           ///< not allowed
  kDeadline,         ///< took too long
  kIo,               ///< the operating system refused
  kInternal          ///< our bug, reported instead of crashing
};

/// The code's name as used in logs, for example "not_found".
std::string_view code_name(Code code);

/// What went wrong (`message`: one sentence naming the cause) and what to do (`hint`, may be
/// empty).
struct [[nodiscard]] Error {
  Code code = Code::kInternal;
  std::string message;
  std::string hint = {};

  /// "message (hint)", for people.
  std::string text() const;
};

/// Either T or Error. Reading value() of a failed result is our bug and stops the program.
template <typename T>
class [[nodiscard]] Result {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): a function returns its value as it is
  Result(T value) : data_(std::in_place_index<0>, std::move(value)) {}
  // NOLINTNEXTLINE(google-explicit-constructor): or its error
  Result(Error error) : data_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return data_.index() == 0; }
  T& value() & {
    CHECK(ok());
    return *std::get_if<0>(&data_);
  }
  const T& value() const& {
    CHECK(ok());
    return *std::get_if<0>(&data_);
  }
  T&& value() && {
    CHECK(ok());
    return std::move(*std::get_if<0>(&data_));
  }
  const Error& error() const& {
    CHECK(!ok());
    return *std::get_if<1>(&data_);
  }
  Error&& error() && {
    CHECK(!ok());
    return std::move(*std::get_if<1>(&data_));
  }

 private:
  std::variant<T, Error> data_;
};

/// Success or Error, for functions that return nothing else.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)
  static Status success() { return {}; }

  bool ok() const { return !error_.has_value(); }
  const Error& error() const& {
    CHECK(!ok());
    return *error_;
  }
  Error&& error() && {
    CHECK(!ok());
    return std::move(*error_);
  }

 private:
  std::optional<Error> error_;
};

#define HADAL_CONCAT_(a, b) a##b
#define HADAL_CONCAT(a, b) HADAL_CONCAT_(a, b)
#define HADAL_TRY_(tmp, decl, expr)             \
  auto tmp = (expr);                            \
  if (!tmp.ok()) return std::move(tmp).error(); \
  decl = std::move(tmp).value()
/// TRY(auto x, f()): x = value of f(), or return f's error.
#define TRY(decl, expr) HADAL_TRY_(HADAL_CONCAT(try_, __LINE__), decl, expr)
/// TRY_STATUS(f()): return f's error, if any.
#define TRY_STATUS(expr)                                            \
  do {                                                              \
    auto hadal_status = (expr);                                     \
    if (!hadal_status.ok()) return std::move(hadal_status).error(); \
  } while (false)

}  // namespace hadal
