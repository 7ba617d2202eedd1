#include "app/packed_cache.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string_view>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "app/output.h"
#include "app/sha256.h"
#include "base/env.h"
#include "base/log.h"

namespace hadal {
namespace {

constexpr std::string_view kImageSuffix = ".packed";
constexpr std::string_view kRecordSuffix = ".source";
constexpr std::string_view kRecordTitle = "hadal packed source 1";
constexpr uint64_t kFreeBytesMin = 2ULL << 30;  // that a disk keeps free in any case
constexpr std::chrono::seconds kPatience{20};
constexpr std::chrono::milliseconds kPoll{50};

/// What the cache remembers of a model file, so that it need not hash it at every start: a text of
/// lines, kRecordTitle, the SHA-256, then "IDENTITY PATH" per file.
struct Record {
  std::string sha256;
  std::vector<std::string> lines;
  std::vector<std::filesystem::path> paths;
};

std::string line_of(const GgufFile::Origin& origin) {
  const FileIdentity& id = origin.identity;
  return fmt::format("{}:{}:{}:{}:{} {}", id.device, id.inode, id.bytes, id.modified_ns,
                     id.changed_ns, origin.path.string());
}

/// With absolute paths.
std::vector<GgufFile::Origin> located(std::vector<GgufFile::Origin> origins) {
  for (GgufFile::Origin& origin : origins) {
    std::error_code failed;
    auto path = std::filesystem::canonical(origin.path, failed);
    if (!failed) origin.path = std::move(path);
  }
  return origins;
}

std::optional<Record> read_record(const std::filesystem::path& path) {
  const auto text = Env::real().read_file(path, limits::kConfigFileBytes);
  if (!text.ok()) return std::nullopt;
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.value().size();) {
    const size_t end = text.value().find('\n', begin);
    if (end == std::string::npos) return std::nullopt;
    lines.push_back(text.value().substr(begin, end - begin));
    begin = end + 1;
  }
  if (lines.size() < 3 || lines[0] != kRecordTitle || !is_sha256(lines[1])) return std::nullopt;
  Record record;
  record.sha256 = lines[1];
  record.lines.assign(lines.begin() + 2, lines.end());
  for (const std::string& line : record.lines) {
    record.paths.emplace_back(line.substr(std::min(line.find(' '), line.size() - 1) + 1));
  }
  return record;
}

/// Whether all files of the record are as they were.
bool is_current(const Record& record) {
  for (size_t i = 0; i < record.paths.size(); ++i) {
    const auto identity = FileIdentity::of(record.paths[i]);
    if (!identity.ok() || line_of({record.paths[i], identity.value()}) != record.lines[i])
      return false;
  }
  return true;
}

std::filesystem::path record_path(const std::filesystem::path& directory,
                                  const std::vector<GgufFile::Origin>& origins) {
  return directory / (sha256_of(origins.front().path.string()) + std::string(kRecordSuffix));
}

std::vector<std::filesystem::path> files_in(const std::filesystem::path& directory,
                                            std::string_view part_of_name) {
  std::vector<std::filesystem::path> paths;
  std::error_code failed;
  for (std::filesystem::directory_iterator it(directory, failed), end; !failed && it != end;
       it.increment(failed)) {
    if (it->path().filename().string().find(part_of_name) != std::string::npos)
      paths.push_back(it->path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

/// Images are only as good as the directory they lie in.
Status check_directory(const std::filesystem::path& directory) {
  struct stat info {};
  if (::lstat(directory.c_str(), &info) != 0) {
    return Error{errno == ENOENT ? Code::kNotFound : Code::kIo,
                 fmt::format("cannot stat {}: {}", directory.string(), std::strerror(errno))};
  }
  if (!S_ISDIR(info.st_mode) || info.st_uid != ::geteuid() || (info.st_mode & 022) != 0) {
    return Error{Code::kDenied, fmt::format("{} is not a directory that this user alone may write",
                                            directory.string())};
  }
  return {};
}

Status make_directory(const std::filesystem::path& directory) {
  std::error_code failed;
  std::filesystem::create_directories(directory.parent_path(), failed);
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return Error{Code::kIo,
                 fmt::format("cannot create {}: {}", directory.string(), std::strerror(errno))};
  }
  return check_directory(directory);
}

/// One writer at a time; the others leave the work to it.
class WriteLock {
 public:
  static std::optional<WriteLock> take(const std::filesystem::path& directory) {
    const int fd =
        ::open((directory / ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return std::nullopt;
    WriteLock lock(fd);
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) return std::nullopt;
    return lock;
  }
  /// Waits for whoever holds it.
  static Result<WriteLock> wait(const std::filesystem::path& directory,
                                const std::atomic<bool>& stop) {
    bool told = false;
    while (!stop) {
      if (auto lock = take(directory)) return std::move(*lock);
      if (errno != EWOULDBLOCK) {
        return Error{Code::kIo, fmt::format("cannot lock {}: {}", (directory / ".lock").string(),
                                            std::strerror(errno))};
      }
      if (!std::exchange(told, true)) print_note("another process is packing a model: waiting ...");
      std::this_thread::sleep_for(kPoll);
    }
    return Error{Code::kCancelled, "stopped while waiting for another process"};
  }
  ~WriteLock() {
    if (fd_ >= 0) ::close(fd_);
  }
  WriteLock(WriteLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  WriteLock& operator=(WriteLock&&) = delete;

 private:
  explicit WriteLock(int fd) : fd_(fd) {}
  int fd_;
};

Error changed_just_now(const std::filesystem::path& path) {
  return Error{Code::kUnavailable, path.string() + " was changed just now",
               "start again when it is complete"};
}

Status check_unchanged(const OpenedModel& opened) {
  for (const GgufFile::Origin& origin : opened.origins) {
    TRY(const FileIdentity now, FileIdentity::of(origin.path));
    if (now != origin.identity || !origin.identity.settled(opened.unix_ns)) {
      return changed_just_now(origin.path);
    }
  }
  return {};
}

/// Waits until a file that was changed a moment ago can be told from one that is changed again, as
/// if it were opened only then.
Status settle(OpenedModel& opened, const std::atomic<bool>& stop) {
  constexpr int kPollsMost = 60;  // 3 s; a file from the future never settles
  for (int i = 0; i < kPollsMost && !stop; ++i) {
    bool settled = true;
    for (const GgufFile::Origin& origin : opened.origins) {
      settled = settled && origin.identity.settled(opened.unix_ns);
    }
    if (settled) return check_unchanged(opened);
    std::this_thread::sleep_for(kPoll);
    opened.unix_ns = Env::real().unix_micros() * 1000;
  }
  if (stop) return Error{Code::kCancelled, "stopped while waiting for a file that was changed"};
  return changed_just_now(opened.origins.front().path);
}

/// The model's digest, computed on a thread of its own.
class Digester {
 public:
  explicit Digester(const OpenedModel& opened)
      : thread_([this, origins = opened.origins] {
          result_ = model_digest(origins, &quit_);
          done_ = true;
        }) {}
  ~Digester() {
    quit_ = true;
    if (thread_.joinable()) thread_.join();
  }
  Digester(const Digester&) = delete;
  Result<std::string> wait(const std::atomic<bool>& stop) {
    while (!done_ && !stop) std::this_thread::sleep_for(kPoll);
    if (stop) quit_ = true;
    thread_.join();
    return std::move(*result_);
  }

 private:
  std::atomic<bool> quit_ = false;
  std::atomic<bool> done_ = false;
  std::optional<Result<std::string>> result_;
  std::thread thread_;  // last: it uses the others
};

Error no_room(const std::filesystem::path& directory, uint64_t bytes, std::string_view reason) {
  return Error{Code::kExhausted,
               fmt::format("the packed cache needs {} in {}: {}", human_bytes(bytes),
                           directory.string(), reason),
               "free room on that disk, or let HADAL_HOME name a directory on a larger one"};
}

uint64_t remove_images(const std::vector<CachedImage>& images) {
  uint64_t bytes = 0;
  for (const CachedImage& image : images) {
    std::error_code failed;
    if (std::filesystem::remove(image.path, failed)) bytes += image.bytes;
  }
  return bytes;
}

void log_unused(const Error& error) {
  if (error.code == Code::kNotFound) return;
  const bool damaged = error.code == Code::kCorrupt;
  log_event(damaged ? LogLevel::kWarn : LogLevel::kDebug, "packed_cache.unused",
            {{"reason", error.message}});
}

}  // namespace

Result<std::string> model_digest(const std::vector<GgufFile::Origin>& origins,
                                 const std::atomic<bool>* stop) {
  std::string all;
  for (const GgufFile::Origin& origin : origins) {
    TRY(const std::string one, sha256_of_file(origin.path, {}, stop));
    all += one;
  }
  return origins.size() == 1 ? all : sha256_of(all);
}

std::filesystem::path PackedCache::image_path(const std::string& sha256) const {
  return directory_ / (sha256 + std::string(kImageSuffix));
}

std::optional<std::string> PackedCache::digest(const GgufFile& file) const {
  const auto origins = located(file.origins());
  if (origins.empty() || !check_directory(directory_).ok()) return std::nullopt;
  const auto record = read_record(record_path(directory_, origins));
  if (!record.has_value() || record->lines.size() != origins.size()) return std::nullopt;
  for (size_t i = 0; i < origins.size(); ++i) {
    if (line_of(origins[i]) != record->lines[i]) return std::nullopt;
  }
  return record->sha256;
}

std::unique_ptr<PackedImage> PackedCache::find(const GgufFile& file, ThreadPool& pool) const {
  const auto sha256 = digest(file);
  if (!sha256.has_value()) return nullptr;
  const auto path = image_path(*sha256);
  auto image = PackedImage::open(path, *sha256, pool);
  if (!image.ok()) {
    log_unused(image.error());
    if (image.error().code == Code::kCorrupt) ::unlink(path.c_str());
    return nullptr;
  }
  ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0);  // the time of its last use
  return std::move(image).value();
}

Status PackedCache::keep(const OpenedModel& opened_as, std::span<const PackedPart> parts,
                         const std::atomic<bool>& stop) const {
  uint64_t bytes = 0;
  for (const PackedPart& part : parts) bytes += part.bytes.size();
  const OpenedModel opened{located(opened_as.origins), opened_as.unix_ns};
  if (bytes < bytes_min_ || opened.origins.empty()) return {};
  TRY_STATUS(make_directory(directory_));
  const auto lock = WriteLock::take(directory_);
  if (!lock.has_value()) {
    return Error{Code::kUnavailable, "another process is writing to " + directory_.string()};
  }
  for (const auto& draft : files_in(directory_, ".draft-")) ::unlink(draft.c_str());
  TRY_STATUS(check_unchanged(opened));
  TRY(const std::string sha256, model_digest(opened.origins, &stop));
  TRY_STATUS(check_unchanged(opened));
  ThreadPool alone(1);
  if (!PackedImage::open(image_path(sha256), sha256, alone).ok()) {
    TRY_STATUS(make_room(bytes, Room::kSpare));
    TRY_STATUS(write_packed_image(image_path(sha256), sha256, parts, stop));
  }
  return write_record(opened, sha256);
}

Status PackedCache::write_record(const OpenedModel& opened, const std::string& sha256) const {
  std::string text = fmt::format("{}\n{}\n", kRecordTitle, sha256);
  for (const GgufFile::Origin& origin : opened.origins) {
    if (origin.path.string().find('\n') != std::string::npos) {
      return Error{Code::kUnsupported, "a path with a line break"};
    }
    text += line_of(origin) + "\n";
  }
  return Env::real().write_file(record_path(directory_, opened.origins), text);
}

std::vector<CachedImage> PackedCache::images() const {
  std::vector<CachedImage> images;
  for (const auto& path : files_in(directory_, kImageSuffix)) {
    struct stat info {};
    if (path.extension() != kImageSuffix || ::stat(path.c_str(), &info) != 0) continue;
    images.push_back({path, static_cast<uint64_t>(info.st_size), info.st_mtim.tv_sec, {}});
  }
  for (const auto& path : files_in(directory_, kRecordSuffix)) {
    const auto record = read_record(path);
    if (!record.has_value() || !is_current(*record)) continue;
    for (CachedImage& image : images) {
      if (image.path == image_path(record->sha256))
        image.sources.push_back(record->paths.front().string());
    }
  }
  return images;
}

uint64_t PackedCache::clear() const {
  const uint64_t bytes = remove_images(images());
  for (const std::string_view rest : {kRecordSuffix, std::string_view(".draft-")}) {
    for (const auto& path : files_in(directory_, rest)) ::unlink(path.c_str());
  }
  return bytes;
}

uint64_t PackedCache::clear_orphans() const {
  for (const auto& path : files_in(directory_, kRecordSuffix)) {
    const auto record = read_record(path);
    if (!record.has_value() || !is_current(*record)) ::unlink(path.c_str());
  }
  std::vector<CachedImage> orphans = images();
  std::erase_if(orphans, [](const CachedImage& image) { return !image.sources.empty(); });
  return remove_images(orphans);
}

Status PackedCache::make_room(uint64_t bytes, Room room) const {
  clear_orphans();
  std::error_code failed;
  const std::filesystem::space_info space = space_(directory_, failed);
  if (failed) return Error{Code::kIo, "cannot see how full the disk is: " + failed.message()};
  std::vector<CachedImage> kept = images();
  std::sort(kept.begin(), kept.end(),
            [](const CachedImage& a, const CachedImage& b) { return a.used_unix > b.used_unix; });
  uint64_t used = 0;
  for (const CachedImage& image : kept) used += image.bytes;
  const uint64_t ours = std::max<uint64_t>(space.available + used, kFreeBytesMin) - kFreeBytesMin;
  const uint64_t budget = room == Room::kNeeded ? ours : std::min(space.capacity / 4, ours / 2);
  if (bytes > budget)
    return no_room(directory_, bytes, fmt::format("it has room for {}", human_bytes(budget)));
  for (; used + bytes > budget && !kept.empty(); kept.pop_back()) {
    used -= kept.back().bytes;
    remove_images({kept.back()});
  }
  return {};
}

std::unique_ptr<PackedImage> PackedCache::find_renamed(const OpenedModel& opened, uint64_t bytes,
                                                       ThreadPool& pool,
                                                       const std::atomic<bool>& stop) const {
  const std::vector<CachedImage> all = images();
  const bool any = std::any_of(all.begin(), all.end(),
                               [&](const CachedImage& image) { return image.bytes == bytes; });
  if (!any) return nullptr;
  const auto sha256 = model_digest(opened.origins, &stop);
  if (!sha256.ok()) return nullptr;
  auto image = PackedImage::open(image_path(sha256.value()), sha256.value(), pool);
  if (!image.ok() || !check_unchanged(opened).ok()) return nullptr;
  if (!write_record(opened, sha256.value()).ok()) return nullptr;
  return std::move(image).value();
}

Result<std::unique_ptr<PackedImage>> PackedCache::pack(const PackingJob& job, ThreadPool& pool,
                                                       const std::atomic<bool>& stop) const {
  OpenedModel opened{located(job.opened.origins), job.opened.unix_ns};
  const uint64_t bytes = packed_image_bytes(job.parts);
  TRY_STATUS(make_directory(directory_));
  TRY(const WriteLock lock, WriteLock::wait(directory_, stop));
  for (const auto& draft : files_in(directory_, ".draft-")) ::unlink(draft.c_str());
  TRY_STATUS(settle(opened, stop));
  if (auto image = find_renamed(opened, bytes, pool, stop)) return image;
  TRY_STATUS(make_room(bytes, Room::kNeeded));
  const auto named = [&](Error error) {
    return error.code == Code::kExhausted ? no_room(directory_, bytes, error.message) : error;
  };
  auto writer = PackedImageWriter::begin(directory_ / "new.draft", job.parts);
  if (!writer.ok()) return named(std::move(writer).error());
  Digester digester(opened);
  Status written = pack_parts(job.parts, writer.value(), pool, job.hooks, stop);
  if (!written.ok()) return named(std::move(written).error());
  const Result<std::string> digest = digester.wait(stop);
  TRY_STATUS(check_unchanged(opened));  // what a changing file lets reading say tells nobody why
  TRY(const std::string sha256, digest);
  written = writer.value().finish(image_path(sha256), sha256);
  if (!written.ok()) return named(std::move(written).error());
  const Status recorded =
      write_record(opened, sha256);  // without it the next start hashes the file
  if (!recorded.ok()) log_unused(recorded.error());
  return PackedImage::open(image_path(sha256), sha256, pool, ImageCheck::kIndex);
}

PackedKeeper::PackedKeeper(PackedCache cache, OpenedModel opened, std::span<const PackedPart> parts)
    : thread_([this, cache = std::move(cache), opened = std::move(opened), parts] {
        // The model's own threads go first; the lowest priority would starve on a busy machine.
        ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 10);
        const Status status = cache.keep(opened, parts, stop_);
        if (!status.ok()) {
          const bool trouble = status.error().code == Code::kIo;
          log_event(trouble ? LogLevel::kWarn : LogLevel::kDebug, "packed_cache.not_kept",
                    {{"reason", status.error().message}});
        }
        const MutexLock lock(mutex_);
        done_ = true;
        changed_.notify_all();
      }) {}

PackedKeeper::~PackedKeeper() {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  {
    const MutexLock lock(mutex_);
    if (!done_ && stderr_is_terminal()) {
      std::fputs("Keeping the packed weights for a faster next start (Ctrl-C skips it) ...\n",
                 stderr);
    }
    while (!done_) {
      const auto left = std::chrono::duration_cast<std::chrono::microseconds>(
          end - std::chrono::steady_clock::now());
      if (left.count() <= 0) break;
      changed_.wait_for(mutex_, left);
    }
  }
  stop_ = true;
  thread_.join();
}

}  // namespace hadal
