#include "kernels/latent_attention.h"

#include <algorithm>
#include <span>
#include <vector>

#include "base/check.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/isa.h"
#include "kernels/latent_queries.h"
#include "kernels/partial_softmax.h"
#include "kernels/reference/reference.h"

namespace hadal {
namespace {

using cpu::kKeyTile;
using Partial = PartialSoftmax;

// As in attention.cc: a row's positions are cut into spans with a running softmax each, merged in
// order, so that a row gets the same bits however its spans are shared out. Shorter than there: a
// row's heads lie in one tile, so the spans are all that workers can share. The first are the
// shortest, for contexts that would else be too few spans to be shared evenly.
constexpr int64_t kShortSpan = 64;
constexpr int64_t kSpan = 256;
constexpr int64_t kShortSpans = 16;
constexpr int64_t kShortEnd = kShortSpans * kShortSpan;
static_assert(kSpan % kKeyTile == 0 && kShortSpan <= kKeyTile && kKvBlock == cpu::kKvBlock);

/// Where span `s` begins, and how many cover `seen` positions.
constexpr int64_t span_begin(int64_t s) {
  return s <= kShortSpans ? s * kShortSpan : kShortEnd + (s - kShortSpans) * kSpan;
}
constexpr int64_t spans_of(int64_t seen) {
  return seen <= kShortEnd ? (seen + kShortSpan - 1) / kShortSpan
                           : kShortSpans + (seen - kShortEnd + kSpan - 1) / kSpan;
}
// Queries (rows x heads) that share the unpacking of a tile.
constexpr int64_t kQueriesPerTile = 64;
// What the partial results of one wave of spans may take: 64 MB.
constexpr int64_t kWaveFloats = int64_t{16} << 20;

/// Some heads of consecutive rows of one sequence.
struct Tile {
  int64_t row = 0;
  int64_t rows = 0;
  int64_t head = 0;
  int64_t heads = 0;
  int64_t seen = 0;                    ///< the most positions that a row sees
  std::span<const int32_t> list = {};  ///< of a row that does not see all: they count as 0, 1, ...

  int64_t queries() const { return rows * heads; }
  int64_t spans() const { return spans_of(seen); }
};

class LatentAttention {
 public:
  LatentAttention(KvPool& kv, int64_t layer, const AttentionRows& rows, const PositionLists* lists,
                  const float* q, const LatentShape& shape, float scale, float* out,
                  const cpu::Ops& ops)
      : kv_(kv),
        layer_(layer),
        rows_(rows),
        lists_(lists),
        q_(q),
        shape_(shape),
        scale_(scale),
        out_(out),
        ops_(ops),
        d_key_(kv.layout().width()),
        d_value_((shape.kv_lora_rank + 31) / 32 * 32) {
    make_tiles();
  }

  void run(ThreadPool& pool) {
    int64_t spans_max = 1;
    for (const Tile& tile : tiles_) spans_max = std::max(spans_max, tile.spans());
    const auto count = static_cast<int64_t>(tiles_.size());
    if (pool.size() > 1 && spans_max > 1 && count < 4 * pool.size()) {
      const int64_t floats = tile_floats(spans_max);
      const int64_t wave = std::max<int64_t>(1, kWaveFloats / floats);
      for (int64_t first = 0; first < count; first += wave) {
        run_wave(pool, first, std::min(count - first, wave), spans_max);
      }
      return;
    }
    pool.parallel_for(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) run_tile(tiles_[static_cast<size_t>(i)]);
    });
  }

 private:
  void make_tiles() {
    const auto n = static_cast<int64_t>(rows_.positions.size());
    const int64_t heads_max = std::min(shape_.n_heads, kQueriesPerTile);
    const int64_t rows_max = std::max<int64_t>(1, kQueriesPerTile / shape_.n_heads);
    for (int64_t row = 0; row < n;) {
      Tile tile{.row = row};
      tile.list = list_of(row);
      tile.seen = static_cast<int64_t>(tile.list.size());
      do {
        if (tile.list.empty()) tile.seen = std::max(tile.seen, seen_by(row));
        ++tile.rows;
        ++row;
      } while (row < n && tile.rows < rows_max && sequence_index(row) == sequence_index(tile.row) &&
               tile.list.empty() && list_of(row).empty());
      for (tile.head = 0; tile.head < shape_.n_heads; tile.head += heads_max) {
        tile.heads = std::min(heads_max, shape_.n_heads - tile.head);
        tiles_.push_back(tile);
        queries_max_ = std::max(queries_max_, tile.queries());
      }
    }
  }

  std::span<const int32_t> list_of(int64_t row) const {
    return lists_ == nullptr ? std::span<const int32_t>() : lists_->of(row);
  }
  int32_t sequence_index(int64_t row) const { return rows_.sequences[static_cast<size_t>(row)]; }
  int64_t seen_by(int64_t row) const {
    return static_cast<int64_t>(rows_.positions[static_cast<size_t>(row)]) + 1;
  }

