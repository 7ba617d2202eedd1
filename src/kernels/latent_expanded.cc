#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/isa.h"
#include "kernels/latent_attention.h"
#include "kernels/latent_queries.h"
#include "kernels/reference/reference.h"

namespace hadal {
namespace {

using cpu::kKeyTile;

// What the keys and values of the positions in work may take, at least one tile of them.
constexpr int64_t kExpandedBytes = int64_t{16} << 20;
constexpr int64_t kPositionsMax = 4 * kKeyTile;
// Rows of one head that share a pass over a tile of keys and values.
constexpr int64_t kRowsPerTile = 64;
// What a multiply-add of the expansion (a matmul over some hundred columns) costs against one of
// attention, and what laying out a computed key or value element costs, in multiply-adds: estimates
// (decision 0014).
constexpr double kExpansionCost = 1.0;
constexpr double kLayoutCost = 10.0;

int64_t padded(int64_t n) {
  return (n + 31) / 32 * 32;
}

/// Consecutive rows of one sequence.
struct Run {
  int64_t first = 0;
  int64_t count = 0;
  int64_t seen = 0;  ///< the most positions that a row sees
};

class ExpandedAttention {
 public:
  ExpandedAttention(KvPool& kv, int64_t layer, const AttentionRows& rows, const float* q,
                    const LatentShape& shape, const LatentExpansion& expansion, float scale,
                    float* out, ThreadPool& pool)
      : kv_(kv),
        layer_(layer),
        rows_(rows),
        q_(q),
        shape_(shape),
        expansion_(expansion),
        scale_(scale),
        out_(out),
        pool_(pool),
        ops_(current_ops()),
        d_key_(padded(shape.d_nope + shape.d_rope)),
        d_v_(padded(shape.d_v)),
        computed_(shape.n_heads * (shape.d_nope + shape.d_v)) {
    const int64_t position_bytes = computed_ * 4;
    positions_at_once_ = std::clamp<int64_t>(kExpandedBytes / position_bytes / kKeyTile * kKeyTile,
                                             kKeyTile, kPositionsMax);
  }

  void run() {
    const auto n = static_cast<int64_t>(rows_.positions.size());
    for (int64_t first = 0; first < n;) {
      Run one{first, 0, 0};
      while (first < n && rows_.sequences[static_cast<size_t>(first)] ==
                              rows_.sequences[static_cast<size_t>(one.first)]) {
        one.seen = std::max(one.seen, seen_by(first));
        ++one.count;
        ++first;
      }
      run_sequence(one);
    }
  }

 private:
  int64_t seen_by(int64_t row) const {
    return static_cast<int64_t>(rows_.positions[static_cast<size_t>(row)]) + 1;
  }

  void run_sequence(const Run& run) {
    LatentWorkspace& memory = expansion_.workspace;
    const int64_t head_floats = run.count * (2 + d_v_);
    state_ = reinterpret_cast<float*>(memory.state.reserve(shape_.n_heads * head_floats * 4));
    const int64_t width = kv_.layout().width();
    latents_ = reinterpret_cast<float*>(memory.latents.reserve(positions_at_once_ * width * 4));
    expanded_ =
        reinterpret_cast<float*>(memory.expanded.reserve(positions_at_once_ * computed_ * 4));
    for (int64_t head = 0; head < shape_.n_heads; ++head) {
      float* state = state_ + head * head_floats;
      std::fill_n(state, run.count, -INFINITY);
      std::fill_n(state + run.count, run.count * (1 + d_v_), 0.0f);
    }
    // As many pieces per head as keep every worker busy.
    const int64_t wanted = (4 * pool_.size() + shape_.n_heads - 1) / shape_.n_heads;
    const int64_t tiles = (run.count + kRowsPerTile - 1) / kRowsPerTile;
    const int64_t pieces = pool_.size() == 1 ? 1 : std::min(wanted, tiles);
    const int64_t piece_rows = (tiles + pieces - 1) / pieces * kRowsPerTile;
    const std::vector<MatmulTask> tasks = expansion_tasks();
    for (int64_t begin = 0; begin < run.seen; begin += positions_at_once_) {
      const int64_t end = std::min(begin + positions_at_once_, run.seen);
      read_latents(run, begin, end);
      matmul({latents_, end - begin, width}, tasks, pool_, memory.matmul);
      pool_.parallel_for(shape_.n_heads * pieces, 1, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
          const int64_t row = i % pieces * piece_rows;
          attend(run, i / pieces, row, std::min(row + piece_rows, run.count), begin, end);
        }
      });
    }
    pool_.parallel_for(run.count, 4, [&](int64_t first, int64_t last) {
      for (int64_t row = first; row < last; ++row) emit(run, row);
    });
  }

