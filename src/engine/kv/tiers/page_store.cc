#include "engine/kv/tiers/page_store.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <tuple>

#include <fmt/format.h>
#include <xxhash.h>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"

namespace hadal {
namespace {

constexpr int64_t kMicros = 1'000'000;
constexpr std::string_view kSegmentSuffix = ".kv";
constexpr size_t kNumberDigits = 8;
constexpr size_t kModelDigits = 32;
constexpr size_t kSecretBytes = 16;
constexpr size_t kSecretFileBytes = kSecretBytes + sizeof(uint64_t);  // and its XXH3-64

/// A cache of many segments opens slowly: big caches have bigger segments instead.
constexpr uint64_t kSegmentsWanted = 256;

std::optional<uint32_t> segment_number(const std::string& name) {
  if (name.size() != kNumberDigits + kSegmentSuffix.size() || !name.ends_with(kSegmentSuffix))
    return std::nullopt;
  uint32_t number = 0;
  for (const char c : name.substr(0, kNumberDigits)) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && (c < 'a' || c > 'f')) return std::nullopt;
    number = number * 16 + static_cast<uint32_t>(digit ? c - '0' : c - 'a' + 10);
  }
  return number;
}

bool is_model_directory(const FileLayer::Listed& entry) {
  return entry.is_directory && entry.name.size() == kModelDigits &&
         entry.name.find_first_not_of("0123456789abcdef") == std::string::npos;
}

constexpr uint64_t slot_of(uint32_t number, uint64_t index) {
  return uint64_t{number} << 32 | index;
}
constexpr uint32_t number_of(uint64_t slot) {
  return static_cast<uint32_t>(slot >> 32);
}
constexpr uint64_t index_of(uint64_t slot) {
  return slot & 0xFFFF'FFFF;
}

}  // namespace

std::vector<std::filesystem::path> page_files(const std::filesystem::path& directory,
                                              FileLayer& files) {
  std::vector<std::filesystem::path> out;
  const auto models = files.list(directory);
  if (!models.ok()) return out;
  for (const FileLayer::Listed& model : models.value()) {
    if (!is_model_directory(model)) continue;
    const auto segments = files.list(directory / model.name);
    if (!segments.ok()) continue;
    for (const FileLayer::Listed& segment : segments.value()) {
      if (!segment.is_directory && segment_number(segment.name).has_value()) {
        out.push_back(directory / model.name / segment.name);
      }
    }
  }
  return out;
}

struct PageStore::Found {
  segment::Record record;
  uint64_t slot;
};

PageStore::PageStore(const PageStoreOptions& options, FileLayer& files, Env& env,
                     TierCounters& counters)
    : options_(options), files_(files), env_(env), counters_(counters) {}

Result<std::unique_ptr<PageStore>> PageStore::open(const PageStoreOptions& options,
                                                   FileLayer& files, Env& env,
                                                   TierCounters& counters) {
  CHECK(options.shape.tokens > 0 && options.shape.tokens <= limits::kKvPageTokensMax);
  CHECK(options.shape.bytes > 0 && options.shape.bytes <= limits::kKvPageBytesMax);
  std::unique_ptr<PageStore> store(new PageStore(options, files, env, counters));
  TRY_STATUS(files.make_private_directory(options.directory));
  TRY(store->lock_, files.lock(options.directory / ".lock"));
  TRY_STATUS(store->take_secret());
  const std::string all = fmt::format("{}|{}|{}|{}|{}", store->secret_, options.fingerprint,
                                      options.shape.tokens, options.shape.bytes, segment::kVersion);
  store->model_ = root_key(all, "directory");
  store->own_directory_ =
      options.directory / fmt::format("{:016x}{:016x}", store->model_.high, store->model_.low);
  TRY_STATUS(files.make_private_directory(store->own_directory_));
  TRY_STATUS(store->scan_directory());
  store->shrink_to_budget();
  counters.bytes_max = options.bytes;
  store->count();
  return store;
}

