#pragma once
/// Room-internal: the function table behind current_isa().
#include "kernels/cpu/cpu_ops.h"

namespace hadal {

/// nullptr: the reference versions.
const cpu::Ops* current_ops();

}  // namespace hadal
