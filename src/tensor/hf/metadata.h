#pragma once
/// Writes metadata as GGUF bytes, which GgufReader then reads like those of any file. Private to
/// the room.
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tensor/gguf.h"

namespace hadal {

class MetadataWriter {
 public:
  /// Put before every key that begins with a dot: general.architecture.
  explicit MetadataWriter(std::string architecture) : architecture_(std::move(architecture)) {}

  void integer(std::string_view key, int64_t value);  ///< u32, or i64 where that is too small
  void number(std::string_view key, double value);    ///< f32
  void boolean(std::string_view key, bool value);
  void string(std::string_view key, std::string_view value);
  void integers(std::string_view key, const std::vector<int64_t>& values);  ///< array of i32
  void numbers(std::string_view key, const std::vector<float>& values);
  void bytes(std::string_view key, std::string_view values);  ///< array of u8
  void strings(std::string_view key, const std::vector<std::string>& values);

  /// A GGUF file without tensors.
  std::string finish() const;

 private:
  void begin(std::string_view key, GgufType type);
  void begin_array(std::string_view key, GgufType type, uint64_t count);
  template <typename T>
  void put(T value);
  void put_text(std::string_view text);

  std::string architecture_;
  std::string entries_;
  uint64_t count_ = 0;
};

}  // namespace hadal
