#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/isa.h"
#include "kernels/reference/reference.h"

namespace hadal {
namespace {

using cpu::kKeyTile;

// A row's context is cut into spans of this many positions, each with its own running softmax; the
// spans' results are merged in order. The cut depends on positions alone, so a row gets the same
// bits whether its spans run on one worker or on many, alone or beside other rows.
constexpr int64_t kSpan = 512;
static_assert(kSpan % kKeyTile == 0);
// Queries (rows x heads of a group) that share one conversion of keys and values.
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

/// Running softmax of some queries: maximum[n], sum[n], mix[n x d_pad] in one block of memory.
struct Partial {
  float* maximum;
  float* sum;
  float* mix;

  Partial(float* memory, int64_t n) : maximum(memory), sum(memory + n), mix(memory + 2 * n) {}
  static int64_t floats(int64_t n, int64_t d_pad) { return n * (2 + d_pad); }
  void clear(int64_t n, int64_t d_pad) const {
    std::fill_n(maximum, n, -INFINITY);
    std::fill_n(sum, n, 0.0f);
    std::fill_n(mix, n * d_pad, 0.0f);
  }
};

/// into = into + from, brought to a common maximum. A span that a query does not see leaves it as
/// it is.
void merge(const Partial& into, const Partial& from, int64_t n, int64_t d_pad) {
  for (int64_t q = 0; q < n; ++q) {
    if (from.maximum[q] == -INFINITY && from.sum[q] == 0.0f) continue;
    const float maximum = std::max(into.maximum[q], from.maximum[q]);
    const float keep = std::exp(into.maximum[q] - maximum);
    const float gain = std::exp(from.maximum[q] - maximum);
    into.maximum[q] = maximum;
    into.sum[q] = into.sum[q] * keep + from.sum[q] * gain;
    float* a = into.mix + q * d_pad;
    const float* b = from.mix + q * d_pad;
    for (int64_t i = 0; i < d_pad; ++i) a[i] = a[i] * keep + b[i] * gain;
  }
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
    d_pad_ = (d_ + 15) / 16 * 16;
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

  /// Few rows, long contexts: every span is a work item of its own.
  void run_split(ThreadPool& pool, int64_t pairs, int64_t spans_max) {
    int64_t n_max = 0;
    for (const RowTile& tile : tiles_) n_max = std::max(n_max, tile.count * group_);
    const int64_t floats = Partial::floats(n_max, d_pad_);
    std::vector<float> partials(static_cast<size_t>(pairs * spans_max * floats));
    pool.parallel_for(pairs * spans_max, 1, [&](int64_t begin, int64_t end) {
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

  int64_t work_floats(int64_t n) const {
    return n * d_pad_ + n * kKeyTile + n + 2 * kKeyTile * d_pad_;
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
    float* queries = work;
    float* scores = queries + n * d_pad_;
    auto* visible = reinterpret_cast<int32_t*>(scores + n * kKeyTile);
    float* keys_t = scores + n * kKeyTile + n;
    float* values = keys_t + kKeyTile * d_pad_;
    for (int64_t q = 0; q < n; ++q) {
      const int64_t row = tile.first + q / group_;
      const float* source = q_ + (row * n_heads_ + kv_head * group_ + q % group_) * d_;
      for (int64_t i = 0; i < d_; ++i) queries[q * d_pad_ + i] = source[i] * scale_;
      for (int64_t i = d_; i < d_pad_; ++i) queries[q * d_pad_ + i] = 0.0f;
    }
    std::fill(keys_t + d_ * kKeyTile, keys_t + d_pad_ * kKeyTile, 0.0f);
    if (d_pad_ > d_) std::fill(values, values + kKeyTile * d_pad_, 0.0f);
    const int64_t end = std::min((span + 1) * kSpan, tile.last_position + 1);
    for (int64_t begin = span * kSpan; begin < end; begin += kKeyTile) {
      const int64_t count = std::min<int64_t>(kKeyTile, end - begin);
      load_tile(tile, kv_head, begin, count, keys_t, values);
      for (int64_t q = 0; q < n; ++q) {
        const int64_t position = rows_.positions[static_cast<size_t>(tile.first + q / group_)];
        visible[q] = static_cast<int32_t>(std::clamp<int64_t>(position + 1 - begin, 0, kKeyTile));
      }
      ops_.attention_tile({.q = queries,
                           .n = n,
                           .d_pad = d_pad_,
                           .keys_t = keys_t,
                           .values = values,
                           .visible = visible,
                           .scores = scores,
                           .maximum = part.maximum,
                           .sum = part.sum,
                           .mix = part.mix});
    }
  }

  /// Gathers positions [begin, begin + count) from their pages.
  void load_tile(const RowTile& tile, int64_t kv_head, int64_t begin, int64_t count, float* keys_t,
                 float* values) {
    const auto sequence = static_cast<size_t>(rows_.sequences[static_cast<size_t>(tile.first)]);
    const std::span<const PageId> pages = rows_.pages[sequence].pages;
    const int64_t page_tokens = kv_.page_tokens();
    const int f16 = kv_.layout().type == KvType::kF16 ? 1 : 0;
    const auto bytes = static_cast<int64_t>(kv_type_bytes(kv_.layout().type));
    for (int64_t done = 0; done < count;) {
      const int64_t position = begin + done;
      const int64_t inside = position % page_tokens;
      const int64_t take = std::min(count - done, page_tokens - inside);
      const PageId page = pages[static_cast<size_t>(position / page_tokens)];
      const int64_t offset = inside * d_ * bytes;
      // Whole squares transpose faster: read on to a multiple of 16 where the page and the tile
      // allow it. What lies there is masked.
      const int64_t whole = (take + 15) / 16 * 16;
      const bool fits = inside + whole <= page_tokens && done + whole <= kKeyTile;
      ops_.keys_transposed(kv_.keys(layer_, page, kv_head) + offset, f16, fits ? whole : take, d_,
                           done, keys_t);
      ops_.values_padded(kv_.values(layer_, page, kv_head) + offset, f16, take, d_, d_pad_,
                         values + done * d_pad_);
      done += take;
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
  int64_t group_ = 1;
  int64_t kv_heads_ = 1;
  std::vector<RowTile> tiles_;
};

void kv_write_row(KvPool& kv, int64_t layer, const AttentionRows& rows, int64_t row, const float* k,
                  const float* v, const cpu::Ops& ops) {
  const KvLayout& layout = kv.layout();
  const int64_t d = layout.d_head;
  const int64_t position = rows.positions[static_cast<size_t>(row)];
  const auto sequence = static_cast<size_t>(rows.sequences[static_cast<size_t>(row)]);
  const PageId page = rows.pages[sequence].pages[static_cast<size_t>(position / kv.page_tokens())];
  const int64_t offset =
      position % kv.page_tokens() * d * static_cast<int64_t>(kv_type_bytes(layout.type));
  for (int64_t h = 0; h < layout.n_kv_heads; ++h) {
    const int64_t source = (row * layout.n_kv_heads + h) * d;
    std::byte* key = kv.keys(layer, page, h) + offset;
    std::byte* value = kv.values(layer, page, h) + offset;
    if (layout.type == KvType::kF16) {
      ops.store_f16(k + source, d, reinterpret_cast<uint16_t*>(key));
      ops.store_f16(v + source, d, reinterpret_cast<uint16_t*>(value));
    } else {
      std::memcpy(key, k + source, static_cast<size_t>(d) * 4);
      std::memcpy(value, v + source, static_cast<size_t>(d) * 4);
    }
  }
}

}  // namespace

void kv_write(KvPool& kv, int64_t layer, const AttentionRows& rows, const float* k, const float* v,
              ThreadPool& pool) {
  const cpu::Ops* ops = current_ops();
  auto body = [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (ops == nullptr) {
        reference::kv_write_row(kv, layer, rows, r, k, v);
      } else {
        kv_write_row(kv, layer, rows, r, k, v, *ops);
      }
    }
  };
  pool.parallel_for(static_cast<int64_t>(rows.positions.size()), 64, body);
}

void attention(KvPool& kv, int64_t layer, const AttentionRows& rows, const float* q,
               int64_t n_heads, float scale, float* out, ThreadPool& pool) {
  CHECK(n_heads % kv.layout().n_kv_heads == 0);
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
