// The kernels for AVX-VNNI: AVX2 with products of bytes on 256 bits. Only freestanding headers and
// intrinsics: cmake/isa_symbols.cmake checks it.
//
// Tests compile this file a second time with the AVX-512 encoding of the same instruction, as
// HADAL_STAND_IN: what it computes can be checked on processors that lack AVX-VNNI.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu/cpu_ops.h"

#define HADAL_ISA_VNNI 1

#ifdef HADAL_STAND_IN
#define isa_avxvnni isa_avxvnni_stand_in
#endif

namespace hadal::isa_avxvnni {
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

}  // namespace hadal::isa_avxvnni
