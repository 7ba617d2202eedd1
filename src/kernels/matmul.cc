#include "kernels/matmul.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/elementwise.h"
#include "kernels/matmul_rows.h"
#include "kernels/pack.h"
#include "kernels/packed_weight.h"
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
// What a worker takes at a time from its range when memory bounds the product: about a microsecond
// of reading, the most that others may wait for the last one.
constexpr int64_t kBytesPerPiece = 16 << 10;
// What is asked for early where a worker changes from one matrix to another.
constexpr int64_t kFirstBytes = 4096;
// Panels of one item.
constexpr int64_t kGroup = 2;
// ... where the next product reads the outputs rounded: those that share a scale lie together.
constexpr int64_t kGroupRounded = cpu::kGroup8 * cpu::kBlockColumns / kPanelRows;
constexpr int64_t kGroupMax = 8;          ///< long streams, and input that is used while cached
constexpr int64_t kItemsPerWorker = 8;    ///< at least, before groups grow
constexpr int64_t kFloatColumnsMax = 16;  ///< bound on any instruction set's

/// The results of some panels and columns. The panels come in runs of `run` that lie together.
struct Tile {
  float* data;
  int64_t panels;
  int64_t columns;
  int64_t run;

  static int64_t floats(int64_t panels, int64_t columns) { return panels * columns * kPanelRows; }
  float* values(int64_t panel, int64_t column) const {
    const int64_t first = panel / run * run;
    const int64_t width = std::min(run, panels - first);
    return data + (first * columns + column * width + panel - first) * kPanelRows;
  }
};

}  // namespace

struct MatmulWorkspace::Buffers {
  std::vector<BigMemory> per_worker;
  MatmulRows rows;            ///< of callers who bring floats
  std::vector<float> floats;  ///< of the slow way through the reference
};

