// Goal: a few hundred simulated stories break no rule, and each is the same when told again. The
// full run is ./dev sim.
#include "engine/testing/simulator.h"

#include <gtest/gtest.h>

#include "base/log.h"

namespace hadal::testing {
namespace {

TEST(Simulator, StoriesBreakNoRule) {
  set_log_level(LogLevel::kNothing);
  SimCounts sum;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    const SimOutcome outcome = simulate(seed);
    ASSERT_EQ(outcome.failure, "") << "./dev sim --from " << seed << " --seeds 1";
    sum.finished += outcome.counts.finished;
    sum.cancelled += outcome.counts.cancelled;
    sum.expired += outcome.counts.expired;
    sum.failed += outcome.counts.failed;
    sum.refused += outcome.counts.refused;
    sum.disk_pages += outcome.counts.disk_pages;
    sum.disk_corrupt += outcome.counts.disk_corrupt;
  }
  // Everything that should happen does.
  EXPECT_GT(sum.finished, 1000);
  EXPECT_GT(sum.cancelled, 100);
  EXPECT_GT(sum.expired, 100);
  EXPECT_GT(sum.failed, 100);
  EXPECT_GT(sum.refused, 100);
  EXPECT_GT(sum.disk_pages, 5);
  EXPECT_GT(sum.disk_corrupt, 0);
  set_log_level(LogLevel::kInfo);
}

TEST(Simulator, TheSameSeedTellsTheSameStory) {
  set_log_level(LogLevel::kNothing);
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    EXPECT_EQ(simulate(seed).trace, simulate(seed).trace) << seed;
    EXPECT_NE(simulate(seed).trace, simulate(seed + 1).trace) << seed;
  }
  set_log_level(LogLevel::kInfo);
}

}  // namespace
}  // namespace hadal::testing
