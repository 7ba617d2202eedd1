/// Files written and read back, interrupted and resumed.
#include "tensor/gguf_writer.h"

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/resource.h>

namespace hadal {
namespace {

namespace fs = std::filesystem;

class GgufWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) /
              ("gguf-writer-" + std::to_string(::getpid()) +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
    path_ = folder_ / "out.gguf";
    entries_ = {GgufEntry::string("general.architecture", "llama"),
                GgufEntry::u32("general.file_type", 7), GgufEntry::f32("x.eps", 0.5f),
                GgufEntry::strings("x.names", std::vector<std::string>{"a", "", "long name"})};
    tensors_ = {{"one", DType::kF32, 1, {5, 1, 1, 1}},
                {"two", DType::kQ8_0, 2, {64, 3, 1, 1}},
                {"three", DType::kF16, 3, {4, 3, 2, 1}}};
  }
  void TearDown() override { fs::remove_all(folder_); }

  static std::vector<std::byte> content(const GgufTensor& tensor) {
    std::vector<std::byte> bytes(tensor.bytes());
    for (size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<std::byte>(i * 7 + tensor.name.size());
    }
    return bytes;
  }
  Result<GgufWriter> create(GgufWriter::Options options = {}) {
    return GgufWriter::create(path_, entries_, tensors_, options);
  }
  void append(GgufWriter& writer, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      const auto bytes = content(tensors_[writer.tensors_done()]);
      ASSERT_TRUE(writer.append(bytes).ok());
    }
  }
  void expect_complete() {
    auto file = GgufFile::open(path_);
    ASSERT_TRUE(file.ok()) << file.error().text();
    ASSERT_EQ(file.value().tensors().size(), tensors_.size());
    for (const GgufTensor& tensor : tensors_) {
      const TensorView* view = file.value().find_tensor(tensor.name);
      ASSERT_NE(view, nullptr);
      EXPECT_EQ(view->ne, tensor.ne);
      EXPECT_EQ(view->n_dims, tensor.n_dims);
      const auto bytes = content(tensor);
      ASSERT_EQ(view->bytes, bytes.size());
      EXPECT_EQ(std::memcmp(view->data, bytes.data(), bytes.size()), 0) << tensor.name;
    }
    EXPECT_FALSE(fs::exists(partial()));
    EXPECT_FALSE(fs::exists(journal()));
  }
  /// Files as a killed process leaves them: copied while the writer is open, put back afterwards.
  void interrupt_after(size_t count, uint64_t fingerprint = 0) {
    auto writer = create({.overwrite = false, .fingerprint = fingerprint});
    ASSERT_TRUE(writer.ok()) << writer.error().text();
    append(writer.value(), count);
    fs::copy_file(partial(), folder_ / "kept");
    fs::copy_file(journal(), folder_ / "kept.journal");
    { const GgufWriter gone = std::move(writer).value(); }
    EXPECT_FALSE(fs::exists(partial())) << "an unfinished writer removes its files";
    fs::rename(folder_ / "kept", partial());
    fs::rename(folder_ / "kept.journal", journal());
  }
  fs::path partial() const { return path_.string() + ".partial"; }
  fs::path journal() const { return path_.string() + ".partial.journal"; }

  fs::path folder_, path_;
  std::vector<GgufEntry> entries_;
  std::vector<GgufTensor> tensors_;
};

// Goal: what was written reads back: entries of every kind, tensors bit by bit.
TEST_F(GgufWriterTest, WritesWhatIsRead) {
  auto writer = create();
  ASSERT_TRUE(writer.ok()) << writer.error().text();
  EXPECT_EQ(writer.value().tensors_done(), 0u);
  const auto first = content(tensors_[0]);
  ASSERT_TRUE(writer.value().append(std::span(first).first(7)).ok());
  EXPECT_EQ(writer.value().tensors_done(), 0u);
  ASSERT_TRUE(writer.value().append(std::span(first).subspan(7)).ok());
  append(writer.value(), 2);
  EXPECT_FALSE(fs::exists(path_));
  EXPECT_EQ(writer.value().bytes_done(), writer.value().bytes_total());
  ASSERT_TRUE(writer.value().finish().ok());
  expect_complete();
  auto file = GgufFile::open(path_);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file.value().string("general.architecture").value(), "llama");
  EXPECT_EQ(file.value().number("x.eps").value(), 0.5);
  const auto names = file.value().find("x.names")->as_strings();
  ASSERT_TRUE(names.ok());
  EXPECT_EQ(names.value(), (std::vector<std::string_view>{"a", "", "long name"}));
  const GgufEntry copied = GgufEntry::copy_of(*file.value().find("x.names"));
  EXPECT_EQ(copied.payload, entries_[3].payload);
  EXPECT_EQ(copied.count, 3u);
}

