#include "kernels/matmul.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string>
#include <utility>

#include "base/check.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/isa.h"
#include "kernels/pack.h"
#include "kernels/reference/reference.h"

namespace hadal {
namespace {

using cpu::kPanelRows;

// Below this many multiply-adds (about 2 us of one core) waking the other workers costs more than
// they save.
constexpr int64_t kInlineMacs = 100000;
// Columns that one work item of a wide product covers at most: long enough to pay for unpacking the
// panel, short enough to share few rows between many workers.
constexpr int64_t kColumnsPerItem = 256;
// 512 columns of weights unpacked at a time: 18 to 24 KiB, whole super-blocks.
constexpr int64_t kSliceBlocks = 16;
constexpr int64_t kDirectMax = 16;  ///< bound on any instruction set's direct_columns

/// Memory aligned to cache lines, grown on demand, contents lost when it grows.
class Scratch {
 public:
  Scratch() = default;
  ~Scratch() { std::free(data_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  Scratch(Scratch&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

  uint8_t* reserve(int64_t bytes) {
    const auto needed = static_cast<size_t>((bytes + 63) / 64 * 64);
    if (needed > bytes_) {
      std::free(data_);
      data_ = static_cast<uint8_t*>(std::aligned_alloc(64, needed));
      CHECK(data_ != nullptr);
      bytes_ = needed;
    }
    return data_;
  }
  uint8_t* data() const { return data_; }

 private:
  uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace

struct Weight::Packed {
  TensorView view;
  const cpu::Ops* ops = nullptr;  ///< nullptr: reference, straight from the view
  cpu::Format format = cpu::kFormats;
  cpu::Activation activation = cpu::kActivation8;
  int64_t panels = 0;
  int64_t panel_bytes = 0;
  const uint8_t* data = nullptr;  ///< panels * panel_bytes; in `memory` unless borrowed
  Scratch memory;

  bool quantised() const { return format < cpu::kQuantFormats; }
  const uint8_t* panel(int64_t index) const { return data + index * panel_bytes; }
};

struct MatmulWorkspace::Buffers {
  Scratch rounded[cpu::kActivations];
  std::vector<Scratch> per_worker;
};

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
  out.view = tensor;
  out.ops = current_ops();
  out.activation = activations == Activations::kInt8 ? cpu::kActivation8 : cpu::kActivation16;
  if (out.ops != nullptr) {
    out.panels = (tensor.ne[1] + kPanelRows - 1) / kPanelRows;
    out.panel_bytes = pack_panel_bytes(out.format, tensor.ne[0]);
  }
  return {};
}

}  // namespace

Result<Weight> Weight::prepare(const TensorView& tensor, Activations activations,
                               ThreadPool& pool) {
  auto packed = std::make_unique<Packed>();
  TRY_STATUS(describe(tensor, activations, *packed));
  if (packed->ops != nullptr) {
    Packed& p = *packed;
    uint8_t* memory = p.memory.reserve(p.panels * p.panel_bytes);
    p.data = memory;
    pool.parallel_for(p.panels, 4, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        pack_panel(tensor, p.format, i, memory + i * p.panel_bytes);
      }
    });
  }
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

std::span<const uint8_t> Weight::packed_bytes() const {
  return {packed_->data, static_cast<size_t>(packed_->panels * packed_->panel_bytes)};
}

namespace {

/// One matmul call on weights of one instruction set: rounded input, and the work items.
class Product {
 public:
  Product(const MatmulInput& x, std::span<const MatmulTask> tasks, const cpu::Ops& ops,
          ThreadPool& pool, MatmulWorkspace::Buffers& buffers)
      : x_(x), tasks_(tasks), ops_(ops), pool_(pool), buffers_(buffers) {
    cols_ = tasks.front().weight->cols();
    int64_t rows = 0;
    for (const MatmulTask& task : tasks) {
      CHECK(task.weight->cols() == cols_);
      rows += task.weight->rows();
    }
    inline_ = pool.size() == 1 || rows * cols_ * x.n < kInlineMacs;
    if (static_cast<int>(buffers.per_worker.size()) < pool.size()) {
      buffers.per_worker.resize(static_cast<size_t>(pool.size()));
    }
  }

