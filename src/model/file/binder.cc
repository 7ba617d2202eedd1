#include "model/file/binder.h"

#include <array>
#include <cstring>

#include <fmt/format.h>

namespace hadal {
namespace {

std::string shape_text(const std::array<int64_t, 4>& ne) {
  size_t dims = 4;
  while (dims > 1 && ne[dims - 1] == 1) --dims;
  return fmt::format("{{{}}}", fmt::join(ne.begin(), ne.begin() + dims, ", "));
}

/// As F32, BF16 or F16.
std::vector<std::byte> encoded(std::span<const float> values, DType type) {
  std::vector<std::byte> out(values.size() * static_cast<size_t>(dtype_info(type).block_bytes));
  if (type == DType::kF32) {
    std::memcpy(out.data(), values.data(), out.size());
    return out;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t bits = type == DType::kBF16 ? f32_to_bf16(values[i]) : f32_to_f16(values[i]);
    std::memcpy(out.data() + i * sizeof(bits), &bits, sizeof(bits));
  }
  return out;
}

}  // namespace

Binder::Binder(const GgufFile& file, const LoadOptions& options, ThreadPool& pool)
    : file_(file), options_(options), pool_(pool) {
  for (const TensorView& tensor : file.tensors()) bytes_total_ += tensor.bytes;
}

Result<const TensorView*> Binder::find(const std::string& name, int64_t cols, int64_t rows,
                                       int64_t matrices) const {
  const TensorView* tensor = file_.find_tensor(name);
  if (tensor == nullptr) {
    return Error{Code::kCorrupt, fmt::format("tensor {} is missing", name)};
  }
  const std::array<int64_t, 4> expected = {cols, rows, matrices, 1};
  if (tensor->ne != expected) {
    return Error{Code::kCorrupt, fmt::format("tensor {} has shape {}, expected {}", name,
                                             shape_text(tensor->ne), shape_text(expected))};
  }
  return tensor;
}

Result<std::vector<float>> Binder::vector(const std::string& name, int64_t n) const {
  TRY(const TensorView* tensor, find(name, n, 1));
  std::vector<float> out(static_cast<size_t>(n));
  dequantize_row(*tensor, 0, out.data());
  return out;
}

Result<std::vector<float>> Binder::vector_if_present(const std::string& name, int64_t n) const {
  if (!has(name)) return std::vector<float>{};
  return vector(name, n);
}

Result<std::vector<float>> Binder::matrix(const std::string& name, int64_t cols,
                                          int64_t rows) const {
  TRY(const TensorView* tensor, find(name, cols, rows));
  std::vector<float> out(static_cast<size_t>(cols * rows));
  for (int64_t r = 0; r < rows; ++r) {
    dequantize_row(*tensor, r, out.data() + r * cols);
  }
  return out;
}

Result<Weight> Binder::prepare(const TensorView& tensor, int64_t first_row,
                               Activations activations) {
  auto weight = options_.plan != nullptr ? plan(tensor, first_row, activations)
                                         : borrow(tensor, first_row, activations);
  if (!weight.ok() && options_.plan == nullptr) {
    weight = Weight::prepare(tensor, activations, pool_);
    file_.forget(tensor);  // the packed form is read from now on
  }
  if (!weight.ok()) {
    return Error{weight.error().code,
                 fmt::format("tensor {}: {}", tensor.name, weight.error().message),
                 weight.error().hint};
  }
  if (options_.plan != nullptr) return weight;
  const std::span<const uint8_t> bytes = weight.value().packed_bytes();
  if (!bytes.empty()) {
    packed_.push_back(
        {std::string(tensor.name), tensor.type, first_row, tensor.ne[1], tensor.ne[0], bytes});
  }
  bytes_done_ += tensor.bytes;
  if (options_.progress != nullptr && bytes_total_ > 0) {
    options_.progress(static_cast<double>(bytes_done_) / static_cast<double>(bytes_total_),
                      options_.progress_context);
  }
  return weight;
}

Result<Weight> Binder::borrow(const TensorView& tensor, int64_t first_row,
                              Activations activations) {
  const PackedPart* part =
      options_.packed == nullptr ? nullptr : options_.packed->find(tensor.name, first_row);
  if (part == nullptr || part->type != tensor.type || part->rows != tensor.ne[1] ||
      part->cols != tensor.ne[0]) {
    return Error{Code::kNotFound, "no packed form of " + std::string(tensor.name)};
  }
  return Weight::borrow_packed(tensor, activations, part->bytes);
}

Result<Weight> Binder::plan(const TensorView& tensor, int64_t first_row, Activations activations) {
  TRY(const Weight::PackedSize size, Weight::packed_size(tensor));
  if (size.panels > 0) options_.plan->push_back({tensor, first_row, size.bytes()});
  return Weight::unpacked(tensor, activations);
}

Result<Weight> Binder::weight(const std::string& name, int64_t cols, int64_t rows,
                              Activations activations) {
  TRY(const TensorView* tensor, find(name, cols, rows));
  return prepare(*tensor, 0, activations);
}

Result<Weight> Binder::exact(const std::string& name, int64_t cols, int64_t rows) {
  TRY(const TensorView* tensor, find(name, cols, rows));
  if (dtype_info(tensor->type).block_elements == 1) {
    return prepare(*tensor, 0, Activations::kInt16);
  }
  TRY(const std::vector<float> values, matrix(name, cols, rows));
  return derived(values, DType::kF32, cols, rows);
}

Result<Linear> Binder::linear(const std::string& name, int64_t cols, int64_t rows,
                              Activations activations) {
  TRY(const TensorView* tensor, find(name + ".weight", cols, rows));
  TRY(std::vector<float> bias, vector_if_present(name + ".bias", rows));
  TRY(Weight weight, prepare(*tensor, 0, activations));
  return Linear{std::move(weight), std::move(bias)};
}

Result<Weight> Binder::slice(const TensorView& tensor, int64_t begin, int64_t rows,
                             Activations activations) {
  TensorView part = tensor;
  part.n_dims = 2;
  part.ne = {tensor.ne[0], rows, 1, 1};
  part.data = tensor.row(begin);
  part.bytes = static_cast<uint64_t>(rows) * tensor.row_bytes();
  part.scales.first_row += begin;
  return prepare(part, begin, activations);
}

Result<Linear> Binder::slice(const TensorView& fused, const std::vector<float>& bias, int64_t begin,
                             int64_t rows, Activations activations) {
  TRY(Weight weight, slice(fused, begin, rows, activations));
  std::vector<float> part_bias;
  if (!bias.empty()) part_bias.assign(bias.begin() + begin, bias.begin() + begin + rows);
  return Linear{std::move(weight), std::move(part_bias)};
}

Result<Weight> Binder::derived(std::span<const float> values, DType source, int64_t cols,
                               int64_t rows) {
  TensorView view;
  view.name = "derived";
  const bool wide = source == DType::kF32 || source == DType::kF8_E4M3;  // scales are of F32
  view.type = wide ? DType::kF32 : source == DType::kBF16 ? source : DType::kF16;
  view.n_dims = 2;
  view.ne = {cols, rows, 1, 1};
  if (options_.plan != nullptr) return Weight::unpacked(view, Activations::kInt16);
  std::vector<std::byte> bytes = encoded(values, view.type);
  view.data = bytes.data();
  view.bytes = bytes.size();
  TRY(Weight weight, Weight::prepare(view, Activations::kInt16, pool_));
  // Where the instruction set packs, nothing reads the original any more.
  if (weight.packed_bytes().empty()) derived_.push_back(std::move(bytes));
  return weight;
}

void Binder::finished() const {
  if (options_.progress != nullptr) options_.progress(1.0, options_.progress_context);
}

}  // namespace hadal
