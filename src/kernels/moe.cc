#include "kernels/moe.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/panel_product.h"
#include "kernels/reference/reference.h"

namespace hadal {
namespace {

using cpu::kPanelRows;

// A core reads a byte in about the time of so many multiply-adds.
constexpr int64_t kMacsPerByte = 8;
// Panels of one group of down at most, where rows are few: a worker reads so many of one expert
// before it goes on to the next, and every change costs it about a microsecond.
constexpr int64_t kDownGroupFew = 16;

/// The rows that go through one expert.
struct Segment {
  const ExpertWeights* expert;
  const MatmulRows* x;  ///< the rows: [x_first, x_first + count) of these
  int64_t x_first;
  MatmulRows* hidden;  ///< their gated units: [hidden_first, ...) of these
  int64_t hidden_first;
  int64_t count;
  const int32_t* rows;   ///< which rows of the batch; null: all
  const float* weights;  ///< null: 1
  float clamp;
  bool direct;
};

/// A piece of gate and up of one segment.
struct Item {
  size_t segment;
  PanelBlock block;
  int64_t cost_end;  ///< of the items so far, in multiply-adds
};

/// Panels of the output of down.
struct PanelGroup {
  int64_t first;
  int64_t panels;
};

/// The form of the activations that a weight reads.
int form_of(const Weight& weight) {
  const Weight::Packed& w = weight.packed();
  return w.ops != nullptr && w.quantised() ? w.activation : cpu::kActivations;
}

void clamp_units(float clamp, const Tile& gate, const Tile& up) {
  const int64_t count = Tile::floats(gate.panels, gate.columns);
  for (int64_t i = 0; i < count; ++i) {
    gate.data[i] = gate.data[i] > clamp ? clamp : gate.data[i];
    const float low = up.data[i] < -clamp ? -clamp : up.data[i];
    up.data[i] = low > clamp ? clamp : low;
  }
}

/// out += weight * values. A fixed count becomes a few vector instructions; kCount 0 means `count`.
template <int64_t kCount>
void add_weighted(const float* values, float weight, int64_t count, float* out) {
  const int64_t n = kCount > 0 ? kCount : count;
  for (int64_t i = 0; i < n; ++i) out[i] += weight * values[i];
}

}  // namespace

struct MoeWorkspace::Buffers {
  std::vector<BigMemory> per_worker;
  MatmulRows x;              ///< the routed rows, those of one expert together
  MatmulRows hidden;         ///< their gated units
  MatmulRows shared_hidden;  ///< those of all rows in the shared expert
  // What follows holds n x n_used values in the order of `x`, or one per expert.
  std::vector<int32_t> rows;
  std::vector<float> weights;
  std::vector<int64_t> ends;
  std::vector<Segment> segments;
  std::vector<Item> items;
  std::vector<PanelGroup> groups;
  std::vector<int64_t> bounds;
  std::vector<const Weight*> readers;
  MatmulObserver* observer = nullptr;
};

MoeWorkspace::MoeWorkspace() : buffers_(std::make_unique<Buffers>()) {}
MoeWorkspace::~MoeWorkspace() = default;

void MoeWorkspace::set_observer(MatmulObserver* observer) {
  buffers_->observer = observer;
  for (MatmulRows* rows : {&buffers_->x, &buffers_->hidden, &buffers_->shared_hidden}) {
    rows->keep_floats(observer != nullptr);
  }
}

namespace {

class Moe {
 public:
  Moe(const MatmulRows& x, const MoeLayer& layer, ThreadPool& pool, MoeWorkspace::Buffers& buffers)
      : x_(x), layer_(layer), pool_(pool), b_(buffers) {
    if (static_cast<int>(b_.per_worker.size()) < pool.size()) {
      b_.per_worker.resize(static_cast<size_t>(pool.size()));
    }
  }

  void run(const Routing& routing, float* out, int64_t out_stride) {
    sort(routing);
    add_shared();
    measure();
    gate_up();
    observe();
    down(out, out_stride);
  }

 private:
  void observe() const {
    if (b_.observer == nullptr) return;
    for (const Segment& s : b_.segments) {
      b_.observer->inputs(*s.expert->gate, *s.x, s.x_first, s.count);
      b_.observer->inputs(*s.expert->up, *s.x, s.x_first, s.count);
      b_.observer->inputs(*s.expert->down, *s.hidden, s.hidden_first, s.count);
    }
  }

