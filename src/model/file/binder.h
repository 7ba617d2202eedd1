#pragma once
/// Finds a model's tensors by name, checks shapes, prepares weights for this machine and counts
/// progress. Errors name the tensor and the expected and found shapes.
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "kernels/matmul.h"
#include "model/model.h"
#include "model/weights.h"
#include "tensor/gguf.h"

namespace hadal {

/// Borrows all of its arguments. With LoadOptions::plan it packs nothing.
class Binder {
 public:
  Binder(const GgufFile& file, const LoadOptions& options, ThreadPool& pool);

  bool has(const std::string& name) const { return tensor(name) != nullptr; }
  /// Null when absent.
  const TensorView* tensor(const std::string& name) const { return file_.find_tensor(name); }

  /// The tensor, which must have these extents; rows and matrices as far as they are 1.
  Result<const TensorView*> find(const std::string& name, int64_t cols, int64_t rows,
                                 int64_t matrices = 1) const;

  /// A vector of `n` numbers as floats.
  Result<std::vector<float>> vector(const std::string& name, int64_t n) const;
  Result<std::vector<float>> vector_if_present(const std::string& name, int64_t n) const;

  /// cols * rows numbers as floats.
  Result<std::vector<float>> matrix(const std::string& name, int64_t cols, int64_t rows) const;

  /// "NAME.weight" with the optional "NAME.bias".
  Result<Linear> linear(const std::string& name, int64_t cols, int64_t rows,
                        Activations activations);

  Result<Weight> weight(const std::string& name, int64_t cols, int64_t rows,
                        Activations activations);
  /// A matrix that meets activations as they are: one in a quantised format becomes floats, in
  /// memory that take_derived() hands over.
  Result<Weight> exact(const std::string& name, int64_t cols, int64_t rows);

  /// Rows [begin, begin + rows) of a tensor whose shape was checked before.
  Result<Weight> slice(const TensorView& tensor, int64_t begin, int64_t rows,
                       Activations activations);
  Result<Linear> slice(const TensorView& fused, const std::vector<float>& bias, int64_t begin,
                       int64_t rows, Activations activations);

  /// A matrix that the file has in another arrangement, whose elements are of type `source` there:
  /// it stays F32 or BF16, all else becomes F16. `values` are rows * cols floats. The result
  /// borrows memory that take_derived() hands over.
  Result<Weight> derived(std::span<const float> values, DType source, int64_t cols, int64_t rows);

  std::vector<PackedPart> take_packed() { return std::move(packed_); }
  std::vector<std::vector<std::byte>> take_derived() { return std::move(derived_); }
  void finished() const;

 private:
  Result<Weight> prepare(const TensorView& tensor, int64_t first_row, Activations activations);
  Result<Weight> borrow(const TensorView& tensor, int64_t first_row, Activations activations);
  /// Notes what would be packed.
  Result<Weight> plan(const TensorView& tensor, int64_t first_row, Activations activations);

  const GgufFile& file_;
  const LoadOptions& options_;
  ThreadPool& pool_;
  uint64_t bytes_total_ = 0;
  uint64_t bytes_done_ = 0;
  std::vector<PackedPart> packed_;
  std::vector<std::vector<std::byte>> derived_;
};

}  // namespace hadal
