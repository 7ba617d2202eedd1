#include "tensor/file/safetensors.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/checked.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "tensor/file/reader.h"
#include "tensor/file/sniff.h"

namespace hadal {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr std::string_view kHint = "the download is probably incomplete";
constexpr std::string_view kMetadata = "__metadata__";

struct TypeRow {
  std::string_view name;
  uint64_t bytes;
};
/// In the order of SafeType.
constexpr TypeRow kTypes[] = {{"BOOL", 1},    {"U8", 1},      {"I8", 1},  {"F8_E5M2", 1},
                              {"F8_E4M3", 1}, {"F8_E8M0", 1}, {"I16", 2}, {"U16", 2},
                              {"F16", 2},     {"BF16", 2},    {"I32", 4}, {"U32", 4},
                              {"F32", 4},     {"F64", 8},     {"I64", 8}, {"U64", 8}};

/// The header's JSON, which has one form: an object of tensors, each an object of three members,
/// and "__metadata__", an object of strings. Names with escapes are refused: no writer needs them.
class HeaderReader {
 public:
  HeaderReader(std::string_view text, std::string_view where) : text_(text), where_(where) {}

  /// Fills `tensors`; data and bytes are the range in the data section, as if that began at null.
  Status read(std::vector<SafeTensor>& tensors) {
    TRY_STATUS(expect('{'));
    bool first = true;
    while (true) {
      TRY(const bool more, next_member(first, '}'));
      if (!more) break;
      TRY(const std::string_view name, string());
      TRY_STATUS(expect(':'));
      if (name == kMetadata) {
        TRY_STATUS(skip_metadata());
        continue;
      }
      if (tensors.size() >= limits::kSafetensorsTensorCount) {
        return corrupt(
            fmt::format("the header names more than {} tensors", limits::kSafetensorsTensorCount));
      }
      tensors.emplace_back();
      name_ = name;
      TRY_STATUS(read_tensor(name, tensors.back()));
      name_ = {};
    }
    skip_blanks();
    if (at_ != text_.size()) return corrupt("the header goes on after its end");
    return Status::success();
  }

 private:
  Error corrupt(const std::string& what) const {
    const std::string subject = name_.empty() ? "" : fmt::format("tensor {}: ", gguf_quoted(name_));
    return Error{Code::kCorrupt, fmt::format("{}: {}{}", where_, subject, what)};
  }

  void skip_blanks() {
    while (at_ < text_.size() &&
           std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) {
      ++at_;
    }
  }

  bool take(char c) {
    skip_blanks();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  Status expect(char c) {
    if (take(c)) return Status::success();
    return corrupt(fmt::format("the header's JSON has no '{}' at byte {}", c, at_));
  }

  /// Whether another member follows before `close`, which is taken if not.
  Result<bool> next_member(bool& first, char close) {
    if (take(close)) return false;
    if (!first) TRY_STATUS(expect(','));
    first = false;
    return true;
  }

  Result<std::string_view> string() {
    TRY_STATUS(expect('"'));
    const size_t begin = at_;
    while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' &&
           static_cast<unsigned char>(text_[at_]) >= 0x20) {
      ++at_;
    }
    const std::string_view found = text_.substr(begin, at_ - begin);
    if (at_ >= text_.size()) return corrupt("the header ends inside a string");
    if (text_[at_] != '"') {
      return corrupt(fmt::format("the header has the name {}, with an escape", gguf_quoted(found)));
    }
    ++at_;
    if (!utf8_valid(found)) {
      return corrupt(fmt::format("the header's string {} is not valid UTF-8", gguf_quoted(found)));
    }
    return found;
  }

