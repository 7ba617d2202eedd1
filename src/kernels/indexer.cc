#include "kernels/indexer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/index_query.h"
#include "kernels/isa.h"
#include "kernels/reference/reference.h"

namespace hadal {
namespace {

using cpu::kKeyTile;

// Scores in memory at a time, with their bounds: 32 MB; and rows, whose queries are held.
constexpr int64_t kScores = int64_t{4} << 20;
constexpr int64_t kRowsAtOnce = 128;
// Estimates pay from so many times top_k positions on (decision 0022).
constexpr int64_t kEstimateFrom = 2;
// The top_k-th score is looked for within this part of the bound around the top_k-th estimate.
constexpr float kThresholdPart = 8;
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

/// The top_k-th largest of some scores: its order, and how many of those that have it are wanted.
struct Threshold {
  uint32_t order = 0;
  int64_t wanted = 0;
};

/// Radix selection: the bits of the top_k-th largest score, 11, 11 and 10 at a time.
Threshold find_threshold(const float* scores, int64_t n, int64_t top_k) {
  Threshold found = {0, top_k};
  uint32_t mask = 0;
  for (const int shift : {21, 10, 0}) {
    const uint32_t digits = shift == 0 ? 1u << 10 : 1u << 11;
    int64_t counts[1u << 11] = {};
    for (int64_t i = 0; i < n; ++i) {
      const uint32_t order = order_of(scores[i]);
      if ((order & mask) == found.order) ++counts[(order >> shift) & (digits - 1)];
    }
    uint32_t digit = digits - 1;
    for (; counts[digit] < found.wanted; --digit) found.wanted -= counts[digit];
    found.order |= digit << shift;
    mask |= (digits - 1) << shift;
  }
  return found;
}

/// What estimates leave open of a row: who is in for sure, and who may be.
struct Open {
  std::vector<int32_t> sure;
  std::vector<int32_t> candidates;
  std::vector<float> scores;  ///< of the candidates
  /// The choice holds if the last score taken lies between: candidates are all whose score may be
  /// as large as `low`, less those that are sure to be above `high`.
  float low = 0;
  float high = 0;
};

class Selection {
 public:
  Selection(const IndexKeys& keys, const IndexShape& shape, const AttentionRows& rows,
            const float* q, const float* weights, PositionLists& out, IndexMethod method)
      : keys_(keys),
        shape_(shape),
        rows_(rows),
        q_(q),
        weights_(weights),
        out_(out),
        method_(method) {}

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
    const int64_t rows_at_once = std::clamp<int64_t>(kScores / stride_, 1, kRowsAtOnce);
    for (int64_t first = 0; first < n; first += rows_at_once) {
      run_rows(first, std::min(n, first + rows_at_once), pool);
    }
  }

 private:
  int64_t seen_by(int64_t row) const {
    return (static_cast<int64_t>(rows_.positions[static_cast<size_t>(row)]) + 1) / keys_.step;
  }
  bool sparse(int64_t row) const { return seen_by(row) > shape_.top_k; }
  int32_t sequence_index(int64_t row) const { return rows_.sequences[static_cast<size_t>(row)]; }
  const KvSequence& pages_of(int64_t row) const {
    return rows_.pages[static_cast<size_t>(sequence_index(row))];
  }
  bool estimates(int64_t row) const { return queries_.bound(row - first_row_).usable; }
  bool wants_estimates(int64_t row) const {
    if (ops_ == nullptr || method_ == IndexMethod::kFloat) return false;
    return method_ == IndexMethod::kEstimate || seen_by(row) >= kEstimateFrom * shape_.top_k;
  }
  float* scores_of(int64_t row) { return scores_.data() + (row - first_row_) * stride_; }
  float* bounds_of(int64_t row) { return bounds_.data() + (row - first_row_) * stride_; }

