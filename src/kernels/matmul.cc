#include "kernels/matmul.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/elementwise.h"
#include "kernels/matmul_rows.h"
#include "kernels/packed_weight.h"
#include "kernels/panel_product.h"
#include "kernels/reference/reference.h"

namespace hadal {
namespace {

using cpu::kPanelRows;

// What a worker takes at a time from its range when memory bounds the product: about a microsecond
// of reading, the most that others may wait for the last one.
constexpr int64_t kBytesPerPiece = 16 << 10;

}  // namespace

struct MatmulWorkspace::Buffers {
  std::vector<BigMemory> per_worker;
  MatmulRows rows;            ///< of callers who bring floats
  std::vector<float> floats;  ///< of the slow way through the reference
  MatmulObserver* observer = nullptr;
};

MatmulWorkspace::MatmulWorkspace() : buffers_(std::make_unique<Buffers>()) {}
MatmulWorkspace::~MatmulWorkspace() = default;

void MatmulWorkspace::set_observer(MatmulObserver* observer) {
  buffers_->observer = observer;
  buffers_->rows.keep_floats(observer != nullptr);
}

namespace {

/// Products of one input with weights of one instruction set.
///
/// Work items are groups of panels times ranges of columns. Worker w owns a part of every
/// task's groups, always the same one: it streams through memory that it packed itself.
class Product {
 public:
  Product(const MatmulRows& x, std::span<const MatmulTask> tasks, const cpu::Ops& ops,
          ThreadPool& pool, MatmulWorkspace::Buffers& buffers)
      : x_(x), n_(x.n()), tasks_(tasks), ops_(ops), pool_(pool), buffers_(buffers) {
    for (const MatmulTask& task : tasks) {
      CHECK(task.weight->cols() == x.cols());
      DCHECK(!task.weight->packed().quantised() ||
             x.forms().needed[task.weight->packed().activation]);
    }
    if (static_cast<int>(buffers.per_worker.size()) < pool.size()) {
      buffers.per_worker.resize(static_cast<size_t>(pool.size()));
    }
    for (const MatmulTask& task : tasks) {
      const Weight::Packed& w = task.weight->packed();
      group_ = std::max(group_, product_group(w));
      unpacked_bytes_ = std::max(unpacked_bytes_, unpacked_bytes(w));
    }
    few_ = product_is_direct(tasks.front().weight->packed(), n_);
  }

  /// Each task into its own output.
  void run() {
    each_item(tasks_.size(), [&](size_t index, PanelBlock item, int worker) {
      const MatmulTask& task = tasks_[index];
      const Tile tile = compute(task, item, worker, 0);
      for (int64_t c = 0; c < tile.columns; ++c) {
        for (int64_t p = 0; p < tile.panels; ++p) {
          emit(task, item.first_panel + p, item.column + c, tile.values(p, c));
        }
      }
    });
  }

  /// Both tasks together into `out`.
  void run_silu_mul(MatmulRows& out) {
    group_ = std::max(group_, kGroupRounded);
    each_item(1, [&](size_t, PanelBlock item, int worker) {
      fetch_ahead(tasks_[1], item.first_panel);
      const Tile gate = compute(tasks_[0], item, worker, 0);
      fetch_ahead(tasks_[0], item.first_panel + group_);
      const Tile up = compute(tasks_[1], item, worker, 1);
      const int64_t first = item.first_panel * kPanelRows;
      const int64_t count = std::min(gate.panels * kPanelRows, tasks_[0].weight->rows() - first);
      for (int64_t c = 0; c < gate.columns; ++c) {
        float gated[kGroupMax * kPanelRows];
        for (int64_t p = 0; p < gate.panels; p += gate.run) {
          ops_.silu_mul(gate.values(p, c), up.values(p, c),
                        std::min(gate.run, gate.panels - p) * kPanelRows, gated + p * kPanelRows);
        }
        out.set(item.column + c, first, count, gated);
      }
    });
  }

 private:
  int64_t groups_of(const MatmulTask& task) const {
    return (task.weight->packed().panels + group_ - 1) / group_;
  }
  /// The first of a task's groups that belong to `worker`.
  int64_t share(const MatmulTask& task, int64_t worker) const {
    return groups_of(task) * worker / workers_;
  }
  /// The same for the first `lists` tasks together.
  int64_t share(size_t lists, int64_t worker) const {
    int64_t groups = 0;
    for (size_t i = 0; i < lists; ++i) groups += share(tasks_[i], worker);
    return groups;
  }

