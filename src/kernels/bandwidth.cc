#include "kernels/bandwidth.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/big_memory.h"

namespace hadal {
namespace {

constexpr int64_t kBytes = 512LL << 20;
constexpr int kPasses = 8;

/// Sum of a part, in enough chains that loads alone limit the speed.
uint64_t read_part(const uint64_t* data, int64_t count) {
  uint64_t sums[8] = {};
  for (int64_t i = 0; i < count; i += 8) {
    for (int j = 0; j < 8; ++j) sums[j] ^= data[i + j];
  }
  uint64_t all = 0;
  for (const uint64_t sum : sums) all ^= sum;
  return all;
}

}  // namespace

double measure_read_gbps(ThreadPool& pool) {
  // Huge pages and one long range per worker, as weights are read.
  const BigMemory memory(kBytes);
  uint8_t* bytes = memory.data();
  const int64_t share = kBytes / pool.size() / 64 * 64;
  pool.run([&](int worker) { std::memset(bytes + worker * share, 1, static_cast<size_t>(share)); });
  double best = 0.0;
  volatile uint64_t sink = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    pool.run([&](int worker) {
      const uint64_t sum =
          read_part(reinterpret_cast<const uint64_t*>(bytes + worker * share), share / 8);
      if (sum == 42)
        sink = sum;  // never (all words are equal and even in number), but unknown to the compiler
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(share * pool.size()) / seconds.count() / 1e9);
  }
  return best;
}

}  // namespace hadal