/// A secret that cannot be read is replaced: pages under the old one are never found again and make
/// room in time.
Status PageStore::take_secret() {
  const std::filesystem::path path = options_.directory / "secret";
  std::array<std::byte, kSecretFileBytes> bytes = {};
  const std::span<std::byte> secret = std::span(bytes).first(kSecretBytes);
  const auto check = [&] { return XXH3_64bits(secret.data(), secret.size()); };
  {
    const auto file = files_.open(path, FileLayer::Mode::kRead);
    if (file.ok()) {
      TRY(const size_t size, files_.read(file.value(), bytes, 0));
      uint64_t stored = 0;
      std::memcpy(&stored, bytes.data() + kSecretBytes, sizeof(stored));
      if (size == bytes.size() && stored == check()) {
        secret_.assign(reinterpret_cast<const char*>(secret.data()), secret.size());
        return {};
      }
      TRY_STATUS(files_.remove(path));
    } else if (file.error().code != Code::kNotFound) {
      return file.error();
    }
  }
  env_.random_bytes(secret);
  const uint64_t stored = check();
  std::memcpy(bytes.data() + kSecretBytes, &stored, sizeof(stored));
  TRY(const FileHandle file, files_.open(path, FileLayer::Mode::kCreate));
  TRY_STATUS(files_.write(file, bytes, 0));
  secret_.assign(reinterpret_cast<const char*>(secret.data()), secret.size());
  return {};
}

Status PageStore::scan_directory() {
  TRY(const auto entries, files_.list(options_.directory));
  for (const FileLayer::Listed& entry : entries) {
    const std::filesystem::path path = options_.directory / entry.name;
    if (path == own_directory_) {
      TRY_STATUS(scan_own());
    } else if (is_model_directory(entry)) {
      TRY_STATUS(scan_foreign(path));
    } else if (!entry.is_directory) {
      other_bytes_ += entry.bytes;
    }
  }
  bytes_ += other_bytes_;
  std::sort(foreign_.begin(), foreign_.end(),
            [](const Foreign& a, const Foreign& b) { return a.modified_unix > b.modified_unix; });
  return {};
}

Status PageStore::scan_foreign(const std::filesystem::path& directory) {
  TRY(const auto entries, files_.list(directory));
  if (entries.empty()) return files_.remove(directory);
  for (const FileLayer::Listed& entry : entries) {
    if (!entry.is_directory && segment_number(entry.name).has_value()) {
      foreign_.push_back({directory / entry.name, entry.bytes, entry.modified_unix});
      bytes_ += entry.bytes;
    } else {
      other_bytes_ += entry.bytes;
    }
  }
  return {};
}

Status PageStore::scan_own() {
  TRY(auto entries, files_.list(own_directory_));
  std::vector<Found> found;
  for (const FileLayer::Listed& entry : entries) {
    const auto number = segment_number(entry.name);
    if (number.has_value() && !entry.is_directory) {
      scan_segment(*number, entry.bytes, found);
    } else {
      other_bytes_ += entry.bytes;
    }
  }
  index_found(std::move(found));
  return {};
}

/// A file that cannot be one of ours is removed: the directory is ours alone.
void PageStore::scan_segment(uint32_t number, uint64_t file_bytes, std::vector<Found>& found) {
  Segment segment;
  segment.path = own_directory_ / fmt::format("{:08x}{}", number, kSegmentSuffix);
  segment.bytes = file_bytes;
  const auto useless = [&](const std::string& reason) {
    log_event(LogLevel::kWarn, "kv_disk.segment_removed",
              {{"file", segment.path.filename().string()}, {"reason", reason}});
    ++counters_.corrupt;
    if (!files_.remove(segment.path).ok()) other_bytes_ += file_bytes;
  };
  const auto file = files_.open(segment.path, FileLayer::Mode::kRead);
  if (!file.ok()) return useless(file.error().message);
  std::vector<std::byte> bytes(segment::kHeadBytes);
  const auto head_size = files_.read(file.value(), bytes, 0);
  if (!head_size.ok()) return useless(head_size.error().message);
  const auto head = segment::decode_head(std::span(bytes).first(head_size.value()));
  if (!head.ok()) return useless(head.error().message);
  if (head.value().model != model_ || head.value().shape != options_.shape) {
    return useless("it belongs to another model");
  }
  segment.head = head.value();
  const uint64_t stride = segment::record_stride(options_.shape);
  bytes.resize(segment.head.slots * stride);
  const auto table = files_.read(file.value(), bytes, segment::kHeadBytes);
  if (!table.ok()) return useless(table.error().message);

  for (uint64_t i = 0; i < segment.head.slots; ++i) {
    if (segment::page_offset(segment.head, i) >= file_bytes) break;
    segment.used = i + 1;
    const bool whole = segment::page_offset(segment.head, i) + options_.shape.bytes <= file_bytes &&
                       (i + 1) * stride <= table.value();
    auto record =
        segment::decode_record(std::span(bytes).subspan(i * stride, stride), options_.shape);
    if (whole && record.has_value()) {
      found.push_back({std::move(*record), slot_of(number, i)});
    } else {
      free_.push_back(slot_of(number, i));
    }
  }
  segment.bytes = std::max(file_bytes, segment::file_bytes(segment.head, segment.used));
  bytes_ += segment.bytes;
  segments_.emplace(number, std::move(segment));
}