  /// Calls body(task, item, worker) for each item of the first `lists` tasks.
  template <typename Body>
  void each_item(size_t lists, Body&& body) {
    int64_t macs = 0;
    int64_t bytes = 0;
    int64_t groups = 0;
    for (const MatmulTask& task : tasks_) {
      macs += task.weight->rows() * x_.cols() * n_;
      bytes += static_cast<int64_t>(task.weight->bytes());
    }
    const bool alone = pool_.size() == 1 || macs < kInlineMacs;
    workers_ = alone ? 1 : pool_.size();
    int64_t panels = 0;
    for (size_t i = 0; i < lists; ++i) panels += tasks_[i].weight->packed().panels;
    while (2 * group_ <= std::min(kGroupMax, panels / (kItemsPerWorker * workers_))) {
      group_ *= 2;
    }
    for (size_t i = 0; i < lists; ++i) groups += groups_of(tasks_[i]);
    int64_t span = std::min<int64_t>(n_, kColumnsPerItem);
    const int64_t wanted = 4 * workers_;
    while (!alone && groups * ((n_ + span - 1) / span) < wanted && span > 48) span = (span + 1) / 2;
    const int64_t spans = (n_ + span - 1) / span;
    const int64_t grain = few_ ? std::max<int64_t>(1, kBytesPerPiece * groups / bytes) : 1;

    auto bound = [&](int worker) { return share(lists, worker) * spans; };
    auto piece = [&](int worker, int64_t begin, int64_t end) {
      int owner = 0;
      while (bound(owner + 1) <= begin) ++owner;
      const int64_t own_groups = share(lists, owner + 1) - share(lists, owner);
      for (int64_t i = begin - bound(owner); i < end - bound(owner); ++i) {
        // All groups for one range of columns, then the next: the input stays in the cache.
        int64_t group = i % own_groups;
        size_t index = 0;
        int64_t here = 0;
        while (here = share(tasks_[index], owner + 1) - share(tasks_[index], owner),
               group >= here) {
          group -= here;
          ++index;
        }
        const int64_t first = (share(tasks_[index], owner) + group) * group_;
        const int64_t column = i / own_groups * span;
        body(index,
             PanelBlock{first, std::min(group_, tasks_[index].weight->packed().panels - first),
                        column, std::min(span, n_ - column)},
             worker);
      }
    };
    if (alone) {
      piece(0, 0, bound(1));
    } else {
      pool_.stream(bound, grain, piece);
    }
  }

  void fetch_ahead(const MatmulTask& task, int64_t panel) const {
    if (few_) fetch_panel(task.weight->packed(), panel);
  }

  /// The products of an item, in the worker's buffer `slot` (0 or 1).
  Tile compute(const MatmulTask& task, const PanelBlock& item, int worker, int slot) {
    const Weight::Packed& w = task.weight->packed();
    const int64_t floats = tile_floats(group_, item.columns);
    uint8_t* memory =
        buffers_.per_worker[static_cast<size_t>(worker)].reserve(unpacked_bytes_ + 2 * floats * 4);
    auto* out = reinterpret_cast<float*>(memory + unpacked_bytes_) + slot * floats;
    const Tile tile = panel_product(w, x_.forms(), item, few_, memory, out);
    add_bias(task, item, tile);
    return tile;
  }

  static void add_bias(const MatmulTask& task, const PanelBlock& item, const Tile& tile) {
    if (task.bias == nullptr) return;
    for (int64_t p = 0; p < tile.panels; ++p) {
      const int64_t panel = item.first_panel + p;
      const int64_t rows = panel_rows(task.weight->packed(), panel);
      const float* bias = task.bias + panel * kPanelRows;
      for (int64_t c = 0; c < tile.columns; ++c) {
        float* values = tile.values(p, c);
        for (int64_t i = 0; i < rows; ++i) values[i] += bias[i];
      }
    }
  }

  static void emit(const MatmulTask& task, int64_t panel, int64_t column, const float* values) {
    float* out = task.out + column * task.out_stride + panel * kPanelRows;
    const int64_t rows = panel_rows(task.weight->packed(), panel);
    if (rows == kPanelRows) return put<kPanelRows>(values, kPanelRows, task.add, out);
    put<0>(values, rows, task.add, out);
  }
  /// A fixed count becomes a few vector instructions; kCount 0 means `count`.
  template <int64_t kCount>
  static void put(const float* values, int64_t count, bool add, float* out) {
    const int64_t n = kCount > 0 ? kCount : count;
    if (add) {
      for (int64_t i = 0; i < n; ++i) out[i] += values[i];
    } else {
      for (int64_t i = 0; i < n; ++i) out[i] = values[i];
    }
  }