  /// Counting sort of the pairs (row, choice) by expert, rows in order within one: the segments of
  /// the experts that have rows, their input and room for their gated units.
  void sort(const Routing& routing) {
    const int64_t pairs = x_.n() * routing.n_used;
    const size_t n_experts = layer_.experts.size();
    b_.ends.assign(n_experts, 0);
    for (int64_t i = 0; i < pairs; ++i) {
      CHECK(static_cast<size_t>(routing.experts[i]) < n_experts);
      ++b_.ends[static_cast<size_t>(routing.experts[i])];
    }
    b_.rows.resize(static_cast<size_t>(pairs));
    b_.weights.resize(static_cast<size_t>(pairs));
    b_.segments.clear();
    b_.readers.clear();
    int64_t first = 0;
    for (size_t e = 0; e < n_experts; ++e) {
      const int64_t count = b_.ends[e];
      b_.ends[e] = first;
      if (count == 0) continue;
      const ExpertWeights& expert = layer_.experts[e];
      b_.readers.push_back(expert.down);
      b_.segments.push_back({&expert, &b_.x, first, &b_.hidden, first, count,
                             b_.rows.data() + first, b_.weights.data() + first, layer_.clamp,
                             product_is_direct(expert.gate->packed(), count)});
      first += count;
    }
    for (int64_t i = 0; i < pairs; ++i) {
      const auto at = static_cast<size_t>(b_.ends[static_cast<size_t>(routing.experts[i])]++);
      b_.rows[at] = static_cast<int32_t>(i / routing.n_used);
      b_.weights[at] = routing.weights[i];
    }
    if (pairs == 0) return;
    b_.hidden.reset(pairs, b_.readers);
    if (x_.n() == 1 && static_cast<int64_t>(b_.segments.size()) == pairs) {
      for (Segment& segment : b_.segments) {  // each has the one row: nothing to copy
        segment.x = &x_;
        segment.x_first = 0;
      }
    } else {
      b_.x.gather(x_, b_.rows, pool_);
    }
  }

  void add_shared() {
    if (layer_.shared == nullptr) return;
    const ExpertWeights& expert = *layer_.shared;
    b_.shared_hidden.reset(x_.n(), {&expert.down, 1});
    b_.segments.push_back({&expert, &x_, 0, &b_.shared_hidden, 0, x_.n(), nullptr, nullptr,
                           layer_.shared_clamp, product_is_direct(expert.gate->packed(), x_.n())});
  }

  /// What the segments need and cost together.
  void measure() {
    for (const Segment& s : b_.segments) {
      const ExpertWeights& e = *s.expert;
      CHECK(e.gate->cols() == x_.cols() && e.up->cols() == x_.cols());
      CHECK(e.up->rows() == e.gate->rows() && e.down->cols() == e.gate->rows());
      CHECK(e.down->rows() == x_.cols());
      for (const Weight* weight : {e.gate, e.up, e.down}) {
        CHECK(weight->packed().ops == b_.segments.front().expert->gate->packed().ops);
        unpacked_bytes_ = std::max(unpacked_bytes_, unpacked_bytes(weight->packed()));
      }
      gate_group_ =
          std::max({gate_group_, product_group(e.gate->packed()), product_group(e.up->packed())});
      down_group_ = std::max(down_group_, product_group(e.down->packed()));
      columns_ = std::max(columns_, std::min(s.count, kColumnsPerItem));
      all_direct_ = all_direct_ && s.direct;
      macs_ += 3 * s.count * e.gate->rows() * x_.cols();
    }
    workers_ = macs_ < kInlineMacs ? 1 : pool_.size();
    int64_t panels = 0;
    for (const Segment& s : b_.segments) panels += s.expert->gate->packed().panels;
    while (all_direct_ &&
           2 * gate_group_ <= std::min(kGroupMax, panels / (kItemsPerWorker * workers_))) {
      gate_group_ *= 2;
    }
  }

  // --- Gate and up ------------------------------------------------------------------------------

  void gate_up() {
    list_items();
    each_piece([&](int worker, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) gate_up_item(static_cast<size_t>(i), worker);
    });
  }

  int64_t gate_groups(const Segment& segment) const {
    return (segment.expert->gate->packed().panels + gate_group_ - 1) / gate_group_;
  }

  /// All pieces of gate and up, in the order in which the workers share them. With few rows memory
  /// is the bound: of each expert the part that a worker packed itself, in one stream. With many,
  /// one expert after the other: its input stays cached.
  void list_items() {
    b_.items.clear();
    total_cost_ = 0;
    if (!all_direct_) {
      for (size_t s = 0; s < b_.segments.size(); ++s) {
        list_groups(s, 0, gate_groups(b_.segments[s]));
      }
    } else {
      const int64_t steps = workers_;
      for (int64_t step = 0; step < steps; ++step) {
        for (size_t s = 0; s < b_.segments.size(); ++s) {
          const int64_t groups = gate_groups(b_.segments[s]);
          list_groups(s, groups * step / steps, groups * (step + 1) / steps);
        }
      }
    }
    share_by_cost();
  }

