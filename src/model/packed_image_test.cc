#include "model/packed_image.h"

#include <cstring>
#include <fstream>
#include <functional>
#include <thread>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "kernels/pack.h"
#include "model/packed_layout.h"
#include "model/test_model.h"
#include "model/testing/scratch_directory.h"

namespace hadal {
namespace {

using packed_layout::Header;
using packed_layout::Part;

using testing_model::ScratchDirectory;

const std::string kSource(64, 'a');
const std::atomic<bool> kGo = false;

/// Parts of uneven sizes, one of them longer than a chunk.
struct Sample {
  Sample() {
    const std::pair<const char*, size_t> sizes[] = {
        {"token_embd.weight", 100},
        {"blk.0.ffn_up.weight", kPackedChunkBytes + 12345},
        {"x", 4096}};
    for (const auto& [name, size] : sizes) {
      std::vector<uint8_t>& bytes = memory.emplace_back(size);
      for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i * 7 + size + i / 251);
    }
    for (size_t i = 0; i < memory.size(); ++i) {
      parts.push_back({sizes[i].first, DType::kQ4_K, static_cast<int64_t>(i), 16, 256, memory[i]});
    }
  }
  std::vector<std::vector<uint8_t>> memory;
  std::vector<PackedPart> parts;
};

std::vector<std::byte> contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> chars{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::byte> bytes(chars.size());
  std::memcpy(bytes.data(), chars.data(), chars.size());
  return bytes;
}

void replace(const std::filesystem::path& path, const std::vector<std::byte>& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  ::chmod(path.c_str(), 0600);
}

// Goal: what was written is found again, byte for byte, and nothing else is left in the directory.
TEST(PackedImage, RoundTrip) {
  const ScratchDirectory directory;
  const Sample sample;
  ASSERT_TRUE(write_packed_image(directory.file(), kSource, sample.parts, kGo).ok());
  EXPECT_EQ(directory.files(), 1u);
  ThreadPool pool(2);
  const auto image = PackedImage::open(directory.file(), kSource, pool);
  ASSERT_TRUE(image.ok()) << image.error().message;
  for (const PackedPart& part : sample.parts) {
    const PackedPart* found = image.value()->find(part.name, part.first_row);
    ASSERT_NE(found, nullptr) << part.name;
    EXPECT_EQ(found->type, part.type);
    EXPECT_EQ(found->rows, part.rows);
    EXPECT_EQ(found->cols, part.cols);
    EXPECT_TRUE(
        std::equal(found->bytes.begin(), found->bytes.end(), part.bytes.begin(), part.bytes.end()));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(found->bytes.data()) % 64, 0u);
  }
  EXPECT_EQ(image.value()->find("x", 0), nullptr);
  EXPECT_EQ(image.value()->find("y", 2), nullptr);
}

// Goal: a flipped bit is found wherever it is: in every byte before the data, and in the data at
// the edges of parts, paddings and chunks.
TEST(PackedImage, EveryFlippedBitIsFound) {
  const ScratchDirectory directory;
  const Sample sample;
  ASSERT_TRUE(write_packed_image(directory.file(), kSource, sample.parts, kGo).ok());
  std::vector<std::byte> bytes = contents(directory.file());
  const uint64_t data = bytes.size() - read_packed_index(bytes).value().data.size();
  for (uint64_t at = 0; at < data; ++at) {
    bytes[at] ^= std::byte{1};
    EXPECT_FALSE(read_packed_index(bytes).ok()) << at;
    bytes[at] ^= std::byte{1};
  }
  ThreadPool pool(2);
  for (const uint64_t at : {data, data + 99, data + 100, data + 4095, data + kPackedChunkBytes - 1,
                            data + kPackedChunkBytes, uint64_t{bytes.size() - 1}}) {
    bytes[at] ^= std::byte{0x10};
    replace(directory.file(), bytes);
    const auto image = PackedImage::open(directory.file(), kSource, pool);
    ASSERT_FALSE(image.ok()) << at;
    EXPECT_EQ(image.error().code, Code::kCorrupt);
    bytes[at] ^= std::byte{0x10};
  }
  replace(directory.file(), bytes);
  EXPECT_TRUE(PackedImage::open(directory.file(), kSource, pool).ok());
}

// Goal: a file that is shorter or longer than it was written is refused at any length.
TEST(PackedImage, WrongLengthsAreRefused) {
  const ScratchDirectory directory;
  const Sample sample;
  ASSERT_TRUE(write_packed_image(directory.file(), kSource, sample.parts, kGo).ok());
  std::vector<std::byte> bytes = contents(directory.file());
  const std::span<const std::byte> all = bytes;
  for (const size_t length :
       {size_t{0}, size_t{1}, sizeof(Header) - 1, sizeof(Header), sizeof(Header) + 47, size_t{4095},
        size_t{4096}, bytes.size() / 2, bytes.size() - 1}) {
    const auto index = read_packed_index(all.first(length));
    ASSERT_FALSE(index.ok()) << length;
    EXPECT_EQ(index.error().code, Code::kCorrupt);
  }
  bytes.push_back(std::byte{0});
  EXPECT_FALSE(read_packed_index(bytes).ok());
}

