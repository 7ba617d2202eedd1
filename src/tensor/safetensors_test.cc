/// The safetensors reader: what a right file says, and one clear error for each way to be wrong.
#include "tensor/file/safetensors.h"

#include <gtest/gtest.h>

#include "tensor/file/test_safetensors.h"

namespace hadal {
namespace {

using testing_safetensors::f32;
using testing_safetensors::file_of;

std::vector<std::byte> bytes_of(const std::string& text) {
  std::vector<std::byte> out(text.size());
  if (!text.empty()) std::memcpy(out.data(), text.data(), text.size());
  return out;
}

/// The error of reading `text`; "" when it reads.
std::string error_of(const std::string& text) {
  const std::vector<std::byte> bytes = bytes_of(text);
  const auto read = read_safetensors(bytes, "F");
  return read.ok() ? "" : read.error().message;
}

std::string with_entry(const std::string& entry, size_t data_bytes) {
  return file_of("{" + entry + "}", std::string(data_bytes, '\0'));
}

// Goal: names, types, shapes and data come out as written, whatever the order of the header, with
// an empty tensor and a number without axes among them.
TEST(Safetensors, ReadsWhatWasWritten) {
  const std::string header = R"({ "b" : {"shape":[2, 3],"dtype":"BF16","data_offsets":[4,16]},)"
                             R"( "__metadata__":{"x\"":"y"},)"
                             R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                             R"("empty":{"dtype":"U8","shape":[0,7],"data_offsets":[16,16]}}  )";
  const std::vector<std::byte> bytes = bytes_of(file_of(header, "wxyz0123456789ab"));
  const auto read = read_safetensors(bytes, "F");
  ASSERT_TRUE(read.ok()) << read.error().message;
  ASSERT_EQ(read.value().size(), 3u);
  const SafeTensor& a = read.value()[0];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.dims, 0);
  EXPECT_EQ(a.elements(), 1);
  EXPECT_EQ(static_cast<char>(a.data[0]), 'w');
  const SafeTensor& b = read.value()[1];
  EXPECT_EQ(b.type, SafeType::kBF16);
  EXPECT_EQ(safe_shape_text(b), "[2, 3]");
  EXPECT_EQ(static_cast<char>(b.data[0]), '0');
  EXPECT_EQ(b.bytes, 12u);
  EXPECT_EQ(read.value()[2].bytes, 0u);
}

// Goal: each broken header gives its own error, naming the tensor where there is one.
TEST(Safetensors, RefusesBrokenHeaders) {
  const std::pair<std::string, const char*> cases[] = {
      {"", "is not a safetensors file: it seems to be empty"},
      {"GGUF............", "is not a safetensors file"},
      {file_of("{", ""), "no '\"' at byte 1"},
      {file_of("{}", "x"), "the tensors end at 0, but the data section has 1"},
      {file_of("{} x", ""), "goes on after its end"},
      {std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10), "claims 9223372036854775807 bytes"},
      {std::string("\x40\0\0\0\0\0\0\0{}", 10), "ends inside its header (2 bytes of 64)"},
      {with_entry(R"("t":{"dtype":"F32","shape":[1]})", 4), "'t': dtype, shape or data_offsets"},
      {with_entry(R"("t":{"dtype":"F3","shape":[1],"data_offsets":[0,4]})", 4),
       "'t': its dtype 'F3'"},
      {with_entry(R"("t":{"dtype":"F32","shape":[2],"data_offsets":[0,4]})", 4),
       "data_offsets are [0, 4], but dtype F32 and shape [2] make 8 bytes"},
      {with_entry(R"("t":{"dtype":"F32","shape":[1],"data_offsets":[4,0]})", 4), "make 4 bytes"},
      {with_entry(R"("t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]})", 8),
       "begins at 4, where the one before it ends at 0"},
      {with_entry(R"("t":{"dtype":"F32","shape":[4],"data_offsets":[0,16]})", 4),
       "reaches beyond the end of the file"},
      {with_entry(R"("t":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]})", 0),
       "its size overflows"},
      {with_entry(R"("t":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]})", 4),
       "has no whole number"},
      {with_entry(R"("t":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]})", 4), "no ','"},
      {with_entry(R"("t":{"dtype":"F32","shape":[1,1,1,1,1],"data_offsets":[0,4]})", 4),
       "more than 4 numbers"},
      {with_entry(R"("t":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1})", 4),
       "the member 'more'"},
      {with_entry(R"("t\n":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})", 4),
       "with an escape"},
      {with_entry("\"\xff\":{}", 0), "not valid UTF-8"},
      {with_entry(R"("":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})", 4), "without a name"},
      {with_entry(R"("t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                  R"("t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]})",
                  8),
       "tensor 't' appears twice"},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_NE(error_of(text).find(expected), std::string::npos)
        << error_of(text) << "\nlacks: " << expected;
  }
}

// Goal: two tensors over the same bytes are refused: a small file must not stand for a large model.
TEST(Safetensors, RefusesOverlap) {
  const std::string text = with_entry(R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                                      R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]})",
                                      12);
  EXPECT_NE(error_of(text).find("'b' begins at 4, where the one before it ends at 8"),
            std::string::npos)
      << error_of(text);
}

// Goal: a file cut anywhere is an error, never a crash and never a shorter model.
TEST(Safetensors, RefusesEveryCut) {
  const std::string whole = file_of({f32("a", {2, 2}), f32("b", {3})});
  ASSERT_EQ(error_of(whole), "");
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_NE(error_of(whole.substr(0, size)), "") << size;
  }
}

}  // namespace
}  // namespace hadal
