#pragma once
/// A JSON file of a checkpoint, read with errors that name file and key. Private to the room.
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace hadal {

/// An object inside a file. null counts as absent, as Python's configs mean it.
class JsonFile {
 public:
  /// kNotFound when there is no such file; kCorrupt when it is no JSON object.
  static Result<JsonFile> read(const std::filesystem::path& path);
  /// nullopt when there is no such file.
  static Result<std::optional<JsonFile>> read_if_present(const std::filesystem::path& path);

  const std::string& where() const { return where_; }
  /// nullptr for an absent key.
  const json::value* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }

  /// The number behind `key`, in [low, high].
  Result<int64_t> integer(std::string_view key, int64_t low, int64_t high) const;
  Result<int64_t> integer_or(std::string_view key, int64_t fallback, int64_t low,
                             int64_t high) const;
  /// A finite number.
  Result<double> number(std::string_view key) const;
  Result<double> number_or(std::string_view key, double fallback) const;
  Result<bool> boolean_or(std::string_view key, bool fallback) const;
  Result<std::string> string_or(std::string_view key, std::string_view fallback) const;
  Result<std::vector<int64_t>> integers(std::string_view key, int64_t low, int64_t high) const;
  /// The object behind `key`, with "file: key" as its place; nullopt when absent. It borrows.
  Result<std::optional<JsonFile>> child(std::string_view key) const;

  /// "FILE: KEY WHAT".
  Error error(Code code, std::string_view key, std::string_view what) const;

 private:
  JsonFile(std::unique_ptr<const json::object> owned, const json::object* object, std::string where)
      : owned_(std::move(owned)), object_(object), where_(std::move(where)) {}
  std::unique_ptr<const json::object> owned_;  ///< of a whole file
  const json::object* object_;
  std::string where_;
};

}  // namespace hadal
