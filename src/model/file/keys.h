#pragma once
/// The keys of one architecture in a model's file, read with their ranges. Errors name the key, its
/// value and what was expected.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tensor/gguf.h"

namespace hadal {

/// "ARCHITECTURE.key" entries. Borrows the file.
class Keys {
 public:
  Keys(const GgufFile& file, std::string_view architecture)
      : file_(file), prefix_(std::string(architecture) + ".") {}

  std::string full(std::string_view key) const { return prefix_ + std::string(key); }
  bool has(std::string_view key) const { return file_.find(full(key)) != nullptr; }

  /// An integer in [low, high]; a per-layer array counts when its values are equal.
  Result<int64_t> integer(std::string_view key, int64_t low, int64_t high) const;
  Result<int64_t> integer_or(std::string_view key, int64_t fallback, int64_t low,
                             int64_t high) const;
  /// One integer per layer in [low, high]: an array of `count` entries or more, or one for all.
  Result<std::vector<int64_t>> integers(std::string_view key, int64_t count, int64_t low,
                                        int64_t high) const;
  /// A finite number in (0, high].
  Result<float> positive(std::string_view key, double high) const;
  Result<float> positive_or(std::string_view key, float fallback, double high) const;
  /// One number per layer in (0, high], from an array or from one number for all.
  Result<std::vector<float>> positives_or(std::string_view key, int64_t count,
                                          const std::vector<float>& fallback, double high) const;
  Result<bool> boolean_or(std::string_view key, bool fallback) const;
  Result<std::string_view> string_or(std::string_view key, std::string_view fallback) const;

 private:
  Result<float> positive_value(std::string_view key, double value, double high) const;
  Error missing(std::string_view key) const;

  const GgufFile& file_;
  std::string prefix_;
};

}  // namespace hadal
