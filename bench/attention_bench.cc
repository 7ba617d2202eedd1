// Speed of attention by context length: decode (one row, against the read bandwidth) and prefill
// (512 rows, in multiply-adds per second). Usage: attention_bench [THREADS] [f32|f16|q8_0]
// [CONTEXT_MAX] [PAGE_TOKENS]; pages (default: one for all) lie in random order, as a long-running
// server has them.
//
// What bounds prefill: with F32 and F16 a core's fused multiply-adds, with Q8_0 its byte products,
// of which one multiply-add takes two (queries and weights have 16 bits).
#include <algorithm>
#include <numeric>
#include <random>
#include <string_view>
#include <vector>

#include <fmt/core.h>

#include "base/parse.h"
#include "kernels/bandwidth.h"
#include "kernels/kernels.h"
#include "timing.h"

namespace hadal {
namespace {

constexpr int64_t kHeads = 12;  // DeepSeek-R1-Distill-Qwen-1.5B
constexpr int64_t kPassesMin = 3;
constexpr double kSecondsMin = 0.3;

/// Writes all positions of all layers, a chunk at a time.
void fill(KvPool& kv, const KvSequence& sequence, int64_t context, ThreadPool& pool) {
  constexpr int64_t kRows = 512;
  const KvLayout& layout = kv.layout();
  const std::vector<float> same(static_cast<size_t>(kRows * layout.n_kv_heads * layout.d_head),
                                0.02f);
  const std::vector<int32_t> sequences(kRows, 0);
  std::vector<int32_t> positions(kRows);
  for (int64_t begin = 0; begin < context; begin += kRows) {
    std::iota(positions.begin(), positions.end(), static_cast<int32_t>(begin));
    for (int64_t layer = 0; layer < layout.n_layers; ++layer) {
      kv_write(kv, layer, {positions, sequences, {&sequence, 1}}, same.data(), same.data(), pool);
    }
  }
}

/// Best seconds of one layer's attention for the last `rows` positions of a context; layers take
/// turns, so that keys and values come from memory as they do in a model.
double measure(KvPool& kv, const KvSequence& sequence, int64_t context, int64_t rows,
               ThreadPool& pool) {
  const KvLayout& layout = kv.layout();
  std::vector<int32_t> positions(static_cast<size_t>(rows));
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(context - rows));
  const std::vector<int32_t> sequences(static_cast<size_t>(rows), 0);
  const AttentionRows where{positions, sequences, {&sequence, 1}};
  const std::vector<float> q(static_cast<size_t>(rows * kHeads * layout.d_head), 0.01f);
  std::vector<float> out(q.size());
  double best = 1e9;
  const double begun = now();
  for (int64_t pass = 0; pass < kPassesMin || now() - begun < kSecondsMin; ++pass) {
    const double start = now();
    for (int64_t layer = 0; layer < layout.n_layers; ++layer) {
      attention(kv, layer, where, q.data(), kHeads, 0.088f, out.data(), pool);
    }
    best = std::min(best, (now() - start) / static_cast<double>(layout.n_layers));
  }
  return best;
}

int bench(int threads, KvType type, int64_t context_max, int64_t page_tokens) {
  ThreadPool pool(threads);
  const double gbps = measure_read_gbps(pool);
  const KvLayout layout{.n_layers = 28, .n_kv_heads = 2, .d_head = 128, .type = type};
  fmt::print("{} threads, {}, read {:.1f} GB/s, {} heads, {} KV heads of {}\n", threads,
             isa_name(current_isa()), gbps, kHeads, layout.n_kv_heads, layout.d_head);
  fmt::print("{:>8} {:>12} {:>9} {:>8} {:>13} {:>9}\n", "context", "decode us", "GB/s", "of read",
             "prefill us", "GMAC/s");
  for (const int64_t context : {512, 2048, 8192, 32768}) {
    if (context > context_max) break;
    const int64_t per_page = page_tokens > 0 ? page_tokens : context;
    KvPool kv(layout, per_page, context / per_page);
    std::vector<PageId> pages(static_cast<size_t>(context / per_page));
    std::iota(pages.begin(), pages.end(), 0);
    std::shuffle(pages.begin(), pages.end(), std::mt19937(1));
    const KvSequence sequence{pages};
    fill(kv, sequence, context, pool);
    const double decode = measure(kv, sequence, context, 1, pool);
    const double read = static_cast<double>(layout.bytes_per_token() / 28 * context) / decode / 1e9;
    const int64_t rows = std::min<int64_t>(512, context);
    const double prefill = measure(kv, sequence, context, rows, pool);
    // Row r of the last `rows` sees context - rows + r + 1 positions; keys and values count once.
    const double seen = static_cast<double>(context) - 0.5 * static_cast<double>(rows - 1);
    const double macs =
        2.0 * static_cast<double>(rows) * seen * static_cast<double>(kHeads * layout.d_head);
    fmt::print("{:8} {:12.1f} {:9.2f} {:8.2f} {:13.1f} {:9.1f}\n", context, decode * 1e6, read,
               read / gbps, prefill * 1e6, macs / prefill / 1e9);
  }
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
  const int64_t page_tokens = argc > 4 ? hadal::parse_int<int64_t>(argv[4]).value_or(0) : 0;
  return hadal::bench(std::max(threads, 1), type, context_max, page_tokens);
}
