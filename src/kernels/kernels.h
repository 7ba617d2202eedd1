#pragma once
/// kernels: the arithmetic. One header per op is the contract; reference/ holds the naive twin of
/// each op, cpu/ the fast versions, one object file per instruction set, chosen once at run time.
///
/// Matrices of activations are row-major float32, one row per token of the batch. Results do not
/// depend on the number of threads nor on the other rows of a batch.
#include <string_view>

#include "kernels/attention.h"
#include "kernels/elementwise.h"
#include "kernels/indexer.h"
#include "kernels/kv_pool.h"
#include "kernels/latent_attention.h"
#include "kernels/matmul.h"
#include "kernels/moe.h"
#include "kernels/rope.h"
#include "kernels/router.h"

namespace hadal {

/// From the slowest to the fastest; a machine runs those of its own family.
enum class Isa : unsigned char { kReference, kAvx2, kAvxVnni, kAvx512, kAmx, kNeonDot, kNeonI8mm };
inline constexpr Isa kIsas[] = {Isa::kReference, Isa::kAvx2,    Isa::kAvxVnni, Isa::kAvx512,
                                Isa::kAmx,       Isa::kNeonDot, Isa::kNeonI8mm};

/// The best instruction set of this machine (AMX only when asked for), or the one set by
/// force_isa().
Isa current_isa();
std::string_view isa_name(Isa isa);
/// Whether this machine can run it.
bool isa_available(Isa isa);
/// For tests and diagnosis: use `isa` (must be available) from now on, for weights prepared later.
void force_isa(Isa isa);

}  // namespace hadal
