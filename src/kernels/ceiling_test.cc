// Goal: the probe of the arithmetic bound counts what it runs, on every instruction set here.
#include "kernels/ceiling.h"

#include <gtest/gtest.h>

#include "kernels/isa.h"
#include "kernels/kernels.h"
#include "kernels/testing/scoped_isa.h"

namespace hadal {
namespace {

TEST(Ceiling, GrowsWithTheRounds) {
  const cpu::Ops* ops = current_ops();
  if (ops == nullptr) GTEST_SKIP() << "SKIPPED: only the reference kernels run here";
  const int64_t one = ops->dot_chains(1);
  EXPECT_GT(one, 0);
  EXPECT_EQ(ops->dot_chains(7), 7 * one);
}

TEST(Ceiling, IsUnknownForTheReference) {
  const IsaScope scope(Isa::kReference);
  ThreadPool pool(1);
  EXPECT_EQ(measure_mac_gps(pool), 0.0);
}

TEST(Ceiling, IsMeasuredElsewhere) {
  if (current_isa() == Isa::kReference) GTEST_SKIP() << "SKIPPED: no instruction set of ours";
  ThreadPool pool(2);
  EXPECT_GT(measure_mac_gps(pool), 0.0);
}

}  // namespace
}  // namespace hadal
