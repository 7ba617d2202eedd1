#include "tensor/file/reader.h"

#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "base/checked.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "tensor/file/sniff.h"

namespace hadal {
namespace {

constexpr uint64_t kStringHeaderBytes = 8;
// The smallest things a count can promise: an entry is key length, one byte of key, type and one
// byte of value; a tensor info is name length, one byte, dimension count, one axis, type, offset.
constexpr uint64_t kMetadataEntryBytesMin = 8 + 1 + 4 + 1;
constexpr uint64_t kTensorInfoBytesMin = 8 + 1 + 4 + 8 + 4 + 8;

constexpr std::string_view kTypeNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                           "bool", "string", "array", "u64", "i64", "f64"};
constexpr uint64_t kScalarBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

}  // namespace

std::string_view gguf_type_name(GgufType type) {
  return kTypeNames[static_cast<uint32_t>(type)];
}

uint64_t gguf_scalar_bytes(GgufType type) {
  return kScalarBytes[static_cast<uint32_t>(type)];
}

std::string gguf_quoted(std::string_view text) {
  constexpr size_t kShown = 96;
  std::string out = "'";
  const std::string clean = utf8_sanitized(text.substr(0, kShown));
  for (const char c : clean) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      out += fmt::format("\\x{:02X}", byte);
    } else {
      out.push_back(c);
    }
  }
  return out + (text.size() > kShown ? "...'" : "'");
}

Error GgufReader::corrupt(std::string what) const {
  return Error{Code::kCorrupt, fmt::format("{}: {}", where_, what)};
}

Error GgufReader::truncated(std::string_view field, uint64_t wanted) const {
  return Error{Code::kCorrupt,
               fmt::format("{}: the file ends inside the {} of {} ({} bytes wanted at offset {}, "
                           "file has {})",
                           where_, field, subject(), wanted, position_, bytes_.size()),
               "the download is probably incomplete"};
}

std::string GgufReader::subject() const {
  if (!name_.empty()) return fmt::format("{} {}", kind_, gguf_quoted(name_));
  if (index_ == 0) return kind_;
  return fmt::format("{} {}", kind_, index_);
}

template <typename T>
Result<T> GgufReader::scalar(std::string_view field) {
  if (left() < sizeof(T)) return truncated(field, sizeof(T));
  T value;
  std::memcpy(&value, here(), sizeof(T));
  position_ += sizeof(T);
  return value;
}

Result<std::string_view> GgufReader::name(std::string_view field, uint64_t bytes_max) {
  TRY(const uint64_t length, scalar<uint64_t>(field));
  if (length > bytes_max) {
    return corrupt(fmt::format("the {} of {} claims {} bytes, more than the limit of {}", field,
                               subject(), length, bytes_max));
  }
  if (length > left()) return truncated(field, length);
  const std::string_view text(reinterpret_cast<const char*>(here()), length);
  if (text.empty()) return corrupt(fmt::format("the {} of {} is empty", field, subject()));
  if (text.find('\0') != std::string_view::npos) {
    return corrupt(
        fmt::format("the {} of {} contains a NUL byte: {}", field, subject(), gguf_quoted(text)));
  }
  if (!utf8_valid(text)) {
    return corrupt(
        fmt::format("the {} of {} is not valid UTF-8: {}", field, subject(), gguf_quoted(text)));
  }
  position_ += length;
  return text;
}

Result<GgufPart> GgufReader::read() {
  GgufPart part;
  TRY_STATUS(read_header(part));
  TRY_STATUS(read_metadata(part));
  TRY_STATUS(read_alignment(part));
  std::vector<TensorInfo> infos;
  infos.reserve(tensor_count_);
  for (uint64_t i = 0; i < tensor_count_; ++i) {
    kind_ = "tensor";
    index_ = i + 1;
    name_ = {};
    TRY(TensorInfo info, read_tensor_info());
    infos.push_back(info);
  }
  TRY_STATUS(place_tensors(infos, part));
  return part;
}

