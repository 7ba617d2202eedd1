#include "tensor/gguf_writer.h"

#include <cerrno>
#include <cstring>
#include <sstream>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL  // the room has no libraries where it is cross-compiled
#include <xxhash.h>

#include "base/check.h"
#include "base/checked.h"
#include "base/env.h"
#include "base/limits.h"

namespace hadal {
namespace {

constexpr uint64_t kAlignment = 32;
constexpr size_t kVerifyBytes = limits::kMiB;  // read at a time when a partial file is checked
constexpr const char* kJournalHead = "hadal gguf journal 1";

uint64_t aligned(uint64_t offset) {
  return (offset + kAlignment - 1) / kAlignment * kAlignment;
}

class Bytes {
 public:
  template <typename T>
  void put(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void text(std::string_view value) {
    put<uint64_t>(value.size());
    bytes_ += value;
  }
  void raw(std::string_view value) { bytes_ += value; }
  void pad() { bytes_.resize(aligned(bytes_.size())); }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// The file up to its data section.
std::string header_bytes(std::span<const GgufEntry> entries, std::span<const GgufTensor> tensors) {
  Bytes out;
  out.raw("GGUF");
  out.put<uint32_t>(3);
  out.put<uint64_t>(tensors.size());
  out.put<uint64_t>(entries.size());
  for (const GgufEntry& entry : entries) {
    out.text(entry.key);
    out.put(static_cast<uint32_t>(entry.type));
    if (entry.type == GgufType::kString) {
      out.put<uint64_t>(entry.payload.size());
    } else if (entry.type == GgufType::kArray) {
      out.put(static_cast<uint32_t>(entry.element_type));
      out.put(entry.count);
    }
    out.raw(entry.payload);
  }
  uint64_t offset = 0;
  for (const GgufTensor& tensor : tensors) {
    out.text(tensor.name);
    out.put(static_cast<uint32_t>(tensor.n_dims));
    for (int axis = 0; axis < tensor.n_dims; ++axis) {
      out.put(static_cast<uint64_t>(tensor.ne[static_cast<size_t>(axis)]));
    }
    out.put(static_cast<uint32_t>(tensor.type));
    out.put(offset);
    offset += aligned(tensor.bytes());
  }
  out.pad();
  return out.take();
}

Error failed(const char* what, const std::filesystem::path& path) {
  const int reason = errno;
  const bool full = reason == ENOSPC || reason == EDQUOT || reason == EFBIG;
  return Error{full ? Code::kExhausted : Code::kIo,
               fmt::format("cannot {} {}: {}", what, path.string(), std::strerror(reason)),
               full ? "make room, or write to another disk" : ""};
}

/// A descriptor that closes itself.
class File {
 public:
  File() = default;
  File(int fd, std::filesystem::path path) : fd_(fd), path_(std::move(path)) {}
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}
  File& operator=(File&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(path_, other.path_);
    return *this;
  }
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }

  static Result<File> open(const std::filesystem::path& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) return failed("create", path);
    return File(fd, path);
  }

  const std::filesystem::path& path() const { return path_; }
  int fd() const { return fd_; }