/// How recently a page was used is not on disk: what was written last, and used often before,
/// counts as used last.
void PageStore::index_found(std::vector<Found> found) {
  std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) {
    return std::tie(a.record.written_unix, a.record.hits, a.record.sequence) <
           std::tie(b.record.written_unix, b.record.hits, b.record.sequence);
  });
  const int64_t now = env_.unix_micros();
  const MutexLock lock(mu_);
  for (const Found& one : found) {
    const segment::Record& record = one.record;
    sequence_ = std::max(sequence_, record.sequence);
    if (const PageIndex::Entry* other = index_.find(record.key); other != nullptr) {
      // Written twice, which a kill between eviction and writing can leave. Both are right.
      free_.push_back(one.slot);
      continue;
    }
    const int64_t written = std::min(record.written_unix, now / kMicros) * kMicros;
    index_.insert({record.key, one.slot, record.hits, written});
    ++segments_[number_of(one.slot)].live;
  }
}

/// First other models' segments, then ours, those of pages unused for longest first.
void PageStore::shrink_to_budget() {
  remove_foreign(0);
  if (bytes_ <= options_.bytes) return;
  std::map<uint32_t, int64_t> used;
  {
    const MutexLock lock(mu_);
    for (const PageIndex::Entry& entry : index_.entries()) {
      int64_t& last = used[number_of(entry.slot)];
      last = std::max(last, entry.used_micros);
    }
  }
  std::vector<std::pair<int64_t, uint32_t>> order;
  for (const auto& [number, segment] : segments_) order.emplace_back(used[number], number);
  std::sort(order.begin(), order.end());
  for (const auto& [last, number] : order) {
    if (bytes_ <= options_.bytes) break;
    remove_segment(segments_.find(number));
  }
}

bool PageStore::holds(const PageKey& key) const {
  const MutexLock lock(mu_);
  const PageIndex::Entry* entry = index_.find(key);
  if (entry == nullptr) return false;
  return options_.seconds == 0 ||
         entry->used_micros >= env_.unix_micros() - options_.seconds * kMicros;
}

void PageStore::touch(std::span<const PageKey> keys) {
  const int64_t now = env_.unix_micros();
  const MutexLock lock(mu_);
  for (size_t i = keys.size(); i-- > 0;) index_.touch(keys[i], 0, now);
}

void PageStore::add_hit(const PageKey& key) {
  const MutexLock lock(mu_);
  index_.add_hit(key);
}

