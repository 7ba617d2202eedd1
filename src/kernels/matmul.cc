#include "kernels/matmul.h"

#include <string>
#include <utility>

#include "base/check.h"
#include "kernels/reference/reference.h"

namespace hadal {

struct Weight::Packed {
  TensorView view;
};

struct MatmulWorkspace::Buffers {};

MatmulWorkspace::MatmulWorkspace() : buffers_(std::make_unique<Buffers>()) {}
MatmulWorkspace::~MatmulWorkspace() = default;

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
DType Weight::type() const {
  return packed_->view.type;
}
uint64_t Weight::bytes() const {
  return packed_->view.bytes;
}

Result<Weight> Weight::prepare(const TensorView& tensor, ThreadPool&) {
  switch (tensor.type) {
    case DType::kI8:
    case DType::kI16:
    case DType::kI32:
    case DType::kI64:
    case DType::kF64:
      return Error{Code::kUnsupported, "tensor " + std::string(tensor.name) + " has type " +
                                           std::string(dtype_info(tensor.type).name) +
                                           ", which is no weight format"};
    default:
      break;
  }
  if (tensor.ne[2] != 1 || tensor.ne[3] != 1) {
    return Error{Code::kUnsupported,
                 "tensor " + std::string(tensor.name) + " is no matrix: it has more than 2 axes"};
  }
  auto packed = std::make_unique<Packed>();
  packed->view = tensor;
  return Weight(std::move(packed));
}

void matmul(const MatmulInput& x, std::span<const MatmulTask> tasks, ThreadPool& pool,
            MatmulWorkspace&) {
  for (const MatmulTask& task : tasks) {
    pool.parallel_for(task.weight->rows(), 32, [&](int64_t begin, int64_t end) {
      reference::matmul_rows(task.weight->packed().view, begin, end, x.data, x.n, x.stride,
                             task.bias, task.out, task.out_stride);
    });
  }
}

}  // namespace hadal
