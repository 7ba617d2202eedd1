#pragma once
/// y = x W^T (+ bias): float activations, weights in any GGUF format.
///
/// Weights keep their quantised values exactly. Quantised formats multiply with activations that
/// are rounded to integers of 8 bits with a scale per 64 columns, or 16 with one per 32 (error of a
/// value: at most 1/254 or 2^-16 of its block's maximum), so results differ from float arithmetic
/// only by that rounding and the order of additions; float formats multiply in float32. Reference
/// twin: decode the row to float, accumulate in double.
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace hadal {

/// What the activations of a quantised product are rounded to. It belongs to the weight, so that a
/// row's result never depends on how many rows go along.
enum class Activations : uint8_t {
  kInt8,   ///< fast: half the multiply instructions
  kInt16,  ///< close to float32
};

/// A weight W[rows, cols] made ready for this machine. May borrow the tensor's bytes, which must
/// outlive it. Immutable.
class Weight {
 public:
  /// `tensor` is 2-D: ne = {cols, rows}. kUnsupported for types without arithmetic (integers).
  static Result<Weight> prepare(const TensorView& tensor, Activations activations,
                                ThreadPool& pool);
  /// A weight whose packed form lies elsewhere, as packed_bytes() of an equal tensor returned it;
  /// `packed` must outlive it. kInvalidArgument when the size is not that of `tensor`'s packed
  /// form.
  static Result<Weight> borrow_packed(const TensorView& tensor, Activations activations,
                                      std::span<const uint8_t> packed);
  /// One without its packed form, for planning what a model will need. It must not meet a product.
  static Result<Weight> unpacked(const TensorView& tensor, Activations activations);
  Weight(Weight&&) noexcept;
  Weight& operator=(Weight&&) noexcept;
  ~Weight();

  /// Bytes of a panel of a tensor's packed form, and how many panels it has; 0 panels where the
  /// instruction set computes from the tensor itself. Errors as prepare().
  struct PackedSize {
    int64_t panels = 0;
    int64_t panel_bytes = 0;
    uint64_t bytes() const { return static_cast<uint64_t>(panels * panel_bytes); }
  };
  static Result<PackedSize> packed_size(const TensorView& tensor);
  /// A piece of the form that prepare() makes: the panels from `first_panel` on that fill `out`,
  /// whose size is a multiple of panel_bytes. kCorrupt as prepare(), for what lies in the piece.
  static Status pack(const TensorView& tensor, int64_t first_panel, std::span<uint8_t> out,
                     ThreadPool& pool);

  int64_t rows() const;
  int64_t cols() const;
  DType type() const;
  const TensorView& tensor() const;  ///< what it was made from
  /// The packed form; empty where the instruction set computes from the tensor itself.
  std::span<const uint8_t> packed_bytes() const;
  /// Bytes read by one pass over the matrix.
  uint64_t bytes() const;

  struct Packed;
  const Packed& packed() const { return *packed_; }

 private:
  explicit Weight(std::unique_ptr<const Packed> packed);
  std::unique_ptr<const Packed> packed_;
};

/// Activations of n rows in every form that the products reading them need: rounded to 8 or 16
/// bits, or float. Producers write rows or parts of rows where they compute them; several products
/// may read the result. Keep one per place in a model: it reuses its memory.
class MatmulRows {
 public:
  MatmulRows();
  ~MatmulRows();
  MatmulRows(const MatmulRows&) = delete;
  MatmulRows& operator=(const MatmulRows&) = delete;

  /// Makes room for n rows with as many columns as each of `readers` has, for all of them.
  void reset(int64_t n, std::span<const Weight* const> readers);

  int64_t n() const { return n_; }
  int64_t cols() const { return cols_; }

  /// Sets columns [first, first + count) of a row; `first` and `count` are multiples of 64, or
  /// `count` reaches the last column. Distinct columns may be set by distinct threads at a time.
  void set(int64_t row, int64_t first, int64_t count, const float* x);
  /// Sets all rows; row r is at x + r * stride.
  void set_all(const float* x, int64_t stride, ThreadPool& pool);
  /// Becomes a copy of some rows of `x`, in every form that x has; a row may come several times.
  void gather(const MatmulRows& x, std::span<const int32_t> rows, ThreadPool& pool);

  /// From the next reset() on, rows are kept as floats too, whatever the readers need.
  void keep_floats(bool keep) { keep_floats_ = keep; }
  /// A row as floats; null unless they are kept or needed by a reader.
  const float* floats(int64_t row) const;

  struct Forms;
  const Forms& forms() const { return *forms_; }

 private:
  int64_t n_ = 0;
  int64_t cols_ = 0;
  bool keep_floats_ = false;
  std::unique_ptr<Forms> forms_;
};

/// Sees what goes into products, for statistics of the inputs (importance matrices). Called by the
/// thread that called the op, before or after the product itself.
class MatmulObserver {
 public:
  virtual ~MatmulObserver() = default;
  /// Rows [first, first + count) of `x` are multiplied with `weight`. x.floats() may be read.
  virtual void inputs(const Weight& weight, const MatmulRows& x, int64_t first, int64_t count) = 0;
};

/// Buffers that matmul reuses between calls. One per calling thread.
class MatmulWorkspace {
 public:
  MatmulWorkspace();
  ~MatmulWorkspace();
  MatmulWorkspace(const MatmulWorkspace&) = delete;
  MatmulWorkspace& operator=(const MatmulWorkspace&) = delete;

  /// From now on the ops that use this workspace report their inputs, which must have been told to
  /// keep_floats(); null: no more.
  void set_observer(MatmulObserver* observer);

  struct Buffers;
  Buffers& buffers() { return *buffers_; }

 private:
  std::unique_ptr<Buffers> buffers_;
};

/// One product of a group that shares its input (q, k, v; gate, up).
struct MatmulTask {
  const Weight* weight = nullptr;
  const float* bias = nullptr;  ///< rows() floats or null
  float* out = nullptr;         ///< n x rows(), row r at out + r * out_stride
  int64_t out_stride = 0;
  bool add = false;  ///< out += product (a residual) instead of out = product
};

/// All tasks read the same x.
void matmul(const MatmulRows& x, std::span<const MatmulTask> tasks, ThreadPool& pool,
            MatmulWorkspace& workspace);

/// Float activations x[n, cols]; row r starts at data + r * stride.
struct MatmulInput {
  const float* data = nullptr;
  int64_t n = 0;
  int64_t stride = 0;
};

/// The same for activations that nobody prepared. Outputs must not alias x.
void matmul(const MatmulInput& x, std::span<const MatmulTask> tasks, ThreadPool& pool,
            MatmulWorkspace& workspace);

/// out = silu(Wg x) * (Wu x), the gated unit of a feed-forward layer (2002.05202), without the
/// products ever leaving the cache. `gate` and `up` have the same shape; their out and add are not
/// used. `out` was reset for its readers with x.n() rows.
void matmul_silu_mul(const MatmulRows& x, const MatmulTask& gate, const MatmulTask& up,
                     MatmulRows& out, ThreadPool& pool, MatmulWorkspace& workspace);

}  // namespace hadal
