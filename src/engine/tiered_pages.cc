#include "engine/tiered_pages.h"

#include "base/log.h"
#include "engine/kv/kv_cache.h"

namespace hadal {
namespace {

/// Null for no disk, also when it cannot be used.
std::unique_ptr<DiskTier> open_disk(const TieredPagesOptions& options, FileLayer& files, Env& env) {
  if (options.disk_bytes == 0) return nullptr;
  DiskTierOptions disk;
  disk.store = {options.directory, options.fingerprint, options.shape, options.disk_bytes,
                options.disk_seconds};
  disk.own_thread = options.own_thread;
  auto tier = DiskTier::open(disk, files, env);
  if (tier.ok()) return std::move(tier).value();
  log_event(LogLevel::kError, "kv_disk.off",
            {{"reason", tier.error().text()}, {"consequence", "pages are kept in memory only"}});
  return nullptr;
}

std::string random_secret(Env& env) {
  std::string secret(16, '\0');
  env.random_bytes(std::as_writable_bytes(std::span(secret)));
  return secret;
}

}  // namespace

PageShape kv_page_shape(const KvLayout& layout) {
  return {kKvPageTokens, layout.bytes_per_token() * static_cast<uint64_t>(kKvPageTokens)};
}

KeptPages kept_pages(const std::filesystem::path& directory) {
  KeptPages kept;
  for (const std::filesystem::path& path : page_files(directory, FileLayer::real())) {
    std::error_code failed;
    const uint64_t bytes = std::filesystem::file_size(path, failed);
    if (failed) continue;
    kept.bytes += bytes;
    ++kept.files;
  }
  return kept;
}

Result<uint64_t> clear_kept_pages(const std::filesystem::path& directory) {
  std::error_code failed;
  if (!std::filesystem::exists(directory, failed)) return uint64_t{0};
  FileLayer& files = FileLayer::real();
  TRY_STATUS(files.make_private_directory(directory));
  TRY(const FileHandle lock, files.lock(directory / ".lock"));
  uint64_t bytes = 0;
  for (const std::filesystem::path& path : page_files(directory, files)) {
    const uint64_t size = std::filesystem::file_size(path, failed);
    TRY_STATUS(files.remove(path));
    if (!failed) bytes += size;
  }
  return bytes;
}

TieredPages::TieredPages(const TieredPagesOptions& options, Env& env, FileLayer& files)
    : disk_(open_disk(options, files, env)),
      ram_({options.shape, options.ram_bytes, options.ram_seconds}, disk_.get(), env),
      fingerprint_((disk_ != nullptr ? disk_->secret() : random_secret(env)) +
                   options.fingerprint) {}

TieredPages::~TieredPages() {
  note_drain();
  if (disk_ == nullptr || !draining_) return;
  ram_.flush();
  disk_->finish_drain();
}

void TieredPages::offer(const PageKey& key, std::span<const TokenId> tokens,
                        std::span<const std::byte> bytes, uint32_t hits) {
  note_drain();
  if (!draining_) return ram_.offer(key, tokens, bytes, hits);
  // What the pool holds at the end was used last: it must not push colder pages to the disk first.
  if (disk_ != nullptr) disk_->offer(key, tokens, bytes, hits);
}

bool TieredPages::holds(const PageKey& key) const {
  return ram_.holds(key) || (disk_ != nullptr && disk_->holds(key));
}

void TieredPages::prefetch(std::span<const PageKey> keys) {
  ram_.prefetch(keys);
  if (disk_ == nullptr) return;
  // Only pages that memory lacks are read; those are mostly in one piece.
  for (size_t begin = 0; begin < keys.size();) {
    size_t end = begin;
    while (end < keys.size() && !ram_.holds(keys[end])) ++end;
    if (end > begin) disk_->prefetch(keys.subspan(begin, end - begin));
    begin = end + 1;
  }
}

PageTier::Fetch TieredPages::fetch(const PageKey& key, std::span<const TokenId> tokens,
                                   std::span<std::byte> out) {
  if (ram_.holds(key) || disk_ == nullptr) return ram_.fetch(key, tokens, out);
  return disk_->fetch(key, tokens, out);
}

void TieredPages::begin_drain(int64_t deadline_micros) {
  drain_deadline_micros_ = deadline_micros;
}

/// Carries the wish of another thread to the tiers, which are the engine's thread's.
void TieredPages::note_drain() {
  const int64_t deadline = drain_deadline_micros_;
  if (draining_ || deadline == 0) return;
  draining_ = true;
  if (disk_ != nullptr) disk_->begin_drain(deadline);
}

TierStats TieredPages::disk_stats() const {
  return disk_ == nullptr ? TierStats{.off = true} : disk_->stats();
}

}  // namespace hadal
