#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/isa.h"
#include "kernels/partial_softmax.h"
#include "kernels/reference/reference.h"

namespace hadal {
namespace {

using cpu::kKeyTile;
using Partial = PartialSoftmax;

// A row's context is cut into spans of this many positions, each with its own running softmax; the
// spans' results are merged in order. The cut depends on positions alone, so a row gets the same
// bits whether its spans run on one worker or on many, alone or beside other rows.
constexpr int64_t kSpan = 512;
static_assert(kSpan % kKeyTile == 0 && kKvBlock == cpu::kKvBlock);
static_assert(static_cast<int>(KvType::kF32) == cpu::kKvF32 &&
              static_cast<int>(KvType::kF16) == cpu::kKvF16 &&
              static_cast<int>(KvType::kQ8_0) == cpu::kKvQ8_0 &&
              static_cast<int>(KvType::kBF16) == cpu::kKvBF16);
// Queries (rows x heads of a group) that share one pass over a tile of keys and values.
constexpr int64_t kQueriesPerTile = 48;

/// Consecutive rows of one sequence.
struct RowTile {
  int64_t first = 0;
  int64_t count = 0;
  int64_t last_position = 0;
};

std::vector<RowTile> row_tiles(const AttentionRows& rows, int64_t rows_max) {
  std::vector<RowTile> tiles;
  const auto n = static_cast<int64_t>(rows.positions.size());
  for (int64_t r = 0; r < n; ++r) {
    const auto i = static_cast<size_t>(r);
    const bool grows = !tiles.empty() && tiles.back().count < rows_max &&
                       rows.sequences[i] == rows.sequences[i - 1];
    if (!grows) tiles.push_back({r, 0, 0});
    ++tiles.back().count;
    tiles.back().last_position = std::max<int64_t>(tiles.back().last_position, rows.positions[i]);
  }
  return tiles;
}

class Attention {
 public:
  Attention(KvPool& kv, int64_t layer, const AttentionRows& rows, const float* q, int64_t n_heads,
            float scale, float* out, const cpu::Ops& ops)
      : kv_(kv),
        layer_(layer),
        rows_(rows),
        q_(q),
        n_heads_(n_heads),
        scale_(scale),
        out_(out),
        ops_(ops) {
    const KvLayout& layout = kv.layout();
    d_ = layout.d_head;
    d_pad_ = layout.width();
    kv_type_ = static_cast<int>(layout.type);
    query_bytes_ = ops.query_bytes(kv_type_, d_pad_);
    group_ = n_heads / layout.n_kv_heads;
    kv_heads_ = layout.n_kv_heads;
    tiles_ = row_tiles(rows, std::max<int64_t>(1, kQueriesPerTile / group_));
  }

  void run(ThreadPool& pool) {
    const int64_t pairs = static_cast<int64_t>(tiles_.size()) * kv_heads_;
    int64_t spans_max = 1;
    for (const RowTile& tile : tiles_) spans_max = std::max(spans_max, spans_of(tile));
    if (pool.size() > 1 && spans_max > 1 && pairs < 4 * pool.size())
      return run_split(pool, pairs, spans_max);
    pool.parallel_for(pairs, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const RowTile& tile = tiles_[static_cast<size_t>(i / kv_heads_)];
        const int64_t n = tile.count * group_;
        const int64_t floats = Partial::floats(n, d_pad_);
        float* memory = scratch(2 * floats + work_floats(n));
        const Partial total(memory, n);
        for (int64_t s = 0; s < spans_of(tile); ++s) {
          const Partial part(s == 0 ? memory : memory + floats, n);
          run_span(tile, i % kv_heads_, s, part, memory + 2 * floats);
          if (s > 0) merge(total, part, n, d_pad_);
        }
        emit(tile, i % kv_heads_, total);
      }
    });
  }

 private:
  static int64_t spans_of(const RowTile& tile) { return tile.last_position / kSpan + 1; }