  /// One worker, span after span.
  void run_tile(const Tile& tile) {
    const int64_t n = tile.queries();
    const int64_t floats = Partial::floats(n, d_value_);
    const int64_t laid = laid_query_floats(n, d_key_);
    float* queries = scratch(laid + 2 * floats + work_floats(n));
    float* memory = queries + laid;
    lay(tile, queries);
    const Partial total(memory, n);
    for (int64_t s = 0; s < tile.spans(); ++s) {
      const Partial part(s == 0 ? memory : memory + floats, n);
      run_span(tile, s, queries, part, memory + 2 * floats);
      if (s > 0) merge(total, part, n, d_value_);
    }
    for (int64_t query = 0; query < n; ++query) emit(tile, query, total);
  }

  /// Few rows, long contexts: every span of tiles [first, first + count) is a work item.
  void run_wave(ThreadPool& pool, int64_t first, int64_t count, int64_t spans_max) {
    const int64_t floats = Partial::floats(queries_max_, d_value_);
    float* memory = wave_memory(count * tile_floats(spans_max));
    const auto queries_of = [&](int64_t i) { return memory + i * tile_floats(spans_max); };
    const auto partial = [&](int64_t i, int64_t span) {
      return Partial(queries_of(i) + laid_query_floats(queries_max_, d_key_) + span * floats,
                     tiles_[static_cast<size_t>(first + i)].queries());
    };
    pool.parallel_for(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        lay(tiles_[static_cast<size_t>(first + i)], queries_of(i));
      }
    });
    pool.parallel_for(count * spans_max, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t i = item / spans_max;
        const Tile& tile = tiles_[static_cast<size_t>(first + i)];
        if (item % spans_max >= tile.spans()) continue;
        run_span(tile, item % spans_max, queries_of(i), partial(i, item % spans_max),
                 scratch(work_floats(tile.queries())));
      }
    });
    pool.parallel_for(count * queries_max_, 4, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t i = item / queries_max_;
        const int64_t query = item % queries_max_;
        const Tile& tile = tiles_[static_cast<size_t>(first + i)];
        if (query >= tile.queries()) continue;
        const Partial total = partial(i, 0);
        for (int64_t s = 1; s < tile.spans(); ++s) {
          merge(total.query(query, d_value_), partial(i, s).query(query, d_value_), 1, d_value_);
        }
        emit(tile, query, total);
      }
    });
  }

  /// Of a tile in a wave: its queries and the partial results of its spans.
  int64_t tile_floats(int64_t spans_max) const {
    return laid_query_floats(queries_max_, d_key_) +
           spans_max * Partial::floats(queries_max_, d_value_);
  }

  /// A span's memory: what is visible, records as floats, the tile's work.
  int64_t work_floats(int64_t n) const {
    return n + kKeyTile * d_key_ + ops_.attention_work_floats(n);
  }

  /// Memory of the calling worker, kept between calls: too large for malloc's fast path.
  static float* scratch(int64_t floats) {
    thread_local std::vector<float> memory;
    if (memory.size() < static_cast<size_t>(floats)) memory.resize(static_cast<size_t>(floats));
    return memory.data();
  }
  /// The same for what the workers of a wave share.
  static float* wave_memory(int64_t floats) {
    thread_local std::vector<float> memory;
    if (memory.size() < static_cast<size_t>(floats)) memory.resize(static_cast<size_t>(floats));
    return memory.data();
  }

  void lay(const Tile& tile, float* queries) const {
    const int64_t d = shape_.d_key();
    lay_queries(
        ops_, tile.queries(), [&](int64_t i) { return q_ + index(tile, i) * d; }, d, d_key_, scale_,
        queries);
  }

  void run_span(const Tile& tile, int64_t span, const float* queries, const Partial& part,
                float* work) {
    const int64_t n = tile.queries();
    part.clear_sums(n);
    auto* visible = reinterpret_cast<int32_t*>(work);
    float* keys = work + n;
    cpu::LatentTile part_of = {.n = n,
                               .d_key = d_key_,
                               .d_value = d_value_,
                               .queries = queries,
                               .keys = keys,
                               .values = keys,
                               .stride = d_key_,
                               .fresh = true,
                               .visible = visible,
                               .work = keys + kKeyTile * d_key_,
                               .maximum = part.maximum,
                               .sum = part.sum,
                               .mix = part.mix};
    const int64_t end = std::min(span_begin(span + 1), tile.seen);
    for (int64_t begin = span_begin(span); begin < end; begin += kKeyTile) {
      const int64_t count = std::min<int64_t>(end - begin, kKeyTile);
      unpack(tile, begin, count, keys);
      for (int64_t query = 0; query < n; ++query) {
        const int64_t seen = tile.list.empty() ? seen_by(tile.row + query / tile.heads) : tile.seen;
        visible[query] = static_cast<int32_t>(std::clamp<int64_t>(seen - begin, 0, count));
      }
      ops_.latent_tile(part_of);
      part_of.fresh = false;
    }
  }

  void unpack(const Tile& tile, int64_t begin, int64_t count, float* keys) {
    const KvSequence& pages = rows_.pages[static_cast<size_t>(sequence_index(tile.row))];
    for (int64_t i = 0; i < count; ++i) {
      const int64_t position =
          tile.list.empty() ? begin + i : tile.list[static_cast<size_t>(begin + i)];
      const std::byte* record = kv_.key_record(layer_, pages, position);
      ops_.read_record(static_cast<int>(kv_.layout().type),
                       reinterpret_cast<const uint8_t*>(record), d_key_, keys + i * d_key_);
    }
  }

  /// Row and head of a query, as an index into rows x n_heads.
  int64_t index(const Tile& tile, int64_t query) const {
    return (tile.row + query / tile.heads) * shape_.n_heads + tile.head + query % tile.heads;
  }

  void emit(const Tile& tile, int64_t query, const Partial& total) {
    float* out = out_ + index(tile, query) * shape_.kv_lora_rank;
    const float inverse = 1.0f / total.sum[query];
    const float* mix = total.mix + query * d_value_;
    for (int64_t i = 0; i < shape_.kv_lora_rank; ++i) out[i] = mix[i] * inverse;
  }

  KvPool& kv_;
  int64_t layer_;
  const AttentionRows& rows_;
  const PositionLists* lists_;  ///< null: all rows see all
  const float* q_;
  const LatentShape& shape_;
  float scale_;
  float* out_;
  const cpu::Ops& ops_;
  int64_t d_key_;    ///< as stored
  int64_t d_value_;  ///< a multiple of 32
  std::vector<Tile> tiles_;
  int64_t queries_max_ = 0;
};

