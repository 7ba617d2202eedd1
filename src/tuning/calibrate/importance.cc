/// Importance matrices: gathered, stored and read.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "tuning/tuning.h"

namespace hadal {
namespace {

constexpr std::string_view kSums = ".in_sum2";
constexpr std::string_view kCounts = ".counts";
/// Relative to the mean: below it a column's share is mostly chance of the calibration text.
constexpr double kLeastWeight = 1e-3;
/// Columns that a worker sums at a time.
constexpr int64_t kColumnGrain = 256;

Error wrong(const std::filesystem::path& path, std::string_view tensor, std::string_view what) {
  return Error{Code::kCorrupt, fmt::format("{}: {} {}", path.string(), tensor, what),
               "make it again with `hadal imatrix`"};
}

Result<std::vector<double>> numbers(const std::filesystem::path& path, const TensorView& tensor) {
  if (tensor.type != DType::kF32) return wrong(path, tensor.name, "is not of type F32");
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  dequantize_row(tensor.type, tensor.data, values.data(), tensor.elements());
  for (const float value : values) {
    if (!(value >= 0) || !std::isfinite(value)) {
      return wrong(path, tensor.name, fmt::format("holds {}, no mean of squares", value));
    }
  }
  return std::vector<double>(values.begin(), values.end());
}

std::vector<float> as_floats(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

std::span<const std::byte> bytes_of(const std::vector<float>& values) {
  return std::as_bytes(std::span(values));
}

}  // namespace

Result<ImportanceMatrix> ImportanceMatrix::read(const std::filesystem::path& path) {
  TRY(const GgufFile file, GgufFile::open(path));
  TRY(const auto kind, file.string("general.type"));
  if (kind.value_or("") != "imatrix") {
    return Error{Code::kInvalidArgument, fmt::format("{} is no importance matrix", path.string()),
                 "make one with `hadal imatrix`"};
  }
  ImportanceMatrix out;
  TRY(const auto chunks, file.integer("imatrix.chunk_count"));
  out.chunks_ = std::clamp<int64_t>(chunks.value_or(0), 0, UINT32_MAX);
  if (const GgufValue* datasets = file.find("imatrix.datasets")) {
    TRY(const auto names, datasets->as_strings());
    for (const std::string_view name : names) {
      out.dataset_ += (out.dataset_.empty() ? "" : ", ") + std::string(name);
    }
  }
  for (const TensorView& sums : file.tensors()) {
    if (!sums.name.ends_with(kSums)) continue;
    const std::string name(sums.name.substr(0, sums.name.size() - kSums.size()));
    const TensorView* counts = file.find_tensor(name + std::string(kCounts));
    Entry entry;
    entry.cols = sums.ne[0];
    entry.matrices = sums.rows();
    if (counts == nullptr || counts->elements() != entry.matrices) {
      return wrong(path, name + std::string(kCounts), "is missing or has a wrong shape");
    }
    TRY(entry.sum_squares, numbers(path, sums));
    TRY(entry.rows, numbers(path, *counts));
    out.entries_.emplace(name, std::move(entry));
  }
  if (out.entries_.empty()) return wrong(path, "it", "holds no sums");
  return out;
}

Status ImportanceMatrix::write(const std::filesystem::path& path, std::string_view dataset,
                               uint32_t chunk, bool overwrite) const {
  const std::vector<std::string> datasets = {std::string(dataset)};
  const std::vector<GgufEntry> entries = {
      GgufEntry::string("general.type", "imatrix"),
      GgufEntry::strings("imatrix.datasets", datasets),
      GgufEntry::u32("imatrix.chunk_count", static_cast<uint32_t>(chunks_)),
      GgufEntry::u32("imatrix.chunk_size", chunk),
  };
  std::vector<GgufTensor> tensors;
  for (const auto& [name, entry] : entries_) {
    tensors.push_back(
        {name + std::string(kSums), DType::kF32, 2, {entry.cols, entry.matrices, 1, 1}});
    tensors.push_back({name + std::string(kCounts), DType::kF32, 2, {1, entry.matrices, 1, 1}});
  }
  // Everything but the numbers may be the same in another run: nothing to go on from.
  TRY(GgufWriter writer, GgufWriter::create(path, entries, tensors,
                                            {.overwrite = overwrite, .fingerprint = digest()}));
  for (const auto& [name, entry] : entries_) {
    if (writer.tensors_done() == tensors.size()) break;
    TRY_STATUS(writer.append(bytes_of(as_floats(entry.sum_squares))));
    TRY_STATUS(writer.append(bytes_of(as_floats(entry.rows))));
  }
  return writer.finish();
}

const ImportanceMatrix::Entry* ImportanceMatrix::find(std::string_view tensor) const {
  const auto it = entries_.find(tensor);
  return it == entries_.end() ? nullptr : &it->second;
}

std::vector<float> ImportanceMatrix::weights(std::string_view tensor, int64_t index) const {
  const Entry* entry = find(tensor);
  if (entry == nullptr || index >= entry->matrices) return {};
  const auto cols = static_cast<size_t>(entry->cols);
  const auto sums = std::span(entry->sum_squares).subspan(static_cast<size_t>(index) * cols, cols);
  double mean = 0;
  for (const double sum : sums) mean += sum;
  mean /= static_cast<double>(cols);
  if (!(mean > 0) || !(entry->rows[static_cast<size_t>(index)] > 0)) return {};
  std::vector<float> out(cols);
  for (size_t i = 0; i < cols; ++i) {
    out[i] = static_cast<float>(std::max(sums[i] / mean, kLeastWeight));
  }
  return out;
}

uint64_t ImportanceMatrix::digest() const {
  uint64_t hash = 0;
  for (const auto& [name, entry] : entries_) {
    hash = XXH3_64bits_withSeed(name.data(), name.size(), hash);
    hash = XXH3_64bits_withSeed(entry.sum_squares.data(), entry.sum_squares.size() * sizeof(double),
                                hash);
    hash = XXH3_64bits_withSeed(entry.rows.data(), entry.rows.size() * sizeof(double), hash);
  }
  return hash;
}

void ImportanceCollector::inputs(const Weight& weight, const MatmulRows& x, int64_t first,
                                 int64_t count) {
  const TensorView& slice = weight.tensor();
  const TensorView* whole = file_.find_tensor(slice.name);
  if (whole == nullptr || count == 0 || x.floats(first) == nullptr) return;
  ImportanceMatrix::Entry& entry = matrix_.entries_[std::string(slice.name)];
  if (entry.sum_squares.empty()) {
    entry.cols = whole->ne[0];
    entry.matrices = whole->ne[2] * whole->ne[3];
    entry.sum_squares.resize(static_cast<size_t>(entry.cols * entry.matrices));
    entry.rows.resize(static_cast<size_t>(entry.matrices));
  }
  // Which expert of a stack: where its bytes begin.
  const uint64_t matrix_bytes = whole->row_bytes() * static_cast<uint64_t>(whole->ne[1]);
  const auto index =
      static_cast<size_t>(static_cast<uint64_t>(slice.data - whole->data) / matrix_bytes);
  if (index >= entry.rows.size() || x.cols() != entry.cols) return;
  entry.rows[index] += static_cast<double>(count);
  double* sums = entry.sum_squares.data() + index * static_cast<size_t>(entry.cols);
  pool_.parallel_for(entry.cols, kColumnGrain, [&](int64_t begin, int64_t end) {
    for (int64_t r = first; r < first + count; ++r) {
      const float* row = x.floats(r);
      for (int64_t c = begin; c < end; ++c) sums[c] += static_cast<double>(row[c]) * row[c];
    }
  });
}

}  // namespace hadal
