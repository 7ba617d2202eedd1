#pragma once
/// Room-internal: the function table behind current_isa().
#include "kernels/cpu/cpu_ops.h"
#include "kernels/kernels.h"

namespace hadal {

/// nullptr: the reference versions.
const cpu::Ops* current_ops();
/// For tests: `isa` becomes available, computed by `ops`, where this machine lacks it.
void set_stand_in(Isa isa, const cpu::Ops* ops);

}  // namespace hadal
