#pragma once
/// The bytes of a packed image, shared by its reader and its writer. Little endian, as all machines
/// are that we build for. docs/formats/packed-cache.md says the same in words.
#include <cstddef>
#include <cstdint>

#include "model/packed_image.h"

namespace hadal::packed_layout {

inline constexpr char kMagic[8] = {'H', 'A', 'D', 'A', 'L', 'P', 'A', 'K'};
/// Of the data and of each part: a page, so that a part's pages are its own.
inline constexpr uint64_t kAlignment = 4096;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t layout;
  char source[64];
  uint64_t file_bytes;
  uint64_t index_bytes;
  uint32_t parts;
  uint32_t names_bytes;
  uint64_t index_digest;  ///< XXH3-64 of all before the data, this field being 0
};
static_assert(sizeof(Header) == 112);

struct Part {
  uint64_t offset;
  uint64_t bytes;
  int64_t first_row;
  int64_t rows;
  int64_t cols;
  uint32_t type;
  uint32_t name_bytes;
};
static_assert(sizeof(Part) == 48);

inline uint64_t aligned(uint64_t offset) {
  return (offset + kAlignment - 1) / kAlignment * kAlignment;
}

/// The index: header, parts, names (padded to 8 bytes), digests. The data begins at the next
/// multiple of kAlignment. No sum can overflow: the factors are 32 bits wide or bounded by the
/// file.
struct Sizes {
  uint64_t digests_begin;
  uint64_t chunks;
  uint64_t index;
  uint64_t data_begin;
};

/// The number of chunks depends on where the data begins, which depends on the size of the index:
/// `index_bytes` of the header settles it, and `index` shows whether it is the right one.
inline Sizes sizes_of(const Header& header) {
  Sizes sizes{};
  const uint64_t names_end =
      sizeof(Header) + uint64_t{header.parts} * sizeof(Part) + header.names_bytes;
  sizes.digests_begin = (names_end + 7) / 8 * 8;
  sizes.data_begin = aligned(header.index_bytes);
  const uint64_t data = header.file_bytes - sizes.data_begin;
  sizes.chunks = header.file_bytes <= sizes.data_begin
                     ? 0
                     : (data + kPackedChunkBytes - 1) / kPackedChunkBytes;
  sizes.index = sizes.digests_begin + sizes.chunks * sizeof(uint64_t);
  return sizes;
}

}  // namespace hadal::packed_layout
