/// Hostile files: every header field at its edges, truncation at every byte, sums and products that
/// wrap, files that are something else (security R-GGUF-1..6). Each must give an error that names
/// the cause; memory errors show under the sanitizers.
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/limits.h"
#include "tensor/file/test_gguf.h"

namespace hadal {
namespace {

using testing_gguf::open_error;
using testing_gguf::Opened;
using testing_gguf::Writer;
using std::string_view_literals::operator""sv;

constexpr uint64_t kMax64 = ~uint64_t{0};
constexpr uint64_t kHalf64 = uint64_t{1} << 63;

/// A small good file; `field` places are offsets of what the tests below overwrite.
struct Sample {
  Writer w;
  size_t version, tensor_count, metadata_count, key_length, value_type, string_length, element_type,
      array_length, strings_length, alignment, boolean, name_length, dims, ne0, ne1, dtype, offset,
      data;

  Sample() {
    w.raw("GGUF");
    version = mark(uint32_t{3});
    tensor_count = mark(uint64_t{1});
    metadata_count = mark(uint64_t{5});
    key_length = w.size();
    w.text("k");
    value_type = mark(static_cast<uint32_t>(GgufType::kString));
    string_length = w.size();
    w.text("hello").text("numbers").type(GgufType::kArray);
    element_type = mark(static_cast<uint32_t>(GgufType::kU32));
    array_length = mark(uint64_t{2});
    w.put(uint32_t{7}).put(uint32_t{8});
    w.array("strings", GgufType::kString, 1);
    strings_length = w.size();
    w.text("abc");
    w.text("general.alignment").type(GgufType::kU32);
    alignment = mark(uint32_t{32});
    w.text("flag").type(GgufType::kBool);
    boolean = mark(uint8_t{1});
    name_length = w.size();
    w.text("weight");
    dims = mark(uint32_t{2});
    ne0 = mark(uint64_t{32});
    ne1 = mark(uint64_t{3});
    dtype = mark(uint32_t{8});  // Q8_0: 34 bytes per row
    offset = mark(uint64_t{0});
    w.pad();
    data = w.size();
    for (int i = 0; i < 3 * 34; ++i) w.put(uint8_t{0});
  }
  template <typename T>
  size_t mark(T value) {
    const size_t at = w.size();
    w.put(value);
    return at;
  }
  template <typename T>
  std::string with(size_t at, T value) const {
    std::string bytes = w.bytes();
    std::memcpy(bytes.data() + at, &value, sizeof(value));
    return bytes;
  }
};

void expect_error(const std::string& bytes, std::string_view cause) {
  const std::string message = open_error(bytes);
  EXPECT_NE(message.find(cause), std::string::npos)
      << "wanted: " << cause << "\n   got: " << message;
}

// Goal: the sample itself is good, so that each error below comes from the one field it changes.
TEST(GgufHostile, SampleIsGood) {
  EXPECT_EQ(open_error(Sample().w.bytes()), "");
}

// Goal: a file cut anywhere is refused, and the message says that it ends early.
TEST(GgufHostile, TruncationAtEveryByte) {
  const Sample s;
  for (size_t size = 0; size < s.w.size(); ++size) {
    const std::string message = open_error(s.w.bytes().substr(0, size));
    ASSERT_FALSE(message.empty()) << size;
    const bool named = message.find("the file ends inside") != std::string::npos ||
                       message.find("the file has only") != std::string::npos ||
                       message.find("beyond the end of the file") != std::string::npos ||
                       (size < 4 && message.find("is not a GGUF model") != std::string::npos);
    EXPECT_TRUE(named) << size << ": " << message;
  }
}

// Goal: versions other than 2 and 3 are told apart.
TEST(GgufHostile, Version) {
  const Sample s;
  expect_error(s.with(s.version, uint32_t{1}), "GGUF version 1, which is obsolete");
  expect_error(s.with(s.version, uint32_t{0x03000000}), "big-endian");
  for (const uint32_t version : {0U, 4U, 0x7FFFFFFFU, 0xFFFFFFFFU}) {
    expect_error(s.with(s.version, version), "says GGUF version " + std::to_string(version));
  }
  EXPECT_EQ(open_error(s.with(s.version, uint32_t{2})), "");
}

// Goal: counts and lengths at 0, off by one, their caps, and values that overflow (R-GGUF-3).
TEST(GgufHostile, CountsAndLengths) {
  const Sample s;
  const std::vector<uint64_t> huge = {
      uint64_t{1} << 32, (uint64_t{1} << 42) + 1, kHalf64 - 1, kHalf64, kMax64 - 7, kMax64};
  struct Field {
    size_t at;
    uint64_t cap;
    std::string name;
  };
  const Field fields[] = {
      {s.tensor_count, limits::kGgufTensorCount, "tensor count"},
      {s.metadata_count, limits::kGgufMetadataCount, "metadata count"},
      {s.key_length, limits::kGgufKeyBytes, "key of metadata entry 1"},
      {s.string_length, limits::kGgufStringBytes, "metadata entry 'k'"},
      {s.strings_length, limits::kGgufStringBytes, "string 0 of metadata entry 'strings'"},
      {s.array_length, kMax64, "array length of metadata entry 'numbers'"},
      {s.name_length, limits::kGgufTensorNameBytes, "name of tensor 1"},
  };
  for (const Field& field : fields) {
    for (uint64_t value : huge) expect_error(s.with(field.at, value), field.name);
    expect_error(s.with(field.at, field.cap), field.name);
    if (field.cap < kMax64) expect_error(s.with(field.at, field.cap + 1), field.name);
    // Small wrong values shift what follows: any error will do, but one there must be.
    for (const uint64_t value : {uint64_t{0}, uint64_t{4}}) {
      const std::string bytes = s.with(field.at, value);
      if (field.at == s.tensor_count && value == 0)
        continue;  // good: bytes may follow the last tensor
      EXPECT_TRUE(bytes == s.w.bytes() || !open_error(bytes).empty()) << field.name << " " << value;
    }
  }
  expect_error(s.with(s.key_length, uint64_t{0}), "the key of metadata entry 1 is empty");
  expect_error(s.with(s.name_length, uint64_t{0}), "the name of tensor 1 is empty");
}

// Goal: types that do not exist or do not fit are refused.
TEST(GgufHostile, Types) {
  const Sample s;
  for (const uint32_t id : {13U, 0x7FFFFFFFU, 0x80000000U, 0xFFFFFFFFU}) {
    expect_error(s.with(s.value_type, id), "the type of metadata entry 'k' is");
    expect_error(s.with(s.element_type, id), "the element type of metadata entry 'numbers' is");
  }
  expect_error(s.with(s.element_type, uint32_t{9}), "array of arrays");
  expect_error(s.with(s.dtype, uint32_t{16}),
               "tensor 'weight': tensor type IQ2_XXS (id 16) is not supported yet");
  for (const uint32_t id : {43U, 0x7FFFFFFFU, 0xFFFFFFFFU}) {
    expect_error(s.with(s.dtype, id), "does not exist");
  }
  for (const uint8_t byte : {2, 255}) {
    expect_error(s.with(s.boolean, byte), "metadata entry 'flag' holds a bool that is");
  }
}

// Goal: the alignment is a power of two from 8 to its cap, so that padding cannot wrap.
TEST(GgufHostile, Alignment) {
  const Sample s;
  for (const uint32_t value : {0U, 1U, 4U, 31U, 33U, 1U << 21, 1U << 31, 0xFFFFFFFFU}) {
    expect_error(s.with(s.alignment, value), "general.alignment is " + std::to_string(value));
  }
  // Allowed in itself, but then the data section starts beyond the end.
  expect_error(s.with(s.alignment, uint32_t{1} << 20), "beyond the end of the file");
  Writer w;
  w.header(0, 1).entry("general.alignment", "32");
  expect_error(w.bytes(), "'general.alignment' is of type string, expected u32");
}

// Goal: dimensions of 0, negative, and products that overflow (R-GGUF-2, R-GGUF-6).
TEST(GgufHostile, Dimensions) {
  const Sample s;
  for (const uint32_t dims : {0U, 5U, 0x7FFFFFFFU, 0xFFFFFFFFU}) {
    expect_error(s.with(s.dims, dims), "the dimension count of tensor 'weight' is");
  }
  for (const size_t axis : {s.ne0, s.ne1}) {
    for (const uint64_t length : {uint64_t{0}, kHalf64, kMax64}) {
      expect_error(s.with(axis, length), "of tensor 'weight' is " + std::to_string(length));
    }
    expect_error(s.with(axis, kHalf64 - 1), "overflow");
  }
  expect_error(s.with(s.ne0, (uint64_t{1} << 62) + 32), "overflow");
  expect_error(s.with(s.ne0, uint64_t{33}), "not a multiple of 32 as Q8_0 needs");
  expect_error(s.with(s.ne0, uint64_t{64}), "beyond the end of the file");
  expect_error(s.with(s.ne1, uint64_t{4}), "beyond the end of the file");
  expect_error(s.with(s.ne1, (uint64_t{1} << 42) + 1), "beyond the end of the file");
  Writer w;  // elements fit 63 bits, bytes do not fit 64
  w.header(1, 0).tensor("wide", {uint64_t{1} << 62}, 28, 0).pad();
  expect_error(w.bytes(), "the size of tensor 'wide' overflows");
  Writer wrap;  // bytes = 2^64 - 8, so that offset + bytes wraps to 24
  wrap.header(1, 0)
      .tensor("wrap", {(uint64_t{1} << 61) - 1}, 27, 32)
      .pad()
      .raw(std::string(64, '\0'));
  expect_error(wrap.bytes(), "beyond the end of the file");
  Writer zeros;
  zeros.header(1, 0).tensor("zeros", {0, 0, 0, 0}, 2, 0).pad();
  expect_error(zeros.bytes(), "dimension 0 of tensor 'zeros' is 0");
}

// Goal: a tensor never reaches beyond the file, whatever its offset (R-GGUF-1).
TEST(GgufHostile, OffsetsAtTheEdges) {
  const Sample s;
  // One more aligned slot, so that offset + size can meet the end of the file exactly.
  const std::string body = s.w.bytes() + std::string(26, '\0');
  ASSERT_EQ((body.size() - s.data) % 32, 0u);
  const uint64_t length = body.size() - s.data;
  const auto with_offset = [&](uint64_t offset, size_t grow) {
    std::string bytes = body + std::string(grow, '\0');
    std::memcpy(bytes.data() + s.offset, &offset, sizeof(offset));
    return bytes;
  };
  EXPECT_EQ(open_error(with_offset(128, 102)), "");  // 128 + 102 = all 230 bytes
  expect_error(with_offset(128, 101), "beyond the end of the file");
  expect_error(with_offset(length, 0), "beyond the end of the file");
  expect_error(with_offset(length + 32, 0), "beyond the end of the file");
  for (const uint64_t offset : {kHalf64, kMax64 - 31, kMax64 - 95, kMax64 - 127}) {
    expect_error(with_offset(offset, 0), "beyond the end of the file");
  }
  for (const uint64_t offset :
       {uint64_t{1}, uint64_t{31}, length - 1, length + 1, kHalf64 + 1, kMax64}) {
    expect_error(with_offset(offset, 0), "not a multiple of the alignment 32");
  }
}

// Goal: names are unique, valid UTF-8 and free of NUL; tensors do not share bytes.
TEST(GgufHostile, NamesAndOverlap) {
  Writer keys;
  keys.header(0, 2).entry("same", "a").entry("same", "b");
  expect_error(keys.bytes(), "metadata key 'same' appears twice");
  Writer names;
  names.header(2, 0)
      .tensor("t", {8}, 0, 0)
      .tensor("t", {8}, 0, 32)
      .pad()
      .raw(std::string(64, '\0'));
  expect_error(names.bytes(), "tensor 't' appears twice");
  Writer overlap;
  overlap.header(2, 0)
      .tensor("a", {16}, 0, 0)
      .tensor("b", {8}, 0, 32)
      .pad()
      .raw(std::string(64, '\0'));
  expect_error(overlap.bytes(), "tensors 'a' and 'b' overlap");
  for (const std::string_view name : {"a\0b"sv, "\xFF"sv, "\xE4\xBD"sv}) {
    Writer key;
    key.header(0, 1).entry(name, "v");
    expect_error(key.bytes(),
                 name.find('\0') != name.npos ? "contains a NUL byte" : "not valid UTF-8");
    Writer tensor;
    tensor.header(1, 0).tensor(name, {8}, 0, 0).pad().raw(std::string(32, '\0'));
    expect_error(tensor.bytes(),
                 name.find('\0') != name.npos ? "contains a NUL byte" : "not valid UTF-8");
  }
}

// Goal: files that are something else are called by their name.
TEST(GgufHostile, OtherKindsOfFile) {
  const std::string_view cases[][2] = {
      {"", "seems to be empty"},
      {"PK\x03\x04rest", "a zip archive"},
      {"\x80\x02}q", "a Python pickle"},
      {"\x10\0\0\0\0\0\0\0{\"a\":{}}        "sv, "a safetensors file"},
      {"<!DOCTYPE html><html>", "a web page"},
      {"\n <HTML><body>404", "a web page"},
      {"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"},
      {"{\"error\": \"not found\"}", "a JSON text"},
      {"Entry not found", "a text file"},
      {"你好", "a text file"},
      {"lmgg\1\0\0\0"sv, "an old GGML file"},
      {"\x1F\x8B\x08", "a gzip archive"},
      {"\0\0\0\0\0\0\0\0\0\0\0\0"sv, "zeros"},
      {"\x01\x02\x03\xFE", "it starts with bytes 01 02 03 FE"},
  };
  for (const auto& [bytes, cause] : cases) expect_error(std::string(bytes), cause);
}

// Goal: any single changed byte of the file opens or fails, but never harms (run under ASan).
TEST(GgufHostile, EveryByteFlipped) {
  const Sample s;
  size_t refused = 0;
  for (size_t at = 0; at < s.data; ++at) {
    for (const int flip : {0x01, 0x80, 0xFF}) {
      std::string bytes = s.w.bytes();
      bytes[at] = static_cast<char>(bytes[at] ^ flip);
      const Opened opened(bytes);
      if (!opened.file.ok()) {
        EXPECT_FALSE(opened.file.error().message.empty());
        ++refused;
        continue;
      }
      for (const TensorView& tensor : opened.file.value().tensors()) {
        std::vector<float> row(static_cast<size_t>(tensor.ne[0]));
        dequantize_row(tensor.type, tensor.row(tensor.rows() - 1), row.data(), tensor.ne[0]);
      }
    }
  }
  EXPECT_GT(refused, s.data);  // most changes hit a checked field
}

}  // namespace
}  // namespace hadal
