#pragma once
/// A packed image: a model's matrices as the kernels read them, in one file that is mapped instead
/// of packing the model again. docs/formats/packed-cache.md describes it; where images lie and how
/// long they stay is up to the caller.
///
/// An image is used only when it is whole: every byte of it is covered by a digest that open()
/// computes anew.
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "tensor/dtype.h"

namespace hadal {

/// A matrix in packed form: rows [first_row, first_row + rows) of a tensor.
struct PackedPart {
  std::string name;  ///< the tensor's
  DType type = DType::kF32;
  int64_t first_row = 0;
  int64_t rows = 0;
  int64_t cols = 0;
  std::span<const uint8_t> bytes;  ///< borrowed
};

/// What an image says of itself, checked against its own length but for the digests of the data.
struct PackedIndex {
  std::string source;  ///< SHA-256 of the model's file, 64 hex digits
  std::vector<PackedPart> parts;
  std::span<const std::byte> data;  ///< all parts and what pads them
  std::vector<uint64_t> digests;    ///< XXH3-64 of each kPackedChunkBytes of `data`
};

/// How much of an image one digest covers.
inline constexpr uint64_t kPackedChunkBytes = 4 << 20;
/// Rises with every change of the file's form; kPackLayoutVersion stands beside it in the file.
inline constexpr uint32_t kPackedImageVersion = 1;

/// The result borrows from `image`. kUnsupported: another version wrote it. kCorrupt: anything else
/// that is not as write_packed_image() leaves it.
Result<PackedIndex> read_packed_index(std::span<const std::byte> image);

/// An image that was found to be whole. Immutable; owns the mapping.
class PackedImage {
 public:
  /// Maps the file and compares all digests, on all workers: about as fast as memory can be read,
  /// and afterwards the pages are there. kNotFound, kUnsupported or kCorrupt say why there is no
  /// image of `source` (64 hex digits); kDenied when someone else may write the file.
  static Result<std::unique_ptr<PackedImage>> open(const std::filesystem::path& path,
                                                   std::string_view source, ThreadPool& pool);

  /// nullptr when the image has no such part.
  const PackedPart* find(std::string_view tensor, int64_t first_row) const;
  uint64_t bytes() const { return mapping_.bytes().size(); }

 private:
  PackedImage(MappedFile mapping, PackedIndex index);
  MappedFile mapping_;
  PackedIndex index_;
  std::vector<uint32_t> order_;  ///< of the parts, by name and first row
};

/// Writes the image to `path` in one step: it appears complete and flushed to the disk, or not at
/// all. What a crash leaves behind is a file "PATH.draft-...". kCancelled soon after `stop` became
/// true.
Status write_packed_image(const std::filesystem::path& path, std::string_view source,
                          std::span<const PackedPart> parts, const std::atomic<bool>& stop);

}  // namespace hadal
