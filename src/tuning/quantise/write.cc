/// Writing what was planned: tensor by tensor, some rows at a time, on all workers.
#include <algorithm>
#include <atomic>
#include <climits>

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/env.h"
#include "base/mutex.h"
#include "tensor/quantize.h"
#include "tuning/tuning.h"

namespace hadal {
namespace {

/// Of encoded rows that are held at once: enough for every worker, little beside any model.
constexpr uint64_t kChunkBytes = 4 << 20;
/// Values that a worker takes at a time: about a millisecond of searching.
constexpr int64_t kGrainValues = 16 << 10;
/// Changes with every change of what quantize_row() writes.
constexpr uint64_t kEncoderVersion = 1;

/// The rows of a planned tensor, in order, and how much their columns count.
class Rows {
 public:
  Rows(const PlannedTensor& planned, const ImportanceMatrix* importance) : planned_(planned) {
    const int64_t matrices = planned.tensor.rows() / planned.tensor.ne[1];
    weights_.resize(static_cast<size_t>(matrices));
    for (int64_t i = 0; i < matrices; ++i) {
      std::vector<float>& weights = weights_[static_cast<size_t>(i)];
      if (importance != nullptr) weights = importance->weights(planned.tensor.name, i);
      if (weights.empty()) weights.assign(static_cast<size_t>(planned.tensor.ne[0]), 1.0f);
    }
    const int64_t entries =
        planned.tensor.n_dims == 1 ? planned.tensor.ne[0] : planned.tensor.ne[1];
    if (planned.interleaved_heads > 0) head_rows_ = entries / planned.interleaved_heads;
    rows_per_part_ = planned.tensor.rows() / static_cast<int64_t>(planned.parts.size());
  }

  const TensorView& part_of(int64_t row) const {
    return *planned_.parts[static_cast<size_t>(row / rows_per_part_)];
  }
  /// Row `row` of the result, encoded at `out`; `scratch` holds a row of floats.
  Status encode(int64_t row, float* scratch, std::byte* out) const {
    const TensorView& part = part_of(row);
    const GgufTensor& tensor = planned_.tensor;
    const int64_t local = source_of(row % rows_per_part_);
    dequantize_row(part, tensor.n_dims == 1 ? 0 : local, scratch);
    if (tensor.n_dims == 1 && head_rows_ > 0) {
      const std::vector<float> entries(scratch, scratch + tensor.ne[0]);
      for (int64_t i = 0; i < tensor.ne[0]; ++i) {
        scratch[i] = entries[static_cast<size_t>(source_of(i))];
      }
    }
    const auto matrix = static_cast<size_t>(row / tensor.ne[1]);
    const Status done =
        quantize_row(tensor.type, scratch, weights_[matrix].data(), out, tensor.ne[0]);
    if (done.ok()) return done;
    return Error{Code::kCorrupt,
                 fmt::format("tensor {}, row {}: {}", part.name, local, done.error().message),
                 done.error().hint};
  }

 private:
  /// Which of the source's rows comes here: (half, i) of a head goes to 2 i + half.
  int64_t source_of(int64_t row) const {
    if (head_rows_ == 0) return row;
    const int64_t in_head = row % head_rows_;
    return row - in_head + in_head % 2 * (head_rows_ / 2) + in_head / 2;
  }

  const PlannedTensor& planned_;
  int64_t rows_per_part_ = 1;
  int64_t head_rows_ = 0;                    ///< rows of a head that change places; 0: none do
  std::vector<std::vector<float>> weights_;  ///< per matrix
};

/// The failure of the lowest row, whichever worker met it first.
class FirstFailure {
 public:
  void note(int64_t row, Error error) {
    const MutexLock lock(mutex_);
    if (row >= row_) return;
    row_ = row;
    error_ = std::move(error);
    failed_ = true;
  }
  bool failed() const { return failed_; }
  Error take() {
    const MutexLock lock(mutex_);
    return std::move(error_);
  }

 private:
  Mutex mutex_;
  std::atomic<bool> failed_ = false;
  int64_t row_ GUARDED_BY(mutex_) = INT64_MAX;
  Error error_ GUARDED_BY(mutex_);
};

class TensorWriter {
 public:
  TensorWriter(GgufWriter& writer, ThreadPool& pool, const Conversion::WriteOptions& options,
               uint64_t done, uint64_t total)
      : writer_(writer), pool_(pool), options_(options), done_(done), total_(total) {}