// Goal: each field of header and parts is checked by itself, with the index's digest made right.
TEST(PackedImage, EveryFieldIsChecked) {
  const ScratchDirectory directory;
  const Sample sample;
  ASSERT_TRUE(write_packed_image(directory.file(), kSource, sample.parts, kGo).ok());
  const std::vector<std::byte> good = contents(directory.file());
  const auto refused = [&](const std::function<void(Header&, Part&)>& change) {
    std::vector<std::byte> bytes = good;
    Header header;
    Part part;
    std::memcpy(&header, bytes.data(), sizeof(header));
    std::memcpy(&part, bytes.data() + sizeof(header) + sizeof(part), sizeof(part));  // the second
    const uint64_t begin = packed_layout::aligned(header.index_bytes);
    change(header, part);
    header.index_digest = 0;
    std::memcpy(bytes.data(), &header, sizeof(header));
    std::memcpy(bytes.data() + sizeof(header) + sizeof(part), &part, sizeof(part));
    header.index_digest = XXH3_64bits(bytes.data(), begin);
    std::memcpy(bytes.data(), &header, sizeof(header));
    return !read_packed_index(bytes).ok();
  };
  EXPECT_FALSE(refused([](Header&, Part&) {}));
  EXPECT_TRUE(refused([](Header& h, Part&) { h.magic[0] = 'h'; }));
  EXPECT_TRUE(refused([](Header& h, Part&) { ++h.version; }));
  EXPECT_TRUE(refused([](Header& h, Part&) { ++h.layout; }));
  EXPECT_TRUE(refused([](Header& h, Part&) { h.file_bytes = ~uint64_t{0}; }));
  EXPECT_TRUE(refused([](Header& h, Part&) { h.index_bytes = ~uint64_t{0}; }));
  EXPECT_TRUE(refused([](Header& h, Part&) { h.parts = 0; }));
  EXPECT_TRUE(refused([](Header& h, Part&) { h.parts = ~0U; }));
  EXPECT_TRUE(refused([](Header& h, Part&) { h.names_bytes = ~0U; }));
  EXPECT_TRUE(refused([](Header& h, Part&) { --h.names_bytes; }));
  EXPECT_TRUE(refused([](Header&, Part& p) { p.offset += packed_layout::kAlignment; }));
  EXPECT_TRUE(refused([](Header&, Part& p) { p.offset = ~uint64_t{0}; }));
  EXPECT_TRUE(refused([](Header&, Part& p) { p.bytes = ~uint64_t{0}; }));
  EXPECT_TRUE(refused([](Header&, Part& p) { p.bytes = 0; }));
  EXPECT_TRUE(refused([](Header&, Part& p) { p.type = 4; }));
  EXPECT_TRUE(refused([](Header&, Part& p) { p.name_bytes = ~0U; }));
}

// Goal: another model's image, a link and a file that others may write are not used.
TEST(PackedImage, StrangersAreNotTrusted) {
  const ScratchDirectory directory;
  const Sample sample;
  ThreadPool pool(1);
  EXPECT_EQ(PackedImage::open(directory.file(), kSource, pool).error().code, Code::kNotFound);
  ASSERT_TRUE(write_packed_image(directory.file(), kSource, sample.parts, kGo).ok());
  EXPECT_FALSE(PackedImage::open(directory.file(), std::string(64, 'b'), pool).ok());
  ::chmod(directory.file().c_str(), 0620);
  EXPECT_EQ(PackedImage::open(directory.file(), kSource, pool).error().code, Code::kDenied);
  ::chmod(directory.file().c_str(), 0600);
  EXPECT_TRUE(PackedImage::open(directory.file(), kSource, pool).ok());
  const std::filesystem::path link = directory.file().string() + "-link";
  std::filesystem::create_symlink(directory.file(), link);
  EXPECT_EQ(PackedImage::open(link, kSource, pool).error().code, Code::kDenied);
}

// Goal: a writer that is stopped leaves nothing; writers at the same time leave a whole image.
TEST(PackedImage, WritersNeverLeaveAHalf) {
  const ScratchDirectory directory;
  const Sample sample;
  const std::atomic<bool> stop = true;
  EXPECT_EQ(write_packed_image(directory.file(), kSource, sample.parts, stop).error().code,
            Code::kCancelled);
  EXPECT_EQ(directory.files(), 0u);
  std::vector<std::thread> writers;
  for (int i = 0; i < 3; ++i) {
    writers.emplace_back([&] {
      EXPECT_TRUE(write_packed_image(directory.file(), kSource, sample.parts, kGo).ok());
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(directory.files(), 1u);
  ThreadPool pool(2);
  EXPECT_TRUE(PackedImage::open(directory.file(), kSource, pool).ok());
}

// Goal: a model whose weights lie in an image computes the same bits as one that packed them.
TEST(PackedImage, SameLogits) {
  const ScratchDirectory directory;
  const std::vector<std::byte> bytes = testing_model::tiny_model().build();
  const GgufFile file = GgufFile::from_memory(bytes).value();
  ThreadPool pool(2);
  const auto packed = Model::load(file, {}, pool).value();
  if (current_isa() == Isa::kReference) {  // reads the file's own form: there is nothing to keep
    EXPECT_TRUE(packed->packed_parts().empty());
    return;
  }
  ASSERT_TRUE(write_packed_image(directory.file(), kSource, packed->packed_parts(), kGo).ok());
  const auto image = PackedImage::open(directory.file(), kSource, pool).value();
  LoadOptions options;
  options.packed = image.get();
  const auto mapped = Model::load(file, options, pool).value();
  const uint8_t* first = mapped->packed_parts().front().bytes.data();
  EXPECT_EQ(first, image->find(mapped->packed_parts().front().name, 0)->bytes.data());
  const auto logits_of = [&](Model& model) {
    KvPool kv(model.kv_layout(), 4, 1);
    const std::vector<PageId> pages = {0};
    const Batch batch{{{3, 0, 0, false}, {5, 1, 0, true}}, {{pages}}};
    std::vector<float> logits(static_cast<size_t>(model.n_vocab()));
    EXPECT_TRUE(model.forward(batch, kv, logits).ok());
    return logits;
  };
  EXPECT_EQ(logits_of(*packed), logits_of(*mapped));
}

}  // namespace
}  // namespace hadal
