#include "model/file/keys.h"

#include <optional>

#include <fmt/format.h>

namespace hadal {
namespace {

Status in_range(std::string_view key, int64_t number, int64_t low, int64_t high) {
  if (number >= low && number <= high) return {};
  return Error{Code::kCorrupt,
               fmt::format("key {} is {}, expected {} to {}", key, number, low, high)};
}

Result<int64_t> uniform(const GgufValue& value) {
  if (value.type() != GgufType::kArray) return value.as_int();
  TRY(std::vector<int64_t> numbers, value.as_ints());
  if (numbers.empty()) {
    return Error{Code::kCorrupt, fmt::format("key {} is an empty array", value.key())};
  }
  for (int64_t number : numbers) {
    if (number != numbers.front()) {
      return Error{Code::kUnsupported, fmt::format("key {} differs between layers ({} and {})",
                                                   value.key(), numbers.front(), number)};
    }
  }
  return numbers.front();
}

}  // namespace

Error Keys::missing(std::string_view key) const {
  return Error{Code::kCorrupt, fmt::format("key {} is missing", full(key)),
               "the file may come from a converter that failed"};
}

Result<int64_t> Keys::integer(std::string_view key, int64_t low, int64_t high) const {
  const GgufValue* value = file_.find(full(key));
  if (value == nullptr) return missing(key);
  TRY(int64_t number, uniform(*value));
  TRY_STATUS(in_range(value->key(), number, low, high));
  return number;
}

Result<int64_t> Keys::integer_or(std::string_view key, int64_t fallback, int64_t low,
                                 int64_t high) const {
  return has(key) ? integer(key, low, high) : fallback;
}

Result<std::vector<int64_t>> Keys::integers(std::string_view key, int64_t count, int64_t low,
                                            int64_t high) const {
  const GgufValue* value = file_.find(full(key));
  if (value == nullptr) return missing(key);
  TRY(std::vector<int64_t> numbers, value->as_ints());
  if (value->type() != GgufType::kArray) {
    numbers.assign(static_cast<size_t>(count), numbers.front());
  }
  if (static_cast<int64_t>(numbers.size()) < count) {
    return Error{Code::kCorrupt, fmt::format("key {} has {} entries for {} layers", value->key(),
                                             numbers.size(), count)};
  }
  numbers.resize(static_cast<size_t>(count));
  for (int64_t number : numbers) {
    TRY_STATUS(in_range(value->key(), number, low, high));
  }
  return numbers;
}

Result<float> Keys::positive(std::string_view key, double high) const {
  TRY(std::optional<double> value, file_.number(full(key)));
  if (!value) return missing(key);
  return positive_value(key, *value, high);
}

Result<float> Keys::positive_or(std::string_view key, float fallback, double high) const {
  TRY(std::optional<double> value, file_.number(full(key)));
  if (!value) return fallback;
  return positive_value(key, *value, high);
}

Result<std::vector<float>> Keys::positives_or(std::string_view key, int64_t count,
                                              const std::vector<float>& fallback,
                                              double high) const {
  const GgufValue* value = file_.find(full(key));
  if (value == nullptr) return fallback;
  TRY(std::vector<float> numbers, value->as_floats());
  if (value->type() != GgufType::kArray) {
    numbers.assign(static_cast<size_t>(count), numbers.front());
  }
  if (static_cast<int64_t>(numbers.size()) < count) {
    return Error{Code::kCorrupt, fmt::format("key {} has {} entries for {} layers", value->key(),
                                             numbers.size(), count)};
  }
  numbers.resize(static_cast<size_t>(count));
  for (float& number : numbers) {
    TRY(number, positive_value(key, number, high));
  }
  return numbers;
}

Result<bool> Keys::boolean_or(std::string_view key, bool fallback) const {
  TRY(std::optional<bool> value, file_.boolean(full(key)));
  return value.value_or(fallback);
}

Result<std::string_view> Keys::string_or(std::string_view key, std::string_view fallback) const {
  TRY(std::optional<std::string_view> value, file_.string(full(key)));
  return value.value_or(fallback);
}

Result<float> Keys::positive_value(std::string_view key, double value, double high) const {
  // Written so that NaN fails too. The lower bound keeps the value above zero as a float.
  if (!(value >= 1e-37 && value <= high)) {
    return Error{Code::kCorrupt, fmt::format("key {} is {}, expected a number above 0 and up to {}",
                                             full(key), value, high)};
  }
  return static_cast<float>(value);
}

}  // namespace hadal
