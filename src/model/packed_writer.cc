/// Writing packed images: data first, with a digest of each chunk as it passes, the index last.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/big_memory.h"
#include "base/check.h"
#include "base/env.h"
#include "base/limits.h"
#include "kernels/matmul.h"
#include "kernels/pack.h"
#include "model/packed_layout.h"

namespace hadal {
namespace {

using packed_layout::Header;
using packed_layout::Part;

/// A file that is removed unless it gets its final name.
class Draft {
 public:
  static Result<Draft> create(std::filesystem::path draft) {
    draft += "-" + std::to_string(Env::real().random_u64());
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

  /// Takes the room for `bytes`, where the file system can: a full disk shows at once.
  Status reserve(uint64_t bytes) {
    if (::fallocate(fd_, 0, 0, static_cast<off_t>(bytes)) == 0) return {};
    const bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    return full ? Status(failed("reserve the room for", path_)) : Status();
  }
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
    const bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    return Error{full ? Code::kExhausted : Code::kIo,
                 std::string("cannot ") + what + " " + path.string() + ": " + std::strerror(errno)};
  }
  int fd_;
  std::filesystem::path path_;
  bool kept_ = false;
};

/// Takes the data in order and in pieces of any size; writes it and digests whole chunks.
class DataSink {
 public:
  DataSink(Draft& draft, uint64_t offset)
      : draft_(draft), offset_(offset), state_(XXH3_createState(), XXH3_freeState) {
    CHECK(state_ != nullptr);
    XXH3_64bits_reset(state_.get());
  }