  const MatmulRows& x_;
  const int64_t n_;
  std::span<const MatmulTask> tasks_;
  const cpu::Ops& ops_;
  ThreadPool& pool_;
  MatmulWorkspace::Buffers& buffers_;
  int64_t workers_ = 1;
  int64_t group_ = 1;  ///< panels per item
  int64_t unpacked_bytes_ = 0;
  bool few_ = false;  ///< columns go straight from the packed panels
};

/// A task whose weight has no panels.
void reference_product(const MatmulRows& x, const MatmulTask& task, ThreadPool& pool,
                       std::vector<float>& memory) {
  const int64_t rows = task.weight->rows();
  const cpu::FloatInput& in = x.forms().floats;
  MatmulTask plain = task;
  if (task.add) {
    memory.resize(static_cast<size_t>(x.n() * rows));
    plain.out = memory.data();
    plain.out_stride = rows;
  }
  pool.parallel_for(rows, 32, [&](int64_t begin, int64_t end) {
    reference::matmul_rows(task.weight->packed().view, begin, end, in.x, x.n(), in.stride,
                           task.bias, plain.out, plain.out_stride);
  });
  if (!task.add) return;
  for (int64_t r = 0; r < x.n(); ++r) {
    reference::add_in_place(task.out + r * task.out_stride, plain.out + r * rows, rows);
  }
}

void observe(const MatmulRows& x, std::span<const MatmulTask> tasks,
             const MatmulWorkspace::Buffers& buffers) {
  if (buffers.observer == nullptr) return;
  for (const MatmulTask& task : tasks) buffers.observer->inputs(*task.weight, x, 0, x.n());
}

}  // namespace

void matmul(const MatmulRows& x, std::span<const MatmulTask> tasks, ThreadPool& pool,
            MatmulWorkspace& workspace) {
  if (x.n() == 0) return;
  MatmulWorkspace::Buffers& buffers = workspace.buffers();
  observe(x, tasks, buffers);
  while (!tasks.empty()) {
    // Tasks prepared for one instruction set go together; a change happens only in tests.
    const cpu::Ops* ops = tasks.front().weight->packed().ops;
    size_t count = 1;
    while (count < tasks.size() && tasks[count].weight->packed().ops == ops) ++count;
    if (ops != nullptr) {
      Product(x, tasks.first(count), *ops, pool, buffers).run();
    } else {
      for (const MatmulTask& task : tasks.first(count)) {
        reference_product(x, task, pool, buffers.floats);
      }
    }
    tasks = tasks.subspan(count);
  }
}

void matmul(const MatmulInput& x, std::span<const MatmulTask> tasks, ThreadPool& pool,
            MatmulWorkspace& workspace) {
  MatmulRows& rows = workspace.buffers().rows;
  std::vector<const Weight*> readers;
  for (const MatmulTask& task : tasks) readers.push_back(task.weight);
  rows.reset(x.n, readers);
  rows.set_all(x.data, x.stride, pool);
  matmul(rows, tasks, pool, workspace);
}

void matmul_silu_mul(const MatmulRows& x, const MatmulTask& gate, const MatmulTask& up,
                     MatmulRows& out, ThreadPool& pool, MatmulWorkspace& workspace) {
  const int64_t rows = gate.weight->rows();
  CHECK(up.weight->rows() == rows && out.cols() == rows && out.n() == x.n());
  if (x.n() == 0) return;
  const cpu::Ops* ops = gate.weight->packed().ops;
  const MatmulTask tasks[] = {gate, up};
  if (ops != nullptr && up.weight->packed().ops == ops) {
    observe(x, tasks, workspace.buffers());
    return Product(x, tasks, *ops, pool, workspace.buffers()).run_silu_mul(out);
  }
  std::vector<float> products(static_cast<size_t>(2 * x.n() * rows));
  MatmulTask parts[] = {gate, up};
  for (int i = 0; i < 2; ++i) {
    parts[i].out = products.data() + i * x.n() * rows;
    parts[i].out_stride = rows;
    parts[i].add = false;
  }
  matmul(x, parts, pool, workspace);
  silu_mul(parts[0].out, parts[1].out, x.n() * rows, parts[0].out);
  out.set_all(parts[0].out, rows, pool);
}

}  // namespace hadal
