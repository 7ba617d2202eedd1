#include "model/deepseek4/compressor.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/elementwise.h"
#include "kernels/indexer.h"
#include "kernels/kv_record.h"

namespace hadal::deepseek4 {
namespace {

const KvSequence& sequence_of(const AttentionRows& rows, int64_t row) {
  return rows.pages[static_cast<size_t>(rows.sequences[static_cast<size_t>(row)])];
}

void keep_inputs(KvPool& kv, const Compressor& c, const AttentionRows& rows, int64_t row,
                 const float* values, const float* gates, std::vector<float>& biased) {
  const int64_t position = rows.positions[static_cast<size_t>(row)];
  const KvSequence& sequence = sequence_of(rows, row);
  const int64_t n = c.channels();
  const float* bias = c.position_bias.data() + position % c.ratio * n;
  biased.resize(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) biased[static_cast<size_t>(i)] = gates[row * n + i] + bias[i];
  store_record(c.input_type, values + row * n, n,
               StateLayout::at(kv, sequence, c.parts.values, position));
  store_record(c.input_type, biased.data(), n,
               StateLayout::at(kv, sequence, c.parts.gates, position));
}

/// One row in the making: softmax and mean of all channels, token after token.
class Mean {
 public:
  explicit Mean(int64_t width) : width_(width) {}

  /// `values` and `gates`: the token's `width` numbers that count for this row.
  void add(const float* values, const float* gates) {
    values_.insert(values_.end(), values, values + width_);
    gates_.insert(gates_.end(), gates, gates + width_);
  }

  void finish(float* out) const {
    const int64_t n = static_cast<int64_t>(gates_.size()) / width_;
    std::vector<float> top(gates_.begin(), gates_.begin() + width_);
    for (int64_t j = 1; j < n; ++j) {
      for (int64_t i = 0; i < width_; ++i) {
        top[static_cast<size_t>(i)] = std::max(top[static_cast<size_t>(i)], gates_[at(j, i)]);
      }
    }
    std::vector<float> sum(static_cast<size_t>(width_), 0.0f);
    std::fill_n(out, width_, 0.0f);
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t i = 0; i < width_; ++i) {
        const float weight = std::exp(gates_[at(j, i)] - top[static_cast<size_t>(i)]);
        sum[static_cast<size_t>(i)] += weight;
        out[i] += weight * values_[at(j, i)];
      }
    }
    for (int64_t i = 0; i < width_; ++i) out[i] /= sum[static_cast<size_t>(i)];
  }

 private:
  size_t at(int64_t token, int64_t i) const { return static_cast<size_t>(token * width_ + i); }

  int64_t width_;
  std::vector<float> values_;
  std::vector<float> gates_;
};

/// The row of the window whose last token is at `last`.
void make_row(KvPool& kv, const Compressor& c, const KvSequence& sequence, int64_t last) {
  const int64_t first = last + 1 - c.ratio;
  const bool overlaps = c.channels() > c.width;
  std::vector<float> values(static_cast<size_t>(c.channels()));
  std::vector<float> gates(values.size());
  Mean mean(c.width);
  for (int64_t position = overlaps ? std::max<int64_t>(0, first - c.ratio) : first;
       position <= last; ++position) {
    load_record(c.input_type, StateLayout::at(kv, sequence, c.parts.values, position), c.channels(),
                values.data());
    load_record(c.input_type, StateLayout::at(kv, sequence, c.parts.gates, position), c.channels(),
                gates.data());
    const int64_t half = overlaps && position >= first ? c.width : 0;
    mean.add(values.data() + half, gates.data() + half);
  }
  const int64_t stored = (c.width + 31) / 32 * 32;
  std::vector<float> row(static_cast<size_t>(stored), 0.0f);
  mean.finish(row.data());
  rms_norm(row.data(), c.width, c.norm.data(), c.rms_eps, 1, c.width, row.data(), c.width);
  const auto rotated = static_cast<int64_t>(2 * c.rope->frequency.size());
  const auto position = static_cast<int32_t>(first);
  rope(*c.rope, row.data() + c.width - rotated, c.width, 1, rotated, {&position, 1});
  std::byte* to = StateLayout::at(kv, sequence, c.parts.rows, last);
  if (c.index_keys) {
    index_store_key({.d_index = c.width}, row.data(), to);
  } else {
    store_record(c.row_type, row.data(), stored, to);
  }
}

}  // namespace

void compress(KvPool& kv, const Compressor& compressor, const AttentionRows& rows,
              const float* values, const float* gates, ThreadPool& pool) {
  const auto n = static_cast<int64_t>(rows.positions.size());
  pool.parallel_for(n, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> biased;
    for (int64_t r = begin; r < end; ++r) {
      keep_inputs(kv, compressor, rows, r, values, gates, biased);
    }
  });
  std::vector<int64_t> ends;
  for (int64_t r = 0; r < n; ++r) {
    if ((rows.positions[static_cast<size_t>(r)] + 1) % compressor.ratio == 0) ends.push_back(r);
  }
  pool.parallel_for(static_cast<int64_t>(ends.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t r = ends[static_cast<size_t>(i)];
      make_row(kv, compressor, sequence_of(rows, r), rows.positions[static_cast<size_t>(r)]);
    }
  });
}

}  // namespace hadal::deepseek4
