// Speed of DeepSeek's indexer (64 heads of 128) by number of keys and rows: every score in float,
// and estimates of 8 bits first, which choose the same positions. Usage: indexer_bench [THREADS]
// [KEYS_MAX] [even|outliers|alike].
//
// The bound is what the estimates alone would take: the larger of two times, reading the head and
// the high plane of each key once at the machine's bandwidth, and 64 * 128 multiply-adds per row
// and key at the rate of 8-bit products on registers; float's multiply-adds go at a quarter of
// that. "of bound" is that method's bound / its measured time. "recall": how many of the positions
// the estimates alone would have found; "open": how many were computed in float, as a part of all.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <random>
#include <string_view>
#include <vector>

#include <fmt/core.h>

#include "base/parse.h"
#include "kernels/bandwidth.h"
#include "kernels/ceiling.h"
#include "kernels/index_query.h"
#include "kernels/isa.h"
#include "kernels/kernels.h"
#include "timing.h"

namespace hadal {
namespace {

constexpr double kSecondsMin = 0.4;
constexpr int64_t kPairsMax = int64_t{1} << 22;  // rows times keys; beyond, a pass takes seconds

enum class Kind { kEven, kOutliers, kAlike };

std::vector<float> random_rows(int64_t rows, int64_t d, Kind kind, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(rows * d));
  for (float& v : x) v = normal(random);
  std::vector<float> common(static_cast<size_t>(d));
  std::mt19937 same(99);
  for (float& v : common) v = normal(same);
  for (int64_t i = 0; i < rows * d; ++i) {
    if (kind == Kind::kOutliers && i % d < 4) x[static_cast<size_t>(i)] *= 6;
    if (kind == Kind::kAlike) x[static_cast<size_t>(i)] += common[static_cast<size_t>(i % d)];
  }
  return x;
}

struct Bench {
  ThreadPool& pool;
  Kind kind;
  double bytes_per_s;
  double macs_per_s;

  struct Keys {
    KvPool kv;
    std::vector<PageId> pages;
    KvSequence sequence;

    Keys(const IndexShape& shape, int64_t n, Kind kind, ThreadPool& pool)
        : kv({.n_layers = 1,
              .n_kv_heads = 1,
              .d_head = 32,
              .type = KvType::kF16,
              .values_in_keys = true,
              .extra_bytes = shape.key_bytes()},
             32, n / 32),
          pages(static_cast<size_t>(n / 32)) {
      std::iota(pages.begin(), pages.end(), 0);
      std::shuffle(pages.begin(), pages.end(), std::mt19937(1));
      sequence.pages = pages;
      std::vector<int32_t> positions(static_cast<size_t>(n)), owners(static_cast<size_t>(n), 0);
      std::iota(positions.begin(), positions.end(), 0);
      const std::vector<float> k = random_rows(n, shape.d_index, kind, 2);
      index_write({kv}, shape, {positions, owners, {&sequence, 1}}, k.data(), pool);
    }
  };

  /// Of the last row: what estimates alone find of `list`, and what part of all they leave open.
  static std::pair<double, double> quality(Keys& keys, const IndexShape& shape, int64_t n,
                                           const float* q, const float* weights,
                                           std::span<const int32_t> list) {
    if (current_ops() == nullptr) return {0, 1};
    IndexQueryRows rows;
    rows.reset(shape, current_ops(), 1);
    rows.turn(0, q);
    rows.round(0, weights);
    std::vector<float> estimates(static_cast<size_t>(n)), bounds(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) {
      const std::byte* key = IndexKeys{keys.kv}.key(shape, keys.sequence, i);
      const auto* place = reinterpret_cast<const uint8_t*>(key);
      current_ops()->index_estimates(rows.rounded(0), &place, 1,
                                     &estimates[static_cast<size_t>(i)]);
      bounds[static_cast<size_t>(i)] = rows.bound(0).of(index_key_head(key));
    }
    std::vector<int32_t> top(static_cast<size_t>(shape.top_k)), common;
    top_positions(estimates.data(), n, shape.top_k, top.data());
    std::ranges::set_intersection(top, list, std::back_inserter(common));
    float last = INFINITY;
    for (const int32_t i : top) last = std::min(last, estimates[static_cast<size_t>(i)]);
    int64_t open = 0;
    for (size_t i = 0; i < estimates.size(); ++i) {
      open += std::fabs(estimates[i] - last) <= bounds[i] * 1.125f ? 1 : 0;
    }
    return {static_cast<double>(common.size()) / static_cast<double>(shape.top_k),
            static_cast<double>(open) / static_cast<double>(n)};
  }