Status GgufReader::read_header(GgufPart& part) {
  kind_ = "the GGUF header";
  const std::string_view head(reinterpret_cast<const char*>(bytes_.data()),
                              std::min<size_t>(bytes_.size(), 4));
  if (head != "GGUF") {
    FileGuess guess = guess_file(bytes_);
    return Error{Code::kInvalidArgument,
                 fmt::format("{} is not a GGUF model: it seems to be {}", where_, guess.what),
                 std::move(guess.hint)};
  }
  position_ = 4;
  TRY(part.version, scalar<uint32_t>("version"));
  if (part.version == 0x02000000 || part.version == 0x03000000) {
    return Error{Code::kUnsupported,
                 fmt::format("{} is a big-endian GGUF file, which is not supported", where_),
                 "use the little-endian file of the same model"};
  }
  if (part.version == 1) {
    return Error{Code::kUnsupported, fmt::format("{} is GGUF version 1, which is obsolete", where_),
                 "convert the model again"};
  }
  if (part.version != 2 && part.version != 3) {
    return Error{
        Code::kUnsupported,
        fmt::format("{} says GGUF version {}, this program reads 2 and 3", where_, part.version)};
  }
  TRY(tensor_count_, scalar<uint64_t>("tensor count"));
  TRY(metadata_count_, scalar<uint64_t>("metadata count"));
  if (tensor_count_ > limits::kGgufTensorCount) {
    return corrupt(
        fmt::format("the tensor count of the GGUF header is {}, more than the limit of {}",
                    tensor_count_, limits::kGgufTensorCount));
  }
  if (metadata_count_ > limits::kGgufMetadataCount) {
    return corrupt(
        fmt::format("the metadata count of the GGUF header is {}, more than the limit of {}",
                    metadata_count_, limits::kGgufMetadataCount));
  }
  // Both products are far below 2^64: the counts are capped.
  if (metadata_count_ * kMetadataEntryBytesMin > left()) {
    return corrupt(
        fmt::format("the metadata count of the GGUF header is {}, but the file has only {} "
                    "more bytes",
                    metadata_count_, left()));
  }
  if (tensor_count_ * kTensorInfoBytesMin > left() - metadata_count_ * kMetadataEntryBytesMin) {
    return corrupt(
        fmt::format("the tensor count of the GGUF header is {}, but the file has only {} "
                    "more bytes",
                    tensor_count_, left()));
  }
  return Status::success();
}

Status GgufReader::read_metadata(GgufPart& part) {
  part.metadata.reserve(metadata_count_);
  for (uint64_t i = 0; i < metadata_count_; ++i) {
    kind_ = "metadata entry";
    index_ = i + 1;
    name_ = {};
    GgufValue value;
    TRY(value.key_, name("key", limits::kGgufKeyBytes));
    name_ = value.key_;
    TRY_STATUS(read_value(value));
    part.metadata.push_back(value);
  }
  const auto name_of = [](const GgufValue& value) { return value.key(); };
  const auto order = sorted_by_name(part.metadata, name_of);
  if (const GgufValue* twice = first_duplicate(part.metadata, order, name_of)) {
    return corrupt(fmt::format("metadata key {} appears twice", gguf_quoted(twice->key())));
  }
  return Status::success();
}

Status GgufReader::read_value(GgufValue& value) {
  TRY(const uint32_t id, scalar<uint32_t>("type"));
  if (id >= std::size(kTypeNames)) {
    return corrupt(fmt::format("the type of {} is {}, which does not exist", subject(), id));
  }
  value.type_ = static_cast<GgufType>(id);
  if (value.type_ == GgufType::kString) return read_string(value);
  if (value.type_ == GgufType::kArray) return read_array(value);
  value.bytes_ = gguf_scalar_bytes(value.type_);
  if (left() < value.bytes_) return truncated("value", value.bytes_);
  value.data_ = here();
  position_ += value.bytes_;
  return check_bools(value);
}

