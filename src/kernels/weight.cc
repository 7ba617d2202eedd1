#include <atomic>
#include <string>
#include <utility>

#include "base/check.h"
#include "kernels/isa.h"
#include "kernels/matmul.h"
#include "kernels/pack.h"
#include "kernels/packed_weight.h"

namespace hadal {

Weight::Weight(std::unique_ptr<const Packed> packed) : packed_(std::move(packed)) {}
Weight::Weight(Weight&&) noexcept = default;
Weight& Weight::operator=(Weight&&) noexcept = default;
Weight::~Weight() = default;

int64_t Weight::rows() const {
  return packed_->view.ne[1];
}
int64_t Weight::cols() const {
  return packed_->view.ne[0];
}
const TensorView& Weight::tensor() const {
  return packed_->view;
}
DType Weight::type() const {
  return packed_->view.type;
}
uint64_t Weight::bytes() const {
  if (packed_->ops == nullptr) return packed_->view.bytes;
  return static_cast<uint64_t>(packed_->panels * packed_->panel_bytes);
}

namespace {

/// Checks that `tensor` is a matrix we can compute with, and fills all but the panels' memory.
Status describe(const TensorView& tensor, Activations activations, Weight::Packed& out) {
  const std::string name(tensor.name);
  out.format = pack_format(tensor.type);
  if (out.format == cpu::kFormats) {
    return Error{Code::kUnsupported, "tensor " + name + " has type " +
                                         std::string(dtype_info(tensor.type).name) +
                                         ", which is no weight format"};
  }
  if (tensor.ne[2] != 1 || tensor.ne[3] != 1) {
    return Error{Code::kUnsupported, "tensor " + name + " is no matrix: it has more than 2 axes"};
  }
  if (tensor.ne[0] % dtype_info(tensor.type).block_elements != 0) {
    return Error{Code::kCorrupt, "tensor " + name + ": rows are no multiple of the block size"};
  }
  const BlockScales& scales = tensor.scales;
  const bool fp4 = tensor.type == DType::kF4_E2M1;
  const bool fits = fp4 ? scales.data != nullptr && scales.e8m0 && scales.rows == 1 &&
                              scales.columns == cpu::kBlockColumns &&
                              tensor.ne[0] % cpu::kBlockColumns == 0
                        : scales.data == nullptr || scales.columns % cpu::kF8Columns == 0;
  if (!fits) {
    return Error{Code::kUnsupported,
                 "tensor " + name + " has scales per block of " + std::to_string(scales.rows) +
                     " x " + std::to_string(scales.columns) + ", which is not supported",
                 "supported: FP8 with blocks of a multiple of 128 columns, FP4 with 1 x 32"};
  }
  out.view = tensor;
  out.ops = current_ops();
  out.activation = activations == Activations::kInt8 ? cpu::kActivation8 : cpu::kActivation16;
  if (out.ops != nullptr) {
    out.panels = (tensor.ne[1] + cpu::kPanelRows - 1) / cpu::kPanelRows;
    out.panel_bytes = pack_panel_bytes(out.format, tensor.ne[0]);
  }
  return {};
}

Error not_numbers(const TensorView& tensor) {
  return Error{Code::kCorrupt, "tensor " + std::string(tensor.name) +
                                   " holds values or scales that are no numbers"};
}

/// Packs panels [first, first + count) of a tensor to `out`; whether they hold NaN.
bool pack_panels(const Weight::Packed& p, int64_t first, int64_t count, uint8_t* out,
                 ThreadPool& pool) {
  std::atomic<bool> nan = false;
  // Each worker packs the panels that it will read, so that they lie on its memory node.
  auto bound = [&](int worker) { return count * worker / pool.size(); };
  pool.stream(bound, 1, [&](int, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (panel_has_nan(p.view, first + i)) nan.store(true, std::memory_order_relaxed);
      pack_panel(p.view, p.format, first + i, out + i * p.panel_bytes);
    }
  });
  return nan;
}

}  // namespace

Result<Weight> Weight::prepare(const TensorView& tensor, Activations activations,
                               ThreadPool& pool) {
  auto packed = std::make_unique<Packed>();
  TRY_STATUS(describe(tensor, activations, *packed));
  bool nan = false;
  if (packed->ops != nullptr) {
    Packed& p = *packed;
    p.memory = PanelMemory(p.panels * p.panel_bytes);
    p.data = p.memory.data();
    nan = pack_panels(p, 0, p.panels, p.memory.data(), pool);
  } else {
    for (int64_t i = 0; i * cpu::kPanelRows < tensor.ne[1]; ++i)
      nan = nan || panel_has_nan(tensor, i);
  }
  if (nan) return not_numbers(tensor);
  return Weight(std::move(packed));
}

Result<Weight> Weight::borrow_packed(const TensorView& tensor, Activations activations,
                                     std::span<const uint8_t> bytes) {
  auto packed = std::make_unique<Packed>();
  TRY_STATUS(describe(tensor, activations, *packed));
  if (bytes.size() != static_cast<size_t>(packed->panels * packed->panel_bytes)) {
    return Error{Code::kInvalidArgument,
                 "the packed form of tensor " + std::string(tensor.name) + " has a wrong size"};
  }
  packed->data = bytes.data();
  return Weight(std::move(packed));
}

Result<Weight> Weight::unpacked(const TensorView& tensor, Activations activations) {
  auto packed = std::make_unique<Packed>();
  TRY_STATUS(describe(tensor, activations, *packed));
  return Weight(std::move(packed));
}

Result<Weight::PackedSize> Weight::packed_size(const TensorView& tensor) {
  Packed described;
  TRY_STATUS(describe(tensor, Activations::kInt16, described));
  return PackedSize{described.panels, described.panel_bytes};
}

Status Weight::pack(const TensorView& tensor, int64_t first_panel, std::span<uint8_t> out,
                    ThreadPool& pool) {
  Packed described;
  TRY_STATUS(describe(tensor, Activations::kInt16, described));
  CHECK(described.ops != nullptr && out.size() % static_cast<size_t>(described.panel_bytes) == 0);
  const auto count = static_cast<int64_t>(out.size()) / described.panel_bytes;
  CHECK(first_panel >= 0 && count <= described.panels - first_panel);
  if (pack_panels(described, first_panel, count, out.data(), pool)) return not_numbers(tensor);
  return {};
}

std::span<const uint8_t> Weight::packed_bytes() const {
  return {packed_->data, static_cast<size_t>(packed_->panels * packed_->panel_bytes)};
}

}  // namespace hadal
