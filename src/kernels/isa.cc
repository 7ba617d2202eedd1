#include "kernels/isa.h"

#ifdef HADAL_X86_KERNELS
#include <cpuid.h>
#endif

#include <atomic>

#include "base/check.h"
#include "kernels/kernels.h"

namespace hadal {
namespace {

#ifdef HADAL_X86_KERNELS
bool has_f16c() {  // a name that not every compiler's helper knows
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

bool cpu_has(Isa isa) {
#ifdef HADAL_X86_KERNELS
  // The compiler's helper also asks the operating system whether it saves the wide registers.
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c() &&
                    __builtin_cpu_supports("bmi2");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
  if (isa == Isa::kAvx2) return avx2;
  if (isa == Isa::kAvx512) return avx512;
#endif
  return isa == Isa::kReference;
}

Isa best_isa() {
  if (cpu_has(Isa::kAvx512)) return Isa::kAvx512;
  return cpu_has(Isa::kAvx2) ? Isa::kAvx2 : Isa::kReference;
}

std::atomic<Isa>& chosen_isa() {
  static std::atomic<Isa> isa{best_isa()};
  return isa;
}

}  // namespace

Isa current_isa() {
  return chosen_isa().load(std::memory_order_relaxed);
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
  return cpu_has(isa);
}

void force_isa(Isa isa) {
  CHECK(isa_available(isa));
  chosen_isa().store(isa, std::memory_order_relaxed);
}

const cpu::Ops* current_ops() {
#ifdef HADAL_X86_KERNELS
  switch (current_isa()) {
    case Isa::kAvx512:
      return &isa_avx512::kOps;
    case Isa::kAvx2:
      return &isa_avx2::kOps;
    case Isa::kReference:
      break;
  }
#endif
  return nullptr;
}

}  // namespace hadal
