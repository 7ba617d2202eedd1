#include "kernels/sink_attention.h"

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/isa.h"
#include "kernels/latent_queries.h"
#include "kernels/reference/reference.h"

namespace hadal {
namespace {

using cpu::kKeyTile;

/// Heads that share the unpacking of a tile of rows: as many as are of use, or fewer where there
/// are not enough rows for all workers.
constexpr int64_t kHeadsPerPiece = 64;
constexpr int64_t kHeadsOfFewRows = 16;

/// Some heads of one row of the batch.
struct Piece {
  int64_t row = 0;
  int64_t head = 0;
  int64_t n = 0;
};

/// The calling worker's memory, kept between calls: too large for malloc's fast path.
float* scratch(int64_t floats) {
  thread_local std::vector<float> memory;
  if (memory.size() < static_cast<size_t>(floats)) memory.resize(static_cast<size_t>(floats));
  return memory.data();
}

class SinkTiles {
 public:
  SinkTiles(KvPool& kv, const SinkAttention& what, const AttentionRows& rows, const float* q,
            int64_t n_heads, float* out, const cpu::Ops& ops)
      : kv_(kv),
        what_(what),
        rows_(rows),
        q_(q),
        n_heads_(n_heads),
        out_(out),
        ops_(ops),
        d_(kv.layout().d_head) {}

  void run(const Piece& piece) {
    const int64_t n = piece.n;
    const int64_t laid = laid_query_floats(n, d_);
    float* queries = scratch(laid + 3 * n + kKeyTile * d_ + ops_.attention_work_floats(n));
    float* keys = queries + laid;
    float* running = keys + kKeyTile * d_;
    auto* visible = reinterpret_cast<int32_t*>(running + 2 * n);
    const cpu::LatentTile tile = {.n = n,
                                  .d_key = d_,
                                  .d_value = d_,
                                  .queries = queries,
                                  .keys = keys,
                                  .values = keys,
                                  .stride = d_,
                                  .fresh = false,
                                  .visible = visible,
                                  .work = running + 3 * n,
                                  .maximum = running,
                                  .sum = running + n,
                                  .mix = out_ + (piece.row * n_heads_ + piece.head) * d_};
    start(piece, tile, queries);
    const int64_t seen = find_records(piece.row);
    for (int64_t done = 0; done < seen; done += kKeyTile) {
      const int64_t count = std::min<int64_t>(kKeyTile, seen - done);
      unpack(done, count, keys);
      std::fill_n(visible, n, static_cast<int32_t>(count));
      ops_.latent_tile(tile);
    }
    for (int64_t h = 0; h < n; ++h) {
      const float inverse = 1.0f / tile.sum[h];
      for (int64_t i = 0; i < d_; ++i) tile.mix[h * d_ + i] *= inverse;
    }
  }

 private:
  /// The sink is a key seen before all others, whose value is zero.
  void start(const Piece& piece, const cpu::LatentTile& tile, float* queries) const {
    const float* q = q_ + (piece.row * n_heads_ + piece.head) * d_;
    lay_queries(
        ops_, piece.n, [&](int64_t head) { return q + head * d_; }, d_, d_, what_.scale, queries);
    std::copy_n(what_.sinks.begin() + piece.head, piece.n, tile.maximum);
    std::fill_n(tile.sum, piece.n, 1.0f);
    std::fill_n(tile.mix, piece.n * d_, 0.0f);
  }

  /// Of everything that `row` attends, in order. Returns how many there are.
  int64_t find_records(int64_t row) {
    const auto r = static_cast<size_t>(row);
    const KvSequence& pages = rows_.pages[static_cast<size_t>(rows_.sequences[r])];
    const int64_t position = rows_.positions[r];
    records_.clear();
    for (int64_t p = std::max(what_.first, position + 1 - what_.window); p <= position; ++p) {
      records_.push_back(kv_.key_record(what_.layer, pages, p));
    }
    if (!what_.beside_end.empty()) {
      const int64_t first = r == 0 ? 0 : what_.beside_end[r - 1];
      const auto beside = what_.beside.subspan(static_cast<size_t>(first),
                                               static_cast<size_t>(what_.beside_end[r] - first));
      records_.insert(records_.end(), beside.begin(), beside.end());
    }
    return static_cast<int64_t>(records_.size());
  }

  void unpack(int64_t first, int64_t count, float* keys) const {
    for (int64_t at = 0; at < count; ++at) {
      const std::byte* record = records_[static_cast<size_t>(first + at)];
      ops_.read_record(static_cast<int>(kv_.layout().type),
                       reinterpret_cast<const uint8_t*>(record), d_, keys + at * d_);
    }
  }

  KvPool& kv_;
  const SinkAttention& what_;
  const AttentionRows& rows_;
  const float* q_;
  int64_t n_heads_;
  float* out_;
  const cpu::Ops& ops_;
  int64_t d_;
  std::vector<const std::byte*> records_;
};

}  // namespace

void sink_attention(KvPool& kv, const SinkAttention& what, const AttentionRows& rows,
                    const float* q, int64_t n_heads, float* out, ThreadPool& pool) {
  const KvLayout& layout = kv.layout();
  const auto n = static_cast<int64_t>(rows.positions.size());
  CHECK(layout.values_in_keys && layout.n_kv_heads == 1 && layout.d_head == layout.width());
  CHECK(layout.type != KvType::kQ8_0 && what.window > 0);
  CHECK(static_cast<int64_t>(what.sinks.size()) == n_heads);
  CHECK(what.beside_end.empty() || static_cast<int64_t>(what.beside_end.size()) == n);
  const cpu::Ops* ops = current_ops();
  const int64_t heads = n >= 2 * pool.size() ? kHeadsPerPiece : kHeadsOfFewRows;
  const int64_t per_row = (n_heads + heads - 1) / heads;
  pool.parallel_for(n * per_row, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t head = i % per_row * heads;
      const Piece piece{i / per_row, head, std::min(heads, n_heads - head)};
      if (ops != nullptr) {
        SinkTiles(kv, what, rows, q, n_heads, out, *ops).run(piece);
        continue;
      }
      for (int64_t h = piece.head; h < piece.head + piece.n; ++h) {
        reference::sink_attention_head(kv, what, rows, piece.row, h, q, n_heads, out);
      }
    }
  });
}

}  // namespace hadal
