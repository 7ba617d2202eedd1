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
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "tensor/tensor.h"

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

/// A matrix that is yet to be packed.
struct UnpackedPart {
  TensorView tensor;          ///< 2-D: the rows; its name is the whole tensor's
  int64_t first_row = 0;      ///< where they begin in the whole tensor
  uint64_t packed_bytes = 0;  ///< of the packed form, above 0
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

/// What open() compares: everything, or, of an image that this process wrote a moment ago, all but
/// the digests of the data.
enum class ImageCheck : uint8_t { kAll, kIndex };

/// An image that was found to be whole. Immutable; owns the mapping.
class PackedImage {
 public:
  /// Maps the file and compares all digests, on all workers: about as fast as memory can be read,
  /// and afterwards the pages are there. kNotFound, kUnsupported or kCorrupt say why there is no
  /// image of `source` (64 hex digits); kDenied when someone else may write the file.
  static Result<std::unique_ptr<PackedImage>> open(const std::filesystem::path& path,
                                                   std::string_view source, ThreadPool& pool,
                                                   ImageCheck check = ImageCheck::kAll);

  /// nullptr when the image has no such part.
  const PackedPart* find(std::string_view tensor, int64_t first_row) const;
  uint64_t bytes() const { return mapping_.bytes().size(); }

 private:
  PackedImage(MappedFile mapping, PackedIndex index);
  MappedFile mapping_;
  PackedIndex index_;
  std::vector<uint32_t> order_;  ///< of the parts, by name and first row
};

/// Writes an image as its bytes come, so that no memory need hold them all: it appears in one step,
/// complete and flushed to the disk, or not at all. What a crash leaves behind is the draft.
///
///   TRY(auto writer, PackedImageWriter::begin(directory / "new", parts));
///   for (each part) TRY_STATUS(writer.add(its bytes, in pieces of any size, stop));
///   return writer.finish(path, source);
class PackedImageWriter {
 public:
  /// Makes the draft, a file named `draft` + "-..." on the disk of the later image, and takes all
  /// its room there where the file system can. kExhausted: the disk is too full; kUnsupported: more
  /// parts than an image may have. `parts`, at least one, are not borrowed.
  static Result<PackedImageWriter> begin(const std::filesystem::path& draft,
                                         std::span<const UnpackedPart> parts);
  /// Removes the draft unless finish() was reached.
  ~PackedImageWriter();
  PackedImageWriter(PackedImageWriter&&) noexcept;

  /// The next bytes of the parts, in their order. kCancelled soon after `stop` became true.
  Status add(std::span<const uint8_t> bytes, const std::atomic<bool>& stop);
  /// After all bytes of all parts.
  Status finish(const std::filesystem::path& path, std::string_view source);

 private:
  struct State;
  explicit PackedImageWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// The size of an image of these parts.
uint64_t packed_image_bytes(std::span<const UnpackedPart> parts);

/// What pack_parts() tells while it works; each may be empty.
struct PackingHooks {
  std::function<void(uint64_t done, uint64_t total)> progress = {};  ///< bytes of packed form
  /// A part was packed: its rows will hardly be read again.
  std::function<void(const TensorView&)> packed = {};
};

/// Packs the parts into `writer`, a few megabytes at a time on all workers. Errors as
/// Weight::prepare() and PackedImageWriter::add().
Status pack_parts(std::span<const UnpackedPart> parts, PackedImageWriter& writer, ThreadPool& pool,
                  const PackingHooks& hooks, const std::atomic<bool>& stop);

/// The same for parts that lie in memory: writes the image to `path`; the draft is
/// "PATH.draft-...".
Status write_packed_image(const std::filesystem::path& path, std::string_view source,
                          std::span<const PackedPart> parts, const std::atomic<bool>& stop);

}  // namespace hadal