  Status add(const uint8_t* data, uint64_t bytes, const std::atomic<bool>& stop) {
    while (bytes > 0) {
      if (stop) return Error{Code::kCancelled, "stopped while writing a packed image"};
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
  Status pad_to(uint64_t offset, const std::atomic<bool>& stop) {
    static constexpr uint8_t kZeros[packed_layout::kAlignment] = {};
    return add(kZeros, offset - offset_, stop);
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
void lay_out(Plan& plan) {
  Header& header = plan.header;
  std::memcpy(header.magic, packed_layout::kMagic, sizeof(header.magic));
  header.version = kPackedImageVersion;
  header.layout = kPackLayoutVersion;
  header.parts = static_cast<uint32_t>(plan.parts.size());
  header.names_bytes = static_cast<uint32_t>(plan.names.size());
  while (true) {
    uint64_t end = packed_layout::aligned(header.index_bytes);
    for (Part& part : plan.parts) {
      part.offset = packed_layout::aligned(end);
      end = part.offset + part.bytes;
    }
    header.file_bytes = end;
    const uint64_t index = packed_layout::sizes_of(header).index;
    if (index == header.index_bytes) return;
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

Plan plan_of(std::span<const UnpackedPart> parts) {
  Plan plan;
  for (const UnpackedPart& part : parts) {
    const TensorView& tensor = part.tensor;
    CHECK(part.packed_bytes > 0);
    plan.names += tensor.name;
    plan.parts.push_back({0, part.packed_bytes, part.first_row, tensor.ne[1], tensor.ne[0],
                          static_cast<uint32_t>(tensor.type),
                          static_cast<uint32_t>(tensor.name.size())});
  }
  lay_out(plan);
  return plan;
}

}  // namespace

struct PackedImageWriter::State {
  State(Draft file, Plan layout)
      : draft(std::move(file)),
        plan(std::move(layout)),
        sink(draft, packed_layout::aligned(plan.header.index_bytes)) {}

  static Result<std::unique_ptr<State>> begin(const std::filesystem::path& path, Plan plan) {
    CHECK(!plan.parts.empty());
    if (plan.parts.size() > limits::kPackedParts ||
        plan.header.index_bytes > limits::kPackedIndexBytes) {
      return Error{Code::kUnsupported,
                   std::to_string(plan.parts.size()) + " parts are more than an image may have"};
    }
    TRY(Draft draft, Draft::create(path));
    TRY_STATUS(draft.reserve(plan.header.file_bytes));
    return std::make_unique<State>(std::move(draft), std::move(plan));
  }

  Draft draft;
  Plan plan;
  DataSink sink;
  size_t part = 0;       ///< that is being written
  uint64_t written = 0;  ///< of it
};

PackedImageWriter::PackedImageWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
PackedImageWriter::PackedImageWriter(PackedImageWriter&&) noexcept = default;
PackedImageWriter::~PackedImageWriter() = default;

Result<PackedImageWriter> PackedImageWriter::begin(const std::filesystem::path& draft,
                                                   std::span<const UnpackedPart> parts) {
  TRY(std::unique_ptr<State> state, State::begin(draft, plan_of(parts)));
  return PackedImageWriter(std::move(state));
}

Status PackedImageWriter::add(std::span<const uint8_t> bytes, const std::atomic<bool>& stop) {
  State& s = *state_;
  while (!bytes.empty()) {
    CHECK(s.part < s.plan.parts.size());
    const Part& part = s.plan.parts[s.part];
    if (s.written == 0) TRY_STATUS(s.sink.pad_to(part.offset, stop));
    const uint64_t n = std::min<uint64_t>(bytes.size(), part.bytes - s.written);
    TRY_STATUS(s.sink.add(bytes.data(), n, stop));
    bytes = bytes.subspan(n);
    s.written += n;
    if (s.written == part.bytes) {
      ++s.part;
      s.written = 0;
    }
  }
  return {};
}

Status PackedImageWriter::finish(const std::filesystem::path& path, std::string_view source) {
  State& s = *state_;
  CHECK(source.size() == sizeof(Header::source));
  CHECK(s.part == s.plan.parts.size());
  std::memcpy(s.plan.header.source, source.data(), sizeof(Header::source));
  TRY_STATUS(write_index(s.draft, s.plan, s.sink.finish()));
  return s.draft.keep(path);
}

uint64_t packed_image_bytes(std::span<const UnpackedPart> parts) {
  return plan_of(parts).header.file_bytes;
}

Status pack_parts(std::span<const UnpackedPart> parts, PackedImageWriter& writer, ThreadPool& pool,
                  const PackingHooks& hooks, const std::atomic<bool>& stop) {
  // What is packed at a time: large against a worker's panel, small against any memory.
  constexpr int64_t kPieceBytes = 32 << 20;
  BigMemory memory;
  uint64_t total = 0;
  for (const UnpackedPart& part : parts) total += part.packed_bytes;
  uint64_t done = 0;
  for (const UnpackedPart& part : parts) {
    TRY(const Weight::PackedSize size, Weight::packed_size(part.tensor));
    CHECK(size.bytes() == part.packed_bytes);
    const int64_t step = std::max<int64_t>(1, kPieceBytes / size.panel_bytes);
    for (int64_t first = 0; first < size.panels; first += step) {
      const int64_t bytes = std::min(step, size.panels - first) * size.panel_bytes;
      const std::span<uint8_t> piece(memory.reserve(bytes), static_cast<size_t>(bytes));
      TRY_STATUS(Weight::pack(part.tensor, first, piece, pool));
      TRY_STATUS(writer.add(piece, stop));
      done += piece.size();
      if (hooks.progress) hooks.progress(done, total);
    }
    if (hooks.packed) hooks.packed(part.tensor);
  }
  return {};
}

Status write_packed_image(const std::filesystem::path& path, std::string_view source,
                          std::span<const PackedPart> parts, const std::atomic<bool>& stop) {
  std::vector<UnpackedPart> shapes;
  for (const PackedPart& part : parts) {
    UnpackedPart& shape = shapes.emplace_back();
    shape.tensor.name = part.name;
    shape.tensor.type = part.type;
    shape.tensor.ne = {part.cols, part.rows, 1, 1};
    shape.first_row = part.first_row;
    shape.packed_bytes = part.bytes.size();
  }
  TRY(PackedImageWriter writer, PackedImageWriter::begin(path.string() + ".draft", shapes));
  for (const PackedPart& part : parts) TRY_STATUS(writer.add(part.bytes, stop));
  return writer.finish(path, source);
}

}  // namespace hadal