  Status write(const void* data, uint64_t bytes, uint64_t offset) const {
    const auto* next = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t n = ::pwrite(fd_, next, bytes, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return failed("write", path_);
      next += n;
      offset += static_cast<uint64_t>(n);
      bytes -= static_cast<uint64_t>(n);
    }
    return {};
  }
  /// Fewer bytes than asked for: the file ends.
  size_t read(void* data, size_t bytes, uint64_t offset) const {
    size_t done = 0;
    while (done < bytes) {
      const ssize_t n = ::pread(fd_, static_cast<char*>(data) + done, bytes - done,
                                static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      done += static_cast<size_t>(n);
    }
    return done;
  }
  Status cut(uint64_t bytes) const {
    if (::ftruncate(fd_, static_cast<off_t>(bytes)) != 0) return failed("shorten", path_);
    return {};
  }
  uint64_t bytes() const {
    struct stat info {};
    return ::fstat(fd_, &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
  }

 private:
  int fd_ = -1;
  std::filesystem::path path_;
};

struct HashState {
  HashState() : state(XXH3_createState(), XXH3_freeState) {
    CHECK(state != nullptr);
    XXH3_64bits_reset(state.get());
  }
  void add(const void* data, size_t bytes) { XXH3_64bits_update(state.get(), data, bytes); }
  /// Of all since the last call.
  uint64_t take() {
    const uint64_t hash = XXH3_64bits_digest(state.get());
    XXH3_64bits_reset(state.get());
    return hash;
  }
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state;
};

std::filesystem::path with_suffix(std::filesystem::path path, const char* suffix) {
  path += suffix;
  return path;
}

Status check_place(const std::filesystem::path& path, bool overwrite) {
  std::error_code problem;
  const auto status = std::filesystem::status(path, problem);
  if (std::filesystem::is_directory(status)) {
    return Error{Code::kInvalidArgument, fmt::format("{} is a directory", path.string()),
                 "name a file"};
  }
  if (std::filesystem::exists(status) && !overwrite) {
    return Error{Code::kInvalidArgument, fmt::format("{} exists already", path.string()),
                 "choose another name, or replace it with --overwrite"};
  }
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    return Error{Code::kInvalidArgument, fmt::format("{} is not a regular file", path.string())};
  }
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  if (!std::filesystem::is_directory(folder, problem)) {
    return Error{Code::kInvalidArgument,
                 fmt::format("the folder {} does not exist", folder.string()), "create it first"};
  }
  return {};
}

Status check_room(const std::filesystem::path& path, uint64_t needed) {
  std::error_code problem;
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const auto space = std::filesystem::space(folder, problem);
  if (problem || space.available >= needed) return {};
  return Error{
      Code::kExhausted,
      fmt::format("{} has {:.1f} MB free, {:.1f} MB are needed", folder.string(),
                  static_cast<double>(space.available) / 1e6, static_cast<double>(needed) / 1e6),
      "make room, or write to another disk"};
}

}  // namespace

GgufEntry GgufEntry::copy_of(const GgufValue& value) {
  GgufEntry entry;
  entry.key = value.key();
  entry.type = value.type();
  entry.element_type = value.element_type();
  entry.count = value.count();
  const auto bytes = value.payload();
  entry.payload.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return entry;
}

GgufEntry GgufEntry::string(std::string key, std::string_view value) {
  return {std::move(key), GgufType::kString, GgufType::kU8, 1, std::string(value)};
}

GgufEntry GgufEntry::strings(std::string key, std::span<const std::string> values) {
  Bytes bytes;
  for (const std::string& value : values) bytes.text(value);
  return {std::move(key), GgufType::kArray, GgufType::kString, values.size(), bytes.take()};
}

GgufEntry GgufEntry::u32(std::string key, uint32_t value) {
  Bytes bytes;
  bytes.put(value);
  return {std::move(key), GgufType::kU32, GgufType::kU8, 1, bytes.take()};
}

GgufEntry GgufEntry::f32(std::string key, float value) {
  Bytes bytes;
  bytes.put(value);
  return {std::move(key), GgufType::kF32, GgufType::kU8, 1, bytes.take()};
}

struct GgufWriter::State {
  std::filesystem::path path;
  Options options;
  File partial;
  File journal;
  uint64_t journal_bytes = 0;
  std::vector<uint64_t> sizes;    ///< of each tensor
  std::vector<uint64_t> offsets;  ///< in the file
  uint64_t total = 0;
  size_t done = 0;         ///< complete tensors
  uint64_t in_tensor = 0;  ///< bytes of the current one
  HashState hash;
  bool finished = false;

  ~State() {
    if (finished || partial.fd() < 0) return;
    ::unlink(journal.path().c_str());
    ::unlink(partial.path().c_str());
  }

  void lay_out(uint64_t header, std::span<const GgufTensor> tensors) {
    uint64_t offset = header;
    for (const GgufTensor& tensor : tensors) {
      offsets.push_back(offset);
      sizes.push_back(tensor.bytes());
      offset += aligned(tensor.bytes());
    }
    total = offset;
  }

  std::string journal_head(const std::string& header) const {
    return fmt::format("{} {:016x} {:016x}\n", kJournalHead, options.fingerprint,
                       XXH3_64bits(header.data(), header.size()));
  }

  /// How many tensors of an earlier attempt are there, whole; 0 when it was another file's.
  size_t whole_tensors(const std::string& header, const std::string& head) {
    std::string found(header.size(), '\0');
    if (partial.read(found.data(), found.size(), 0) != header.size() || found != header) return 0;
    std::string notes(std::min<uint64_t>(journal.bytes(), limits::kGgufJournalBytes), '\0');
    notes.resize(journal.read(notes.data(), notes.size(), 0));
    if (!notes.starts_with(head)) return 0;
    std::istringstream lines(notes.substr(head.size()));
    std::vector<char> buffer(kVerifyBytes);
    size_t count = 0;
    for (std::string line; count < sizes.size() && std::getline(lines, line); ++count) {
      if (line != digest_line(count, digest(count, buffer))) break;
    }
    return count;
  }

