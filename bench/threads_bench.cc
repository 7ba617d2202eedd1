// Cost of the thread pool: an empty parallel region of each kind, in nanoseconds, and the read
// bandwidth by the way a region's bytes are shared out. Usage: threads_bench [THREADS]
#include <atomic>
#include <cstdlib>

#include <fmt/core.h>

#include "base/big_memory.h"
#include "base/parse.h"
#include "base/thread_pool.h"
#include "timing.h"

namespace hadal {
namespace {

/// Best nanoseconds per call over some batches of calls.
template <typename Call>
double nanoseconds(Call&& call) {
  double best = 1e9;
  for (int batch = 0; batch < 20; ++batch) {
    constexpr int kCalls = 2000;
    const double start = now();
    for (int i = 0; i < kCalls; ++i) call();
    best = std::min(best, (now() - start) / kCalls);
  }
  return best * 1e9;
}

uint64_t read(const uint8_t* bytes, int64_t count) {
  const auto* words = reinterpret_cast<const uint64_t*>(bytes);
  uint64_t sums[16] = {};
  for (int64_t i = 0; i + 16 <= count / 8; i += 16) {
    for (int j = 0; j < 16; ++j) sums[j] ^= words[i + j];
  }
  uint64_t all = 0;
  for (const uint64_t sum : sums) all ^= sum;
  return all;
}

/// GB/s of reading `bytes` of memory in regions of `region` bytes, pieces of `piece`.
double bandwidth(ThreadPool& pool, const BigMemory& memory, int64_t region, int64_t piece,
                 bool stream) {
  std::atomic<uint64_t> sink{0};
  double best = 0;
  for (int pass = 0; pass < 3; ++pass) {
    const double start = now();
    for (int64_t at = 0; at + region <= static_cast<int64_t>(memory.size()); at += region) {
      const uint8_t* base = memory.data() + at;
      const int64_t pieces = region / piece;
      auto body = [&](int64_t begin, int64_t end) {
        sink.fetch_xor(read(base + begin * piece, (end - begin) * piece));
      };
      if (stream) {
        pool.stream([&](int worker) { return pieces * worker / pool.size(); }, 1,
                    [&](int, int64_t begin, int64_t end) { body(begin, end); });
      } else {
        pool.parallel_for(pieces, 1, body);
      }
    }
    best = std::max(best, static_cast<double>(memory.size()) / (now() - start) / 1e9);
  }
  return best;
}

int bench(int argc, char** argv) {
  const int threads =
      argc > 1 ? parse_int<int>(argv[1]).value_or(1) : ThreadPool::default_threads();
  ThreadPool pool(threads);
  fmt::print("{} threads\n", threads);
  fmt::print("empty run()          {:7.0f} ns\n", nanoseconds([&] { pool.run([](int) {}); }));
  fmt::print("empty share()        {:7.0f} ns\n", nanoseconds([&] { pool.share([](int) {}); }));
  // Until all workers came: what a region costs when its work is worth sharing.
  fmt::print("share(), all come    {:7.0f} ns\n", nanoseconds([&] {
               std::atomic<int> here{0};
               pool.share([&](int) {
                 here.fetch_add(1);
                 while (here.load() < threads) {
                 }
               });
             }));
  const BigMemory memory(int64_t{512} << 20);
  pool.parallel_for(memory.size() >> 21, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin << 21; i < end << 21; ++i) memory.data()[i] = static_cast<uint8_t>(i);
  });
  for (const int64_t region : {1, 4, 16}) {
    for (const int64_t piece : {16, 64}) {
      const double shared = bandwidth(pool, memory, region << 20, piece << 10, false);
      const double streamed = bandwidth(pool, memory, region << 20, piece << 10, true);
      fmt::print(
          "regions of {:2} MiB by {:3} KiB: parallel_for {:5.1f} GB/s, stream {:5.1f} GB/s\n",
          region, piece, shared, streamed);
    }
  }
  return 0;
}

}  // namespace
}  // namespace hadal

int main(int argc, char** argv) {
  return hadal::bench(argc, argv);
}
