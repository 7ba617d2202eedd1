// Goal: instruction sets that this machine lacks, but whose kernels it can run in another encoding,
// are available to all tests of the room.
#include <gtest/gtest.h>

#include "kernels/isa.h"

namespace hadal {
namespace {

#if defined(__x86_64__)
const bool kRegistered = [] {
  if (isa_available(Isa::kAvx512) && !isa_available(Isa::kAvxVnni)) {
    set_stand_in(Isa::kAvxVnni, &isa_avxvnni_stand_in::kOps);
  }
  return true;
}();

TEST(StandIns, AvxVnniRunsWhereAvx512Does) {
  ASSERT_TRUE(kRegistered);
  if (!isa_available(Isa::kAvx512)) GTEST_SKIP() << "no AVX-512 here: AVX-VNNI may be untested";
  EXPECT_TRUE(isa_available(Isa::kAvxVnni));
}
#endif

}  // namespace
}  // namespace hadal
