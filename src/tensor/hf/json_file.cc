#include "tensor/hf/json_file.h"

#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "base/env.h"
#include "base/limits.h"

namespace hadal {
namespace {

std::optional<int64_t> as_integer(const json::value& value) {
  if (value.is_int64()) return value.get_int64();
  // Some writers give whole numbers as 1.0.
  if (value.is_double() && std::abs(value.get_double()) < 0x1p53 &&
      value.get_double() == std::floor(value.get_double())) {
    return static_cast<int64_t>(value.get_double());
  }
  return std::nullopt;
}

}  // namespace

Result<JsonFile> JsonFile::read(const std::filesystem::path& path) {
  TRY(const std::string text, Env::real().read_file(path, limits::kCheckpointJsonBytes));
  auto parsed = parse_json(text);
  if (!parsed.ok()) {
    return Error{Code::kCorrupt, fmt::format("{}: {}", path.string(), parsed.error().message)};
  }
  if (!parsed.value().is_object()) {
    return Error{Code::kCorrupt, fmt::format("{} is no JSON object", path.string())};
  }
  auto owned = std::make_unique<const json::object>(std::move(parsed.value().get_object()));
  const json::object* object = owned.get();
  return JsonFile(std::move(owned), object, path.string());
}

Result<std::optional<JsonFile>> JsonFile::read_if_present(const std::filesystem::path& path) {
  std::error_code failed;
  if (!std::filesystem::exists(path, failed)) return std::optional<JsonFile>();
  TRY(JsonFile file, read(path));
  return std::optional(std::move(file));
}

const json::value* JsonFile::find(std::string_view key) const {
  const json::value* value = object_->if_contains(json::string_view(key.data(), key.size()));
  return value == nullptr || value->is_null() ? nullptr : value;
}

Error JsonFile::error(Code code, std::string_view key, std::string_view what) const {
  return Error{code, fmt::format("{}: {} {}", where_, key, what)};
}

Result<int64_t> JsonFile::integer(std::string_view key, int64_t low, int64_t high) const {
  const json::value* value = find(key);
  if (value == nullptr) return error(Code::kCorrupt, key, "is missing");
  const auto number = as_integer(*value);
  if (!number) return error(Code::kCorrupt, key, "is no whole number");
  if (*number < low || *number > high) {
    return error(Code::kCorrupt, key, fmt::format("is {}, expected {} to {}", *number, low, high));
  }
  return *number;
}

Result<int64_t> JsonFile::integer_or(std::string_view key, int64_t fallback, int64_t low,
                                     int64_t high) const {
  if (!has(key)) return fallback;
  return integer(key, low, high);
}

Result<double> JsonFile::number(std::string_view key) const {
  const json::value* value = find(key);
  if (value == nullptr) return error(Code::kCorrupt, key, "is missing");
  if (value->is_double() && std::isfinite(value->get_double())) return value->get_double();
  const auto whole = as_integer(*value);
  if (!whole) return error(Code::kCorrupt, key, "is no number");
  return static_cast<double>(*whole);
}

Result<double> JsonFile::number_or(std::string_view key, double fallback) const {
  if (!has(key)) return fallback;
  return number(key);
}

Result<bool> JsonFile::boolean_or(std::string_view key, bool fallback) const {
  const json::value* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_bool()) return error(Code::kCorrupt, key, "is neither true nor false");
  return value->get_bool();
}

Result<std::string> JsonFile::string_or(std::string_view key, std::string_view fallback) const {
  const json::value* value = find(key);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) return error(Code::kCorrupt, key, "is no string");
  return std::string(value->get_string());
}

Result<std::vector<int64_t>> JsonFile::integers(std::string_view key, int64_t low,
                                                int64_t high) const {
  const json::value* value = find(key);
  if (value == nullptr) return error(Code::kCorrupt, key, "is missing");
  if (!value->is_array()) return error(Code::kCorrupt, key, "is no array");
  std::vector<int64_t> out;
  for (const json::value& element : value->get_array()) {
    const auto number = as_integer(element);
    if (!number || *number < low || *number > high) {
      return error(Code::kCorrupt, key,
                   fmt::format("holds something else than whole numbers from {} to {}", low, high));
    }
    out.push_back(*number);
  }
  return out;
}

Result<std::optional<JsonFile>> JsonFile::child(std::string_view key) const {
  const json::value* value = find(key);
  if (value == nullptr) return std::optional<JsonFile>();
  if (!value->is_object()) return error(Code::kCorrupt, key, "is no object");
  return std::optional(JsonFile(nullptr, &value->get_object(), fmt::format("{}: {}", where_, key)));
}

}  // namespace hadal