  /// A string whose value does not matter, so it may have escapes.
  Status skip_string() {
    TRY_STATUS(expect('"'));
    while (at_ < text_.size() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    if (at_ >= text_.size()) return corrupt("the header ends inside a string");
    ++at_;
    return Status::success();
  }

  Status skip_metadata() {
    TRY_STATUS(expect('{'));
    bool first = true;
    while (true) {
      TRY(const bool more, next_member(first, '}'));
      if (!more) return Status::success();
      TRY_STATUS(skip_string());
      TRY_STATUS(expect(':'));
      TRY_STATUS(skip_string());
    }
  }

  /// A whole number from 0 on.
  Result<uint64_t> number(std::string_view field) {
    skip_blanks();
    uint64_t value = 0;
    const char* begin = text_.data() + at_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (error != std::errc{}) {
      return corrupt(
          fmt::format("its {} has no whole number at byte {} of the header", field, at_));
    }
    at_ += static_cast<size_t>(end - begin);
    return value;
  }

  Result<std::vector<uint64_t>> numbers(std::string_view field, size_t most) {
    TRY_STATUS(expect('['));
    std::vector<uint64_t> values;
    bool first = true;
    while (true) {
      TRY(const bool more, next_member(first, ']'));
      if (!more) return values;
      if (values.size() == most) {
        return corrupt(fmt::format("its {} has more than {} numbers", field, most));
      }
      TRY(const uint64_t value, number(field));
      values.push_back(value);
    }
  }

  Status read_tensor(std::string_view name, SafeTensor& tensor) {
    if (name.empty()) return corrupt("the header has a tensor without a name");
    if (name.size() > limits::kGgufTensorNameBytes) {
      return corrupt(fmt::format("its name has {} bytes, more than the limit of {}", name.size(),
                                 limits::kGgufTensorNameBytes));
    }
    tensor.name = name;
    std::optional<SafeType> type;
    std::optional<std::vector<uint64_t>> shape;
    std::optional<std::vector<uint64_t>> offsets;
    TRY_STATUS(expect('{'));
    bool first = true;
    while (true) {
      TRY(const bool more, next_member(first, '}'));
      if (!more) break;
      TRY(const std::string_view field, string());
      TRY_STATUS(expect(':'));
      if (field == "dtype" && !type) {
        TRY(type, read_type());
      } else if (field == "shape" && !shape) {
        TRY(shape, numbers(field, limits::kSafetensorsDims));
      } else if (field == "data_offsets" && !offsets) {
        TRY(offsets, numbers(field, 2));
      } else {
        return corrupt(fmt::format("it has the member {}, unknown or twice", gguf_quoted(field)));
      }
    }
    if (!type || !shape || !offsets || offsets->size() != 2) {
      return corrupt("dtype, shape or data_offsets is missing");
    }
    return check(*type, *shape, (*offsets)[0], (*offsets)[1], tensor);
  }

  Result<std::optional<SafeType>> read_type() {
    TRY(const std::string_view name, string());
    for (size_t i = 0; i < std::size(kTypes); ++i) {
      if (kTypes[i].name == name) return std::optional(static_cast<SafeType>(i));
    }
    return Error{Code::kUnsupported, fmt::format("{}: tensor {}: its dtype {} is not supported",
                                                 where_, gguf_quoted(name_), gguf_quoted(name))};
  }

  Status check(SafeType type, const std::vector<uint64_t>& shape, uint64_t begin, uint64_t end,
               SafeTensor& tensor) {
    tensor.type = type;
    tensor.dims = static_cast<int>(shape.size());
    uint64_t bytes = safe_type_bytes(type);
    for (size_t i = 0; i < shape.size(); ++i) {
      if (shape[i] > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return corrupt(fmt::format("its shape holds {}", shape[i]));
      }
      const auto product = checked_mul(bytes, shape[i]);
      if (!product) return corrupt("its size overflows");
      bytes = *product;
      tensor.shape[i] = static_cast<int64_t>(shape[i]);
    }
    if (end < begin || end - begin != bytes) {
      return corrupt(
          fmt::format("its data_offsets are [{}, {}], but dtype {} and shape {} make {} "
                      "bytes",
                      begin, end, safe_type_name(type), safe_shape_text(tensor), bytes));
    }
    offsets_.push_back(begin);
    tensor.bytes = bytes;
    return Status::success();
  }

 public:
  /// Of each tensor, in the header's order.
  const std::vector<uint64_t>& offsets() const { return offsets_; }

 private:
  std::string_view text_;
  std::string_view where_;
  size_t at_ = 0;
  std::string_view name_;  ///< of the tensor that is being read
  std::vector<uint64_t> offsets_;
};

/// Sorts the tensors by their place; they must tile `data`.
Status place(std::vector<SafeTensor>& tensors, const std::vector<uint64_t>& offsets,
             std::span<const std::byte> data, std::string_view where) {
  std::vector<uint32_t> order(tensors.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return std::pair(offsets[a], tensors[a].bytes) < std::pair(offsets[b], tensors[b].bytes);
  });
  std::vector<SafeTensor> placed;
  placed.reserve(tensors.size());
  uint64_t end = 0;
  for (const uint32_t i : order) {
    SafeTensor tensor = tensors[i];
    if (offsets[i] != end) {
      return Error{Code::kCorrupt,
                   fmt::format("{}: the data of tensor {} begins at {}, where the one before it "
                               "ends at {}",
                               where, gguf_quoted(tensor.name), offsets[i], end)};
    }
    if (tensor.bytes > data.size() - end) {
      return Error{Code::kCorrupt,
                   fmt::format("{}: the data of tensor {} ({} bytes at offset {}) reaches beyond "
                               "the end of the file, whose data section has {} bytes",
                               where, gguf_quoted(tensor.name), tensor.bytes, end, data.size()),
                   std::string(kHint)};
    }
    tensor.data = data.data() + end;
    end += tensor.bytes;
    placed.push_back(tensor);
  }
  if (end != data.size()) {
    return Error{Code::kCorrupt, fmt::format("{}: the tensors end at {}, but the data section has "
                                             "{} bytes",
                                             where, end, data.size())};
  }
  tensors = std::move(placed);
  return Status::success();
}

}  // namespace