  /// Few rows, long contexts: every span is a work item of its own. A worker gets neighbours, as it
  /// fetches ahead from one into the next.
  void run_split(ThreadPool& pool, int64_t pairs, int64_t spans_max) {
    int64_t n_max = 0;
    for (const RowTile& tile : tiles_) n_max = std::max(n_max, tile.count * group_);
    const int64_t floats = Partial::floats(n_max, d_pad_);
    std::vector<float> partials(static_cast<size_t>(pairs * spans_max * floats));
    const int64_t items = pairs * spans_max;
    const auto bound = [&](int worker) { return items * worker / pool.size(); };
    pool.stream(bound, 1, [&](int, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t pair = i / spans_max;
        const RowTile& tile = tiles_[static_cast<size_t>(pair / kv_heads_)];
        if (i % spans_max >= spans_of(tile)) continue;
        const int64_t n = tile.count * group_;
        const Partial part(partials.data() + i * floats, n);
        run_span(tile, pair % kv_heads_, i % spans_max, part, scratch(work_floats(n)));
      }
    });
    pool.parallel_for(pairs, 1, [&](int64_t begin, int64_t end) {
      for (int64_t pair = begin; pair < end; ++pair) {
        const RowTile& tile = tiles_[static_cast<size_t>(pair / kv_heads_)];
        const int64_t n = tile.count * group_;
        float* first = partials.data() + pair * spans_max * floats;
        for (int64_t s = 1; s < spans_of(tile); ++s) {
          merge(Partial(first, n), Partial(first + s * floats, n), n, d_pad_);
        }
        emit(tile, pair % kv_heads_, Partial(first, n));
      }
    });
  }

  /// A span's memory: queries, one row of a head, what is visible, the tile's work.
  int64_t work_floats(int64_t n) const {
    return n * query_bytes_ / 4 + d_pad_ + n + ops_.attention_work_floats(n);
  }

  /// Memory of the calling worker, kept between calls: too large for malloc's fast path.
  static float* scratch(int64_t floats) {
    thread_local std::vector<float> memory;
    if (memory.size() < static_cast<size_t>(floats)) memory.resize(static_cast<size_t>(floats));
    return memory.data();
  }

  void run_span(const RowTile& tile, int64_t kv_head, int64_t span, const Partial& part,
                float* work) {
    const int64_t n = tile.count * group_;
    part.clear(n, d_pad_);
    auto* queries = reinterpret_cast<uint8_t*>(work);
    float* row = work + n * query_bytes_ / 4;
    auto* visible = reinterpret_cast<int32_t*>(row + d_pad_);
    prepare_queries(tile, kv_head, row, queries);
    cpu::AttentionTile part_of = {.kv = kv_type_,
                                  .n = n,
                                  .d_pad = d_pad_,
                                  .queries = queries,
                                  .keys = {},
                                  .values = {},
                                  .next_keys = {},
                                  .visible = visible,
                                  .work = row + d_pad_ + n,
                                  .maximum = part.maximum,
                                  .sum = part.sum,
                                  .mix = part.mix};
    const int64_t end = std::min((span + 1) * kSpan, tile.last_position + 1);
    for (int64_t begin = span * kSpan; begin < end; begin += kKeyTile) {
      find_blocks(tile, kv_head, begin, end, part_of);
      for (int64_t q = 0; q < n; ++q) {
        const int64_t position = rows_.positions[static_cast<size_t>(tile.first + q / group_)];
        visible[q] = static_cast<int32_t>(std::clamp<int64_t>(position + 1 - begin, 0, kKeyTile));
      }
      ops_.attention_tile(part_of);
    }
  }

  void prepare_queries(const RowTile& tile, int64_t kv_head, float* row, uint8_t* queries) {
    std::fill(row, row + d_pad_, 0.0f);
    for (int64_t q = 0; q < tile.count * group_; ++q) {
      const int64_t index = tile.first + q / group_;
      const float* source = q_ + (index * n_heads_ + kv_head * group_ + q % group_) * d_;
      std::copy_n(source, d_, row);
      ops_.prepare_query(kv_type_, row, d_pad_, scale_, queries + q * query_bytes_);
    }
  }

  /// The blocks of positions [begin, end), and of the tile behind them, be it the next span's;
  /// those that a tile lacks are its first again.
  void find_blocks(const RowTile& tile, int64_t kv_head, int64_t begin, int64_t end,
                   cpu::AttentionTile& out) {
    const auto sequence = static_cast<size_t>(rows_.sequences[static_cast<size_t>(tile.first)]);
    const KvSequence& pages = rows_.pages[sequence];
    const auto keys = [&](int64_t position) {
      return reinterpret_cast<const uint8_t*>(kv_.key_block(layer_, pages, kv_head, position));
    };
    const int64_t next = begin + kKeyTile;
    const int64_t last = tile.last_position;
    for (int64_t i = 0; i < kKeyTile / kKvBlock; ++i) {
      const int64_t wanted = begin + i * kKvBlock;
      const int64_t position = wanted < end ? wanted : begin;
      const int64_t after = wanted + kKeyTile;
      out.next_keys[i] = next > last ? nullptr : keys(after <= last ? after : next);
      out.keys[i] = keys(position);
      out.values[i] =
          reinterpret_cast<const uint8_t*>(kv_.value_block(layer_, pages, kv_head, position));
    }
  }

  void emit(const RowTile& tile, int64_t kv_head, const Partial& total) {
    for (int64_t q = 0; q < tile.count * group_; ++q) {
      const int64_t row = tile.first + q / group_;
      float* out = out_ + (row * n_heads_ + kv_head * group_ + q % group_) * d_;
      const float inverse = 1.0f / total.sum[q];
      for (int64_t i = 0; i < d_; ++i) out[i] = total.mix[q * d_pad_ + i] * inverse;
    }
  }

  KvPool& kv_;
  int64_t layer_;
  const AttentionRows& rows_;
  const float* q_;
  int64_t n_heads_;
  float scale_;
  float* out_;
  const cpu::Ops& ops_;
  int64_t d_ = 0;
  int64_t d_pad_ = 0;
  int kv_type_ = 0;
  int64_t query_bytes_ = 0;
  int64_t group_ = 1;
  int64_t kv_heads_ = 1;
  std::vector<RowTile> tiles_;
};

