#pragma once
/// Reads and validates one GGUF part. Private to the room.
///
/// Nothing read here is trusted: every count is compared with the bytes that are left before it
/// sizes anything, every sum and product is checked for overflow, and the result only borrows.
#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tensor/gguf.h"

namespace hadal {

struct GgufPart {
  uint32_t version = 0;
  std::vector<GgufValue> metadata;
  std::vector<TensorView> tensors;
};

/// Name of a metadata type as errors show it: "u32", "string".
std::string_view gguf_type_name(GgufType type);
/// Bytes of a scalar of that type; 0 for string and array.
uint64_t gguf_scalar_bytes(GgufType type);
/// `text` between quotes, cleaned of control characters and cut, fit for an error message.
std::string gguf_quoted(std::string_view text);

/// Positions of `items` in order of name. A sorted index instead of a hash table: names come from
/// outside, and a hash can be flooded with collisions.
template <typename T, typename NameOf>
std::vector<uint32_t> sorted_by_name(const std::vector<T>& items, NameOf name_of) {
  std::vector<uint32_t> order(items.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    const int names = name_of(items[a]).compare(name_of(items[b]));
    return names != 0 ? names < 0 : a < b;
  });
  return order;
}

/// The first name that `order` shows twice, or nullptr.
template <typename T, typename NameOf>
const T* first_duplicate(const std::vector<T>& items, const std::vector<uint32_t>& order,
                         NameOf name_of) {
  for (size_t i = 1; i < order.size(); ++i) {
    if (name_of(items[order[i - 1]]) == name_of(items[order[i]])) return &items[order[i]];
  }
  return nullptr;
}

/// The item called `name`, or nullptr. O(log n).
template <typename T, typename NameOf>
const T* find_by_name(const std::vector<T>& items, const std::vector<uint32_t>& order,
                      std::string_view name, NameOf name_of) {
  const auto it =
      std::lower_bound(order.begin(), order.end(), name,
                       [&](uint32_t i, std::string_view n) { return name_of(items[i]) < n; });
  if (it == order.end() || name_of(items[*it]) != name) return nullptr;
  return &items[*it];
}

class GgufReader {
 public:
  /// `where` names the file in errors. `bytes` must outlive what read() returns.
  GgufReader(std::span<const std::byte> bytes, std::string_view where)
      : bytes_(bytes), where_(where) {}

  Result<GgufPart> read();

 private:
  struct TensorInfo {
    TensorView view;
    uint64_t offset = 0;
  };

  Error corrupt(std::string what) const;
  Error truncated(std::string_view field, uint64_t wanted) const;
  /// "metadata entry 3" or "tensor 'blk.0.attn_q.weight'", where the reader is now.
  std::string subject() const;
  uint64_t left() const { return bytes_.size() - position_; }
  const std::byte* here() const { return bytes_.data() + position_; }

  template <typename T>
  Result<T> scalar(std::string_view field);
  Result<std::string_view> name(std::string_view field, uint64_t bytes_max);

  Status read_header(GgufPart& part);
  Status read_metadata(GgufPart& part);
  Status read_value(GgufValue& value);
  Status read_string(GgufValue& value);
  Status read_array(GgufValue& value);
  Status skip_strings(uint64_t count);
  Status check_bools(const GgufValue& value) const;
  Status read_alignment(const GgufPart& part);
  Result<TensorInfo> read_tensor_info();
  Status place_tensors(std::vector<TensorInfo>& infos, GgufPart& part);

  std::span<const std::byte> bytes_;
  std::string_view where_;
  uint64_t position_ = 0;
  uint64_t metadata_count_ = 0;
  uint64_t tensor_count_ = 0;
  uint64_t alignment_ = 32;

  // For error messages only.
  const char* kind_ = "";
  uint64_t index_ = 0;
  std::string_view name_;
};

}  // namespace hadal