  void run() {
    round_inputs();
    plan();
    std::atomic<int64_t> next{0};
    auto work = [&](int worker) {
      while (true) {
        const int64_t begin = next.fetch_add(grain_, std::memory_order_relaxed);
        if (begin >= items_) return;
        const int64_t end = std::min(begin + grain_, items_);
        for (int64_t item = begin; item < end; ++item) run_item(item, worker);
      }
    };
    if (inline_) {
      work(0);
    } else {
      pool_.share(work);
    }
  }

 private:
  void round_inputs() {
    for (int kind = 0; kind < cpu::kActivations; ++kind) {
      const bool needed = std::any_of(tasks_.begin(), tasks_.end(), [&](const MatmulTask& task) {
        const Weight::Packed& w = task.weight->packed();
        return w.quantised() && w.activation == kind;
      });
      if (needed) round_input(kind);
    }
  }

  void round_input(int kind) {
    const cpu::QuantOps& quant = ops_.quant[kind];
    const int64_t blocks = cols_ / cpu::kBlockColumns;
    // An odd number of blocks, so that the columns of a tile fall into different cache sets.
    const int64_t stride = (blocks | 1) * quant.block_bytes;
    uint8_t* rounded = buffers_.rounded[kind].reserve(x_.n * stride);
    input_[kind] = {rounded, stride};
    auto body = [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        quant.quantize(x_.data + r * x_.stride, blocks, rounded + r * stride);
      }
    };
    if (inline_ || x_.n < 8) {
      body(0, x_.n);
    } else {
      pool_.parallel_for(x_.n, 4, body);
    }
  }

  /// Item = a group of panels of one task times a range of columns.
  void plan() {
    // Both kinds of activations have the same limits.
    few_ = x_.n <= ops_.quant[cpu::kActivation8].direct_columns;
    group_ = few_ ? 1 : 2;
    for (const MatmulTask& task : tasks_) {
      if (!task.weight->packed().quantised()) group_ = ops_.float_panels;
    }
    int64_t groups = 0;
    for (const MatmulTask& task : tasks_) groups += groups_of(task);
    const int64_t wanted = 4 * pool_.size();
    span_ = std::min<int64_t>(x_.n, kColumnsPerItem);
    while (!inline_ && groups * column_items() < wanted && span_ > 48) span_ = (span_ + 1) / 2;
    items_ = groups * column_items();
    grain_ = few_ ? std::max<int64_t>(1, items_ / (wanted * 2)) : 1;
  }
  int64_t column_items() const { return (x_.n + span_ - 1) / span_; }
  int64_t groups_of(const MatmulTask& task) const {
    return (task.weight->packed().panels + group_ - 1) / group_;
  }

  void run_item(int64_t item, int worker) {
    int64_t group = item / column_items();
    const int64_t column = item % column_items() * span_;
    size_t index = 0;
    while (group >= groups_of(tasks_[index])) group -= groups_of(tasks_[index++]);
    const MatmulTask& task = tasks_[index];
    const Weight::Packed& w = task.weight->packed();
    const int64_t first = group * group_;
    const int64_t panels = std::min(group_, w.panels - first);
    const int64_t columns = std::min(span_, x_.n - column);
    if (!w.quantised()) {
      float_panels(task, first, panels, column, columns);
      return;
    }
    const cpu::QuantOps& quant = ops_.quant[w.activation];
    if (few_) {
      for (int64_t p = first; p < first + panels; ++p) {
        DCHECK(quant.direct_columns <= kDirectMax);
        float out[kDirectMax * kPanelRows];
        quant.direct(w.format, w.panel(p), cols_ / cpu::kBlockColumns, input_[w.activation],
                     static_cast<int>(x_.n), out);
        for (int64_t c = 0; c < x_.n; ++c) emit(task, p, c, out + c * kPanelRows);
      }
    } else {
      for (int64_t p = first; p < first + panels; p += quant.tile_panels) {
        const int64_t count = std::min<int64_t>(quant.tile_panels, first + panels - p);
        quant_panels(task, p, count, column, columns,
                     buffers_.per_worker[static_cast<size_t>(worker)]);
      }
    }
  }

