#pragma once
/// Reads and validates one safetensors file: u64 length of a JSON header, the header, the data.
/// Private to the room.
///
/// Nothing read here is trusted: the header's length is capped and compared with the file, its JSON
/// is read by a parser that keeps nothing but the tensors, sizes are checked for overflow and
/// against type and shape, and the tensors must fill the data without gap or overlap. The result
/// only borrows.
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hadal {

/// Element types of the format that some checkpoint of this family may hold.
enum class SafeType : uint8_t {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kF64,
  kI64,
  kU64
};

/// As the format spells it: "BF16", "F8_E4M3".
std::string_view safe_type_name(SafeType type);
uint64_t safe_type_bytes(SafeType type);

struct SafeTensor {
  std::string_view name;
  SafeType type = SafeType::kF32;
  int dims = 0;
  std::array<int64_t, 4> shape = {1, 1, 1, 1};  ///< the last of `dims` is contiguous
  const std::byte* data = nullptr;
  uint64_t bytes = 0;

  int64_t elements() const { return shape[0] * shape[1] * shape[2] * shape[3]; }
};

/// The tensors in the order of their data. `where` names the file in errors; `bytes` must outlive
/// the result.
Result<std::vector<SafeTensor>> read_safetensors(std::span<const std::byte> bytes,
                                                 std::string_view where);

/// "[128, 64]", for messages.
std::string safe_shape_text(const SafeTensor& tensor);

}  // namespace hadal
