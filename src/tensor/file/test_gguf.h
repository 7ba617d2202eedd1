#pragma once
/// Writes GGUF bytes for tests, right or deliberately wrong in one field. Included by tests only.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/gguf.h"

namespace hadal::testing_gguf {

/// Appends little-endian fields; remembers where each named one went.
class Writer {
 public:
  template <typename T>
  Writer& put(T value) {
    const auto* p = reinterpret_cast<const char*>(&value);
    bytes_.append(p, sizeof(T));
    return *this;
  }
  Writer& raw(std::string_view text) {
    bytes_ += text;
    return *this;
  }
  Writer& text(std::string_view value) { return put<uint64_t>(value.size()).raw(value); }
  Writer& type(GgufType value) { return put(static_cast<uint32_t>(value)); }
  Writer& header(uint64_t tensors, uint64_t entries, uint32_t version = 3) {
    return raw("GGUF").put(version).put(tensors).put(entries);
  }
  /// One entry of a scalar type.
  template <typename T>
  Writer& entry(std::string_view key, GgufType kind, T value) {
    return text(key).type(kind).put(value);
  }
  Writer& entry(std::string_view key, std::string_view value) {
    return text(key).type(GgufType::kString).text(value);
  }
  Writer& array(std::string_view key, GgufType element, uint64_t count) {
    return text(key).type(GgufType::kArray).type(element).put(count);
  }
  Writer& tensor(std::string_view name, std::vector<uint64_t> ne, uint32_t type_id,
                 uint64_t offset) {
    text(name).put(static_cast<uint32_t>(ne.size()));
    for (const uint64_t length : ne) put(length);
    return put(type_id).put(offset);
  }
  Writer& pad(size_t alignment = 32) {
    while (bytes_.size() % alignment != 0) bytes_.push_back('\0');
    return *this;
  }
  size_t size() const { return bytes_.size(); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

/// GgufFile over exactly these bytes, copied to the heap so that a sanitizer sees any overrun.
struct Opened {
  explicit Opened(std::string_view text) : bytes(text.size()), file(open(text)) {}
  std::vector<std::byte> bytes;
  Result<GgufFile> file;

 private:
  Result<GgufFile> open(std::string_view text) {
    if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
    return GgufFile::from_memory(bytes);
  }
};

/// The message of the error that opening `text` must give; empty when it opened.
inline std::string open_error(std::string_view text) {
  const Opened opened(text);
  return opened.file.ok() ? std::string() : opened.file.error().message;
}

}  // namespace hadal::testing_gguf
