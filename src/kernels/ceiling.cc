#include "kernels/ceiling.h"

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "kernels/isa.h"

namespace hadal {

double measure_mac_gps(ThreadPool& pool) {
  constexpr int64_t kRounds = 10'000'000;  // about 30 ms
  constexpr int kPasses = 5;
  const cpu::Ops* ops = current_ops();
  if (ops == nullptr) return 0.0;
  double best = 0.0;
  for (int pass = 0; pass < kPasses; ++pass) {
    int64_t macs = 0;
    const auto start = std::chrono::steady_clock::now();
    pool.run([&](int worker) {
      const int64_t done = ops->dot_chains(kRounds);
      if (worker == 0) macs = done * pool.size();
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(macs) / seconds.count() * 1e-9);
  }
  return best;
}

}  // namespace hadal