  /// A position's computed row: keys and values of head after head, or all keys, then all values.
  std::vector<MatmulTask> expansion_tasks() const {
    std::vector<MatmulTask> tasks{
        {.weight = &expansion_.kv_b, .out = expanded_, .out_stride = computed_}};
    for (size_t h = 0; h < expansion_.v_up.size(); ++h) {
      tasks.push_back({.weight = &expansion_.v_up[h],
                       .out = expanded_ + values_of(static_cast<int64_t>(h)),
                       .out_stride = computed_});
    }
    return tasks;
  }
  /// Where a head's key and value begin in a computed row.
  int64_t key_of(int64_t head) const {
    return head * (expansion_.v_up.empty() ? shape_.d_nope + shape_.d_v : shape_.d_nope);
  }
  int64_t values_of(int64_t head) const {
    return expansion_.v_up.empty() ? key_of(head) + shape_.d_nope
                                   : shape_.n_heads * shape_.d_nope + head * shape_.d_v;
  }

  /// latents_[position - begin]: the record's columns as floats.
  void read_latents(const Run& run, int64_t begin, int64_t end) {
    const KvSequence& pages =
        rows_.pages[static_cast<size_t>(rows_.sequences[static_cast<size_t>(run.first)])];
    const KvLayout& layout = kv_.layout();
    const int64_t width = layout.width();
    pool_.parallel_for(
        (end - begin + kKvBlock - 1) / kKvBlock, 1, [&](int64_t first, int64_t last) {
          for (int64_t block = begin + first * kKvBlock; block < begin + last * kKvBlock;
               block += kKvBlock) {
            for (int64_t p = block; p < std::min(block + kKvBlock, end); ++p) {
              const std::byte* record = kv_.key_record(layer_, pages, p);
              float* to = latents_ + (p - begin) * width;
              if (ops_ != nullptr) {
                ops_->read_record(static_cast<int>(layout.type),
                                  reinterpret_cast<const uint8_t*>(record), width, to);
              } else {
                for (int64_t i = 0; i < width; ++i) {
                  to[i] = reference::record_value(layout.type, width, record, i);
                }
              }
            }
          }
        });
  }

  struct Memory {
    float* queries;    // of all rows
    float* positions;  // kKeyTile x (d_key + d_v)
    int32_t* visible;  // kRowsPerTile
    float* work;
  };

  Memory memory_of_worker(int64_t rows) const {
    thread_local std::vector<float> floats;
    const int64_t laid = laid_query_floats(rows, d_key_);
    const int64_t head = laid + kKeyTile * (d_key_ + d_v_) + kRowsPerTile;
    const auto size = static_cast<size_t>(head + ops_->attention_work_floats(kRowsPerTile));
    if (floats.size() < size) floats.resize(size);
    Memory m{};
    m.queries = floats.data();
    m.positions = m.queries + laid;
    m.visible = reinterpret_cast<int32_t*>(m.positions + kKeyTile * (d_key_ + d_v_));
    m.work = floats.data() + head;
    return m;
  }

  /// Adds positions [begin, end) to the state of rows [first, last) of a head.
  void attend(const Run& run, int64_t head, int64_t first, int64_t last, int64_t begin,
              int64_t end) {
    if (ops_ == nullptr) return attend_slowly(run, head, first, last, begin, end);
    const Memory m = memory_of_worker(last - first);
    float* state = state_ + head * run.count * (2 + d_v_);
    lay_queries(
        *ops_, last - first, [&](int64_t i) { return query(run.first + first + i, head); },
        shape_.d_nope + shape_.d_rope, d_key_, scale_, m.queries);
    for (int64_t tile = begin; tile < end; tile += kKeyTile) {
      const int64_t tile_end = std::min(tile + kKeyTile, end);
      lay_out(head, tile - begin, tile_end - begin, m.positions);
      for (int64_t row = first; row < last; row += kRowsPerTile) {
        const int64_t n = std::min(last - row, kRowsPerTile);
        int32_t most = 0;
        for (int64_t i = 0; i < n; ++i) {
          m.visible[i] = static_cast<int32_t>(
              std::clamp<int64_t>(seen_by(run.first + row + i) - tile, 0, kKeyTile));
          most = std::max(most, m.visible[i]);
        }
        if (most == 0) continue;
        ops_->latent_tile({.n = n,
                           .d_key = d_key_,
                           .d_value = d_v_,
                           .queries = m.queries + (row - first) * d_key_,
                           .keys = m.positions,
                           .values = m.positions + d_key_,
                           .stride = d_key_ + d_v_,
                           .fresh = false,
                           .visible = m.visible,
                           .work = m.work,
                           .maximum = state + row,
                           .sum = state + run.count + row,
                           .mix = state + 2 * run.count + row * d_v_});
      }
    }
  }

  const float* query(int64_t row, int64_t head) const {
    return q_ + (row * shape_.n_heads + head) * (shape_.d_nope + shape_.d_rope);
  }

  const float* computed(int64_t position) const { return expanded_ + position * computed_; }
  /// A position's shared key.
  const float* k_pe(int64_t position) const {
    return latents_ + position * kv_.layout().width() + shape_.kv_lora_rank;
  }

