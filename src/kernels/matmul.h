#pragma once
/// y = x W^T (+ bias): float activations, weights in any GGUF format.
///
/// Weights keep their quantised values exactly. Quantised formats multiply with activations that
/// are rounded to 16-bit integers, one scale per 32 columns (relative error of a row <= 2^-15 of
/// its block's maximum), so results differ from float arithmetic only by that rounding and the
/// order of additions; float formats multiply in float32.
/// Reference twin: decode the row to float, accumulate in double.
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace hadal {

/// A weight W[rows, cols] made ready for this machine. May borrow the tensor's bytes, which must
/// outlive it. Immutable.
class Weight {
 public:
  /// `tensor` is 2-D: ne = {cols, rows}. kUnsupported for types without arithmetic (integers).
  static Result<Weight> prepare(const TensorView& tensor, ThreadPool& pool);
  Weight(Weight&&) noexcept;
  Weight& operator=(Weight&&) noexcept;
  ~Weight();

  int64_t rows() const;
  int64_t cols() const;
  DType type() const;
  /// Bytes read by one pass over the matrix.
  uint64_t bytes() const;

  struct Packed;
  const Packed& packed() const { return *packed_; }

 private:
  explicit Weight(std::unique_ptr<const Packed> packed);
  std::unique_ptr<const Packed> packed_;
};

/// Buffers that matmul reuses between calls. One per calling thread.
class MatmulWorkspace {
 public:
  MatmulWorkspace();
  ~MatmulWorkspace();
  MatmulWorkspace(const MatmulWorkspace&) = delete;
  MatmulWorkspace& operator=(const MatmulWorkspace&) = delete;

  struct Buffers;
  Buffers& buffers() { return *buffers_; }

 private:
  std::unique_ptr<Buffers> buffers_;
};

/// Activations x[n, cols]; row r starts at data + r * stride.
struct MatmulInput {
  const float* data = nullptr;
  int64_t n = 0;
  int64_t stride = 0;
};

/// One product of a group that shares its input (q, k, v; gate, up).
struct MatmulTask {
  const Weight* weight = nullptr;
  const float* bias = nullptr;  ///< rows() floats or null
  float* out = nullptr;         ///< n x rows(), row r at out + r * out_stride
  int64_t out_stride = 0;
};

/// All tasks read the same x; the activations are rounded once. Outputs must not alias x.
void matmul(const MatmulInput& x, std::span<const MatmulTask> tasks, ThreadPool& pool,
            MatmulWorkspace& workspace);

}  // namespace hadal