  void list_groups(size_t index, int64_t begin, int64_t end) {
    const Segment& segment = b_.segments[index];
    const Weight::Packed& gate = segment.expert->gate->packed();
    const int64_t panel_bytes = gate.panel_bytes + segment.expert->up->packed().panel_bytes;
    for (int64_t column = 0; column < segment.count; column += kColumnsPerItem) {
      const int64_t columns = std::min(kColumnsPerItem, segment.count - column);
      for (int64_t group = begin; group < end; ++group) {
        const int64_t first = group * gate_group_;
        const int64_t panels = std::min(gate_group_, gate.panels - first);
        total_cost_ +=
            panels * std::max(panel_bytes * kMacsPerByte, 2 * kPanelRows * x_.cols() * columns);
        b_.items.push_back({index, {first, panels, column, columns}, total_cost_});
      }
    }
  }

  /// Bounds of the workers' shares of the items.
  void share_by_cost() {
    b_.bounds.clear();
    size_t at = 0;
    for (int64_t w = 0; w < workers_; ++w) {
      while (at < b_.items.size() && b_.items[at].cost_end <= total_cost_ / workers_ * w) ++at;
      b_.bounds.push_back(static_cast<int64_t>(at));
    }
    b_.bounds.push_back(static_cast<int64_t>(b_.items.size()));
  }

  /// Lets the workers take the pieces between the bounds.
  template <typename Body>
  void each_piece(Body&& body) {
    if (workers_ == 1) return body(0, 0, b_.bounds.back());
    pool_.stream([&](int worker) { return b_.bounds[static_cast<size_t>(worker)]; }, 1, body);
  }

  struct Memory {
    uint8_t* unpacked;
    float* tiles[2];
  };
  Memory memory_of(int worker, int64_t group) {
    const int64_t floats = tile_floats(group, columns_);
    uint8_t* memory =
        b_.per_worker[static_cast<size_t>(worker)].reserve(unpacked_bytes_ + 2 * floats * 4);
    auto* tiles = reinterpret_cast<float*>(memory + unpacked_bytes_);
    return {memory, {tiles, tiles + floats}};
  }

  void gate_up_item(size_t index, int worker) {
    const Item& item = b_.items[index];
    const Segment& s = b_.segments[item.segment];
    const Weight::Packed& gate_weight = s.expert->gate->packed();
    const Weight::Packed& up_weight = s.expert->up->packed();
    const Memory memory = memory_of(worker, gate_group_);
    PanelBlock block = item.block;
    block.column += s.x_first;
    if (s.direct) fetch_panel(up_weight, block.first_panel);
    const Tile gate =
        panel_product(gate_weight, s.x->forms(), block, s.direct, memory.unpacked, memory.tiles[0]);
    if (s.direct && index + 1 < b_.items.size()) {
      const Item& next = b_.items[index + 1];
      fetch_panel(b_.segments[next.segment].expert->gate->packed(), next.block.first_panel);
    }
    const Tile up =
        panel_product(up_weight, s.x->forms(), block, s.direct, memory.unpacked, memory.tiles[1]);
    if (s.clamp > 0) clamp_units(s.clamp, gate, up);
    const int64_t first = block.first_panel * kPanelRows;
    const int64_t count = std::min(gate.panels * kPanelRows, s.expert->gate->rows() - first);
    for (int64_t c = 0; c < gate.columns; ++c) {
      float gated[kGroupMax * kPanelRows];
      for (int64_t p = 0; p < gate.panels; ++p) {
        gate_weight.ops->silu_mul(gate.values(p, c), up.values(p, c), kPanelRows,
                                  gated + p * kPanelRows);
      }
      s.hidden->set(s.hidden_first + item.block.column + c, first, count, gated);
    }
  }

  // --- Down -------------------------------------------------------------------------------------

  /// A worker owns columns of the output and adds all experts to them, in a fixed order.
  void down(float* out, int64_t out_stride) {
    const int64_t panels = b_.segments.front().expert->down->packed().panels;
    const int64_t most = std::max(all_direct_ ? kDownGroupFew : kGroupMax, down_group_);
    b_.groups.clear();
    b_.bounds.clear();
    for (int64_t w = 0; w < workers_; ++w) {
      b_.bounds.push_back(static_cast<int64_t>(b_.groups.size()));
      list_down(panels * w / workers_, panels * (w + 1) / workers_, most);
    }
    b_.bounds.push_back(static_cast<int64_t>(b_.groups.size()));
    each_piece([&](int worker, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        down_item(b_.groups[static_cast<size_t>(i)], worker, out, out_stride);
      }
    });
  }