  static std::string digest_line(size_t index, uint64_t hash) {
    return fmt::format("{} {:016x}", index, hash);
  }
  /// Of a tensor's bytes in the partial file.
  uint64_t digest(size_t index, std::vector<char>& buffer) {
    uint64_t left = sizes[index];
    uint64_t offset = offsets[index];
    while (left > 0) {
      const size_t n = std::min<uint64_t>(left, buffer.size());
      const size_t got = partial.read(buffer.data(), n, offset);
      hash.add(buffer.data(), got);
      if (got < n) break;
      left -= n;
      offset += n;
    }
    return hash.take();
  }

  Status note(const std::string& text) {
    TRY_STATUS(journal.write(text.data(), text.size(), journal_bytes));
    journal_bytes += text.size();
    return {};
  }

  /// Takes up an earlier attempt, or starts anew.
  Status start(const std::string& header) {
    const std::string head = journal_head(header);
    done = whole_tensors(header, head);
    std::vector<char> buffer(kVerifyBytes);
    std::string notes = head;
    for (size_t i = 0; i < done; ++i) notes += digest_line(i, digest(i, buffer)) + "\n";
    const uint64_t begin = done < sizes.size() ? offsets[done] : total;
    TRY_STATUS(partial.cut(done == 0 ? 0 : begin));
    TRY_STATUS(check_room(path, total - (done == 0 ? 0 : begin)));
    TRY_STATUS(journal.cut(0));
    if (done == 0) TRY_STATUS(partial.write(header.data(), header.size(), 0));
    return note(notes);
  }
};

GgufWriter::GgufWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
GgufWriter::GgufWriter(GgufWriter&&) noexcept = default;
GgufWriter& GgufWriter::operator=(GgufWriter&&) noexcept = default;
GgufWriter::~GgufWriter() = default;

Result<GgufWriter> GgufWriter::create(const std::filesystem::path& path,
                                      std::span<const GgufEntry> entries,
                                      std::span<const GgufTensor> tensors, const Options& options) {
  TRY_STATUS(check_place(path, options.overwrite));
  const std::string header = header_bytes(entries, tensors);
  auto state = std::make_unique<State>();
  state->path = path;
  state->options = options;
  state->lay_out(header.size(), tensors);
  TRY(File partial, File::open(with_suffix(path, ".partial")));
  if (::flock(partial.fd(), LOCK_EX | LOCK_NB) != 0) {
    return Error{Code::kUnavailable,
                 fmt::format("another process is writing {}", partial.path().string()),
                 "wait for it, or choose another name"};
  }
  state->partial = std::move(partial);
  TRY(state->journal, File::open(with_suffix(path, ".partial.journal")));
  TRY_STATUS(state->start(header));
  return GgufWriter(std::move(state));
}

size_t GgufWriter::tensors_done() const {
  return state_->done;
}
uint64_t GgufWriter::bytes_done() const {
  const State& s = *state_;
  return s.done < s.sizes.size() ? s.offsets[s.done] + s.in_tensor : s.total;
}
uint64_t GgufWriter::bytes_total() const {
  return state_->total;
}

Status GgufWriter::append(std::span<const std::byte> bytes) {
  State& s = *state_;
  CHECK(s.done < s.sizes.size() && bytes.size() <= s.sizes[s.done] - s.in_tensor);
  TRY_STATUS(s.partial.write(bytes.data(), bytes.size(), s.offsets[s.done] + s.in_tensor));
  s.hash.add(bytes.data(), bytes.size());
  s.in_tensor += bytes.size();
  if (s.in_tensor < s.sizes[s.done]) return {};
  static constexpr char kZeros[kAlignment] = {};
  const uint64_t end = s.offsets[s.done] + s.in_tensor;
  TRY_STATUS(s.partial.write(kZeros, aligned(end) - end, end));
  TRY_STATUS(s.note(State::digest_line(s.done, s.hash.take()) + "\n"));
  ++s.done;
  s.in_tensor = 0;
  return {};
}

Status GgufWriter::finish() {
  State& s = *state_;
  CHECK(s.done == s.sizes.size() && !s.finished);
  if (::fsync(s.partial.fd()) != 0) return failed("flush", s.partial.path());
  TRY_STATUS(check_place(s.path, s.options.overwrite));  // somebody may have been faster
  if (::rename(s.partial.path().c_str(), s.path.c_str()) != 0) {
    return failed("rename", s.partial.path());
  }
  s.finished = true;
  ::unlink(s.journal.path().c_str());
  const auto folder = s.path.has_parent_path() ? s.path.parent_path() : std::filesystem::path(".");
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    ::fsync(fd);  // the name, too; a folder that cannot be flushed loses at most the name
    ::close(fd);
  }
  return {};
}

}  // namespace hadal