Result<bool> PageStore::write(const Page& page, std::optional<int64_t> only_older_than) {
  CHECK(page.bytes.size() == options_.shape.bytes);
  if (holds(page.key)) {
    touch({&page.key, 1});
    return true;
  }
  TRY(const std::optional<uint64_t> slot, take_slot(only_older_than));
  if (!slot.has_value()) return false;
  const Segment& segment = segments_.find(number_of(*slot))->second;
  segment::Record record;
  record.key = page.key;
  record.sequence = ++sequence_;
  record.written_unix = env_.unix_micros() / kMicros;
  record.hits = page.hits;
  record.digest = segment::digest_of(page.key, page.bytes);
  record.tokens.assign(page.tokens.begin(), page.tokens.end());
  const auto write_both = [&]() -> Status {
    TRY(const FileHandle file, files_.open(segment.path, FileLayer::Mode::kReadWrite));
    // The page first: a record that is there before its page would name what lay there.
    TRY_STATUS(files_.write(file, page.bytes, segment::page_offset(segment.head, index_of(*slot))));
    return files_.write(file, segment::encode_record(record, options_.shape),
                        segment::record_offset(segment.head, index_of(*slot)));
  };
  if (const Status status = write_both(); !status.ok()) {
    if (status.error().code == Code::kNotFound) {  // somebody cleared the directory
      remove_segment(segments_.find(number_of(*slot)));
      count();
      return false;
    }
    free_.push_back(*slot);
    return status.error();
  }
  {
    const MutexLock lock(mu_);
    index_.erase(page.key);  // one that is too old
    index_.insert({page.key, *slot, page.hits, env_.unix_micros()});
  }
  ++segments_.find(number_of(*slot))->second.live;
  ++counters_.stored;
  count();
  return true;
}

Result<std::optional<std::vector<TokenId>>> PageStore::read(const PageKey& key,
                                                            std::span<std::byte> out) {
  CHECK(out.size() == options_.shape.bytes);
  uint64_t slot = 0;
  {
    const MutexLock lock(mu_);
    const PageIndex::Entry* entry = index_.find(key);
    if (entry == nullptr) return std::optional<std::vector<TokenId>>();
    slot = entry->slot;
  }
  auto record = read_checked(key, slot, out);
  if (record.ok() && record.value().has_value()) {
    return std::optional(std::move(record.value()->tokens));
  }
  forget(key, slot);
  if (!record.ok() && record.error().code != Code::kNotFound) return record.error();
  ++counters_.corrupt;
  return std::optional<std::vector<TokenId>>();
}

Result<std::optional<segment::Record>> PageStore::read_checked(const PageKey& key, uint64_t slot,
                                                               std::span<std::byte> out) {
  const Segment& segment = segments_.find(number_of(slot))->second;
  TRY(const FileHandle file, files_.open(segment.path, FileLayer::Mode::kRead));
  std::vector<std::byte> head(segment::record_stride(options_.shape));
  TRY(const size_t head_size,
      files_.read(file, head, segment::record_offset(segment.head, index_of(slot))));
  auto record = segment::decode_record(std::span(head).first(head_size), options_.shape);
  if (!record.has_value() || record->key != key) return std::optional<segment::Record>();
  TRY(const size_t size,
      files_.read(file, out, segment::page_offset(segment.head, index_of(slot))));
  if (size != out.size() || segment::digest_of(key, out) != record->digest) {
    return std::optional<segment::Record>();
  }
  return record;
}

void PageStore::drop_old() {
  if (options_.seconds == 0) return;
  const int64_t before = env_.unix_micros() - options_.seconds * kMicros;
  for (;;) {
    std::optional<PageIndex::Entry> old;
    {
      const MutexLock lock(mu_);
      old = index_.take_unused(before);
    }
    if (!old.has_value()) break;
    ++counters_.expired;
    free_slot(old->slot);
  }
  count();
}

/// A slot for a new page, or nothing when there is no room.
Result<std::optional<uint64_t>> PageStore::take_slot(std::optional<int64_t> only_older_than) {
  if (free_.empty()) {
    const auto last = segments_.empty() ? segments_.end() : std::prev(segments_.end());
    if (last != segments_.end() && last->second.used < last->second.head.slots) {
      const uint64_t growth = segment::page_stride(options_.shape);
      TRY(const bool may_grow, make_room(growth));
      if (may_grow) {
        bytes_ += growth;
        last->second.bytes += growth;
        return std::optional(slot_of(last->first, last->second.used++));
      }
    } else {
      TRY(const std::optional<uint64_t> slot, new_segment());
      if (slot.has_value()) return slot;
    }
  } else {
    const uint64_t slot = free_.back();
    free_.pop_back();
    return std::optional(slot);
  }
  std::optional<PageIndex::Entry> victim;
  {
    const MutexLock lock(mu_);
    victim =
        only_older_than.has_value() ? index_.take_unused(*only_older_than) : index_.take_victim();
  }
  if (!victim.has_value()) return std::optional<uint64_t>();
  ++counters_.evicted;
  --segments_.find(number_of(victim->slot))->second.live;
  return std::optional(victim->slot);
}

