#include "kernels/indexer.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "base/check.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/isa.h"
#include "kernels/reference/reference.h"

namespace hadal {
namespace {

using cpu::kKeyTile;

// Scores in memory at a time: 32 MB.
constexpr int64_t kScores = int64_t{8} << 20;
// Rows of one sequence that share the unpacking of a tile of keys.
constexpr int64_t kRowsPerTile = 8;

/// The order of floats as that of integers; -0 equals 0, NaN comes first.
uint32_t order_of(float x) {
  if (x != x) return 0;
  const auto bits = std::bit_cast<uint32_t>(x + 0.0f);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

/// The rows of one tile: consecutive, of one sequence, all seeing more than top_k positions.
struct RowTile {
  int64_t first = 0;
  int64_t count = 0;
  int64_t seen = 0;
};

class Selection {
 public:
  Selection(const IndexKeys& keys, const IndexShape& shape, const AttentionRows& rows,
            const float* q, const float* weights, PositionLists& out)
      : keys_(keys), shape_(shape), rows_(rows), q_(q), weights_(weights), out_(out) {}

  void run(ThreadPool& pool) {
    const auto n = static_cast<int64_t>(rows_.positions.size());
    int64_t seen_max = 0;
    out_.first.assign(1, 0);
    for (int64_t row = 0; row < n; ++row) {
      const bool sparse = seen_by(row) > shape_.top_k;
      out_.first.push_back(out_.first.back() + (sparse ? shape_.top_k : 0));
      if (sparse) seen_max = std::max(seen_max, seen_by(row));
    }
    out_.positions.resize(static_cast<size_t>(out_.first.back()));
    if (seen_max == 0) return;
    stride_ = (seen_max + kKeyTile - 1) / kKeyTile * kKeyTile;
    const int64_t rows_at_once = std::max<int64_t>(1, kScores / stride_);
    for (int64_t first = 0; first < n; first += rows_at_once) {
      run_rows(first, std::min(n, first + rows_at_once), pool);
    }
  }

 private:
  int64_t seen_by(int64_t row) const {
    return (static_cast<int64_t>(rows_.positions[static_cast<size_t>(row)]) + 1) / keys_.step;
  }
  int32_t sequence_index(int64_t row) const { return rows_.sequences[static_cast<size_t>(row)]; }

  void run_rows(int64_t first, int64_t last, ThreadPool& pool) {
    std::vector<RowTile> tiles;
    for (int64_t row = first; row < last; ++row) {
      if (seen_by(row) <= shape_.top_k) continue;
      const bool grows = !tiles.empty() && tiles.back().count < kRowsPerTile &&
                         tiles.back().first + tiles.back().count == row &&
                         sequence_index(tiles.back().first) == sequence_index(row);
      if (!grows) tiles.push_back({row, 0, 0});
      ++tiles.back().count;
      tiles.back().seen = std::max(tiles.back().seen, seen_by(row));
    }
    const auto needed = static_cast<size_t>((last - first) * stride_);
    if (scores_.size() < needed) scores_.resize(needed);
    const int64_t key_tiles = stride_ / kKeyTile;
    const auto count = static_cast<int64_t>(tiles.size());
    pool.parallel_for(count * key_tiles, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        score(tiles[static_cast<size_t>(i / key_tiles)], i % key_tiles * kKeyTile, first);
      }
    });
    pool.parallel_for(last - first, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = first + begin; row < first + end; ++row) {
        const int64_t at = out_.first[static_cast<size_t>(row)];
        if (at == out_.first[static_cast<size_t>(row) + 1]) continue;
        top_positions(scores_.data() + (row - first) * stride_, seen_by(row), shape_.top_k,
                      out_.positions.data() + at);
      }
    });
  }

  /// Scores of positions [begin, begin + kKeyTile) for the rows that see them.
  void score(const RowTile& tile, int64_t begin, int64_t first_row) {
    const int64_t end = std::min(begin + kKeyTile, tile.seen);
    if (begin >= end) return;
    const KvSequence& pages = rows_.pages[static_cast<size_t>(sequence_index(tile.first))];
    const int64_t d = shape_.width();
    const cpu::Ops* ops = current_ops();
    thread_local std::vector<float> memory;
    const int64_t floats = (kKeyTile + shape_.n_heads) * d + shape_.n_heads * kKeyTile;
    if (memory.size() < static_cast<size_t>(floats)) memory.resize(static_cast<size_t>(floats));
    float* unpacked = memory.data();
    float* queries = unpacked + kKeyTile * d;
    float* work = queries + shape_.n_heads * d;
    for (int64_t block = begin; block < end && ops != nullptr; block += kKvBlock) {
      const uint8_t* records[kKvBlock];
      for (int64_t i = 0; i < kKvBlock; ++i) {
        const int64_t position = block + i < end ? block + i : block;
        records[i] = reinterpret_cast<const uint8_t*>(keys_.record(shape_, pages, position));
      }
      ops->unpack_records(static_cast<int>(shape_.type), records, d,
                          unpacked + (block - begin) * d);
    }
    for (int64_t row = tile.first; row < tile.first + tile.count; ++row) {
      const int64_t seen = std::min(end, seen_by(row)) - begin;
      const float* q = q_ + row * shape_.n_heads * shape_.d_index;
      const float* weights = weights_ + row * shape_.n_heads;
      float* scores = scores_.data() + (row - first_row) * stride_ + begin;
      for (int64_t p = 0; p < seen && ops == nullptr; ++p) {
        scores[p] =
            reference::index_score(shape_, q, weights, keys_.record(shape_, pages, begin + p));
      }
      if (seen <= 0 || ops == nullptr) continue;
      for (int64_t h = 0; h < shape_.n_heads; ++h) {
        std::copy_n(q + h * shape_.d_index, shape_.d_index, queries + h * d);
        std::fill(queries + h * d + shape_.d_index, queries + (h + 1) * d, 0.0f);
      }
      ops->index_tile(queries, weights, shape_.n_heads, d, unpacked, static_cast<int>(seen), work,
                      scores);
    }
  }

  const IndexKeys& keys_;
  const IndexShape& shape_;
  const AttentionRows& rows_;
  const float* q_;
  const float* weights_;
  PositionLists& out_;
  int64_t stride_ = 0;
  std::vector<float> scores_;
};

}  // namespace

