#include "kernels/index_query.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace hadal {
namespace {

using cpu::kKeyTile;

// Beyond these magnitudes of a row, sums of products could overflow or vanish unnoticed.
constexpr double kSmallest = 0x1p-60;
constexpr double kLargest = 0x1p60;
// A sum of products of d bytes stays below 2^31.
constexpr int64_t kWidthMax = 1 << 16;

/// Sum over h, g of max(y_h . y_g, 0), rounded as a float's sum is: the scores of keys that are
/// themselves the queries, all weights 1.
double positive_products(const cpu::Ops& ops, const float* y, int64_t heads, int64_t d) {
  thread_local std::vector<float> memory;
  memory.resize(static_cast<size_t>(kKeyTile * d + heads * kKeyTile + kKeyTile + heads));
  float* keys = memory.data();
  float* work = keys + kKeyTile * d;
  float* sums = work + heads * kKeyTile;
  float* ones = sums + kKeyTile;
  std::fill_n(ones, heads, 1.0f);
  double all = 0;
  for (int64_t first = 0; first < heads; first += kKeyTile) {
    const int64_t count = std::min<int64_t>(kKeyTile, heads - first);
    for (int64_t block = 0; block < count; block += kKvBlock) {
      const uint8_t* records[kKvBlock];
      for (int64_t i = 0; i < kKvBlock; ++i) {
        const int64_t head = first + std::min(block + i, count - 1);
        records[i] = reinterpret_cast<const uint8_t*>(y + head * d);
      }
      ops.unpack_records(cpu::kKvF32, records, d, keys + block * d);
    }
    ops.index_tile(y, ones, heads, d, keys, static_cast<int>(count), work, sums);
    for (int64_t i = 0; i < count; ++i) all += static_cast<double>(sums[i]);
  }
  return all;
}

// Sums and maxima in lanes, for the compiler to make vectors of; widths are multiples of 32.
constexpr int64_t kLanes = 8;

double norm_of(const float* x, int64_t n) {
  double lanes[kLanes] = {};
  for (int64_t i = 0; i < n; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) {
      lanes[j] += static_cast<double>(x[i + j]) * static_cast<double>(x[i + j]);
    }
  }
  double squares = 0;
  for (const double lane : lanes) squares += lane;
  return std::sqrt(squares);
}

float peak_of(const float* x, int64_t n) {
  float lanes[kLanes] = {};
  for (int64_t i = 0; i < n; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) {
      const float size = std::fabs(x[i + j]);
      lanes[j] = size > lanes[j] ? size : lanes[j];
    }
  }
  return *std::max_element(lanes, lanes + kLanes);
}

/// Rounds d columns of one head to codes in [-127, 127], as floats; returns the unit. `rounded`:
/// codes times the unit; `rest`: x less that.
float round_head(const float* x, int64_t d, float* codes, float* rounded, float* rest) {
  const float peak = peak_of(x, d);
  const float unit = peak > 0x1p-100f ? peak / 127 : 0;
  const float inverse = unit > 0 ? 127 / peak : 0;
  constexpr float kWhole = 0x1.8p23f;  // a sum with it has no fraction
  for (int64_t i = 0; i < d; ++i) {
    codes[i] = x[i] * inverse + kWhole - kWhole;
    rounded[i] = codes[i] * unit;
    rest[i] = x[i] - rounded[i];
  }
  return unit;
}

}  // namespace

void IndexQueryRows::reset(const IndexShape& shape, const cpu::Ops* ops, int64_t rows) {
  shape_ = shape;
  ops_ = ops;
  const auto grow = [rows](auto& x, int64_t each) {
    x.resize(std::max(x.size(), static_cast<size_t>(rows * each)));
  };
  grow(turned_, heads_floats());
  grow(weights_, panels() * 16);
  if (ops != nullptr) grow(codes_, panel_blocks() * ops->index_block_bytes);
  bounds_.assign(static_cast<size_t>(rows), {});
}