MatmulWorkspace::MatmulWorkspace() : buffers_(std::make_unique<Buffers>()) {}
MatmulWorkspace::~MatmulWorkspace() = default;

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
      if (!w.quantised()) group_ = std::max<int64_t>(kGroup, ops.float_panels);
      unpacked_bytes_ =
          std::max(unpacked_bytes_,
                   kGroup * kSliceBlocks * ops.quant[w.activation].unpacked_block_bytes(w.format));
    }
    // Both kinds of activations have the same limits.
    few_ = n_ <= ops.quant[cpu::kActivation8].direct_columns;
  }

  /// Each task into its own output.
  void run() {
    each_item(tasks_.size(), [&](size_t index, Item item, int worker) {
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
    each_item(1, [&](size_t, Item item, int worker) {
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
  struct Item {
    int64_t first_panel;
    int64_t panels;
    int64_t column;
    int64_t columns;
  };

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
             Item{first, std::min(group_, tasks_[index].weight->packed().panels - first), column,
                  std::min(span, n_ - column)},
             worker);
      }
    };
    if (alone) {
      piece(0, 0, bound(1));
    } else {
      pool_.stream(bound, grain, piece);
    }
  }

  /// Asks for the first bytes of a panel: a worker that alternates between two matrices would wait
  /// for memory at every change, since hardware prefetches only what follows.
  void fetch_ahead(const MatmulTask& task, int64_t panel) const {
    const Weight::Packed& w = task.weight->packed();
    if (!few_ || panel >= w.panels) return;
    const uint8_t* begin = w.panel(panel);
    fetch(begin, std::min(kFirstBytes, w.panel_bytes));
  }

  /// The products of an item, in the worker's buffer `slot` (0 or 1).
  Tile compute(const MatmulTask& task, const Item& item, int worker, int slot) {
    const Weight::Packed& w = task.weight->packed();
    const int64_t floats = Tile::floats(group_, std::max<int64_t>(item.columns, kFloatColumnsMax));
    uint8_t* memory =
        buffers_.per_worker[static_cast<size_t>(worker)].reserve(unpacked_bytes_ + 2 * floats * 4);
    auto* out = reinterpret_cast<float*>(memory + unpacked_bytes_) + slot * floats;
    const Tile tile = !w.quantised() ? float_tile(w, item, out)
                      : few_         ? direct_tile(w, item, out)
                                     : wide_tile(w, item, memory, out);
    add_bias(task, item, tile);
    return tile;
  }

  Tile direct_tile(const Weight::Packed& w, const Item& item, float* out) const {
    const cpu::QuantOps& quant = ops_.quant[w.activation];
    cpu::QuantInput input = x_.forms().rounded[w.activation];
    input.blocks += item.column * input.stride;
    for (int64_t p = 0; p < item.panels; ++p) {
      quant.direct(w.format, w.panel(item.first_panel + p), x_.cols() / cpu::kBlockColumns, input,
                   static_cast<int>(item.columns), out + Tile::floats(p, item.columns));
    }
    return {out, item.panels, item.columns, 1};
  }

  static void fetch(const uint8_t* begin, int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(begin + at, 0, 2);
  }

  /// Slice by slice: unpack two panels into a buffer that fits the first-level cache, use it for
  /// all columns, and go on to the next panels while the slice of the input is in the second level.
  Tile wide_tile(const Weight::Packed& w, const Item& item, uint8_t* unpacked, float* out) const {
    const cpu::QuantOps& quant = ops_.quant[w.activation];
    const int64_t blocks = x_.cols() / cpu::kBlockColumns;
    const int64_t stride = kSliceBlocks * quant.unpacked_block_bytes(w.format);
    const Tile tile{out, item.panels, item.columns, quant.tile_panels};
    std::fill_n(out, Tile::floats(item.panels, item.columns), 0.0f);
    for (int64_t begin = 0; begin < blocks; begin += kSliceBlocks) {
      const int64_t count = std::min(kSliceBlocks, blocks - begin);
      const int64_t offset = pack_panel_bytes(w.format, begin * cpu::kBlockColumns);
      const int64_t bytes = pack_panel_bytes(w.format, count * cpu::kBlockColumns);
      for (int64_t first = 0; first < item.panels; first += quant.tile_panels) {
        const int64_t panels = std::min<int64_t>(quant.tile_panels, item.panels - first);
        for (int64_t p = first; p < first + panels; ++p) {
          quant.unpack(w.format, w.panel(item.first_panel + p) + offset, count,
                       unpacked + (p - first) * stride);
        }
        for (int64_t p = first + panels; p < std::min(first + 2 * panels, item.panels); ++p) {
          fetch(w.panel(item.first_panel + p) + offset, bytes);
        }
        cpu::QuantInput input = x_.forms().rounded[w.activation];
        input.blocks += item.column * input.stride + begin * quant.block_bytes;
        float* results = out + Tile::floats(first, item.columns);
        for (int64_t c = 0; c < item.columns; c += quant.tile_columns) {
          const int64_t columns = std::min<int64_t>(quant.tile_columns, item.columns - c);
          quant.quant_tile(w.format, unpacked, stride, static_cast<int>(panels), count, input,
                           static_cast<int>(columns), results + Tile::floats(panels, c));
          input.blocks += quant.tile_columns * input.stride;
        }
      }
    }
    return tile;
  }

  Tile float_tile(const Weight::Packed& w, const Item& item, float* out) const {
    for (int64_t first = 0; first < item.panels; first += ops_.float_panels) {
      const int64_t panels = std::min<int64_t>(ops_.float_panels, item.panels - first);
      float* results = out + Tile::floats(first, item.columns);
      cpu::FloatInput input = x_.forms().floats;
      input.x += item.column * input.stride;
      for (int64_t c = 0; c < item.columns; c += ops_.float_columns) {
        const int64_t columns = std::min<int64_t>(ops_.float_columns, item.columns - c);
        ops_.float_tile(w.format, w.panel(item.first_panel + first), w.panel_bytes,
                        static_cast<int>(panels), x_.cols(), input, static_cast<int>(columns),
                        results + Tile::floats(panels, c));
        input.x += columns * input.stride;
      }
    }
    return {out, item.panels, item.columns, ops_.float_panels};
  }

  static int64_t rows_of(const MatmulTask& task, int64_t panel) {
    return std::min<int64_t>(kPanelRows, task.weight->rows() - panel * kPanelRows);
  }

  static void add_bias(const MatmulTask& task, const Item& item, const Tile& tile) {
    if (task.bias == nullptr) return;
    for (int64_t p = 0; p < tile.panels; ++p) {
      const int64_t panel = item.first_panel + p;
      const int64_t rows = rows_of(task, panel);
      const float* bias = task.bias + panel * kPanelRows;
      for (int64_t c = 0; c < tile.columns; ++c) {
        float* values = tile.values(p, c);
        for (int64_t i = 0; i < rows; ++i) values[i] += bias[i];
      }
    }
  }

  static void emit(const MatmulTask& task, int64_t panel, int64_t column, const float* values) {
    float* out = task.out + column * task.out_stride + panel * kPanelRows;
    const int64_t rows = rows_of(task, panel);
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
  int64_t group_ = kGroup;  ///< panels per item
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

}  // namespace

void matmul(const MatmulRows& x, std::span<const MatmulTask> tasks, ThreadPool& pool,
            MatmulWorkspace& workspace) {
  if (x.n() == 0) return;
  MatmulWorkspace::Buffers& buffers = workspace.buffers();
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
