// The kernels for NEON with dot products (from ARMv8.2). Only freestanding headers and
// intrinsics: cmake/isa_symbols.cmake checks it.
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu/cpu_ops.h"

#define HADAL_ISA_NEON 1

namespace hadal::isa_neon_dot {
namespace {

using cpu::AttentionTile;
using cpu::FloatInput;
using cpu::LatentTile;
using cpu::QuantInput;

// The order matters: each file uses the ones before it.
// clang-format off
#include "kernels/cpu/isa_vec.h"
#include "kernels/cpu/isa_formats.h"
#include "kernels/cpu/isa_act.h"
#include "kernels/cpu/isa_quant.h"
#include "kernels/cpu/isa_float.h"
#include "kernels/cpu/isa_attention.h"
#include "kernels/cpu/isa_latent.h"
#include "kernels/cpu/isa_index.h"
#include "kernels/cpu/isa_elementwise.h"
#include "kernels/cpu/isa_ceiling.h"
// clang-format on

}  // namespace

#include "kernels/cpu/isa_table.h"

}  // namespace hadal::isa_neon_dot
