#pragma once
/// The clock of the benchmarks.
#include <algorithm>
#include <chrono>
#include <cstdint>

namespace hadal {

/// Seconds since some moment.
inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Seconds of the fastest body(pass), pass = 0, 1, ..., called for `seconds` and at least once.
template <typename Body>
double best_seconds(double seconds, Body&& body) {
  double best = 1e9;
  const double begun = now();
  int64_t pass = 0;
  do {
    const double start = now();
    body(pass++);
    best = std::min(best, now() - start);
  } while (now() - begun < seconds);
  return best;
}

}  // namespace hadal
