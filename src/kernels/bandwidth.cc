#include "kernels/bandwidth.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <sys/mman.h>

namespace hadal {
namespace {

constexpr int64_t kBytes = 512LL << 20;
constexpr int64_t kPart = 4LL << 20;
constexpr int kPasses = 5;

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
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 0.0;
  auto* bytes = static_cast<std::byte*>(memory);
  pool.parallel_for(kBytes, kPart, [&](int64_t begin, int64_t end) {
    std::memset(bytes + begin, 1, static_cast<size_t>(end - begin));
  });
  double best = 0.0;
  volatile uint64_t sink = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    pool.parallel_for(kBytes, kPart, [&](int64_t begin, int64_t end) {
      const uint64_t sum =
          read_part(reinterpret_cast<const uint64_t*>(bytes + begin), (end - begin) / 8);
      if (sum == 42)
        sink = sum;  // never (all words are equal and even in number), but unknown to the compiler
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(kBytes) / seconds.count() / 1e9);
  }
  munmap(memory, kBytes);
  return best;
}

}  // namespace hadal