  /// Computed positions [begin, end) of a head: a row each of key and value.
  void lay_out(int64_t head, int64_t begin, int64_t end, float* rows) const {
    for (int64_t p = begin; p < end; ++p) {
      const float* from = computed(p);
      float* key = rows + (p - begin) * (d_key_ + d_v_);
      float* value = key + d_key_;
      std::copy_n(from + key_of(head), shape_.d_nope, key);
      std::copy_n(k_pe(p), shape_.d_rope, key + shape_.d_nope);
      std::fill(key + shape_.d_nope + shape_.d_rope, value, 0.0f);
      std::copy_n(from + values_of(head), shape_.d_v, value);
      std::fill(value + shape_.d_v, value + d_v_, 0.0f);
    }
  }

  /// The reference: one row after the other.
  void attend_slowly(const Run& run, int64_t head, int64_t first, int64_t last, int64_t begin,
                     int64_t end) {
    float* state = state_ + head * run.count * (2 + d_v_);
    for (int64_t row = first; row < last; ++row) {
      const int64_t seen = std::min(seen_by(run.first + row), end);
      const float* q = query(run.first + row, head);
      float* mix = state + 2 * run.count + row * d_v_;
      for (int64_t p = 0; p < seen - begin; ++p) {
        const float* key = computed(p) + key_of(head);
        const float* value = computed(p) + values_of(head);
        double dot = 0;
        for (int64_t i = 0; i < shape_.d_nope; ++i) dot += static_cast<double>(q[i]) * key[i];
        for (int64_t i = 0; i < shape_.d_rope; ++i) {
          dot += static_cast<double>(q[shape_.d_nope + i]) * k_pe(p)[i];
        }
        const auto score = static_cast<float>(dot * scale_);
        const float maximum = std::max(state[row], score);
        const double keep = std::exp(static_cast<double>(state[row]) - maximum);
        const double weight = std::exp(static_cast<double>(score) - maximum);
        state[row] = maximum;
        float& sum = state[run.count + row];
        sum = static_cast<float>(sum * keep + weight);
        for (int64_t i = 0; i < shape_.d_v; ++i) {
          mix[i] = static_cast<float>(mix[i] * keep + weight * value[i]);
        }
      }
    }
  }

  void emit(const Run& run, int64_t row) {
    for (int64_t head = 0; head < shape_.n_heads; ++head) {
      const float* state = state_ + head * run.count * (2 + d_v_);
      const float inverse = 1.0f / state[run.count + row];
      const float* mix = state + 2 * run.count + row * d_v_;
      float* out = out_ + ((run.first + row) * shape_.n_heads + head) * shape_.d_v;
      for (int64_t i = 0; i < shape_.d_v; ++i) out[i] = mix[i] * inverse;
    }
  }

  KvPool& kv_;
  int64_t layer_;
  const AttentionRows& rows_;
  const float* q_;
  const LatentShape& shape_;
  const LatentExpansion& expansion_;
  float scale_;
  float* out_;
  ThreadPool& pool_;
  const cpu::Ops* ops_;
  int64_t d_key_;     ///< of a head, padded
  int64_t d_v_;       ///< of a head, padded
  int64_t computed_;  ///< floats of a position's keys and values of all heads
  int64_t positions_at_once_;
  float* latents_ = nullptr;   ///< positions_at_once x width of the pool
  float* expanded_ = nullptr;  ///< positions_at_once x n_heads x (d_nope + d_v)
  float* state_ = nullptr;     ///< per head: maximum[rows], sum[rows], mix[rows x d_v]
};

}  // namespace

void latent_attention_expanded(KvPool& kv, int64_t layer, const AttentionRows& rows, const float* q,
                               const LatentShape& shape, const LatentExpansion& expansion,
                               float scale, float* out, ThreadPool& pool) {
  CHECK(kv.layout().values_in_keys && kv.layout().d_head == shape.d_key());
  CHECK(rows.sequences.size() == rows.positions.size());
  const bool apart = !expansion.v_up.empty();
  CHECK(expansion.kv_b.rows() == shape.n_heads * (shape.d_nope + (apart ? 0 : shape.d_v)));
  CHECK(!apart || static_cast<int64_t>(expansion.v_up.size()) == shape.n_heads);
  CHECK(expansion.kv_b.cols() == shape.kv_lora_rank);
  ExpandedAttention(kv, layer, rows, q, shape, expansion, scale, out, pool).run();
}

bool latent_expanded_is_cheaper(const LatentShape& shape, int64_t rows, int64_t positions) {
  // Multiply-adds per head. A row sees `seen` positions on average.
  const auto n = static_cast<double>(rows);
  const auto m = static_cast<double>(positions);
  const double seen = m - 0.5 * (n - 1);
  const auto computed = static_cast<double>(shape.d_nope + shape.d_v);
  const double projection = computed * static_cast<double>(shape.kv_lora_rank) * kExpansionCost;
  const double absorbed =
      n * seen * static_cast<double>(shape.kv_lora_rank + shape.d_key()) + n * projection;
  const double expanded = n * seen * (computed + static_cast<double>(shape.d_rope)) +
                          m * (projection + kLayoutCost * computed);
  return expanded < absorbed;
}

}  // namespace hadal
