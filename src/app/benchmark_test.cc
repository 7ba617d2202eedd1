// Goal: rates stand next to the bounds as their definitions say, and the process is measured.
#include "app/benchmark.h"

#include <vector>

#include <gtest/gtest.h>

#include "app/process_stats.h"

namespace hadal {
namespace {

TEST(Rates, AreSharesOfTheBounds) {
  const MachineBounds bounds = {.read_gbps = 20, .mac_gps = 400, .clock_ghz = 2.5, .threads = 4};
  const Rates rates = rates_of({.bytes = 5'000'000'000, .macs = 200'000'000'000}, 0.5, bounds);
  EXPECT_DOUBLE_EQ(rates.gbps, 10);
  EXPECT_DOUBLE_EQ(rates.bandwidth_fraction, 0.5);
  EXPECT_DOUBLE_EQ(rates.mac_gps, 400);
  EXPECT_DOUBLE_EQ(rates.mac_per_cycle, 40);  // 400 / (2.5 * 4)
  EXPECT_DOUBLE_EQ(rates.arithmetic_fraction, 1);
  EXPECT_DOUBLE_EQ(rates.bound_fraction(), 1);
}

TEST(Rates, WithoutACeilingOrTimeAreZero) {
  const MachineBounds unknown = {.read_gbps = 20, .mac_gps = 0, .clock_ghz = 2, .threads = 1};
  EXPECT_EQ(rates_of({.bytes = 1, .macs = 1}, 1, unknown).arithmetic_fraction, 0);
  EXPECT_EQ(rates_of({.bytes = 1, .macs = 1}, 0, unknown).gbps, 0);
}

TEST(ProcessStats, SeeMemoryThatIsTouched) {
  constexpr size_t kBytes = 32 << 20;
  const ProcessMemory before = process_memory();
  ASSERT_GT(before.peak, 0u);
  const std::vector<char> touched(kBytes, 1);
  const ProcessMemory after = process_memory();
  EXPECT_GE(after.anonymous + (1 << 20), before.anonymous + kBytes);
  EXPECT_GE(after.peak + (1 << 20), after.anonymous);
  EXPECT_EQ(touched.back(), 1);
}

TEST(ProcessStats, KnowWhenTheProcessBegan) {
  const double seconds = seconds_since_start();
  EXPECT_GE(seconds, 0);
  EXPECT_LT(seconds, 24 * 3600);  // a wrong field or unit is days off
}

}  // namespace
}  // namespace hadal