  Status write(const PlannedTensor& planned, const ImportanceMatrix* importance) {
    if (planned.interleaved_heads == 0 && same_types(planned)) {
      return copy(planned);
    }
    const GgufTensor& tensor = planned.tensor;
    if (!can_quantize_to(tensor.type)) {
      return Error{Code::kUnsupported, fmt::format("tensor {} cannot be written as {}", tensor.name,
                                                   dtype_info(tensor.type).name)};
    }
    const Rows rows(planned, importance);
    const uint64_t row_bytes = dtype_row_bytes(tensor.type, tensor.ne[0]);
    const int64_t chunk = std::max<int64_t>(1, static_cast<int64_t>(kChunkBytes / row_bytes));
    const int64_t grain = std::max<int64_t>(1, kGrainValues / tensor.ne[0]);
    for (int64_t first = 0; first < tensor.rows(); first += chunk) {
      const int64_t count = std::min(chunk, tensor.rows() - first);
      buffer_.resize(static_cast<size_t>(count) * row_bytes);
      FirstFailure failure;
      pool_.parallel_for(count, grain, [&](int64_t begin, int64_t end) {
        std::vector<float> scratch(static_cast<size_t>(tensor.ne[0]));
        for (int64_t r = begin; r < end && !failure.failed(); ++r) {
          const Status done = rows.encode(first + r, scratch.data(),
                                          buffer_.data() + static_cast<uint64_t>(r) * row_bytes);
          if (!done.ok()) failure.note(r, done.error());
        }
      });
      if (failure.failed()) return failure.take();
      TRY_STATUS(append(buffer_));
    }
    return {};
  }

 private:
  static bool same_types(const PlannedTensor& planned) {
    return std::all_of(planned.parts.begin(), planned.parts.end(),
                       [&](const TensorView* part) { return part->type == planned.tensor.type; });
  }

  Status copy(const PlannedTensor& planned) {
    for (const TensorView* part : planned.parts) {
      std::span<const std::byte> bytes(part->data, part->bytes);
      while (!bytes.empty()) {
        const size_t n = std::min<size_t>(bytes.size(), kChunkBytes);
        TRY_STATUS(append(bytes.first(n)));
        bytes = bytes.subspan(n);
      }
    }
    return {};
  }

  Status append(std::span<const std::byte> bytes) {
    TRY_STATUS(writer_.append(bytes));
    done_ += bytes.size();
    if (options_.progress) options_.progress(done_, total_);
    return {};
  }

  GgufWriter& writer_;
  ThreadPool& pool_;
  const Conversion::WriteOptions& options_;
  uint64_t done_;
  uint64_t total_;
  std::vector<std::byte> buffer_;
};

/// Keys that describe the file rather than the model.
bool describes_file(std::string_view key) {
  return key.starts_with("split.") || key.starts_with("quantize.") || key == "general.file_type" ||
         key == "general.quantization_version" || key == "general.alignment" ||
         key.ends_with(".rope.half_split");  // the rows go in the order that GGUF expects
}

}  // namespace

std::vector<GgufEntry> Conversion::entries() const {
  std::vector<GgufEntry> entries;
  for (const GgufValue& value : source_->metadata()) {
    if (!describes_file(value.key())) entries.push_back(GgufEntry::copy_of(value));
  }
  entries.push_back(GgufEntry::u32("general.file_type", file_type_));
  if (quantised_) entries.push_back(GgufEntry::u32("general.quantization_version", 2));
  if (importance_ != nullptr) {
    entries.push_back(GgufEntry::string("quantize.imatrix.dataset", importance_->dataset()));
    entries.push_back(GgufEntry::u32("quantize.imatrix.entries_count",
                                     static_cast<uint32_t>(importance_->size())));
    entries.push_back(GgufEntry::u32("quantize.imatrix.chunks_count",
                                     static_cast<uint32_t>(importance_->chunks())));
  }
  return entries;
}

uint64_t Conversion::fingerprint() const {
  std::string text = fmt::format("{} {}", kEncoderVersion, target_);
  for (const GgufFile::Origin& origin : source_->origins()) {
    const FileIdentity& id = origin.identity;
    text += fmt::format("\n{} {} {} {}", id.device, id.inode, id.bytes, id.modified_ns);
  }
  if (importance_ != nullptr) text += fmt::format("\n{:x}", importance_->digest());
  return XXH3_64bits(text.data(), text.size());
}

Result<size_t> Conversion::write(const std::filesystem::path& path, const WriteOptions& options,
                                 ThreadPool& pool) const {
  for (const GgufFile::Origin& origin : source_->origins()) {
    std::error_code problem;
    if (std::filesystem::equivalent(origin.path, path, problem)) {
      return Error{Code::kInvalidArgument, fmt::format("{} is the source itself", path.string()),
                   "choose another name"};
    }
  }
  std::vector<GgufTensor> infos;
  for (const PlannedTensor& planned : tensors_) infos.push_back(planned.tensor);
  TRY(GgufWriter writer,
      GgufWriter::create(path, entries(), infos,
                         {.overwrite = options.overwrite, .fingerprint = fingerprint()}));
  const size_t resumed = writer.tensors_done();
  uint64_t done = 0;
  for (size_t i = 0; i < resumed; ++i) done += infos[i].bytes();
  TensorWriter tensors(writer, pool, options, done, bytes());
  for (size_t i = resumed; i < tensors_.size(); ++i) {
    TRY_STATUS(tensors.write(tensors_[i], importance_));
    for (const TensorView* part : tensors_[i].parts) source_->forget(*part);
  }
  TRY_STATUS(writer.finish());
  return resumed;
}

}  // namespace hadal