  void run(const IndexShape& shape, int64_t n, int64_t n_rows) const {
    Keys keys(shape, n, kind, pool);
    std::vector<int32_t> positions(static_cast<size_t>(n_rows)), owners(positions.size(), 0);
    std::iota(positions.begin(), positions.end(), static_cast<int32_t>(n - n_rows));
    const std::vector<float> q = random_rows(n_rows * shape.n_heads, shape.d_index, kind, 3);
    std::vector<float> weights = random_rows(n_rows, shape.n_heads, Kind::kEven, 4);
    if (kind == Kind::kAlike) {
      for (float& w : weights) w = std::fabs(w);
    }
    PositionLists lists;
    const double macs = static_cast<double>(n_rows * n * shape.n_heads * shape.d_index);
    double float_seconds = 0;
    for (const IndexMethod method : {IndexMethod::kFloat, IndexMethod::kEstimate}) {
      const double seconds = best_seconds(kSecondsMin, [&](int64_t) {
        index_select({keys.kv}, shape, {positions, owners, {&keys.sequence, 1}}, q.data(),
                     weights.data(), lists, pool, method);
      });
      const bool exact = method == IndexMethod::kFloat;
      const double bytes = static_cast<double>(n * (16 + shape.width() * (exact ? 2 : 1)));
      const double bound =
          std::max(macs / (exact ? macs_per_s / 4 : macs_per_s), bytes / bytes_per_s);
      fmt::print("{:<9} {:>6} {:>6} {:>5} {:>10.0f} {:>9.1f} {:>9.2f}",
                 exact ? "float" : "estimate", n, shape.top_k, n_rows, seconds * 1e6,
                 macs / seconds / 1e9, bound / seconds);
      if (exact) {
        fmt::print("\n");
        float_seconds = seconds;
        continue;
      }
      const int64_t last = n_rows - 1;
      const auto [recall, open] =
          quality(keys, shape, n, q.data() + last * shape.n_heads * shape.d_index,
                  weights.data() + last * shape.n_heads, lists.of(last));
      fmt::print("  x {:.2f}  recall {:.4f}, open {:.3f}\n", float_seconds / seconds, recall, open);
    }
  }
};

int bench(int threads, int64_t keys_max, Kind kind) {
  ThreadPool pool(threads);
  const Bench b{pool, kind, measure_read_gbps(pool) * 1e9, measure_mac_gps(pool) * 1e9};
  fmt::print("{} threads, {}, read {:.1f} GB/s, 8-bit {:.1f} GMAC/s\n", threads,
             isa_name(current_isa()), b.bytes_per_s / 1e9, b.macs_per_s / 1e9);
  fmt::print("{:<9} {:>6} {:>6} {:>5} {:>10} {:>9} {:>9}\n", "", "keys", "top_k", "rows", "us",
             "GMAC/s", "of bound");
  for (const int64_t top_k : {2048, 512}) {
    for (const int64_t keys : {4096, 8192, 16384, 32768, 65536}) {
      for (const int64_t rows : {1, 256}) {
        if (keys > keys_max || keys * rows > kPairsMax || (top_k == 512 && rows > 1)) continue;
        b.run({64, 128, top_k}, keys, rows);
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace hadal

int main(int argc, char** argv) {
  using hadal::Kind;
  const int threads =
      argc > 1 ? hadal::parse_int<int>(argv[1]).value_or(1) : hadal::ThreadPool::default_threads();
  const int64_t keys_max =
      argc > 2 ? hadal::parse_int<int64_t>(argv[2]).value_or(65536) : int64_t{65536};
  const std::string_view name = argc > 3 ? argv[3] : "even";
  const Kind kind = name == "outliers" ? Kind::kOutliers
                    : name == "alike"  ? Kind::kAlike
                                       : Kind::kEven;
  return hadal::bench(std::max(threads, 1), keys_max, kind);
}
