/// Reading packed images: header -> parts -> names -> digests -> data.
#include "model/packed_image.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <tuple>
#include <utility>

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>  // XXH3 of the widest vectors at hand
#endif

#include "base/limits.h"
#include "kernels/pack.h"
#include "model/packed_layout.h"

namespace hadal {
namespace {

using packed_layout::Header;
using packed_layout::kAlignment;
using packed_layout::Part;

Error corrupt(std::string_view what) {
  return Error{Code::kCorrupt, fmt::format("the packed image is damaged: {}", what)};
}

template <typename T>
T read_at(std::span<const std::byte> bytes, uint64_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

/// The header, which is all that stands before the index's own digest protects the rest.
Result<Header> read_header(std::span<const std::byte> image) {
  if (image.size() < sizeof(Header)) return corrupt("it is shorter than its header");
  const auto header = read_at<Header>(image, 0);
  if (std::memcmp(header.magic, packed_layout::kMagic, sizeof(header.magic)) != 0) {
    return corrupt("it does not start as one");
  }
  if (header.version != kPackedImageVersion || header.layout != kPackLayoutVersion) {
    return Error{
        Code::kUnsupported,
        fmt::format("the packed image has version {} and layout {}, expected {} and {}",
                    header.version, header.layout, kPackedImageVersion, kPackLayoutVersion)};
  }
  if (header.file_bytes != image.size()) {
    return corrupt(
        fmt::format("it has {} bytes, but was written with {}", image.size(), header.file_bytes));
  }
  if (header.parts == 0 || header.parts > limits::kPackedParts ||
      header.index_bytes > limits::kPackedIndexBytes || header.index_bytes > image.size()) {
    return corrupt("its index has an impossible size");
  }
  const packed_layout::Sizes sizes = packed_layout::sizes_of(header);
  if (sizes.index != header.index_bytes || sizes.data_begin > image.size()) {
    return corrupt("its index has another size than it says");
  }
  const std::span<const std::byte> index = image.first(sizes.data_begin);
  std::vector<std::byte> whole(index.begin(), index.end());
  std::memset(whole.data() + offsetof(Header, index_digest), 0, sizeof(header.index_digest));
  if (XXH3_64bits(whole.data(), whole.size()) != header.index_digest) {
    return corrupt("the digest of its index does not match");
  }
  return header;
}

/// Parts lie one behind the other, each at the next multiple of kAlignment, up to the end.
Result<std::vector<PackedPart>> read_parts(std::span<const std::byte> image, const Header& header) {
  std::vector<PackedPart> parts;
  uint64_t names = sizeof(Header) + header.parts * sizeof(Part);
  const uint64_t names_end = names + header.names_bytes;
  uint64_t end = packed_layout::sizes_of(header).data_begin;
  for (uint32_t i = 0; i < header.parts; ++i) {
    const auto part = read_at<Part>(image, sizeof(Header) + i * sizeof(Part));
    if (part.offset != packed_layout::aligned(end) || part.offset > image.size() ||
        part.bytes == 0 || part.bytes > image.size() - part.offset) {
      return corrupt(fmt::format("part {} lies outside of it", i));
    }
    end = part.offset + part.bytes;
    if (part.name_bytes > limits::kGgufTensorNameBytes || part.name_bytes > names_end - names) {
      return corrupt(fmt::format("the name of part {} is too long", i));
    }
    TRY(const DType type, dtype_from_id(part.type));
    const auto* name = reinterpret_cast<const char*>(image.data() + names);
    names += part.name_bytes;
    parts.push_back({std::string(name, part.name_bytes),
                     type,
                     part.first_row,
                     part.rows,
                     part.cols,
                     {reinterpret_cast<const uint8_t*>(image.data() + part.offset), part.bytes}});
  }
  if (end != image.size() || names != names_end) return corrupt("its parts do not fill it");
  return parts;
}

uint64_t digest_of(std::span<const std::byte> bytes) {
#if defined(__x86_64__)
  return XXH3_64bits_dispatch(bytes.data(), bytes.size());
#else
  return XXH3_64bits(bytes.data(), bytes.size());
#endif
}

/// Brings a chunk's pages in with one call, where the kernel can (Linux 5.14). False: they cannot
/// be read, which a plain access would answer with SIGBUS.
bool populate(std::span<const std::byte> chunk) {
#ifndef MADV_POPULATE_READ
  constexpr int MADV_POPULATE_READ = 22;
#endif
  void* begin = const_cast<std::byte*>(chunk.data());
  return ::madvise(begin, chunk.size(), MADV_POPULATE_READ) == 0 || errno == EINVAL;
}

bool data_is_whole(const PackedIndex& index, ThreadPool& pool) {
  std::atomic<bool> whole = true;
  const auto chunks = static_cast<int64_t>(index.digests.size());
  pool.parallel_for(chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end && whole; ++i) {
      const uint64_t first = static_cast<uint64_t>(i) * kPackedChunkBytes;
      const auto chunk =
          index.data.subspan(first, std::min(kPackedChunkBytes, index.data.size() - first));
      if (!populate(chunk) || digest_of(chunk) != index.digests[static_cast<size_t>(i)]) {
        whole = false;
      }
    }
  });
  return whole;
}

Status check_owner(const std::filesystem::path& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    return Error{errno == ENOENT ? Code::kNotFound : Code::kIo,
                 "cannot stat " + path.string() + ": " + std::strerror(errno)};
  }
  if (!S_ISREG(info.st_mode) || info.st_uid != ::geteuid() || (info.st_mode & 022) != 0) {
    return Error{Code::kDenied, path.string() + " is not a file that this user alone may write"};
  }
  return {};
}

}  // namespace

