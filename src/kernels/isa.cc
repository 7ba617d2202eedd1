#include <atomic>

#include "base/check.h"
#include "kernels/kernels.h"

namespace hadal {
namespace {

std::atomic<Isa> g_isa{Isa::kReference};

}  // namespace

Isa current_isa() {
  return g_isa.load(std::memory_order_relaxed);
}

std::string_view isa_name(Isa isa) {
  switch (isa) {
    case Isa::kReference:
      return "reference";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
  }
  return "?";
}

bool isa_available(Isa isa) {
  return isa == Isa::kReference;
}

void force_isa(Isa isa) {
  CHECK(isa_available(isa));
  g_isa.store(isa, std::memory_order_relaxed);
}

}  // namespace hadal