std::string_view safe_type_name(SafeType type) {
  return kTypes[static_cast<size_t>(type)].name;
}
uint64_t safe_type_bytes(SafeType type) {
  return kTypes[static_cast<size_t>(type)].bytes;
}

std::string safe_shape_text(const SafeTensor& tensor) {
  const auto begin = tensor.shape.begin();
  return fmt::format("[{}]", fmt::join(begin, begin + tensor.dims, ", "));
}

Result<std::vector<SafeTensor>> read_safetensors(std::span<const std::byte> bytes,
                                                 std::string_view where) {
  uint64_t length = 0;
  if (bytes.size() >= kLengthBytes) std::memcpy(&length, bytes.data(), kLengthBytes);
  const bool text_follows = bytes.size() > kLengthBytes && bytes[kLengthBytes] == std::byte{'{'};
  if (!text_follows) {
    FileGuess guess = guess_file(bytes);
    return Error{Code::kCorrupt,
                 fmt::format("{} is not a safetensors file: it seems to be {}", where, guess.what),
                 std::move(guess.hint)};
  }
  if (length > limits::kSafetensorsHeaderBytes) {
    return Error{Code::kCorrupt, fmt::format("{}: the header claims {} bytes, more than the limit "
                                             "of {}",
                                             where, length, limits::kSafetensorsHeaderBytes)};
  }
  if (length > bytes.size() - kLengthBytes) {
    return Error{Code::kCorrupt,
                 fmt::format("{}: the file ends inside its header ({} bytes of {})", where,
                             bytes.size() - kLengthBytes, length),
                 std::string(kHint)};
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length);
  HeaderReader reader(text, where);
  std::vector<SafeTensor> tensors;
  TRY_STATUS(reader.read(tensors));
  TRY_STATUS(place(tensors, reader.offsets(), bytes.subspan(kLengthBytes + length), where));
  const auto name_of = [](const SafeTensor& tensor) { return tensor.name; };
  if (const SafeTensor* twice =
          first_duplicate(tensors, sorted_by_name(tensors, name_of), name_of)) {
    return Error{Code::kCorrupt,
                 fmt::format("{}: tensor {} appears twice", where, gguf_quoted(twice->name))};
  }
  return tensors;
}

}  // namespace hadal
