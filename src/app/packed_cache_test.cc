#include "app/packed_cache.h"

#include <csignal>
#include <fstream>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env.h"
#include "kernels/testing/scoped_isa.h"
#include "model/test_model.h"

namespace hadal {
namespace {

const std::atomic<bool> kGo = false;

std::filesystem::path new_directory() {
  std::string name = (std::filesystem::temp_directory_path() / "hadal-cache-XXXXXX").string();
  return ::mkdtemp(name.data());
}

/// A directory with a model file and a cache that also keeps tiny images.
class PackedCacheTest : public testing::Test {
 protected:
  PackedCacheTest() { write_model(model_, 7); }
  ~PackedCacheTest() override { std::filesystem::remove_all(root_); }

  /// Models of different seeds have the same size.
  static void write_model(const std::filesystem::path& path, int seed) {
    testing_model::GgufBuilder builder = testing_model::tiny_model();
    builder.tensors["output.weight"].data[0] = static_cast<float>(seed);
    const std::vector<std::byte> bytes = builder.build();
    std::filesystem::remove(path);
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }

  /// Loads the model and keeps its image as a program would that opened the file `seconds` from
  /// now.
  Status keep(const std::filesystem::path& path, int64_t seconds = 2) {
    const GgufFile file = GgufFile::open(path).value();
    const auto model = Model::load(file, {}, pool_).value();
    const int64_t opened = Env::real().unix_micros() * 1000 + seconds * 1'000'000'000;
    return cache_.keep({file.origins(), opened}, model->packed_parts(), kGo);
  }
  bool found(const std::filesystem::path& path) {
    return cache_.find(GgufFile::open(path).value(), pool_) != nullptr;
  }

  /// What pack() does for a program that opened the file just now.
  Result<std::unique_ptr<PackedImage>> pack(const std::filesystem::path& path,
                                            const std::atomic<bool>& stop = kGo,
                                            std::function<void(const TensorView&)> packed = {}) {
    const GgufFile file = GgufFile::open(path).value();
    const int64_t opened = Env::real().unix_micros() * 1000;
    const auto parts = Model::unpacked_parts(file, pool_).value();
    return cache_.pack({{file.origins(), opened}, parts, {.packed = std::move(packed)}}, pool_,
                       stop);
  }
  /// Files in the cache but for the lock.
  size_t files() {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(directory_), {})) -
           1;
  }

  std::filesystem::path root_ = new_directory();
  std::filesystem::path model_{root_ / "model.gguf"};
  std::filesystem::path directory_{root_ / "home" / "packed"};
  std::filesystem::space_info disk_{.capacity = 100ULL << 30, .free = 0, .available = 50ULL << 30};
  PackedCache cache_{directory_, 1, [this](const auto&, std::error_code&) { return disk_; }};
  ThreadPool pool_{2};
};

// Goal: what was kept is found; a copy and a file that was only touched share the image.
TEST_F(PackedCacheTest, KeepsAndFinds) {
  EXPECT_FALSE(found(model_));
  ASSERT_TRUE(keep(model_).ok());
  EXPECT_TRUE(found(model_));
  const std::filesystem::path copy = root_ / "copy.gguf";
  std::filesystem::copy(model_, copy);
  EXPECT_FALSE(found(copy));
  ASSERT_TRUE(keep(copy).ok());
  EXPECT_TRUE(found(copy));
  ASSERT_EQ(cache_.images().size(), 1u);
  EXPECT_EQ(cache_.images()[0].sources.size(), 2u);
  EXPECT_EQ(cache_.clear_orphans(), 0u);
  EXPECT_GT(cache_.clear(), 0u);
  EXPECT_FALSE(found(model_));
}

// Goal: a digest that the cache remembers is the one that is computed without it; pages of keys and
// values on disk are found by either.
TEST_F(PackedCacheTest, RemembersTheModelsDigest) {
  const GgufFile file = GgufFile::open(model_).value();
  EXPECT_FALSE(cache_.digest(file).has_value());
  ASSERT_TRUE(keep(model_).ok());
  EXPECT_EQ(cache_.digest(file), model_digest(file.origins()).value());
}

