// Speed of multi-head latent attention in DeepSeek's shape (kv_lora_rank 512, rope 64, heads of
// 128): decode (one row) by context and heads, prefill of 512 rows in both forms, sparse decode of
// 2,048 positions with its indexer. Usage: latent_attention_bench [THREADS] [f32|f16|q8_0]
// [CONTEXT_MAX].
//
// What bounds decode is the larger of two times: reading the latents at the machine's bandwidth,
// and H * 1,088 multiply-adds per position at the rate of fused multiply-adds on registers. With 16
// heads and F16 that is 15 multiply-adds per byte, with 128 it is 121: the second, everywhere but
// on many cores that share little bandwidth. "of bound" is the bound's time / the measured time.
#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/core.h>

#include "base/parse.h"
#include "kernels/bandwidth.h"
#include "kernels/ceiling.h"
#include "kernels/kernels.h"
#include "timing.h"

namespace hadal {
namespace {

constexpr double kSecondsMin = 0.3;
constexpr int64_t kPairsMax = int64_t{1} << 28;  // beyond, a pass takes many seconds
constexpr int64_t kLayers = 4;                   // take turns, so that latents come from memory

struct Bench {
  ThreadPool& pool;
  KvType type;
  double bytes_per_s;
  double macs_per_s;
  int64_t context_max;

  struct Context {
    KvPool kv;
    std::vector<PageId> pages;
    KvSequence sequence;

    Context(const LatentShape& shape, const IndexShape& index, KvType type, int64_t n,
            ThreadPool& pool)
        : kv({.n_layers = kLayers,
              .n_kv_heads = 1,
              .d_head = shape.d_key(),
              .type = type,
              .values_in_keys = true,
              .extra_bytes = kLayers * index.key_bytes()},
             32, n / 32),
          pages(static_cast<size_t>(n / 32)) {
      std::iota(pages.begin(), pages.end(), 0);
      std::shuffle(pages.begin(), pages.end(), std::mt19937(1));
      sequence.pages = pages;
      std::vector<int32_t> positions(static_cast<size_t>(n)), owners(static_cast<size_t>(n), 0);
      std::iota(positions.begin(), positions.end(), 0);
      std::vector<float> latents(static_cast<size_t>(n * shape.d_key()));
      std::mt19937 random(2);
      for (float& x : latents) x = static_cast<float>(random() % 1024) / 1024 - 0.5f;
      const AttentionRows rows{positions, owners, {&sequence, 1}};
      for (int64_t layer = 0; layer < kLayers; ++layer) {
        kv_write_latent(kv, layer, rows, latents.data(), pool);
        index_write({kv, layer * 32 * index.key_bytes()}, index, rows, latents.data(), pool);
      }
    }
  };

  void line(const char* what, int64_t heads, int64_t context, double seconds, double macs,
            double bytes) const {
    const double bound = std::max(macs / macs_per_s, bytes / bytes_per_s);
    fmt::print("{:<22} {:>5} {:>8} {:>11.0f} {:>9.1f} {:>8.2f} {:>9.2f}\n", what, heads, context,
               seconds * 1e6, macs / seconds / 1e9, bytes / seconds / 1e9, bound / seconds);
  }

  void decode(Context& c, const LatentShape& shape, const IndexShape& index,
              int64_t context) const {
    const auto position = static_cast<int32_t>(context - 1);
    const int32_t owner = 0;
    const AttentionRows rows{{&position, 1}, {&owner, 1}, {&c.sequence, 1}};
    const std::vector<float> q(static_cast<size_t>(shape.n_heads * shape.d_key()), 0.01f);
    std::vector<float> out(static_cast<size_t>(shape.n_heads * shape.kv_lora_rank));
    const double record = static_cast<double>(c.kv.layout().key_record_bytes());
    double seconds = best_seconds(kSecondsMin, [&](int64_t pass) {
      const int64_t layer = pass % kLayers;
      latent_attention(c.kv, layer, rows, q.data(), shape, 0.1f, out.data(), pool);
    });
    const double macs = static_cast<double>(shape.n_heads * 1088);
    line("decode", shape.n_heads, context, seconds, macs * static_cast<double>(context),
         record * static_cast<double>(context));
    if (context <= index.top_k || shape.n_heads < 128) return;
    std::vector<float> qi(static_cast<size_t>(index.n_heads * index.d_index));
    std::mt19937 random(3);
    for (float& x : qi) x = static_cast<float>(random() % 1024) / 1024 - 0.5f;
    const std::vector<float> w(static_cast<size_t>(index.n_heads), 0.1f);
    PositionLists lists;
    seconds = best_seconds(kSecondsMin, [&](int64_t pass) {
      const int64_t layer = pass % kLayers;
      index_select({c.kv, layer * 32 * index.key_bytes()}, index, rows, qi.data(), w.data(), lists,
                   pool);
    });
    const double index_macs = static_cast<double>(context * index.n_heads * index.d_index);
    line("  indexer", index.n_heads, context, seconds, index_macs,
         static_cast<double>(context * index.key_bytes()));
    seconds = best_seconds(kSecondsMin, [&](int64_t pass) {
      const int64_t layer = pass % kLayers;
      latent_attention_sparse(c.kv, layer, rows, lists, q.data(), shape, 0.1f, out.data(), pool);
    });
    const auto listed = static_cast<double>(index.top_k);
    line("  sparse, 2048", shape.n_heads, context, seconds, macs * listed, record * listed);
  }