  /// Consecutive rows of one sequence and one method.
  std::vector<RowTile> tiles_of(int64_t first, int64_t last) const {
    std::vector<RowTile> tiles;
    for (int64_t row = first; row < last; ++row) {
      if (!sparse(row)) continue;
      const bool grows = !tiles.empty() && tiles.back().count < kRowsPerTile &&
                         tiles.back().first + tiles.back().count == row &&
                         sequence_index(tiles.back().first) == sequence_index(row) &&
                         estimates(tiles.back().first) == estimates(row);
      if (!grows) tiles.push_back({row, 0, 0});
      ++tiles.back().count;
      tiles.back().seen = std::max(tiles.back().seen, seen_by(row));
    }
    return tiles;
  }

  void run_rows(int64_t first, int64_t last, ThreadPool& pool) {
    first_row_ = first;
    const int64_t n = last - first;
    queries_.reset(shape_, ops_, n);
    pool.parallel_for(n, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = first + begin; row < first + end; ++row) {
        if (!sparse(row) || ops_ == nullptr) continue;
        queries_.turn(row - first, q_ + row * shape_.n_heads * shape_.d_index);
        if (wants_estimates(row)) queries_.round(row - first, weights_ + row * shape_.n_heads);
      }
    });
    const auto needed = static_cast<size_t>(n * stride_);
    if (scores_.size() < needed) scores_.resize(needed);
    if (bounds_.size() < needed && method_ != IndexMethod::kFloat) bounds_.resize(needed);
    const std::vector<RowTile> tiles = tiles_of(first, last);
    const int64_t key_tiles = stride_ / kKeyTile;
    const auto count = static_cast<int64_t>(tiles.size());
    pool.parallel_for(count * key_tiles, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const RowTile& tile = tiles[static_cast<size_t>(i / key_tiles)];
        const int64_t position = i % key_tiles * kKeyTile;
        if (position >= tile.seen) continue;
        estimates(tile.first) ? estimate(tile, position) : score(tile, position);
      }
    });
    if (open_.size() < static_cast<size_t>(n)) open_.resize(static_cast<size_t>(n));
    pool.parallel_for(n, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = first + begin; row < first + end; ++row) {
        if (!sparse(row)) continue;
        if (estimates(row)) {
          leave_open(row);
        } else {
          top_positions(scores_of(row), seen_by(row), shape_.top_k, taken_by(row));
        }
      }
    });
    score_candidates(n, pool);
    pool.parallel_for(n, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = first + begin; row < first + end; ++row) {
        if (sparse(row) && estimates(row)) decide(row);
      }
    });
  }

  int32_t* taken_by(int64_t row) {
    return out_.positions.data() + out_.first[static_cast<size_t>(row)];
  }

  /// Scores of positions [begin, begin + kKeyTile) for the rows that see them.
  void score(const RowTile& tile, int64_t begin) {
    const int64_t end = std::min(begin + kKeyTile, tile.seen);
    int32_t positions[kKeyTile];
    for (int64_t i = 0; i < end - begin; ++i) positions[i] = static_cast<int32_t>(begin + i);
    float* unpacked = ops_ == nullptr ? nullptr : unpack(tile.first, positions, end - begin);
    for (int64_t row = tile.first; row < tile.first + tile.count; ++row) {
      const int64_t seen = std::min(end, seen_by(row)) - begin;
      if (seen <= 0) continue;
      if (ops_ != nullptr) {
        score_unpacked(row, unpacked, seen, scores_of(row) + begin);
        continue;
      }
      const std::vector<double> turned =
          reference::index_turned(shape_, q_ + row * shape_.n_heads * shape_.d_index);
      for (int64_t i = begin; i < begin + seen; ++i) {
        scores_of(row)[i] =
            reference::index_score(shape_, turned.data(), weights_ + row * shape_.n_heads,
                                   keys_.key(shape_, pages_of(row), i));
      }
    }
  }

  /// Keys of `n` <= kKeyTile positions of a row's sequence as floats, in blocks; valid until the
  /// thread's next call. Memory for scores of all heads lies behind.
  float* unpack(int64_t row, const int32_t* positions, int64_t n) const {
    thread_local std::vector<float> memory;
    const int64_t d = shape_.width();
    const auto floats = static_cast<size_t>((d + shape_.n_heads) * kKeyTile);
    if (memory.size() < floats) memory.resize(floats);
    for (int64_t block = 0; block < n; block += kKvBlock) {
      const uint8_t* records[kKvBlock];
      for (int64_t i = 0; i < kKvBlock; ++i) {
        const int32_t position = positions[block + i < n ? block + i : block];
        records[i] = reinterpret_cast<const uint8_t*>(keys_.key(shape_, pages_of(row), position));
      }
      ops_->unpack_records(cpu::kKvIndex, records, d, memory.data() + block * d);
    }
    return memory.data();
  }

  /// A score depends on its key and row alone, not on where in the tile the key is.
  void score_unpacked(int64_t row, float* unpacked, int64_t n, float* scores) const {
    alignas(64) float out[kKeyTile];
    float* work = unpacked + shape_.width() * kKeyTile;
    ops_->index_tile(queries_.turned(row - first_row_), weights_ + row * shape_.n_heads,
                     shape_.n_heads, shape_.width(), unpacked, static_cast<int>(n), work, out);
    std::copy_n(out, n, scores);
  }

  /// Estimates and their bounds, as score().
  void estimate(const RowTile& tile, int64_t begin) {
    const int64_t end = std::min(begin + kKeyTile, tile.seen);
    const uint8_t* keys[kKeyTile];
    IndexKeyHead heads[kKeyTile];
    for (int64_t i = 0; i < end - begin; ++i) {
      const std::byte* key = keys_.key(shape_, pages_of(tile.first), begin + i);
      keys[i] = reinterpret_cast<const uint8_t*>(key);
      heads[i] = index_key_head(key);
    }
    for (int64_t row = tile.first; row < tile.first + tile.count; ++row) {
      const int64_t seen = std::min(end, seen_by(row)) - begin;
      if (seen <= 0) continue;
      float* scores = scores_of(row) + begin;
      float* bounds = bounds_of(row) + begin;
      ops_->index_estimates(queries_.rounded(row - first_row_), keys, seen, scores);
      const IndexBound& bound = queries_.bound(row - first_row_);
      for (int64_t i = 0; i < seen; ++i) {
        bounds[i] = bound.of(heads[i]);
        if (!(bounds[i] < INFINITY)) scores[i] = 0;
      }
    }
  }

  /// Sorts a row's positions by what their estimates say of the top_k-th score. That score is
  /// expected close to the top_k-th estimate, by a part of the estimate's own bound; should it be
  /// elsewhere, decide() computes them all.
  void leave_open(int64_t row) {
    const int64_t n = seen_by(row);
    const float* scores = scores_of(row);
    const float* bounds = bounds_of(row);
    const Threshold threshold = find_threshold(scores, n, shape_.top_k);
    int64_t at = 0;
    while (order_of(scores[at]) != threshold.order) ++at;
    Open& open = open_[static_cast<size_t>(row - first_row_)];
    const float apart = bounds[at] < INFINITY ? bounds[at] / kThresholdPart : 0.0f;
    open.low = scores[at] - apart;
    open.high = scores[at] + apart;
    open.sure.clear();
    open.candidates.clear();
    for (int64_t i = 0; i < n; ++i) {
      if (scores[i] + bounds[i] < open.low) continue;
      (scores[i] - bounds[i] > open.high ? open.sure : open.candidates)
          .push_back(static_cast<int32_t>(i));
    }
    open.scores.resize(open.candidates.size());
  }

  /// In pieces, so that the candidates of one row are shared out as well.
  void score_candidates(int64_t n, ThreadPool& pool) {
    std::vector<RowTile> pieces;  // `first`: row; `seen`: first candidate
    for (int64_t r = 0; r < n; ++r) {
      if (!sparse(first_row_ + r) || !estimates(first_row_ + r)) continue;
      const auto count = static_cast<int64_t>(open_[static_cast<size_t>(r)].candidates.size());
      for (int64_t c = 0; c < count; c += kKeyTile) {
        pieces.push_back({first_row_ + r, std::min<int64_t>(kKeyTile, count - c), c});
      }
    }
    pool.parallel_for(static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const RowTile& piece = pieces[static_cast<size_t>(i)];
        Open& open = open_[static_cast<size_t>(piece.first - first_row_)];
        float* unpacked = unpack(piece.first, open.candidates.data() + piece.seen, piece.count);
        score_unpacked(piece.first, unpacked, piece.count, open.scores.data() + piece.seen);
      }
    });
  }

  void decide(int64_t row) {
    Open& open = open_[static_cast<size_t>(row - first_row_)];
    const auto wanted = shape_.top_k - static_cast<int64_t>(open.sure.size());
    const auto n = static_cast<int64_t>(open.candidates.size());
    std::vector<int32_t> taken(static_cast<size_t>(wanted));
    top_positions(open.scores.data(), n, wanted, taken.data());
    float last = INFINITY;
    bool numbers = true;
    for (int32_t& i : taken) {
      const float score = open.scores[static_cast<size_t>(i)];
      numbers &= score == score;
      last = std::min(last, score);
      i = open.candidates[static_cast<size_t>(i)];
    }
    if (numbers && last >= open.low && last <= open.high) {
      std::ranges::merge(open.sure, taken, taken_by(row));
      return;
    }
    const int64_t seen = seen_by(row);
    for (int64_t begin = 0; begin < seen; begin += kKeyTile) score({row, 1, seen}, begin);
    top_positions(scores_of(row), seen, shape_.top_k, taken_by(row));
  }

  const IndexKeys& keys_;
  const IndexShape& shape_;
  const AttentionRows& rows_;
  const float* q_;
  const float* weights_;
  PositionLists& out_;
  const IndexMethod method_;
  const cpu::Ops* const ops_ = current_ops();
  int64_t stride_ = 0;
  int64_t first_row_ = 0;  ///< of those in work
  IndexQueryRows queries_;
  std::vector<float> scores_;
  std::vector<float> bounds_;
  std::vector<Open> open_;
};

}  // namespace

