/// Writing packed images: data first, with a digest of each chunk as it passes, the index last.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/check.h"
#include "base/env.h"
#include "kernels/pack.h"
#include "model/packed_layout.h"

namespace hadal {
namespace {

using packed_layout::Header;
using packed_layout::Part;

/// A draft beside `path`: removed unless it became `path`.
class Draft {
 public:
  static Result<Draft> create(const std::filesystem::path& path) {
    std::filesystem::path draft = path;
    draft += ".draft-" + std::to_string(Env::real().random_u64());
    const int fd =
        ::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return failed("create", draft);
    return Draft(fd, std::move(draft));
  }
  ~Draft() {
    if (fd_ < 0) return;
    ::close(fd_);
    if (!kept_) ::unlink(path_.c_str());
  }
  Draft(Draft&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)), kept_(other.kept_) {}
  Draft& operator=(Draft&&) = delete;

  Status write(const void* data, uint64_t bytes, uint64_t offset) {
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
  /// The disk starts to take what was written, so that keep() finds little left to do.
  void start_flush(uint64_t offset, uint64_t bytes) {
    ::sync_file_range(fd_, static_cast<off_t>(offset), static_cast<off_t>(bytes),
                      SYNC_FILE_RANGE_WRITE);
  }
  Status keep(const std::filesystem::path& path) {
    if (::fsync(fd_) != 0) return failed("flush", path_);
    if (::rename(path_.c_str(), path.c_str()) != 0) return failed("rename", path_);
    kept_ = true;
    return {};
  }

 private:
  Draft(int fd, std::filesystem::path path) : fd_(fd), path_(std::move(path)) {}
  static Error failed(const char* what, const std::filesystem::path& path) {
    return Error{errno == ENOSPC || errno == EDQUOT ? Code::kExhausted : Code::kIo,
                 std::string("cannot ") + what + " " + path.string() + ": " + std::strerror(errno)};
  }
  int fd_;
  std::filesystem::path path_;
  bool kept_ = false;
};

/// Takes the data in order and in pieces of any size; writes it and digests whole chunks.
class DataSink {
 public:
  DataSink(Draft& draft, uint64_t offset, const std::atomic<bool>& stop)
      : draft_(draft), offset_(offset), stop_(stop), state_(XXH3_createState(), XXH3_freeState) {
    CHECK(state_ != nullptr);
    XXH3_64bits_reset(state_.get());
  }

  Status add(const uint8_t* data, uint64_t bytes) {
    while (bytes > 0) {
      if (stop_) return Error{Code::kCancelled, "stopped while writing a packed image"};
      const uint64_t n = std::min(bytes, kPackedChunkBytes - filled_);
      TRY_STATUS(draft_.write(data, n, offset_));
      XXH3_64bits_update(state_.get(), data, n);
      data += n;
      bytes -= n;
      offset_ += n;
      filled_ += n;
      if (filled_ == kPackedChunkBytes) close_chunk();
    }
    return {};
  }
  Status pad_to(uint64_t offset) {
    static constexpr uint8_t kZeros[packed_layout::kAlignment] = {};
    return add(kZeros, offset - offset_);
  }
  uint64_t offset() const { return offset_; }
  std::vector<uint64_t> finish() {
    if (filled_ > 0) close_chunk();
    return std::move(digests_);
  }

 private:
  void close_chunk() {
    draft_.start_flush(offset_ - filled_, filled_);
    digests_.push_back(XXH3_64bits_digest(state_.get()));
    XXH3_64bits_reset(state_.get());
    filled_ = 0;
  }

  Draft& draft_;
  uint64_t offset_;
  const std::atomic<bool>& stop_;
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state_;
  uint64_t filled_ = 0;  ///< bytes of the open chunk
  std::vector<uint64_t> digests_;
};

struct Plan {
  Header header{};
  std::vector<Part> parts;
  std::string names;
};

/// Lays out the file. More chunks need a larger index, which may move the data; two rounds settle.
Plan plan_image(std::string_view source, std::span<const PackedPart> parts) {
  Plan plan;
  Header& header = plan.header;
  std::memcpy(header.magic, packed_layout::kMagic, sizeof(header.magic));
  header.version = kPackedImageVersion;
  header.layout = kPackLayoutVersion;
  std::memcpy(header.source, source.data(), sizeof(header.source));
  header.parts = static_cast<uint32_t>(parts.size());
  for (const PackedPart& part : parts) {
    plan.names += part.name;
    plan.parts.push_back({0, part.bytes.size(), part.first_row, part.rows, part.cols,
                          static_cast<uint32_t>(part.type),
                          static_cast<uint32_t>(part.name.size())});
  }
  header.names_bytes = static_cast<uint32_t>(plan.names.size());
  while (true) {
    uint64_t end = packed_layout::aligned(header.index_bytes);
    for (Part& part : plan.parts) {
      part.offset = packed_layout::aligned(end);
      end = part.offset + part.bytes;
    }
    header.file_bytes = end;
    const uint64_t index = packed_layout::sizes_of(header).index;
    if (index == header.index_bytes) return plan;
    header.index_bytes = index;
  }
}

Status write_index(Draft& draft, Plan& plan, const std::vector<uint64_t>& digests) {
  const packed_layout::Sizes sizes = packed_layout::sizes_of(plan.header);
  CHECK(digests.size() == sizes.chunks);
  std::vector<std::byte> index(sizes.data_begin);
  std::byte* out = index.data();
  const uint64_t part_bytes = plan.parts.size() * sizeof(Part);
  std::memcpy(out, &plan.header, sizeof(Header));
  std::memcpy(out + sizeof(Header), plan.parts.data(), part_bytes);
  std::memcpy(out + sizeof(Header) + part_bytes, plan.names.data(), plan.names.size());
  std::memcpy(out + sizes.digests_begin, digests.data(), digests.size() * sizeof(uint64_t));
  plan.header.index_digest = XXH3_64bits(out, index.size());
  std::memcpy(out, &plan.header, sizeof(Header));
  return draft.write(out, index.size(), 0);
}

}  // namespace

Status write_packed_image(const std::filesystem::path& path, std::string_view source,
                          std::span<const PackedPart> parts, const std::atomic<bool>& stop) {
  CHECK(source.size() == sizeof(Header::source) && !parts.empty());
  Plan plan = plan_image(source, parts);
  TRY(Draft draft, Draft::create(path));
  DataSink sink(draft, packed_layout::aligned(plan.header.index_bytes), stop);
  for (size_t i = 0; i < parts.size(); ++i) {
    TRY_STATUS(sink.pad_to(plan.parts[i].offset));
    TRY_STATUS(sink.add(parts[i].bytes.data(), parts[i].bytes.size()));
  }
  TRY_STATUS(write_index(draft, plan, sink.finish()));
  return draft.keep(path);
}

}  // namespace hadal