  /// Slice by slice: unpack the panels into a buffer that fits the first-level cache, then use it
  /// for all columns.
  void quant_panels(const MatmulTask& task, int64_t first, int64_t panels, int64_t column,
                    int64_t columns, Scratch& scratch) {
    const Weight::Packed& w = task.weight->packed();
    const cpu::QuantOps& quant = ops_.quant[w.activation];
    const int64_t blocks = cols_ / cpu::kBlockColumns;
    const int64_t stride = kSliceBlocks * quant.unpacked_block_bytes(w.format);
    uint8_t* unpacked = scratch.reserve(panels * stride + columns * panels * kPanelRows * 4);
    auto* out = reinterpret_cast<float*>(unpacked + panels * stride);
    std::fill_n(out, columns * panels * kPanelRows, 0.0f);
    for (int64_t begin = 0; begin < blocks; begin += kSliceBlocks) {
      const int64_t count = std::min(kSliceBlocks, blocks - begin);
      const int64_t offset = pack_panel_bytes(w.format, begin * cpu::kBlockColumns);
      for (int64_t p = 0; p < panels; ++p) {
        quant.unpack(w.format, w.panel(first + p) + offset, count, unpacked + p * stride);
      }
      cpu::QuantInput input = input_[w.activation];
      input.blocks += column * input.stride + begin * quant.block_bytes;
      for (int64_t c = 0; c < columns; c += quant.tile_columns) {
        quant.quant_tile(w.format, unpacked, stride, static_cast<int>(panels), count, input,
                         static_cast<int>(std::min<int64_t>(quant.tile_columns, columns - c)),
                         out + c * panels * kPanelRows);
        input.blocks += quant.tile_columns * input.stride;
      }
    }
    emit_tile(task, first, panels, column, columns, out);
  }

  void float_panels(const MatmulTask& task, int64_t first, int64_t panels, int64_t column,
                    int64_t columns) {
    const Weight::Packed& w = task.weight->packed();
    float out[16 * 4 * kPanelRows];
    for (int64_t c = 0; c < columns; c += ops_.float_columns) {
      const int64_t count = std::min<int64_t>(ops_.float_columns, columns - c);
      const cpu::FloatInput input{x_.data + (column + c) * x_.stride, x_.stride};
      ops_.float_tile(w.format, w.panel(first), w.panel_bytes, static_cast<int>(panels), cols_,
                      input, static_cast<int>(count), out);
      emit_tile(task, first, panels, column + c, count, out);
    }
  }

  static void emit_tile(const MatmulTask& task, int64_t first, int64_t panels, int64_t column,
                        int64_t count, const float* out) {
    for (int64_t c = 0; c < count; ++c) {
      for (int64_t p = 0; p < panels; ++p) {
        emit(task, first + p, column + c, out + (c * panels + p) * kPanelRows);
      }
    }
  }

  static void emit(const MatmulTask& task, int64_t panel, int64_t column, const float* values) {
    const int64_t first = panel * kPanelRows;
    const int64_t rows = std::min<int64_t>(kPanelRows, task.weight->rows() - first);
    float* out = task.out + column * task.out_stride + first;
    for (int64_t i = 0; i < rows; ++i) {
      out[i] = task.bias == nullptr ? values[i] : values[i] + task.bias[first + i];
    }
  }

  const MatmulInput& x_;
  std::span<const MatmulTask> tasks_;
  const cpu::Ops& ops_;
  ThreadPool& pool_;
  MatmulWorkspace::Buffers& buffers_;
  cpu::QuantInput input_[cpu::kActivations] = {};
  int64_t cols_ = 0;
  int64_t group_ = 1;  ///< panels per item
  int64_t span_ = 1;   ///< columns per item
  int64_t items_ = 0;
  int64_t grain_ = 1;
  bool inline_ = false;
  bool few_ = false;  ///< columns go straight from the packed panels
};

}  // namespace

void matmul(const MatmulInput& x, std::span<const MatmulTask> tasks, ThreadPool& pool,
            MatmulWorkspace& workspace) {
  if (x.n == 0) return;
  while (!tasks.empty()) {
    // Tasks prepared for one instruction set go together; a change happens only in tests.
    const cpu::Ops* ops = tasks.front().weight->packed().ops;
    size_t count = 1;
    while (count < tasks.size() && tasks[count].weight->packed().ops == ops) ++count;
    if (ops != nullptr) {
      Product(x, tasks.first(count), *ops, pool, workspace.buffers()).run();
    } else {
      for (const MatmulTask& task : tasks.first(count)) {
        pool.parallel_for(task.weight->rows(), 32, [&](int64_t begin, int64_t end) {
          reference::matmul_rows(task.weight->packed().view, begin, end, x.data, x.n, x.stride,
                                 task.bias, task.out, task.out_stride);
        });
      }
    }
    tasks = tasks.subspan(count);
  }
}

}  // namespace hadal