Result<std::optional<uint64_t>> PageStore::new_segment() {
  const uint64_t wanted = std::min(
      std::max(limits::kKvSegmentBytes, options_.bytes / kSegmentsWanted), options_.bytes / 4);
  Segment segment;
  segment.head = {model_, options_.shape,
                  static_cast<uint32_t>(std::clamp<uint64_t>(
                      wanted / segment::page_stride(options_.shape), 1, limits::kKvSegmentSlots))};
  segment.used = 1;
  segment.bytes = segment::file_bytes(segment.head, 1);
  const uint32_t number = segments_.empty() ? 1 : segments_.rbegin()->first + 1;
  const bool numbers_left = number != 0 && segments_.size() < limits::kKvSegments;
  TRY(const bool may_grow, make_room(segment.bytes));
  if (!numbers_left || !may_grow) return std::optional<uint64_t>();
  segment.path = own_directory_ / fmt::format("{:08x}{}", number, kSegmentSuffix);
  TRY(const FileHandle file, files_.open(segment.path, FileLayer::Mode::kCreate));
  const Status status = files_.write(file, segment::encode_head(segment.head), 0);
  if (!status.ok()) {
    const Status removed = files_.remove(segment.path);
    (void)removed;  // the first error is the one to tell
    return status.error();
  }
  bytes_ += segment.bytes;
  segments_.emplace(number, std::move(segment));
  return std::optional(slot_of(number, 0));
}

void PageStore::remove_foreign(uint64_t bytes) {
  while (bytes_ + bytes > options_.bytes && !foreign_.empty()) {
    const Foreign oldest = foreign_.back();
    foreign_.pop_back();
    if (files_.remove(oldest.path).ok()) bytes_ -= oldest.bytes;
  }
}

/// Whether the files may grow by `bytes`; other models' pages go for it.
Result<bool> PageStore::make_room(uint64_t bytes) {
  remove_foreign(bytes);
  if (bytes_ + bytes > options_.bytes) return false;
  TRY(const uint64_t free, files_.free_bytes(own_directory_));
  return free >= limits::kKvDiskFreeBytes + bytes;
}

/// A page turned out not to be what it should.
void PageStore::forget(const PageKey& key, uint64_t slot) {
  {
    const MutexLock lock(mu_);
    index_.erase(key);
  }
  free_slot(slot);
  count();
}

/// The slot's page is no longer in the index; its bytes leave the disk.
void PageStore::free_slot(uint64_t slot) {
  const auto it = segments_.find(number_of(slot));
  CHECK(it != segments_.end() && it->second.live > 0);
  Segment& segment = it->second;
  if (--segment.live == 0) return remove_segment(it);
  free_.push_back(slot);
  const auto file = files_.open(segment.path, FileLayer::Mode::kReadWrite);
  if (!file.ok()) return;
  const std::vector<std::byte> none(segment::record_stride(options_.shape));
  const Status status =
      files_.write(file.value(), none, segment::record_offset(segment.head, index_of(slot)));
  (void)status;  // the page's bytes are erased or fail their check
  files_.erase(file.value(), segment::page_offset(segment.head, index_of(slot)),
               segment::page_stride(options_.shape));
}

/// Its pages go too.
void PageStore::remove_segment(SegmentMap::iterator it) {
  const uint32_t number = it->first;
  {
    const MutexLock lock(mu_);
    std::vector<PageKey> keys;
    for (const PageIndex::Entry& entry : index_.entries()) {
      if (number_of(entry.slot) == number) keys.push_back(entry.key);
    }
    for (const PageKey& key : keys) index_.erase(key);
  }
  std::erase_if(free_, [&](uint64_t slot) { return number_of(slot) == number; });
  const Status status = files_.remove(it->second.path);
  if (status.ok() || status.error().code == Code::kNotFound) bytes_ -= it->second.bytes;
  segments_.erase(it);
}

void PageStore::count() {
  const MutexLock lock(mu_);
  counters_.pages = index_.size();
  counters_.bytes = bytes_;
}

}  // namespace hadal