// Goal: another file under the same name never gets the old one's image, which then goes away.
TEST_F(PackedCacheTest, ReplacedFileIsAnotherModel) {
  ASSERT_TRUE(keep(model_).ok());
  write_model(model_, 8);
  EXPECT_FALSE(found(model_));
  ASSERT_TRUE(keep(model_).ok());
  EXPECT_TRUE(found(model_));
  EXPECT_EQ(cache_.images().size(), 1u);
  {
    std::fstream in_place(model_, std::ios::binary | std::ios::in | std::ios::out);
    in_place.seekp(-40, std::ios::end);
    in_place.put('x');
  }
  EXPECT_FALSE(found(model_));
}

// Goal: a file that was changed within the clock's tick before it was opened is not kept: a second
// change could not be told from the first.
TEST_F(PackedCacheTest, FreshFilesWait) {
  const Status status = keep(model_, 0);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, Code::kUnavailable);
  EXPECT_TRUE(cache_.images().empty());
}

// Goal: a damaged image is removed, and kept anew.
TEST_F(PackedCacheTest, DamagedImageIsRebuilt) {
  ASSERT_TRUE(keep(model_).ok());
  const std::filesystem::path image = cache_.images()[0].path;
  std::filesystem::resize_file(image, cache_.images()[0].bytes - 1);
  EXPECT_FALSE(found(model_));
  EXPECT_TRUE(cache_.images().empty());
  ASSERT_TRUE(keep(model_).ok());
  EXPECT_TRUE(found(model_));
}

// Goal: a directory that others may write is neither read nor written.
TEST_F(PackedCacheTest, SharedDirectoryIsNotTrusted) {
  ASSERT_TRUE(keep(model_).ok());
  EXPECT_EQ(std::filesystem::status(directory_).permissions(), std::filesystem::perms::owner_all);
  ::chmod(directory_.c_str(), 0770);
  EXPECT_FALSE(found(model_));
  EXPECT_EQ(keep(model_).error().code, Code::kDenied);
}

// Goal: one process writes at a time, and removes what a killed one left.
TEST_F(PackedCacheTest, OneWriterAtATime) {
  ASSERT_TRUE(keep(model_).ok());
  std::ofstream(directory_ / "x.packed.draft-1") << "half";
  const int lock = ::open((directory_ / ".lock").c_str(), O_RDWR);
  ASSERT_EQ(::flock(lock, LOCK_EX), 0);
  EXPECT_EQ(keep(model_).error().code, Code::kUnavailable);
  ::close(lock);
  ASSERT_TRUE(keep(model_).ok());
  EXPECT_FALSE(std::filesystem::exists(directory_ / "x.packed.draft-1"));
}

// Goal: records that are no records are ignored, whatever they hold.
TEST_F(PackedCacheTest, DamagedRecords) {
  ASSERT_TRUE(keep(model_).ok());
  std::filesystem::path record;
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    if (entry.path().extension() == ".source") record = entry.path();
  }
  const std::string good = Env::real().read_file(record, 4096).value();
  const std::string title = good.substr(0, good.find('\n') + 1);
  for (const std::string& text :
       {std::string(), std::string("\n\n\n"), title, title + std::string(64, 'z') + "\n",
        title + std::string(64, 'a') + "\n\n", good.substr(0, good.size() - 1), good + "more\n"}) {
    ASSERT_TRUE(Env::real().write_file(record, text).ok());
    EXPECT_FALSE(found(model_)) << text;
    EXPECT_TRUE(cache_.images()[0].sources.empty() || text == good);
  }
  ASSERT_TRUE(Env::real().write_file(record, good).ok());
  EXPECT_TRUE(found(model_));
}

// Goal: a model that was packed straight into the cache has the image that keep() writes, and is
// found; its file may have been written a moment ago.
TEST_F(PackedCacheTest, PacksStraightIntoTheCache) {
  if (current_isa() == Isa::kReference) GTEST_SKIP() << kNothingPacked;
  const auto image = pack(model_);
  ASSERT_TRUE(image.ok()) << image.error().message;
  EXPECT_TRUE(found(model_));
  EXPECT_EQ(files(), 2u);
  const std::string streamed = Env::real().read_file(cache_.images()[0].path, limits::kMiB).value();
  cache_.clear();
  ASSERT_TRUE(keep(model_).ok());
  EXPECT_TRUE(streamed == Env::real().read_file(cache_.images()[0].path, limits::kMiB).value());
}

