#pragma once
/// The packed cache: images of models in packed form (model/packed_image.h), kept between runs in
/// HADAL_HOME/packed, so that the next start maps an image instead of packing the model.
///
/// Nothing here but pack() can fail a load: what is missing, damaged or not ours is packed again,
/// what cannot be written is logged. docs/formats/packed-cache.md says what lies in the directory.
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/limits.h"
#include "base/mutex.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "model/model.h"
#include "model/packed_image.h"
#include "tensor/gguf.h"

namespace hadal {

/// An image as `hadal cache` shows it.
struct CachedImage {
  std::filesystem::path path;
  uint64_t bytes = 0;
  int64_t used_unix = 0;             ///< seconds; when a model was last loaded from it
  std::vector<std::string> sources;  ///< model files that it stands for and that are still there
};

/// The files that a model came from, and when they were opened.
struct OpenedModel {
  std::vector<GgufFile::Origin> origins;
  int64_t unix_ns = 0;
};

/// SHA-256 of a model's file; of a split or a directory, of its files' digests. Reads them all;
/// kCancelled soon after `stop` (may be null) became true.
Result<std::string> model_digest(const std::vector<GgufFile::Origin>& origins,
                                 const std::atomic<bool>* stop = nullptr);

/// A model that is to be packed straight into the cache.
struct PackingJob {
  OpenedModel opened;
  std::span<const UnpackedPart> parts;
  PackingHooks hooks;
};

/// How large and how full the disk of a directory is.
using DiskSpace =
    std::function<std::filesystem::space_info(const std::filesystem::path&, std::error_code&)>;

class PackedCache {
 public:
  explicit PackedCache(std::filesystem::path directory,
                       uint64_t bytes_min = limits::kPackedImageBytesMin,
                       DiskSpace space = disk_space)
      : directory_(std::move(directory)), bytes_min_(bytes_min), space_(std::move(space)) {}

  /// The image of the open file, found whole; null when there is none to be trusted.
  std::unique_ptr<PackedImage> find(const GgufFile& file, ThreadPool& pool) const;

  /// The open file's model_digest() when it is known already.
  std::optional<std::string> digest(const GgufFile& file) const;

  /// Keeps `parts` as the image of the file, unless it is small, the file was changed since it was
  /// opened or right before, another process is writing or the disk is too full: all images
  /// together leave it 2 GiB and as much as they take. Old images make room.
  Status keep(const OpenedModel& opened, std::span<const PackedPart> parts,
              const std::atomic<bool>& stop) const;

  /// Packs a model that no memory holds into its image, part by part, and maps that. Waits for
  /// another process that writes. The image takes what the disk has but for 2 GiB; older ones make
  /// room. kExhausted says how much is needed where; kCancelled comes soon after `stop` became
  /// true; in any case of an error nothing is left behind.
  Result<std::unique_ptr<PackedImage>> pack(const PackingJob& job, ThreadPool& pool,
                                            const std::atomic<bool>& stop) const;

  std::vector<CachedImage> images() const;
  /// Removes all images, or those whose models are gone; returns the bytes that became free. A
  /// process that uses one keeps its pages.
  uint64_t clear() const;
  uint64_t clear_orphans() const;

 private:
  std::filesystem::path image_path(const std::string& sha256) const;
  /// kSpare: the disk can do without it; kNeeded: there is no start without it.
  enum class Room : uint8_t { kSpare, kNeeded };
  Status make_room(uint64_t bytes, Room room) const;
  Status write_record(const OpenedModel& opened, const std::string& sha256) const;
  /// The image, of `bytes`, of a model whose file was only moved or touched; it gets a record. Null
  /// when there is none. Hashes the model only if an image of that size is there.
  std::unique_ptr<PackedImage> find_renamed(const OpenedModel& opened, uint64_t bytes,
                                            ThreadPool& pool, const std::atomic<bool>& stop) const;

  static std::filesystem::space_info disk_space(const std::filesystem::path& directory,
                                                std::error_code& failed) {
    return std::filesystem::space(directory, failed);
  }

  std::filesystem::path directory_;
  uint64_t bytes_min_;  ///< of images that keep() keeps
  DiskSpace space_;
};

/// Runs PackedCache::keep() beside the model's work, on a thread of low priority. The
/// destructor lets it finish for some seconds, then stops it: a program that answers one prompt
/// would else never get its image.
class PackedKeeper {
 public:
  /// `parts` must outlive this object.
  PackedKeeper(PackedCache cache, OpenedModel opened, std::span<const PackedPart> parts);
  ~PackedKeeper();
  PackedKeeper(const PackedKeeper&) = delete;

 private:
  std::atomic<bool> stop_ = false;
  Mutex mutex_;
  CondVar changed_;
  bool done_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace hadal
