// Speed of matmul per format: 1 row (decode, against the read bandwidth), 8 rows, 512 rows
// (prefill, in multiply-adds per cycle). Usage: matmul_bench [FORMAT] [ROWS COLS] [THREADS]
// [ISA] [int8|int16]
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "app/benchmark.h"
#include "kernels/bandwidth.h"
#include "kernels/kernels.h"
#include "kernels/testing/weight_types.h"
#include "timing.h"

namespace hadal {
namespace {

std::vector<std::byte> random_weights(const WeightType& c, int64_t rows, int64_t cols) {
  const DTypeInfo& info = dtype_info(c.type);
  std::vector<std::byte> bytes(static_cast<size_t>(rows) * dtype_row_bytes(c.type, cols));
  std::mt19937_64 random(1);
  for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    const uint64_t bits = random() & 0x3F3F3F3F3F3F3F3FULL;  // no NaN in float formats
    std::memcpy(&bytes[i], &bits, 8);
  }
  const uint16_t one = f32_to_f16(0.01f);
  for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(info.block_bytes)) {
    for (const size_t offset : c.f16_at) std::memcpy(&bytes[at + offset], &one, 2);
  }
  return bytes;
}

/// Best seconds of one call, over `copies` weights in turn so that none stays in a cache.
double measure(const std::vector<Weight>& weights, int64_t n, ThreadPool& pool) {
  const int64_t cols = weights[0].cols();
  std::vector<float> x(static_cast<size_t>(n * cols), 0.5f);
  std::vector<float> out(static_cast<size_t>(n * weights[0].rows()));
  MatmulWorkspace workspace;
  double best = 1e9;
  for (int pass = 0; pass < 6; ++pass) {
    const double start = now();
    for (const Weight& weight : weights) {
      const MatmulTask task{&weight, nullptr, out.data(), weight.rows()};
      matmul({x.data(), n, cols}, {&task, 1}, pool, workspace);
    }
    best = std::min(best, (now() - start) / static_cast<double>(weights.size()));
  }
  return best;
}

int bench(int argc, char** argv) {
  const std::string only = argc > 1 ? argv[1] : "all";
  const int64_t rows = argc > 3 ? std::atoll(argv[2]) : 4096;
  const int64_t cols = argc > 3 ? std::atoll(argv[3]) : 1536;
  const int threads = argc > 4 ? std::atoi(argv[4]) : ThreadPool::default_threads();
  for (const Isa isa : kIsas) {
    if (argc > 5 && isa_name(isa) == argv[5]) force_isa(isa);
  }
  const Activations activations =
      argc > 6 && std::string(argv[6]) == "int16" ? Activations::kInt16 : Activations::kInt8;
  ThreadPool pool(threads);
  const double gbps = measure_read_gbps(pool);
  const double hz = measure_clock_ghz() * 1e9;
  fmt::print("{} threads, {}, read {:.1f} GB/s, {:.2f} GHz, W {} x {}\n", threads,
             isa_name(current_isa()), gbps, hz / 1e9, rows, cols);
  fmt::print("{:7} {:>5} {:>10} {:>9} {:>11} {:>9} {:>8}\n", "format", "n", "us", "GMAC/s",
             "MAC/cyc/core", "GB/s", "of read");
  for (const WeightType& c : weight_types()) {
    if (only != "all" && only != dtype_info(c.type).name) continue;
    const std::vector<std::byte> bytes = random_weights(c, rows, cols);
    const TensorView view = matrix_view(c.type, rows, cols, bytes);
    std::vector<Weight> weights;
    for (uint64_t total = 0; total < (160ULL << 20); total += bytes.size()) {
      weights.push_back(Weight::prepare(view, activations, pool).value());
    }
    const double macs = static_cast<double>(rows * cols);
    for (const int64_t n : {1, 2, 8, 512}) {
      if (n == 512) {
        weights.erase(weights.begin() + 1, weights.end());
      }
      const double seconds = measure(weights, n, pool);
      const double rate = macs * static_cast<double>(n) / seconds;
      const double read = static_cast<double>(weights[0].bytes()) / seconds / 1e9;
      fmt::print("{:7} {:5} {:10.1f} {:9.1f} {:11.2f} {:9.2f} {:8.2f}\n", dtype_info(c.type).name,
                 n, seconds * 1e6, rate / 1e9, rate / hz / threads, read, read / gbps);
    }
  }
  return 0;
}

}  // namespace
}  // namespace hadal

int main(int argc, char** argv) {
  return hadal::bench(argc, argv);
}
