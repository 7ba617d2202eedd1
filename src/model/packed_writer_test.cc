#include <csignal>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include "kernels/testing/scoped_isa.h"
#include "model/packed_image.h"
#include "model/test_model.h"
#include "model/testing/scratch_directory.h"

namespace hadal {
namespace {

using testing_model::ScratchDirectory;

const std::string kSource(64, 'a');
const std::atomic<bool> kGo = false;
const std::string kTiny = std::string(HADAL_SOURCE_DIR) + "/tests/golden/tiny/";

std::string contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// While it lives, no file of this process grows beyond `bytes`: what a full disk does.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

/// Memory of two parts, the first longer than a chunk, and both as they are before packing.
struct Sample {
  Sample() {
    for (const size_t size : {kPackedChunkBytes + 12345, uint64_t{100}}) {
      std::vector<uint8_t>& bytes = memory.emplace_back(size);
      for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i * 7 + i / 251);
    }
    for (const std::vector<uint8_t>& bytes : memory) {
      UnpackedPart& part = unpacked.emplace_back();
      part.tensor.name = "a tensor";
      part.tensor.type = DType::kQ8_0;
      part.tensor.ne = {32, 16, 1, 1};
      part.first_row = static_cast<int64_t>(unpacked.size());
      part.packed_bytes = bytes.size();
      packed.push_back({"a tensor", DType::kQ8_0, part.first_row, 16, 32, bytes});
    }
  }
  std::vector<std::vector<uint8_t>> memory;
  std::vector<UnpackedPart> unpacked;
  std::vector<PackedPart> packed;
};

// Goal: pieces of any size, also across parts, give the image that whole parts give, of the size
// that was announced.
TEST(PackedImageWriter, PiecesDoNotShow) {
  const ScratchDirectory directory;
  const Sample sample;
  ASSERT_TRUE(write_packed_image(directory.file(), kSource, sample.packed, kGo).ok());
  std::vector<uint8_t> all = sample.memory[0];
  all.insert(all.end(), sample.memory[1].begin(), sample.memory[1].end());
  for (const size_t piece : {size_t{100'003}, all.size() - 50, all.size()}) {
    auto writer = PackedImageWriter::begin(directory.file("new"), sample.unpacked).value();
    for (size_t at = 0; at < all.size(); at += piece) {
      const std::span<const uint8_t> rest = std::span<const uint8_t>(all).subspan(at);
      ASSERT_TRUE(writer.add(rest.first(std::min(piece, rest.size())), kGo).ok());
    }
    ASSERT_TRUE(writer.finish(directory.file("again"), kSource).ok());
    EXPECT_TRUE(contents(directory.file()) == contents(directory.file("again"))) << piece;
  }
  EXPECT_EQ(contents(directory.file()).size(), packed_image_bytes(sample.unpacked));
  EXPECT_EQ(directory.files(), 2u);
}

// Goal: packing part by part writes the bytes that a loaded model's memory holds, for models with
// and without experts and latent attention, and every part is reported once.
TEST(PackedImageWriter, SameBytesAsALoadedModel) {
  if (current_isa() == Isa::kReference) GTEST_SKIP() << kNothingPacked;
  size_t models = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kTiny)) {
    if (entry.path().extension() != ".gguf") continue;
    ++models;
    const ScratchDirectory directory;
    const GgufFile file = GgufFile::open(entry.path()).value();
    ThreadPool pool(2);
    const auto model = Model::load(file, {.predict = true}, pool);
    ASSERT_TRUE(model.ok()) << entry.path() << " " << model.error().message;
    const auto kept = model.value()->packed_parts();
    ASSERT_TRUE(write_packed_image(directory.file(), kSource, kept, kGo).ok());
    const auto parts = Model::unpacked_parts(file, pool);
    ASSERT_TRUE(parts.ok()) << entry.path() << " " << parts.error().message;
    auto writer = PackedImageWriter::begin(directory.file("new"), parts.value()).value();
    size_t reported = 0;
    uint64_t done = 0;
    uint64_t total = 0;
    const PackingHooks hooks = {
        .progress = [&](uint64_t now, uint64_t of) { done = now, total = of; },
        .packed = [&](const TensorView&) { ++reported; }};
    ASSERT_TRUE(pack_parts(parts.value(), writer, pool, hooks, kGo).ok());
    ASSERT_TRUE(writer.finish(directory.file("streamed"), kSource).ok());
    EXPECT_TRUE(contents(directory.file()) == contents(directory.file("streamed"))) << entry.path();
    EXPECT_EQ(reported, kept.size());
    EXPECT_GT(done, 0u);
    EXPECT_EQ(done, total);
  }
  EXPECT_GT(models, 5u);
}

// Goal: an image that was just written opens without its data being read: by its index alone a
// flipped bit of the data is not seen, one of the index is.
TEST(PackedImageWriter, IndexAloneIsChecked) {
  const ScratchDirectory directory;
  const Sample sample;
  ASSERT_TRUE(write_packed_image(directory.file(), kSource, sample.packed, kGo).ok());
  ThreadPool pool(1);
  const auto flip = [&](std::streamoff at) {
    std::fstream file(directory.file(), std::ios::binary | std::ios::in | std::ios::out);
    file.seekg(at);
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(at);
    file.put(byte);
  };
  const auto opens = [&](ImageCheck check) {
    return PackedImage::open(directory.file(), kSource, pool, check).ok();
  };
  flip(1 << 20);
  EXPECT_TRUE(opens(ImageCheck::kIndex));
  EXPECT_FALSE(opens(ImageCheck::kAll));
  flip(1 << 20);
  EXPECT_TRUE(opens(ImageCheck::kAll));
  flip(200);
  EXPECT_FALSE(opens(ImageCheck::kIndex));
}

// Goal: a writer that is stopped between two pieces, or given up, leaves nothing.
TEST(PackedImageWriter, StoppedInTheMiddleLeavesNothing) {
  const ScratchDirectory directory;
  const Sample sample;
  std::atomic<bool> stop = false;
  {
    auto writer = PackedImageWriter::begin(directory.file("new"), sample.unpacked).value();
    ASSERT_TRUE(writer.add(sample.memory[0], stop).ok());
    EXPECT_EQ(directory.files(), 1u);
    stop = true;
    EXPECT_EQ(writer.add(sample.memory[1], stop).error().code, Code::kCancelled);
  }
  EXPECT_EQ(directory.files(), 0u);
}

// Goal: a disk that is too full from the beginning, or becomes so, is reported with the file's
// name, and nothing is left.
TEST(PackedImageWriter, FullDisk) {
  const ScratchDirectory directory;
  const Sample sample;
  {
    const FileSizeLimit limit(kPackedChunkBytes);
    const auto writer = PackedImageWriter::begin(directory.file("new"), sample.unpacked);
    ASSERT_FALSE(writer.ok());
    EXPECT_EQ(writer.error().code, Code::kExhausted);
    EXPECT_NE(writer.error().message.find(directory.file("new").string()), std::string::npos);
  }
  EXPECT_EQ(directory.files(), 0u);
  {
    auto writer = PackedImageWriter::begin(directory.file("new"), sample.unpacked).value();
    const FileSizeLimit limit(kPackedChunkBytes / 2);
    const Status status = writer.add(sample.memory[0], kGo);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, Code::kExhausted);
    EXPECT_NE(status.error().message.find(directory.file("new").string()), std::string::npos);
  }
  EXPECT_EQ(directory.files(), 0u);
}

}  // namespace
}  // namespace hadal