void IndexQueryRows::turn(int64_t row, const float* q) {
  const int64_t d = shape_.width();
  float* out = turned_.data() + row * heads_floats();
  for (int64_t h = 0; h < shape_.n_heads; ++h, out += d, q += shape_.d_index) {
    std::copy_n(q, shape_.d_index, out);
    std::fill(out + shape_.d_index, out + d, 0.0f);
    index_turn(out, d);
  }
}

void IndexQueryRows::round(int64_t row, const float* weights) {
  const int64_t d = shape_.width();
  const int64_t heads = shape_.n_heads;
  if (ops_ == nullptr || d > kWidthMax) return;
  const float* q = turned(row);
  double sizes = 0;  // sum of |w| |q|
  double weight_sum = 0;
  double largest = 0;
  for (int64_t h = 0; h < heads; ++h) {
    const double norm = norm_of(q + h * d, d);
    sizes += std::fabs(static_cast<double>(weights[h])) * norm;
    weight_sum += std::fabs(static_cast<double>(weights[h]));
    largest = std::max(largest, norm);
  }
  // NaN compares false, too.
  if (!(sizes > kSmallest && sizes < kLargest && weight_sum < kLargest && largest < kLargest)) {
    return;
  }
  thread_local std::vector<uint8_t> bytes;
  thread_local std::vector<float> parts;
  const int64_t blocks = d / 32;
  bytes.assign(static_cast<size_t>(panel_blocks() * 512), 128);
  parts.resize(static_cast<size_t>((2 * heads + 1) * d));
  float* rounded = parts.data();
  float* rest = rounded + heads * d;
  float* codes = rest + heads * d;
  float* scaled = weights_.data() + row * panels() * 16;
  std::fill_n(scaled, panels() * 16, 0.0f);
  double rounded_sizes = 0;  // sums of norms, as above
  double rest_sizes = 0;
  for (int64_t h = 0; h < heads; ++h) {
    float* y = rounded + h * d;
    float* z = rest + h * d;
    scaled[h] = round_head(q + h * d, d, codes, y, z) * weights[h];
    uint8_t* to = bytes.data() + h / 16 * blocks * 512 + h % 16 * 4;
    for (int64_t c = 0; c < d; ++c) {
      to[c / 4 * 64 + c % 4] = static_cast<uint8_t>(codes[c] + 128);
      y[c] *= weights[h];
      z[c] *= weights[h];
    }
    rounded_sizes += norm_of(y, d);
    rest_sizes += norm_of(z, d);
  }
  ops_->pack_index_queries(bytes.data(), panel_blocks(),
                           codes_.data() + row * panel_blocks() * ops_->index_block_bytes);
  const double roundings = static_cast<double>(d + heads + 16) * 0x1p-22;
  const auto largest_sum = [&](const float* y, double norms) {
    return std::sqrt(positive_products(*ops_, y, heads, d) + roundings * norms * norms);
  };
  IndexBound& bound = bounds_[static_cast<size_t>(row)];
  bound.per_error = static_cast<float>(1.0001 * largest_sum(rounded, rounded_sizes));
  bound.per_norm =
      static_cast<float>(1.0001 * largest_sum(rest, rest_sizes) + 4 * roundings * sizes);
  bound.constant = static_cast<float>(
      (weight_sum * static_cast<double>(d) + static_cast<double>(heads)) * 0x1p-120);
  bound.largest = static_cast<float>(4 * std::max(sizes, largest));
  bound.usable = true;
}

cpu::IndexQueries IndexQueryRows::rounded(int64_t row) const {
  return {.codes = codes_.data() + row * panel_blocks() * ops_->index_block_bytes,
          .weights = weights_.data() + row * panels() * 16,
          .panels = panels(),
          .blocks = shape_.width() / 32};
}

}  // namespace hadal
