#include "tensor/hf/metadata.h"

#include <cstring>
#include <limits>

namespace hadal {

template <typename T>
void MetadataWriter::put(T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  entries_.append(bytes, sizeof(T));
}

void MetadataWriter::put_text(std::string_view text) {
  put<uint64_t>(text.size());
  entries_ += text;
}

void MetadataWriter::begin(std::string_view key, GgufType type) {
  ++count_;
  put_text((key.starts_with('.') ? architecture_ : std::string()) + std::string(key));
  put(static_cast<uint32_t>(type));
}

void MetadataWriter::begin_array(std::string_view key, GgufType type, uint64_t count) {
  begin(key, GgufType::kArray);
  put(static_cast<uint32_t>(type));
  put(count);
}

void MetadataWriter::integer(std::string_view key, int64_t value) {
  if (value >= 0 && value <= std::numeric_limits<uint32_t>::max()) {
    begin(key, GgufType::kU32);
    put(static_cast<uint32_t>(value));
  } else {
    begin(key, GgufType::kI64);
    put(value);
  }
}

void MetadataWriter::number(std::string_view key, double value) {
  begin(key, GgufType::kF32);
  put(static_cast<float>(value));
}

void MetadataWriter::boolean(std::string_view key, bool value) {
  begin(key, GgufType::kBool);
  put(static_cast<uint8_t>(value));
}

void MetadataWriter::string(std::string_view key, std::string_view value) {
  begin(key, GgufType::kString);
  put_text(value);
}

void MetadataWriter::integers(std::string_view key, const std::vector<int64_t>& values) {
  begin_array(key, GgufType::kI32, values.size());
  for (const int64_t value : values) put(static_cast<int32_t>(value));
}

void MetadataWriter::numbers(std::string_view key, const std::vector<float>& values) {
  begin_array(key, GgufType::kF32, values.size());
  for (const float value : values) put(value);
}

void MetadataWriter::bytes(std::string_view key, std::string_view values) {
  begin_array(key, GgufType::kU8, values.size());
  entries_ += values;
}

void MetadataWriter::strings(std::string_view key, const std::vector<std::string>& values) {
  begin_array(key, GgufType::kString, values.size());
  for (const std::string& value : values) put_text(value);
}

std::string MetadataWriter::finish() const {
  std::string out = "GGUF";
  const uint32_t version = 3;
  const uint64_t counts[] = {0, count_};
  out.append(reinterpret_cast<const char*>(&version), sizeof(version));
  out.append(reinterpret_cast<const char*>(counts), sizeof(counts));
  return out + entries_;
}

}  // namespace hadal