  /// Cuts a worker's panels into groups: large ones first, for long streams, then smaller ones, so
  /// that nobody waits long for the last.
  void list_down(int64_t begin, int64_t end, int64_t most) {
    while (begin < end) {
      const int64_t wanted =
          std::clamp((end - begin) / 4 / down_group_ * down_group_, down_group_, most);
      const int64_t count = std::min(wanted, end - begin);
      b_.groups.push_back({begin, count});
      largest_group_ = std::max(largest_group_, count);
      begin += count;
    }
  }

  void down_item(const PanelGroup& group, int worker, float* out, int64_t out_stride) {
    const Memory memory = memory_of(worker, largest_group_);
    for (size_t i = 0; i < b_.segments.size(); ++i) {
      const Segment& s = b_.segments[i];
      const Weight::Packed& w = s.expert->down->packed();
      if (s.direct && i + 1 < b_.segments.size()) {
        fetch_panel(b_.segments[i + 1].expert->down->packed(), group.first);
      }
      for (int64_t column = 0; column < s.count; column += kColumnsPerItem) {
        const PanelBlock block{group.first, group.panels, s.hidden_first + column,
                               std::min(kColumnsPerItem, s.count - column)};
        const Tile tile =
            panel_product(w, s.hidden->forms(), block, s.direct, memory.unpacked, memory.tiles[0]);
        add(s, column, tile, w, group.first, out, out_stride);
      }
    }
  }

  static void add(const Segment& s, int64_t column, const Tile& tile, const Weight::Packed& w,
                  int64_t first_panel, float* out, int64_t out_stride) {
    for (int64_t c = 0; c < tile.columns; ++c) {
      const int64_t at = column + c;
      const int64_t row = s.rows != nullptr ? s.rows[at] : at;
      const float weight = s.weights != nullptr ? s.weights[at] : 1.0f;
      for (int64_t p = 0; p < tile.panels; ++p) {
        const int64_t panel = first_panel + p;
        const int64_t count = panel_rows(w, panel);
        float* to = out + row * out_stride + panel * kPanelRows;
        if (count == kPanelRows) {
          add_weighted<kPanelRows>(tile.values(p, c), weight, count, to);
        } else {
          add_weighted<0>(tile.values(p, c), weight, count, to);
        }
      }
    }
  }

  const MatmulRows& x_;
  const MoeLayer& layer_;
  ThreadPool& pool_;
  MoeWorkspace::Buffers& b_;
  int64_t workers_ = 1;
  int64_t gate_group_ = kGroupRounded;  ///< panels per item
  int64_t down_group_ = 1;              ///< at least
  int64_t largest_group_ = 1;
  int64_t columns_ = 0;  ///< of an item, at most
  int64_t unpacked_bytes_ = 0;
  int64_t macs_ = 0;
  int64_t total_cost_ = 0;
  bool all_direct_ = true;
};

}  // namespace

std::vector<const Weight*> moe_readers(const MoeLayer& layer) {
  std::vector<const Weight*> readers;
  bool seen[cpu::kActivations + 1] = {};
  auto look = [&](const ExpertWeights& expert) {
    for (const Weight* weight : {expert.gate, expert.up}) {
      bool& known = seen[form_of(*weight)];
      if (!known) readers.push_back(weight);
      known = true;
    }
  };
  for (const ExpertWeights& expert : layer.experts) look(expert);
  if (layer.shared != nullptr) look(*layer.shared);
  return readers;
}

void moe_add(const MatmulRows& x, const MoeLayer& layer, const Routing& routing, float* out,
             int64_t out_stride, ThreadPool& pool, MoeWorkspace& workspace) {
  if (x.n() == 0 || (routing.n_used == 0 && layer.shared == nullptr)) return;
  const ExpertWeights& any = layer.shared != nullptr ? *layer.shared : layer.experts.front();
  if (any.gate->packed().ops != nullptr) {
    return Moe(x, layer, pool, workspace.buffers()).run(routing, out, out_stride);
  }
  pool.parallel_for(x.n(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const cpu::FloatInput& in = x.forms().floats;
      const Routing of_row{routing.n_used, routing.experts + r * routing.n_used,
                           routing.weights + r * routing.n_used};
      reference::moe_row(layer, of_row, in.x + r * in.stride, out + r * out_stride);
    }
  });
}

}  // namespace hadal
