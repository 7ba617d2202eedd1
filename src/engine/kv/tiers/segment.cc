#include "engine/kv/tiers/segment.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#include <xxhash.h>

#include "base/check.h"
#include "base/limits.h"

namespace hadal::segment {
namespace {

constexpr char kSegmentMagic[8] = {'H', 'A', 'D', 'A', 'L', 'K', 'V', 'P'};
constexpr uint32_t kRecordMagic = 0x5256'4B48;  // "HKVR"
constexpr uint64_t kAlignment = 4096;

struct RawHead {
  char magic[8];
  uint32_t version;
  uint32_t slots;
  PageKey model;
  int64_t page_tokens;
  uint64_t page_bytes;
  uint64_t check;  ///< XXH3-64 of all before
};
static_assert(sizeof(RawHead) == 56);

struct RawRecord {
  uint64_t check;  ///< XXH3-64 of the rest and of the tokens
  uint32_t magic;
  uint32_t hits;
  PageKey key;
  PageKey digest;
  uint64_t sequence;
  int64_t written_unix;
  int64_t page_tokens;
};
static_assert(sizeof(RawRecord) == 72);

uint64_t align(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

uint64_t token_bytes(const PageShape& shape) {
  return static_cast<uint64_t>(shape.tokens) * sizeof(TokenId);
}

uint64_t check_of(const RawHead& raw) {
  return XXH3_64bits(&raw, offsetof(RawHead, check));
}

uint64_t check_of(std::span<const std::byte> record, const PageShape& shape) {
  constexpr size_t kSkip = sizeof(RawRecord::check);
  return XXH3_64bits(record.data() + kSkip, sizeof(RawRecord) - kSkip + token_bytes(shape));
}

Error corrupt(std::string message) {
  return {Code::kCorrupt, std::move(message)};
}

}  // namespace

uint64_t record_stride(const PageShape& shape) {
  return align(sizeof(RawRecord) + token_bytes(shape), 64);
}

uint64_t page_stride(const PageShape& shape) {
  return align(shape.bytes, kAlignment);
}

uint64_t record_offset(const Head& head, uint64_t slot) {
  return kHeadBytes + slot * record_stride(head.shape);
}

uint64_t page_offset(const Head& head, uint64_t slot) {
  return align(record_offset(head, head.slots), kAlignment) + slot * page_stride(head.shape);
}

uint64_t file_bytes(const Head& head, uint64_t slots) {
  return page_offset(head, slots);
}

std::vector<std::byte> encode_head(const Head& head) {
  RawHead raw = {};
  std::memcpy(raw.magic, kSegmentMagic, sizeof(raw.magic));
  raw.version = kVersion;
  raw.slots = head.slots;
  raw.model = head.model;
  raw.page_tokens = head.shape.tokens;
  raw.page_bytes = head.shape.bytes;
  raw.check = check_of(raw);
  std::vector<std::byte> out(kHeadBytes);
  std::memcpy(out.data(), &raw, sizeof(raw));
  return out;
}

Result<Head> decode_head(std::span<const std::byte> bytes) {
  RawHead raw;
  if (bytes.size() < kHeadBytes) return corrupt("the file ends in its head");
  std::memcpy(&raw, bytes.data(), sizeof(raw));
  if (std::memcmp(raw.magic, kSegmentMagic, sizeof(raw.magic)) != 0) {
    return corrupt("it does not begin like a file of pages");
  }
  if (raw.check != check_of(raw)) return corrupt("its head is damaged");
  if (raw.version != kVersion) return corrupt(fmt::format("its version is {}", raw.version));
  if (raw.slots < 1 || raw.slots > limits::kKvSegmentSlots) {
    return corrupt(fmt::format("it claims {} pages", raw.slots));
  }
  if (raw.page_tokens < 1 || raw.page_tokens > limits::kKvPageTokensMax || raw.page_bytes < 1 ||
      raw.page_bytes > limits::kKvPageBytesMax) {
    return corrupt(
        fmt::format("it claims pages of {} tokens in {} bytes", raw.page_tokens, raw.page_bytes));
  }
  return Head{raw.model, {raw.page_tokens, raw.page_bytes}, raw.slots};
}

std::vector<std::byte> encode_record(const Record& record, const PageShape& shape) {
  CHECK(record.tokens.size() == static_cast<size_t>(shape.tokens));
  RawRecord raw = {};
  raw.magic = kRecordMagic;
  raw.hits = record.hits;
  raw.key = record.key;
  raw.digest = record.digest;
  raw.sequence = record.sequence;
  raw.written_unix = record.written_unix;
  raw.page_tokens = shape.tokens;
  std::vector<std::byte> out(record_stride(shape));
  std::memcpy(out.data(), &raw, sizeof(raw));
  std::memcpy(out.data() + sizeof(raw), record.tokens.data(), token_bytes(shape));
  raw.check = check_of(out, shape);
  std::memcpy(out.data(), &raw.check, sizeof(raw.check));
  return out;
}

std::optional<Record> decode_record(std::span<const std::byte> bytes, const PageShape& shape) {
  RawRecord raw;
  if (bytes.size() < record_stride(shape)) return std::nullopt;
  std::memcpy(&raw, bytes.data(), sizeof(raw));
  if (raw.magic != kRecordMagic || raw.page_tokens != shape.tokens) return std::nullopt;
  if (raw.check != check_of(bytes, shape)) return std::nullopt;
  Record record{raw.key, raw.sequence, raw.written_unix, raw.hits, raw.digest, {}};
  record.tokens.resize(static_cast<size_t>(shape.tokens));
  std::memcpy(record.tokens.data(), bytes.data() + sizeof(raw), token_bytes(shape));
  return record;
}

PageKey digest_of(const PageKey& key, std::span<const std::byte> page) {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(page.data(), page.size(), key.low);
  return {hash.high64, hash.low64};
}

}  // namespace hadal::segment