// Goal: a model whose file was moved keeps its image: nothing is packed again.
TEST_F(PackedCacheTest, MovedModelIsNotPackedAgain) {
  if (current_isa() == Isa::kReference) GTEST_SKIP() << kNothingPacked;
  ASSERT_TRUE(pack(model_).ok());
  const std::filesystem::path moved = root_ / "moved.gguf";
  std::filesystem::rename(model_, moved);
  EXPECT_FALSE(found(moved));
  int packed = 0;
  ASSERT_TRUE(pack(moved, kGo, [&](const TensorView&) { ++packed; }).ok());
  EXPECT_EQ(packed, 0);
  EXPECT_TRUE(found(moved));
}

// Goal: packing that is stopped in the middle leaves nothing, and so does one whose model file is
// replaced or changed meanwhile.
TEST_F(PackedCacheTest, PackingThatFailsLeavesNothing) {
  if (current_isa() == Isa::kReference) GTEST_SKIP() << kNothingPacked;
  std::atomic<bool> stop = false;
  EXPECT_EQ(pack(model_, stop, [&](const TensorView&) { stop = true; }).error().code,
            Code::kCancelled);
  EXPECT_EQ(files(), 0u);
  EXPECT_EQ(pack(model_, kGo, [&](const TensorView&) { write_model(model_, 9); }).error().code,
            Code::kUnavailable);
  EXPECT_EQ(files(), 0u);
  EXPECT_TRUE(pack(model_).ok());
}

// Goal: images that the disk can do without leave it 2 GiB and as much as they take; one that is
// needed leaves it 2 GiB.
TEST_F(PackedCacheTest, LeavesTheDiskRoom) {
  if (current_isa() == Isa::kReference) GTEST_SKIP() << kNothingPacked;
  ASSERT_TRUE(keep(model_).ok());
  const uint64_t bytes = cache_.images()[0].bytes;
  cache_.clear();
  disk_.available = (2ULL << 30) + bytes / 4;
  EXPECT_FALSE(keep(model_).ok());
  disk_.available = (2ULL << 30) + bytes;
  EXPECT_TRUE(pack(model_).ok());
  cache_.clear();
  disk_.available += 2 * bytes;
  EXPECT_TRUE(keep(model_).ok());
  cache_.clear();
  disk_.available = (2ULL << 30) + 8;
  EXPECT_FALSE(pack(model_).ok());
}

// Goal: a disk without room is named, with what is needed there and what to do.
TEST_F(PackedCacheTest, FullDiskIsNamed) {
  if (current_isa() == Isa::kReference) GTEST_SKIP() << kNothingPacked;
  std::filesystem::create_directories(directory_);
  ::chmod(directory_.c_str(), 0700);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit tight{4096, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &tight);
  const auto image = pack(model_);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(image.ok());
  EXPECT_EQ(image.error().code, Code::kExhausted);
  EXPECT_NE(image.error().message.find("needs "), std::string::npos) << image.error().message;
  EXPECT_NE(image.error().message.find(directory_.string()), std::string::npos);
  EXPECT_NE(image.error().hint.find("HADAL_HOME"), std::string::npos);
  EXPECT_EQ(files(), 0u);
}

// Goal: packing waits for another writer, unless it is stopped; the other's leftovers go.
TEST_F(PackedCacheTest, PackingWaitsForAnotherWriter) {
  if (current_isa() == Isa::kReference) GTEST_SKIP() << kNothingPacked;
  ASSERT_TRUE(keep(model_).ok());
  cache_.clear();
  std::ofstream(directory_ / "new.draft-1") << "half";
  const int lock = ::open((directory_ / ".lock").c_str(), O_RDWR);
  ASSERT_EQ(::flock(lock, LOCK_EX), 0);
  const std::atomic<bool> stop = true;
  EXPECT_EQ(pack(model_, stop).error().code, Code::kCancelled);
  std::atomic<bool> free = false;
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    free = true;
    ::close(lock);
  });
  const auto image = pack(model_);
  EXPECT_TRUE(free);
  other.join();
  EXPECT_TRUE(image.ok());
  EXPECT_EQ(files(), 2u);
}

}  // namespace
}  // namespace hadal
