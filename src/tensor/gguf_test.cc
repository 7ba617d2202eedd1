/// What good files say, what accessors refuse, and how split files join.
#include "tensor/gguf.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <limits>
#include <map>

#include <gtest/gtest.h>
#include <unistd.h>

#include "tensor/file/test_gguf.h"

namespace hadal {
namespace {

using testing_gguf::Opened;
using testing_gguf::Writer;

/// One entry of every type, named after it.
Writer every_type() {
  Writer w;
  w.header(0, 18);
  w.entry("u8", GgufType::kU8, uint8_t{200}).entry("i8", GgufType::kI8, int8_t{-100});
  w.entry("u16", GgufType::kU16, uint16_t{60000}).entry("i16", GgufType::kI16, int16_t{-30000});
  w.entry("u32", GgufType::kU32, uint32_t{4000000000})
      .entry("i32", GgufType::kI32, int32_t{-2000000000});
  w.entry("u64", GgufType::kU64, uint64_t{1} << 60)
      .entry("i64", GgufType::kI64, -(int64_t{1} << 60));
  w.entry("u64 max", GgufType::kU64, ~uint64_t{0});
  w.entry("f32", GgufType::kF32, 0.5F).entry("f64", GgufType::kF64, -0.25);
  w.entry("bool", GgufType::kBool, uint8_t{1});
  w.entry("string", "你好\n\x1B[31m");
  w.array("strings", GgufType::kString, 3).text("a").text("").text("\xFF\x00z");
  w.array("ints", GgufType::kI16, 2).put(int16_t{-1}).put(int16_t{2});
  w.array("floats", GgufType::kF64, 2).put(0.5).put(1.5);
  w.array("bools", GgufType::kBool, 2).put(uint8_t{0}).put(uint8_t{1});
  w.array("u64s", GgufType::kU64, 1).put(~uint64_t{0});
  return w;
}

// Goal: every metadata type reads back as written.
TEST(GgufMetadata, ReadsEveryType) {
  const Opened opened(every_type().bytes());
  ASSERT_TRUE(opened.file.ok()) << opened.file.error().text();
  const GgufFile& file = opened.file.value();
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.metadata().size(), 18u);
  const std::map<std::string, int64_t> ints = {{"u8", 200},
                                               {"i8", -100},
                                               {"u16", 60000},
                                               {"i16", -30000},
                                               {"u32", 4000000000},
                                               {"i32", -2000000000},
                                               {"u64", int64_t{1} << 60},
                                               {"i64", -(int64_t{1} << 60)},
                                               {"bool", 1}};
  for (const auto& [key, expected] : ints) {
    EXPECT_EQ(file.find(key)->as_int().value(), expected) << key;
    EXPECT_EQ(file.find(key)->as_ints().value(), std::vector<int64_t>{expected}) << key;
  }
  EXPECT_EQ(file.find("f32")->as_float().value(), 0.5);
  EXPECT_EQ(file.find("f64")->as_float().value(), -0.25);
  EXPECT_EQ(file.find("u8")->as_float().value(), 200.0);
  EXPECT_EQ(file.find("f32")->as_floats().value(), std::vector<float>{0.5F});
  EXPECT_TRUE(file.find("bool")->as_bool().value());
  EXPECT_EQ(file.find("string")->as_string().value(), "你好\n\x1B[31m");
  const auto strings = file.find("strings")->as_strings().value();
  ASSERT_EQ(strings.size(), 3u);
  EXPECT_EQ(strings[2], "\xFF");  // the writer's literal ends at its NUL
  EXPECT_EQ(file.find("ints")->as_ints().value(), (std::vector<int64_t>{-1, 2}));
  EXPECT_EQ(file.find("floats")->as_floats().value(), (std::vector<float>{0.5F, 1.5F}));
  EXPECT_EQ(file.find("bools")->as_ints().value(), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(file.find("absent"), nullptr);
  EXPECT_FALSE(file.integer("absent").value().has_value());
  EXPECT_EQ(file.integer("u8").value(), 200);
  EXPECT_EQ(file.find("string")->to_text(), "你好\\n\xEF\xBF\xBD[31m");
  EXPECT_EQ(file.find("string")->to_text(1), "你...");
  EXPECT_EQ(file.find("ints")->to_text(), "[i16 x 2]");
  EXPECT_EQ(file.find("f64")->to_text(), "-0.25");
}

// Goal: type confusion is an error that names key, expected and found type, for every accessor and
// every type (security R-GGUF-4).
TEST(GgufMetadata, WrongTypeIsAnErrorForEveryAccessor) {
  const Opened opened(every_type().bytes());
  ASSERT_TRUE(opened.file.ok());
  const auto error_of = [](const auto& result) {
    return result.ok() ? std::string() : result.error().message;
  };
  struct Accessor {
    std::function<std::string(const GgufValue&)> error;
    std::string expected;
    std::string accepts;  ///< keys, each between commas
  };
  const std::string ints = ",u8,i8,u16,i16,u32,i32,u64,i64,";
  const Accessor accessors[] = {
      {[&](const GgufValue& v) { return error_of(v.as_string()); }, "expected string", ",string,"},
      {[&](const GgufValue& v) { return error_of(v.as_int()); }, "expected an integer",
       ints + "bool,"},
      {[&](const GgufValue& v) { return error_of(v.as_float()); }, "expected a number",
       ints + "f32,f64,u64 max,"},
      {[&](const GgufValue& v) { return error_of(v.as_bool()); }, "expected bool", ",bool,"},
      {[&](const GgufValue& v) { return error_of(v.as_strings()); }, "expected array of string",
       ",strings,"},
      {[&](const GgufValue& v) { return error_of(v.as_ints()); }, "expected array of integers",
       ints + "bool,ints,bools,"},
      {[&](const GgufValue& v) { return error_of(v.as_floats()); }, "expected array of f32",
       ",f32,f64,floats,"},
  };
  for (const Accessor& accessor : accessors) {
    for (const GgufValue& value : opened.file.value().metadata()) {
      const std::string key(value.key());
      const std::string message = accessor.error(value);
      if (accessor.accepts.find("," + key + ",") != std::string::npos) {
        EXPECT_EQ(message, "") << key;
        continue;
      }
      EXPECT_NE(message.find("'" + key + "'"), std::string::npos) << key << ": " << message;
      const bool beyond = message.find("beyond the range") != std::string::npos;
      EXPECT_TRUE(beyond || message.find(accessor.expected) != std::string::npos)
          << key << ": " << message;
      const bool integers = accessor.expected == "expected array of integers";
      const bool scalar_integer = accessor.expected == "expected an integer";
      EXPECT_EQ(beyond,
                (key == "u64 max" && (integers || scalar_integer)) || (key == "u64s" && integers))
          << message;
    }
  }
  EXPECT_EQ(opened.file.value().integer("string").error().message,
            "metadata key 'string' is of type string, expected an integer");
  EXPECT_EQ(opened.file.value().string("ints").error().message,
            "metadata key 'ints' is of type array of i16, expected string");
  EXPECT_FALSE(opened.file.value().number("bool").ok());
  EXPECT_FALSE(opened.file.value().boolean("u8").ok());
}

Writer two_tensors(uint32_t version) {
  Writer w;
  w.header(2, 1, version).entry("general.alignment", GgufType::kU32, uint32_t{64});
  w.tensor("b", {2, 3}, 0, 0).tensor("a", {32}, 8, 64).pad(64);
  for (int i = 0; i < 6; ++i) w.put(static_cast<float>(i));
  w.pad(64).put(uint16_t{0x3C00});
  for (int i = 0; i < 32; ++i) w.put(static_cast<int8_t>(i));
  return w;
}

// Goal: tensors are placed by the alignment of the file, in versions 2 and 3, and survive a move.
TEST(GgufTensors, FoundAndDecoded) {
  for (const uint32_t version : {2U, 3U}) {
    Opened opened(two_tensors(version).bytes());
    ASSERT_TRUE(opened.file.ok()) << opened.file.error().text();
    const GgufFile file = std::move(opened.file).value();
    EXPECT_EQ(file.version(), version);
    EXPECT_EQ(file.file_bytes(), opened.bytes.size());
    const TensorView* b = file.find_tensor("b");
    ASSERT_NE(b, nullptr);
    EXPECT_EQ(b->rows(), 3);
    float row[2];
    dequantize_row(b->type, b->row(2), row, 2);
    EXPECT_EQ(row[1], 5.0F);
    const TensorView* a = file.find_tensor("a");
    ASSERT_NE(a, nullptr);
    EXPECT_EQ(a->type, DType::kQ8_0);
    std::vector<float> values(32);
    dequantize_row(a->type, a->row(0), values.data(), 32);
    EXPECT_EQ(values[31], 31.0F);
    EXPECT_EQ(file.find_tensor("c"), nullptr);
  }
}

/// A folder that goes away with the test.
struct Folder {
  Folder() {
    path = std::filesystem::temp_directory_path() /
           ("hadal_gguf_" + std::to_string(::getpid()) + "_" +
            ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(path);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  void write(const std::string& name, std::string_view bytes) const {
    std::ofstream(path / name, std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  std::filesystem::path path;
};

struct PartSpec {
  uint16_t number = 0;
  uint16_t count = 3;
  int32_t total = 2;
  std::vector<std::string> tensors = {};
};

std::string part_bytes(const PartSpec& spec) {
  Writer w;
  w.header(spec.tensors.size(), 4);
  w.entry("split.no", GgufType::kU16, spec.number).entry("split.count", GgufType::kU16, spec.count);
  w.entry("split.tensors.count", GgufType::kI32, spec.total);
  w.entry("general.name", "part " + std::to_string(spec.number));
  for (size_t i = 0; i < spec.tensors.size(); ++i) w.tensor(spec.tensors[i], {1}, 0, 32 * i);
  for (size_t i = 0; i < spec.tensors.size(); ++i) w.pad().put(static_cast<float>(spec.number));
  return w.bytes();
}

struct SplitFolder : Folder {
  SplitFolder() {
    put(1, {.number = 0});
    put(2, {.number = 1, .tensors = {"x"}});
    put(3, {.number = 2, .tensors = {"y"}});
  }
  std::filesystem::path part(int place) const {
    return path / ("m-0000" + std::to_string(place) + "-of-00003.gguf");
  }
  void put(int place, const PartSpec& spec) const {
    write(part(place).filename().string(), part_bytes(spec));
  }
  std::string error(int place = 1) const {
    const auto file = GgufFile::open(part(place));
    return file.ok() ? "" : file.error().message;
  }
};

// Goal: any part opens the whole; metadata comes from the first part, which may hold no tensors.
TEST(GgufSplit, AnyPartOpensTheWhole) {
  const SplitFolder folder;
  for (int place = 1; place <= 3; ++place) {
    const auto opened = GgufFile::open(folder.part(place));
    ASSERT_TRUE(opened.ok()) << opened.error().text();
    const GgufFile& file = opened.value();
    EXPECT_EQ(file.string("general.name").value(), "part 0");
    ASSERT_EQ(file.tensors().size(), 2u);
    float value = 0;
    dequantize_row(DType::kF32, file.find_tensor("y")->row(0), &value, 1);
    EXPECT_EQ(value, 2.0F);
  }
}

// Goal: a split that does not fit together is refused with the cause.
TEST(GgufSplit, MismatchesNameTheCause) {
  const SplitFolder folder;
  const auto expect = [&](int broken, const PartSpec& spec, std::string_view cause, int open = 1) {
    folder.put(broken, spec);
    EXPECT_NE(folder.error(open).find(cause), std::string::npos) << folder.error(open);
    folder.put(broken,
               {.number = static_cast<uint16_t>(broken - 1),
                .tensors = broken == 1 ? std::vector<std::string>{}
                                       : std::vector<std::string>{broken == 2 ? "x" : "y"}});
    ASSERT_EQ(folder.error(open), "");
  };
  expect(2, {.number = 2, .tensors = {"x"}}, "split.no is 2, expected 1");
  expect(2, {.number = 1, .count = 4, .tensors = {"x"}}, "split.count is 4, expected 3");
  expect(2, {.number = 1, .total = 5, .tensors = {"x"}}, "split.tensors.count is 5, expected 2");
  expect(2, {.number = 1, .tensors = {"x", "z"}}, "split.tensors.count is 2, but the parts hold 3");
  expect(3, {.number = 2, .tensors = {"x"}}, "tensor 'x' appears twice");
  expect(1, {.number = 0, .count = 4}, "name contradicts");
  expect(1, {.number = 1}, "name contradicts");
  expect(1, {.number = 9}, "split.no is 9, but split.count is 3");
  expect(2, {.number = 0, .count = 0, .tensors = {"x"}}, "split.count is 0, expected 3");
  std::filesystem::remove(folder.part(2));
  EXPECT_NE(folder.error(3).find("part 2 of 3 of the split model is missing"), std::string::npos);
  EXPECT_NE(folder.error(3).find("m-00002-of-00003.gguf"), std::string::npos);
  std::filesystem::rename(folder.part(3), folder.path / "renamed.gguf");
  const auto renamed = GgufFile::open(folder.path / "renamed.gguf");
  EXPECT_NE(renamed.error().message.find("does not lead to the other parts"), std::string::npos);
  EXPECT_NE(testing_gguf::open_error(part_bytes({})).find("one of 3 parts"), std::string::npos);
}

// Goal: a file by an independent writer (the PyPI package gguf; also a fuzz seed) reads the same.
TEST(GgufOpen, ReadsIndependentWriter) {
  const auto opened = GgufFile::open(HADAL_SOURCE_DIR "/fuzz/corpus/gguf/types.gguf");
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  const GgufFile& file = opened.value();
  EXPECT_EQ(file.string("general.architecture").value(), "llama");
  EXPECT_EQ(file.integer("a.i64").value(), -4);
  EXPECT_EQ(file.number("a.f64").value(), 0.25);
  EXPECT_EQ(file.boolean("a.bool").value(), true);
  EXPECT_EQ(file.string("a.string").value(), "你好");
  EXPECT_EQ(file.find("b.strings")->as_strings().value(),
            (std::vector<std::string_view>{"x", "yz", ""}));
  EXPECT_EQ(file.find("b.ints")->as_ints().value(), (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(file.find("b.floats")->as_floats().value(), (std::vector<float>{0.5F, 1.5F}));
  const TensorView* f32 = file.find_tensor("f32");
  ASSERT_NE(f32, nullptr);
  EXPECT_EQ(f32->ne[0], 3);
  float row[3];
  dequantize_row(f32->type, f32->row(1), row, 3);
  EXPECT_EQ(row[2], 5.0F);
  ASSERT_NE(file.find_tensor("f16"), nullptr);
}

// Goal: a path that is no file says so.
TEST(GgufOpen, MissingFilesAndFolders) {
  const Folder folder;
  EXPECT_EQ(GgufFile::open(folder.path / "none.gguf").error().code, Code::kNotFound);
  EXPECT_FALSE(GgufFile::open(folder.path).ok());
  folder.write("empty.gguf", "");
  EXPECT_NE(GgufFile::open(folder.path / "empty.gguf").error().message.find("it seems to be empty"),
            std::string::npos);
}

/// Memory of this process that files back, kB.
int64_t file_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssFile:")) return std::atoll(line.c_str() + 8);
  }
  return 0;
}

// Goal: a real model file opens, its vocabulary is there and its weights are sane numbers.
// Forgotten, it takes no memory, and is read again as it was.
TEST(GgufRealFile, OpensAndDecodes) {
  const char* path = std::getenv("HADAL_TEST_MODEL");
  if (path == nullptr)
    GTEST_SKIP() << "SKIPPED: HADAL_TEST_MODEL names no GGUF file; `python3 "
                    "tools/fetch_test_data.py` brings one, ./test names it";
  auto opened = GgufFile::open(path);
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  const GgufFile file = std::move(opened).value();
  ASSERT_NE(file.find("tokenizer.ggml.tokens"), nullptr);
  EXPECT_GT(file.find("tokenizer.ggml.tokens")->as_strings().value().size(), 1000u);
  EXPECT_TRUE(file.string("general.architecture").value().has_value());
  ASSERT_GT(file.tensors().size(), 0u);
  for (const TensorView& tensor : file.tensors()) {
    ASSERT_EQ(file.find_tensor(tensor.name), &tensor);
    std::vector<float> row(static_cast<size_t>(tensor.ne[0]));
    dequantize_row(tensor.type, tensor.row(tensor.rows() - 1), row.data(), tensor.ne[0]);
    for (const float x : row) ASSERT_TRUE(std::isfinite(x) && std::fabs(x) < 1e4F) << tensor.name;
  }
  const TensorView& first = file.tensors()[0];
  const std::span bytes(first.data, first.bytes);
  const std::vector<std::byte> before(bytes.begin(), bytes.end());
  const int64_t touched = file_memory();
  file.forget();
  EXPECT_GT(touched - file_memory(), static_cast<int64_t>(first.bytes / 1024) / 2);
  EXPECT_TRUE(std::ranges::equal(bytes, before));
}

}  // namespace
}  // namespace hadal
