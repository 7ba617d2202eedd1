/// Any bytes as a segment of cached pages: the head and each record are read or refused, and what
/// is accepted can be written again as it was. Checks are made right first, or nothing would get
/// past them.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include <xxhash.h>

#include "base/check.h"
#include "base/limits.h"
#include "engine/kv/tiers/segment.h"

namespace segment = hadal::segment;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::byte> bytes(std::max(size, size_t{segment::kHeadBytes}));
  if (size > 0) std::memcpy(bytes.data(), data, size);
  constexpr size_t kHeadCheck = 48;  // docs/formats/kv-pages.md
  const uint64_t check = XXH3_64bits(bytes.data(), kHeadCheck);
  if ((data != nullptr && size > 0) && data[size - 1] % 4 != 0) {
    std::memcpy(bytes.data() + kHeadCheck, &check, sizeof(check));
  }
  const auto head = segment::decode_head(bytes);
  if (!head.ok()) {
    CHECK(!head.error().message.empty());
    return 0;
  }
  CHECK(head.value().slots <= hadal::limits::kKvSegmentSlots);
  const std::vector<std::byte> again = segment::encode_head(head.value());
  CHECK(segment::decode_head(again).ok());
  const hadal::PageShape& shape = head.value().shape;
  const uint64_t stride = segment::record_stride(shape);
  CHECK(segment::page_offset(head.value(), head.value().slots) >=
        segment::record_offset(head.value(), head.value().slots));
  for (uint64_t slot = 0; segment::record_offset(head.value(), slot) < bytes.size() && slot < 64;
       ++slot) {
    std::span<std::byte> rest =
        std::span(bytes).subspan(segment::record_offset(head.value(), slot));
    if (rest.size() >= stride) {
      const size_t covered = 64 + static_cast<size_t>(shape.tokens) * sizeof(hadal::TokenId);
      const uint64_t right = XXH3_64bits(rest.data() + 8, covered);
      if (slot % 4 != 3) std::memcpy(rest.data(), &right, sizeof(right));
    }
    const auto record = segment::decode_record(rest, shape);
    if (!record.has_value()) continue;
    CHECK(record->tokens.size() == static_cast<size_t>(shape.tokens));
    const auto copy = segment::decode_record(segment::encode_record(*record, shape), shape);
    CHECK(copy.has_value() && copy->key == record->key && copy->tokens == record->tokens);
  }
  return 0;
}
