/// Any bytes as a packed image: its index is read or refused with a reason, and what it describes
/// lies inside the file. The digest of the index is made right first, or nothing would get past it.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include <xxhash.h>

#include "base/check.h"
#include "model/packed_layout.h"

using hadal::packed_layout::Header;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::byte> bytes(size);
  if (size > 0) std::memcpy(bytes.data(), data, size);
  bytes.shrink_to_fit();
  if (size >= sizeof(Header)) {
    Header header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    header.index_digest = 0;
    std::memcpy(bytes.data(), &header, sizeof(header));
    const uint64_t begin = hadal::packed_layout::sizes_of(header).data_begin;
    if (begin <= size) header.index_digest = XXH3_64bits(bytes.data(), begin);
    std::memcpy(bytes.data(), &header, sizeof(header));
  }
  const auto index = hadal::read_packed_index(bytes);
  if (!index.ok()) {
    CHECK(!index.error().message.empty());
    return 0;
  }
  uint64_t sum = 0;
  for (const hadal::PackedPart& part : index.value().parts) {
    for (const uint8_t byte : part.bytes) sum += byte;  // the sanitizer watches
  }
  CHECK(index.value().digests.size() * hadal::kPackedChunkBytes >= index.value().data.size());
  volatile uint64_t sink = sum;
  (void)sink;
  return 0;
}