/// `padded`: 2 x width floats, zero beyond d_head.
void kv_write_row(KvPool& kv, int64_t layer, const AttentionRows& rows, int64_t row, const float* k,
                  const float* v, float* padded, const cpu::Ops& ops) {
  const KvLayout& layout = kv.layout();
  const int64_t d = layout.d_head;
  const int64_t width = layout.width();
  const auto type = static_cast<int>(layout.type);
  const int64_t position = rows.positions[static_cast<size_t>(row)];
  const auto slot = static_cast<int>(position % kKvBlock);
  const KvSequence& pages =
      rows.pages[static_cast<size_t>(rows.sequences[static_cast<size_t>(row)])];
  for (int64_t h = 0; h < layout.n_kv_heads; ++h) {
    const int64_t source = (row * layout.n_kv_heads + h) * d;
    std::copy_n(k + source, d, padded);
    std::copy_n(v + source, d, padded + width);
    ops.store_key(type, padded, width, slot,
                  reinterpret_cast<uint8_t*>(kv.key_block(layer, pages, h, position)));
    ops.store_value(type, padded + width, width, slot,
                    reinterpret_cast<uint8_t*>(kv.value_block(layer, pages, h, position)));
  }
}

}  // namespace

void kv_write(KvPool& kv, int64_t layer, const AttentionRows& rows, const float* k, const float* v,
              ThreadPool& pool) {
  CHECK(!kv.layout().values_in_keys);
  const cpu::Ops* ops = current_ops();
  auto body = [&](int64_t begin, int64_t end) {
    std::vector<float> padded(static_cast<size_t>(2 * kv.layout().width()));
    for (int64_t r = begin; r < end; ++r) {
      if (ops == nullptr) {
        reference::kv_write_row(kv, layer, rows, r, k, v);
      } else {
        kv_write_row(kv, layer, rows, r, k, v, padded.data(), *ops);
      }
    }
  };
  pool.parallel_for(static_cast<int64_t>(rows.positions.size()), 64, body);
}

void attention(KvPool& kv, int64_t layer, const AttentionRows& rows, const float* q,
               int64_t n_heads, float scale, float* out, ThreadPool& pool) {
  CHECK(!kv.layout().values_in_keys && n_heads % kv.layout().n_kv_heads == 0);
  const auto n = static_cast<int64_t>(rows.positions.size());
  CHECK(static_cast<int64_t>(rows.sequences.size()) == n);
  const cpu::Ops* ops = current_ops();
  if (ops != nullptr) return Attention(kv, layer, rows, q, n_heads, scale, out, *ops).run(pool);
  pool.parallel_for(n * n_heads, 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      reference::attention_head(kv, layer, rows, i / n_heads, i % n_heads, q, n_heads, scale, out);
    }
  });
}

}  // namespace hadal
