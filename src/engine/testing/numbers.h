#pragma once
/// Numbers that look random and are the same for the same seed, on every machine.
#include <cstddef>
#include <cstdint>

namespace hadal::testing {

/// SplitMix64 (Steele, Lea, Flood 2014).
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    state_ += 0x9E3779B97F4A7C15u;
    uint64_t z = (state_ ^ (state_ >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  /// From 0 to `bound` - 1.
  int64_t below(int64_t bound) {
    return static_cast<int64_t>(next() % static_cast<uint64_t>(bound));
  }
  /// From `low` to `high`.
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
  /// True once in `times`; never for 0.
  bool once_in(int64_t times) { return times > 0 && below(times) == 0; }
  /// [0, 1)
  double unit() { return static_cast<double>(next() >> 11) / 9007199254740992.0; }
  template <typename T, size_t N>
  const T& pick(const T (&choices)[N]) {
    return choices[below(static_cast<int64_t>(N))];
  }

 private:
  uint64_t state_;
};

}  // namespace hadal::testing