void index_store_key(const IndexShape& shape, const float* k, std::byte* key) {
  thread_local std::vector<float> turned;
  turned.assign(static_cast<size_t>(shape.width()), 0.0f);
  std::copy_n(k, shape.d_index, turned.data());
  index_turn(turned.data(), shape.width());
  index_store(turned.data(), shape.width(), key);
}

void index_write(const IndexKeys& keys, const IndexShape& shape, const AttentionRows& rows,
                 const float* k, ThreadPool& pool) {
  CHECK(keys.offset + keys.kv.page_tokens() * shape.key_bytes() <=
        keys.kv.page_tokens() * keys.kv.layout().extra_bytes);
  pool.parallel_for(
      static_cast<int64_t>(rows.positions.size()), 64, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          const auto row = static_cast<size_t>(r);
          const KvSequence& pages = rows.pages[static_cast<size_t>(rows.sequences[row])];
          index_store_key(shape, k + r * shape.d_index,
                          keys.key(shape, pages, rows.positions[row]));
        }
      });
}

void index_select(const IndexKeys& keys, const IndexShape& shape, const AttentionRows& rows,
                  const float* q, const float* weights, PositionLists& out, ThreadPool& pool,
                  IndexMethod method) {
  CHECK(shape.top_k > 0 && rows.sequences.size() == rows.positions.size());
  Selection(keys, shape, rows, q, weights, out, method).run(pool);
}

void top_positions(const float* scores, int64_t n, int64_t top_k, int32_t* out) {
  DCHECK(top_k > 0 && top_k <= n);
  auto [threshold, wanted] = find_threshold(scores, n, top_k);
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t order = order_of(scores[i]);
    if (order < threshold || (order == threshold && wanted-- <= 0)) continue;
    *out++ = static_cast<int32_t>(i);
  }
}

}  // namespace hadal
