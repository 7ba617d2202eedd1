// Goal: the probe of the arithmetic bound counts what it runs, on every instruction set here.
#include "kernels/ceiling.h"

#include <gtest/gtest.h>

#include "kernels/isa.h"
#include "kernels/kernels.h"
#include "kernels/testing/scoped_isa.h"

namespace hadal {
namespace {

TEST(Ceiling, GrowsWithTheRounds) {
  for (const Isa isa : available_isas()) {
    const IsaScope scope(isa);
    const cpu::Ops* ops = current_ops();
    if (ops == nullptr) continue;  // the reference: see below
    SCOPED_TRACE(isa_name(isa));
    const int64_t one = ops->dot_chains(1);
    EXPECT_GT(one, 0);
    EXPECT_EQ(ops->dot_chains(7), 7 * one);
  }
}

TEST(Ceiling, IsUnknownForTheReference) {
  const IsaScope scope(Isa::kReference);
  ThreadPool pool(1);
  EXPECT_EQ(measure_mac_gps(pool), 0.0);
}

TEST(Ceiling, IsMeasuredElsewhere) {
  ThreadPool pool(2);
  for (const Isa isa : available_isas()) {
    const IsaScope scope(isa);
    EXPECT_EQ(measure_mac_gps(pool) > 0.0, isa != Isa::kReference) << isa_name(isa);
  }
}

}  // namespace
}  // namespace hadal
