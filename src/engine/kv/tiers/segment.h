#pragma once
/// The bytes of a segment file: a head, a table of record heads, the pages' bytes. The format is
/// described in docs/formats/kv-pages.md. Pure functions; what they read may be anything.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/kv/tier.h"

namespace hadal::segment {

inline constexpr uint32_t kVersion = 1;
inline constexpr uint64_t kHeadBytes = 4096;  ///< the segment's head, padded

/// What all records of a segment have in common.
struct Head {
  PageKey model;  ///< which model's pages (PageStore's fingerprint)
  PageShape shape;
  uint32_t slots = 0;
};

/// What is known of a page besides its bytes.
struct Record {
  PageKey key;
  uint64_t sequence = 0;     ///< rises with every page written; the newest of two is right
  int64_t written_unix = 0;  ///< seconds
  uint32_t hits = 0;
  PageKey digest;  ///< XXH3-128 of the page's bytes, seeded with the key
  std::vector<TokenId> tokens;
};

/// Bytes between two record heads.
uint64_t record_stride(const PageShape& shape);
/// Bytes between two pages.
uint64_t page_stride(const PageShape& shape);
uint64_t record_offset(const Head& head, uint64_t slot);
uint64_t page_offset(const Head& head, uint64_t slot);
/// Bytes of a file whose first `slots` slots are used.
uint64_t file_bytes(const Head& head, uint64_t slots);

/// kHeadBytes bytes.
std::vector<std::byte> encode_head(const Head& head);
/// kCorrupt with a reason for anything that encode_head cannot have made.
Result<Head> decode_head(std::span<const std::byte> bytes);

/// record_stride bytes.
std::vector<std::byte> encode_record(const Record& record, const PageShape& shape);
/// Nothing when the bytes are not a whole record of this shape.
std::optional<Record> decode_record(std::span<const std::byte> bytes, const PageShape& shape);

PageKey digest_of(const PageKey& key, std::span<const std::byte> page);

}  // namespace hadal::segment