Status GgufReader::read_string(GgufValue& value) {
  TRY(value.bytes_, scalar<uint64_t>("string length"));
  if (value.bytes_ > limits::kGgufStringBytes) {
    return corrupt(fmt::format("the string length of {} is {}, more than the limit of {}",
                               subject(), value.bytes_, limits::kGgufStringBytes));
  }
  if (left() < value.bytes_) return truncated("string", value.bytes_);
  value.data_ = here();
  position_ += value.bytes_;
  return Status::success();
}

Status GgufReader::read_array(GgufValue& value) {
  TRY(const uint32_t id, scalar<uint32_t>("element type"));
  if (id >= std::size(kTypeNames)) {
    return corrupt(
        fmt::format("the element type of {} is {}, which does not exist", subject(), id));
  }
  value.element_type_ = static_cast<GgufType>(id);
  if (value.element_type_ == GgufType::kArray) {
    return Error{
        Code::kUnsupported,
        fmt::format("{}: {} is an array of arrays, which is not supported", where_, subject())};
  }
  TRY(value.count_, scalar<uint64_t>("array length"));
  const bool strings = value.element_type_ == GgufType::kString;
  const uint64_t element_bytes =
      strings ? kStringHeaderBytes : gguf_scalar_bytes(value.element_type_);
  if (value.count_ > left() / element_bytes) {
    return corrupt(
        fmt::format("the array length of {} is {} (of {}), but the file has only {} more "
                    "bytes",
                    subject(), value.count_, gguf_type_name(value.element_type_), left()));
  }
  value.data_ = here();
  if (strings) {
    const uint64_t start = position_;
    TRY_STATUS(skip_strings(value.count_));
    value.bytes_ = position_ - start;
    return Status::success();
  }
  value.bytes_ = value.count_ * element_bytes;
  position_ += value.bytes_;
  return check_bools(value);
}

Status GgufReader::skip_strings(uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    if (left() < kStringHeaderBytes) {
      return truncated(fmt::format("length of string {}", i), kStringHeaderBytes);
    }
    uint64_t length = 0;
    std::memcpy(&length, here(), sizeof(length));
    if (length > limits::kGgufStringBytes) {
      return corrupt(fmt::format("the length of string {} of {} is {}, more than the limit of {}",
                                 i, subject(), length, limits::kGgufStringBytes));
    }
    if (left() - kStringHeaderBytes < length) return truncated(fmt::format("string {}", i), length);
    position_ += kStringHeaderBytes + length;
  }
  return Status::success();
}

Status GgufReader::check_bools(const GgufValue& value) const {
  const bool bools = value.type_ == GgufType::kBool ||
                     (value.type_ == GgufType::kArray && value.element_type_ == GgufType::kBool);
  if (!bools) return Status::success();
  for (uint64_t i = 0; i < value.bytes_; ++i) {
    const auto byte = static_cast<unsigned>(value.data_[i]);
    if (byte > 1) {
      return corrupt(fmt::format("{} holds a bool that is {}, neither 0 nor 1", subject(), byte));
    }
  }
  return Status::success();
}

Status GgufReader::read_alignment(const GgufPart& part) {
  for (const GgufValue& value : part.metadata) {
    if (value.key() != "general.alignment") continue;
    if (value.type() != GgufType::kU32) {
      return corrupt(fmt::format("metadata key 'general.alignment' is of type {}, expected u32",
                                 gguf_type_name(value.type())));
    }
    TRY(const int64_t alignment, value.as_int());
    alignment_ = static_cast<uint64_t>(alignment);
    // 8 is the least the format allows; it also keeps every element type naturally aligned.
    if (!std::has_single_bit(alignment_) || alignment_ < 8 ||
        alignment_ > limits::kGgufAlignmentBytes) {
      return corrupt(fmt::format("general.alignment is {}, expected a power of two from 8 to {}",
                                 alignment_, limits::kGgufAlignmentBytes));
    }
  }
  return Status::success();
}