  void prefill(Context& c, const LatentShape& shape, int64_t context, int64_t n,
               const Weight& kv_b) const {
    std::vector<int32_t> positions(static_cast<size_t>(n)), owners(static_cast<size_t>(n), 0);
    std::iota(positions.begin(), positions.end(), static_cast<int32_t>(context - n));
    const AttentionRows rows{positions, owners, {&c.sequence, 1}};
    const std::vector<float> q(static_cast<size_t>(n * shape.n_heads * shape.d_key()), 0.01f);
    std::vector<float> out(static_cast<size_t>(n * shape.n_heads * shape.kv_lora_rank));
    const double seen = static_cast<double>(context) - 0.5 * static_cast<double>(n - 1);
    const double pairs = static_cast<double>(n * shape.n_heads) * seen;
    const double bytes =
        static_cast<double>(c.kv.layout().key_record_bytes()) * static_cast<double>(context);
    double seconds = best_seconds(kSecondsMin, [&](int64_t pass) {
      const int64_t layer = pass % kLayers;
      latent_attention(c.kv, layer, rows, q.data(), shape, 0.1f, out.data(), pool);
    });
    const std::string name = fmt::format("prefill {} ", n);
    line((name + "absorbed").c_str(), shape.n_heads, context, seconds, pairs * 1088, bytes);
    LatentWorkspace workspace;
    seconds = best_seconds(kSecondsMin, [&](int64_t pass) {
      const int64_t layer = pass % kLayers;
      latent_attention_expanded(c.kv, layer, rows, q.data(), shape, {kv_b, {}, workspace}, 0.1f,
                                out.data(), pool);
    });
    const double expansion = static_cast<double>(context * kv_b.rows() * kv_b.cols());
    line((name + "expanded").c_str(), shape.n_heads, context, seconds, pairs * 320 + expansion,
         bytes);
  }

  void run(int64_t heads) const {
    const LatentShape shape{heads, 512, 64, 128, 128};
    const IndexShape index{64, 128, 2048};
    const int64_t weight_rows = heads * 256;
    const std::vector<std::byte> zeros(static_cast<size_t>(weight_rows * 512 * 2));
    const TensorView view{.name = "kv_b",
                          .type = DType::kF16,
                          .n_dims = 2,
                          .ne = {512, weight_rows, 1, 1},
                          .data = zeros.data(),
                          .bytes = zeros.size()};
    Result<Weight> kv_b = Weight::prepare(view, Activations::kInt16, pool);
    if (!kv_b.ok()) return;
    for (const int64_t context : {512, 1024, 8192, 32768}) {
      if (context > context_max) break;
      Context c(shape, index, type, context, pool);
      if (context != 512) decode(c, shape, index, context);
      if (context == 512 || context == 8192) {
        for (const int64_t n : {32, 128, 512}) {
          if (n * context * heads > kPairsMax) continue;
          prefill(c, shape, context, n, kv_b.value());
        }
      }
    }
  }
};

int bench(int threads, KvType type, int64_t context_max) {
  ThreadPool pool(threads);
  const Bench b{pool, type, measure_read_gbps(pool) * 1e9, measure_mac_gps(pool) / 4 * 1e9,
                context_max};
  fmt::print("{} threads, {}, read {:.1f} GB/s, float {:.1f} GMAC/s\n", threads,
             isa_name(current_isa()), b.bytes_per_s / 1e9, b.macs_per_s / 1e9);
  fmt::print("{:<22} {:>5} {:>8} {:>11} {:>9} {:>8} {:>9}\n", "", "heads", "context", "us",
             "GMAC/s", "GB/s", "of bound");
  b.run(16);
  b.run(128);
  return 0;
}

}  // namespace
}  // namespace hadal

int main(int argc, char** argv) {
  const int threads =
      argc > 1 ? hadal::parse_int<int>(argv[1]).value_or(1) : hadal::ThreadPool::default_threads();
  const std::string_view name = argc > 2 ? argv[2] : "f16";
  const hadal::KvType type = hadal::kv_type_of(name).value_or(hadal::KvType::kF16);
  const int64_t context_max =
      argc > 3 ? hadal::parse_int<int64_t>(argv[3]).value_or(8192) : int64_t{32768};
  return hadal::bench(std::max(threads, 1), type, context_max);
}