// Goal: an interrupted file goes on after its last whole tensor.
TEST_F(GgufWriterTest, Resumes) {
  interrupt_after(2);
  auto writer = create();
  ASSERT_TRUE(writer.ok()) << writer.error().text();
  EXPECT_EQ(writer.value().tensors_done(), 2u);
  append(writer.value(), 1);
  ASSERT_TRUE(writer.value().finish().ok());
  expect_complete();
}

// Goal: bytes that changed, another source or another plan are not taken for finished work.
TEST_F(GgufWriterTest, ResumesOnlyWhatIsRight) {
  interrupt_after(2);
  {
    std::fstream file(partial(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-40, std::ios::end);  // within tensor "two"
    file.put('!');
  }
  {
    auto writer = create();
    ASSERT_TRUE(writer.ok());
    EXPECT_EQ(writer.value().tensors_done(), 1u);
  }
  interrupt_after(2, 1);
  {
    auto writer = create({.overwrite = false, .fingerprint = 2});
    ASSERT_TRUE(writer.ok());
    EXPECT_EQ(writer.value().tensors_done(), 0u);
  }
  interrupt_after(2);
  entries_[1] = GgufEntry::u32("general.file_type", 8);
  auto writer = create();
  ASSERT_TRUE(writer.ok());
  EXPECT_EQ(writer.value().tensors_done(), 0u);
  append(writer.value(), 3);
  ASSERT_TRUE(writer.value().finish().ok());
  expect_complete();
}

// Goal: a name that is taken, a folder that is missing, a second writer: refused, nothing touched.
TEST_F(GgufWriterTest, RefusesWrongPlaces) {
  std::ofstream(path_) << "old";
  auto taken = create();
  ASSERT_FALSE(taken.ok());
  EXPECT_NE(taken.error().message.find("exists already"), std::string::npos);
  EXPECT_FALSE(fs::exists(partial()));
  {
    auto writer = create({.overwrite = true, .fingerprint = 0});
    ASSERT_TRUE(writer.ok());
    auto second = create({.overwrite = true, .fingerprint = 0});
    ASSERT_FALSE(second.ok());
    EXPECT_EQ(second.error().code, Code::kUnavailable);
    append(writer.value(), 3);
    EXPECT_EQ(fs::file_size(path_), 3u) << "the old file stays until the new one is complete";
    ASSERT_TRUE(writer.value().finish().ok());
  }
  expect_complete();
  path_ = folder_ / "missing" / "out.gguf";
  auto missing = create();
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().message.find("does not exist"), std::string::npos);
}

// Goal: more than the disk holds is refused before anything is written; a limit that strikes on the
// way ends in an error that says what to do, with nothing left behind.
TEST_F(GgufWriterTest, FullDisk) {
  tensors_ = {{"vast", DType::kF32, 2, {1 << 30, 1 << 30, 1, 1}}};
  auto vast = create();
  ASSERT_FALSE(vast.ok());
  EXPECT_EQ(vast.error().code, Code::kExhausted);
  EXPECT_NE(vast.error().message.find("are needed"), std::string::npos);
  EXPECT_TRUE(fs::is_empty(folder_));

  tensors_ = {{"much", DType::kF32, 2, {1 << 10, 1 << 10, 1, 1}}};
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1 << 20, old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  {
    auto writer = create();
    ASSERT_TRUE(writer.ok()) << writer.error().text();
    const Status full = writer.value().append(content(tensors_[0]));
    ASSERT_FALSE(full.ok());
    EXPECT_EQ(full.error().code, Code::kExhausted);
    EXPECT_NE(full.error().hint.find("make room"), std::string::npos);
  }
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(fs::is_empty(folder_));
}

}  // namespace
}  // namespace hadal
