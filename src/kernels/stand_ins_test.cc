// Goal: instruction sets that this machine lacks, but whose kernels it can run in another encoding,
// are available to all tests of the room.
#include <gtest/gtest.h>

#include "kernels/isa.h"

namespace hadal {
namespace {

#if defined(__x86_64__)
const bool kRegistered = [] {
  if (!isa_available(Isa::kAvx512)) return false;
  if (!isa_available(Isa::kAvxVnni)) set_stand_in(Isa::kAvxVnni, &isa_avxvnni_stand_in::kOps);
  if (!isa_available(Isa::kAmx)) {
    static const cpu::Ops amx = isa_amx_stand_in::ops();
    set_stand_in(Isa::kAmx, &amx);
  }
  return true;
}();

TEST(StandIns, AvxVnniAndAmxRunWhereAvx512Does) {
  if (!kRegistered)
    GTEST_SKIP() << "SKIPPED: AVX-VNNI and AMX stand in for themselves on AVX-512 only, which this "
                    "machine lacks; run it on one that has it";
  EXPECT_TRUE(isa_available(Isa::kAvxVnni));
  EXPECT_TRUE(isa_available(Isa::kAmx));
}
#endif

}  // namespace
}  // namespace hadal