void index_write(const IndexKeys& keys, const IndexShape& shape, const AttentionRows& rows,
                 const float* k, ThreadPool& pool) {
  CHECK(keys.offset + keys.kv.page_tokens() * shape.record_bytes() <=
        keys.kv.page_tokens() * keys.kv.layout().extra_bytes);
  const cpu::Ops* ops = current_ops();
  pool.parallel_for(
      static_cast<int64_t>(rows.positions.size()), 64, [&](int64_t begin, int64_t end) {
        std::vector<float> padded(static_cast<size_t>(shape.width()), 0.0f);
        for (int64_t r = begin; r < end; ++r) {
          const auto row = static_cast<size_t>(r);
          const KvSequence& pages = rows.pages[static_cast<size_t>(rows.sequences[row])];
          std::byte* record = keys.record(shape, pages, rows.positions[row]);
          std::copy_n(k + r * shape.d_index, shape.d_index, padded.data());
          if (ops == nullptr) {
            reference::store_record(shape.type, padded.data(), shape.width(), record);
          } else {
            ops->store_record(static_cast<int>(shape.type), padded.data(), shape.width(),
                              reinterpret_cast<uint8_t*>(record));
          }
        }
      });
}

void index_select(const IndexKeys& keys, const IndexShape& shape, const AttentionRows& rows,
                  const float* q, const float* weights, PositionLists& out, ThreadPool& pool) {
  CHECK(shape.top_k > 0 && rows.sequences.size() == rows.positions.size());
  Selection(keys, shape, rows, q, weights, out).run(pool);
}

void top_positions(const float* scores, int64_t n, int64_t top_k, int32_t* out) {
  DCHECK(top_k > 0 && top_k <= n);
  // Radix selection: the bits of the top_k-th largest score, 11, 11 and 10 at a time.
  uint32_t threshold = 0;
  uint32_t mask = 0;
  int64_t wanted = top_k;  // among the scores that begin like `threshold`
  for (const int shift : {21, 10, 0}) {
    const uint32_t digits = shift == 0 ? 1u << 10 : 1u << 11;
    int64_t counts[1u << 11] = {};
    for (int64_t i = 0; i < n; ++i) {
      const uint32_t order = order_of(scores[i]);
      if ((order & mask) == threshold) ++counts[(order >> shift) & (digits - 1)];
    }
    uint32_t digit = digits - 1;
    for (; counts[digit] < wanted; --digit) wanted -= counts[digit];
    threshold |= digit << shift;
    mask |= (digits - 1) << shift;
  }
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t order = order_of(scores[i]);
    if (order < threshold || (order == threshold && wanted-- <= 0)) continue;
    *out++ = static_cast<int32_t>(i);
  }
}

}  // namespace hadal