Result<PackedIndex> read_packed_index(std::span<const std::byte> image) {
  TRY(const Header header, read_header(image));
  PackedIndex index;
  index.source.assign(header.source, sizeof(header.source));
  TRY(index.parts, read_parts(image, header));
  const packed_layout::Sizes sizes = packed_layout::sizes_of(header);
  index.data = image.subspan(sizes.data_begin);
  index.digests.resize(sizes.chunks);
  std::memcpy(index.digests.data(), image.data() + sizes.digests_begin,
              sizes.chunks * sizeof(uint64_t));
  return index;
}

Result<std::unique_ptr<PackedImage>> PackedImage::open(const std::filesystem::path& path,
                                                       std::string_view source, ThreadPool& pool,
                                                       ImageCheck check) {
  TRY_STATUS(check_owner(path));
  TRY(MappedFile mapping, MappedFile::open(path));
  TRY(PackedIndex index, read_packed_index(mapping.bytes()));
  if (index.source != source) return corrupt("it belongs to another model file");
  // Where the page cache holds large folios, one entry then maps 2 MiB of them; what is read from
  // the disk later comes in such pieces.
  ::madvise(const_cast<std::byte*>(index.data.data()), index.data.size(), MADV_HUGEPAGE);
  if (check == ImageCheck::kAll && !data_is_whole(index, pool))
    return corrupt("the digests of its data do not match");
  return std::unique_ptr<PackedImage>(new PackedImage(std::move(mapping), std::move(index)));
}

PackedImage::PackedImage(MappedFile mapping, PackedIndex index)
    : mapping_(std::move(mapping)), index_(std::move(index)), order_(index_.parts.size()) {
  std::iota(order_.begin(), order_.end(), 0U);
  std::sort(order_.begin(), order_.end(), [&](uint32_t a, uint32_t b) {
    const PackedPart& left = index_.parts[a];
    const PackedPart& right = index_.parts[b];
    return std::tie(left.name, left.first_row) < std::tie(right.name, right.first_row);
  });
}

const PackedPart* PackedImage::find(std::string_view tensor, int64_t first_row) const {
  const auto it = std::lower_bound(order_.begin(), order_.end(), tensor,
                                   [&](uint32_t i, std::string_view name) {
                                     const PackedPart& part = index_.parts[i];
                                     const int names = std::string_view(part.name).compare(name);
                                     return names != 0 ? names < 0 : part.first_row < first_row;
                                   });
  if (it == order_.end()) return nullptr;
  const PackedPart& part = index_.parts[*it];
  return part.name == tensor && part.first_row == first_row ? &part : nullptr;
}

}  // namespace hadal
