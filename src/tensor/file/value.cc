/// Typed access to one metadata entry. The payload was validated when the file was opened; only
/// the type is checked here.
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "base/utf8.h"
#include "tensor/file/reader.h"
#include "tensor/gguf.h"

namespace hadal {
namespace {

bool is_integer(GgufType type) {
  switch (type) {
    case GgufType::kF32:
    case GgufType::kF64:
    case GgufType::kString:
    case GgufType::kArray:
      return false;
    default:
      return true;
  }
}

bool is_float(GgufType type) {
  return type == GgufType::kF32 || type == GgufType::kF64;
}

template <typename T>
T load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

/// Any integer type but u64.
int64_t load_int(GgufType type, const std::byte* p) {
  switch (type) {
    case GgufType::kU8:
      return load<uint8_t>(p);
    case GgufType::kI8:
      return load<int8_t>(p);
    case GgufType::kU16:
      return load<uint16_t>(p);
    case GgufType::kI16:
      return load<int16_t>(p);
    case GgufType::kU32:
      return load<uint32_t>(p);
    case GgufType::kI32:
      return load<int32_t>(p);
    case GgufType::kBool:
      return load<uint8_t>(p);
    case GgufType::kI64:
      return load<int64_t>(p);
    default:
      CHECK(false && "not an integer type");
  }
}

std::string type_text(const GgufValue& value) {
  if (value.type() != GgufType::kArray) return std::string(gguf_type_name(value.type()));
  return fmt::format("array of {}", gguf_type_name(value.element_type()));
}

Error wrong_type(const GgufValue& value, std::string_view expected) {
  return Error{Code::kCorrupt, fmt::format("metadata key {} is of type {}, expected {}",
                                           gguf_quoted(value.key()), type_text(value), expected)};
}

Result<int64_t> checked_int(const GgufValue& value, GgufType type, const std::byte* p) {
  if (type != GgufType::kU64) return load_int(type, p);
  const auto number = load<uint64_t>(p);
  if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return Error{Code::kCorrupt, fmt::format("metadata key {} is {}, beyond the range of 64-bit "
                                             "signed integers",
                                             gguf_quoted(value.key()), number)};
  }
  return static_cast<int64_t>(number);
}

}  // namespace

Result<std::string_view> GgufValue::as_string() const {
  if (type_ != GgufType::kString) return wrong_type(*this, "string");
  return std::string_view(reinterpret_cast<const char*>(data_), bytes_);
}

Result<int64_t> GgufValue::as_int() const {
  if (!is_integer(type_)) return wrong_type(*this, "an integer");
  return checked_int(*this, type_, data_);
}

Result<double> GgufValue::as_float() const {
  if (type_ == GgufType::kF32) return static_cast<double>(load<float>(data_));
  if (type_ == GgufType::kF64) return load<double>(data_);
  if (!is_integer(type_) || type_ == GgufType::kBool) return wrong_type(*this, "a number");
  if (type_ == GgufType::kU64) return static_cast<double>(load<uint64_t>(data_));
  return static_cast<double>(load_int(type_, data_));
}

Result<bool> GgufValue::as_bool() const {
  if (type_ != GgufType::kBool) return wrong_type(*this, "bool");
  return load<uint8_t>(data_) != 0;
}

Result<std::vector<std::string_view>> GgufValue::as_strings() const {
  if (type_ != GgufType::kArray || element_type_ != GgufType::kString) {
    return wrong_type(*this, "array of string");
  }
  std::vector<std::string_view> out;
  out.reserve(count_);
  const std::byte* p = data_;
  for (uint64_t i = 0; i < count_; ++i) {
    const auto length = load<uint64_t>(p);
    out.emplace_back(reinterpret_cast<const char*>(p + sizeof(length)), length);
    p += sizeof(length) + length;
  }
  CHECK(p == data_ + bytes_);
  return out;
}

Result<std::vector<int64_t>> GgufValue::as_ints() const {
  const GgufType type = type_ == GgufType::kArray ? element_type_ : type_;
  if (!is_integer(type)) return wrong_type(*this, "array of integers");
  const uint64_t step = gguf_scalar_bytes(type);
  std::vector<int64_t> out(count_);
  for (uint64_t i = 0; i < count_; ++i) {
    TRY(out[i], checked_int(*this, type, data_ + i * step));
  }
  return out;
}

Result<std::vector<float>> GgufValue::as_floats() const {
  const GgufType type = type_ == GgufType::kArray ? element_type_ : type_;
  if (!is_float(type)) return wrong_type(*this, "array of f32");
  std::vector<float> out(count_);
  for (uint64_t i = 0; i < count_; ++i) {
    out[i] = type == GgufType::kF32 ? load<float>(data_ + i * sizeof(float))
                                    : static_cast<float>(load<double>(data_ + i * sizeof(double)));
  }
  return out;
}

std::string GgufValue::to_text(size_t chars_max) const {
  switch (type_) {
    case GgufType::kArray:
      return fmt::format("[{} x {}]", gguf_type_name(element_type_), count_);
    case GgufType::kBool:
      return load<uint8_t>(data_) != 0 ? "true" : "false";
    case GgufType::kF32:
      return fmt::format("{}", load<float>(data_));
    case GgufType::kF64:
      return fmt::format("{}", load<double>(data_));
    case GgufType::kU64:
      return fmt::format("{}", load<uint64_t>(data_));
    case GgufType::kString:
      break;
    default:
      return fmt::format("{}", load_int(type_, data_));
  }
  const std::string_view text(reinterpret_cast<const char*>(data_), bytes_);
  std::string out;
  size_t position = 0;
  for (size_t shown = 0; position < text.size() && shown < chars_max; ++shown) {
    const Utf8Step step = utf8_decode(text, position);
    position += step.size;
    // Control characters would reach a terminal as commands.
    const bool control =
        step.code_point < 0x20 || (step.code_point >= 0x7F && step.code_point < 0xA0);
    if (step.code_point == '\n') {
      out += "\\n";
    } else if (step.code_point == '\t') {
      out += "\\t";
    } else {
      utf8_append(out, control ? kReplacementCharacter : step.code_point);
    }
  }
  if (position < text.size()) out += "...";
  return out;
}

}  // namespace hadal