Result<GgufReader::TensorInfo> GgufReader::read_tensor_info() {
  TensorInfo info;
  TensorView& view = info.view;
  TRY(view.name, name("name", limits::kGgufTensorNameBytes));
  name_ = view.name;
  TRY(const uint32_t dims, scalar<uint32_t>("dimension count"));
  if (dims == 0 || dims > limits::kGgufDims) {
    return corrupt(fmt::format("the dimension count of {} is {}, expected 1 to {}", subject(), dims,
                               limits::kGgufDims));
  }
  view.n_dims = static_cast<int>(dims);
  int64_t elements = 1;
  for (uint32_t axis = 0; axis < dims; ++axis) {
    TRY(const uint64_t length, scalar<uint64_t>("dimensions"));
    if (length == 0 || length > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return corrupt(fmt::format("dimension {} of {} is {}", axis, subject(), length));
    }
    view.ne[axis] = static_cast<int64_t>(length);
    const auto product = checked_mul(elements, view.ne[axis]);
    if (!product) return corrupt(fmt::format("the dimensions of {} overflow", subject()));
    elements = *product;
  }
  TRY(const uint32_t type_id, scalar<uint32_t>("type"));
  auto type = dtype_from_gguf(type_id);
  if (!type.ok()) {
    Error error = std::move(type).error();
    error.message = fmt::format("{}: {}: {}", where_, subject(), error.message);
    return error;
  }
  view.type = type.value();
  const DTypeInfo& format = dtype_info(view.type);
  if (view.ne[0] % format.block_elements != 0) {
    return corrupt(fmt::format("the rows of {} have {} elements, not a multiple of {} as {} needs",
                               subject(), view.ne[0], format.block_elements, format.name));
  }
  const auto bytes = checked_mul(static_cast<uint64_t>(elements / format.block_elements),
                                 static_cast<uint64_t>(format.block_bytes));
  if (!bytes) return corrupt(fmt::format("the size of {} overflows", subject()));
  view.bytes = *bytes;
  TRY(info.offset, scalar<uint64_t>("offset"));
  if (info.offset % alignment_ != 0) {
    return corrupt(fmt::format("the offset of {} is {}, not a multiple of the alignment {}",
                               subject(), info.offset, alignment_));
  }
  return info;
}

Status GgufReader::place_tensors(std::vector<TensorInfo>& infos, GgufPart& part) {
  kind_ = "tensor";
  // The data section starts at the next multiple of the alignment; a file without tensors may end
  // before it.
  const auto start = checked_align<uint64_t>(position_, alignment_);
  const uint64_t data_bytes = start && *start <= bytes_.size() ? bytes_.size() - *start : 0;
  part.tensors.reserve(infos.size());
  for (TensorInfo& info : infos) {
    name_ = info.view.name;
    if (info.offset > data_bytes || info.view.bytes > data_bytes - info.offset) {
      Error error = corrupt(
          fmt::format("the data of {} ({} bytes at offset {}) reaches beyond the end of the file, "
                      "whose data section has {} bytes",
                      subject(), info.view.bytes, info.offset, data_bytes));
      error.hint = "the download is probably incomplete";
      return error;
    }
    info.view.data = bytes_.data() + *start + info.offset;
    part.tensors.push_back(info.view);
  }
  // Overlap would let a small file stand for many large tensors, each unpacked by its reader.
  std::vector<uint32_t> order(infos.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return infos[a].offset < infos[b].offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    const TensorInfo& before = infos[order[i - 1]];
    const TensorInfo& after = infos[order[i]];
    if (before.offset + before.view.bytes > after.offset) {
      return corrupt(fmt::format("the data of tensors {} and {} overlap",
                                 gguf_quoted(before.view.name), gguf_quoted(after.view.name)));
    }
  }
  return Status::success();
}

}  // namespace hadal