void attend(KvPool& kv, int64_t layer, const AttentionRows& rows, const PositionLists* lists,
            const float* q, const LatentShape& shape, float scale, float* out, ThreadPool& pool) {
  CHECK(kv.layout().values_in_keys && kv.layout().d_head == shape.d_key());
  CHECK(rows.sequences.size() == rows.positions.size());
  if (const cpu::Ops* ops = current_ops()) {
    return LatentAttention(kv, layer, rows, lists, q, shape, scale, out, *ops).run(pool);
  }
  const auto n = static_cast<int64_t>(rows.positions.size());
  pool.parallel_for(n * shape.n_heads, 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / shape.n_heads;
      const std::span<const int32_t> list =
          lists == nullptr ? std::span<const int32_t>() : lists->of(row);
      reference::latent_attention_head(kv, layer, rows, row, i % shape.n_heads, list, q, shape,
                                       scale, out);
    }
  });
}

}  // namespace

void kv_write_latent(KvPool& kv, int64_t layer, const AttentionRows& rows, const float* latents,
                     ThreadPool& pool) {
  const KvLayout& layout = kv.layout();
  CHECK(layout.values_in_keys);
  const cpu::Ops* ops = current_ops();
  pool.parallel_for(
      static_cast<int64_t>(rows.positions.size()), 64, [&](int64_t begin, int64_t end) {
        std::vector<float> padded(static_cast<size_t>(layout.width()), 0.0f);
        for (int64_t r = begin; r < end; ++r) {
          const auto row = static_cast<size_t>(r);
          const KvSequence& pages = rows.pages[static_cast<size_t>(rows.sequences[row])];
          std::byte* record = kv.key_record(layer, pages, rows.positions[row]);
          std::copy_n(latents + r * layout.d_head, layout.d_head, padded.data());
          if (ops == nullptr) {
            reference::store_record(layout.type, padded.data(), layout.width(), record);
          } else {
            ops->store_record(static_cast<int>(layout.type), padded.data(), layout.width(),
                              reinterpret_cast<uint8_t*>(record));
          }
        }
      });
}

void latent_attention(KvPool& kv, int64_t layer, const AttentionRows& rows, const float* q,
                      const LatentShape& shape, float scale, float* out, ThreadPool& pool) {
  attend(kv, layer, rows, nullptr, q, shape, scale, out, pool);
}

void latent_attention_sparse(KvPool& kv, int64_t layer, const AttentionRows& rows,
                             const PositionLists& lists, const float* q, const LatentShape& shape,
                             float scale, float* out, ThreadPool& pool) {
  CHECK(lists.first.size() == rows.positions.size() + 1);
  attend(kv, layer, rows, &lists, q, shape, scale, out, pool);
}

}  // namespace hadal
