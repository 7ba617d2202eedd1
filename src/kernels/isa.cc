#include "kernels/isa.h"

#ifdef HADAL_X86_KERNELS
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#ifdef HADAL_NEON_KERNELS
#include <sys/auxv.h>
#endif

#include <atomic>
#include <iterator>

#include "base/check.h"

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
bool has_avx_vnni() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & 1U << 4) != 0;
}
/// Where AVX-512 is already known to work. Asks the operating system for the use of tiles, which
/// holds for all threads from then on; systems before Linux 5.16 refuse.
bool has_amx() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  constexpr unsigned kTile = 1U << 24;
  constexpr unsigned kInt8 = 1U << 25;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (~d & (kTile | kInt8)) != 0) return false;
  constexpr unsigned kTileState = 3U << 17;  // shapes and data
  __asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
  if ((~a & kTileState) != 0) return false;
  constexpr long kRequestPermission = 0x1023;  // <asm/prctl.h>: ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
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
  if (isa == Isa::kAvxVnni) return avx2 && has_avx_vnni();
  if (isa == Isa::kAvx512) return avx512;
  if (isa == Isa::kAmx) return avx512 && has_amx();
#endif
#ifdef HADAL_NEON_KERNELS
  // Bits of the kernel's <asm/hwcap.h>, which older systems' headers lack in part.
  constexpr unsigned long kHwcapAsimdDp = 1UL << 20;
  constexpr unsigned long kHwcap2I8mm = 1UL << 13;
  const bool dot = (getauxval(AT_HWCAP) & kHwcapAsimdDp) != 0;
  if (isa == Isa::kNeonDot) return dot;
  if (isa == Isa::kNeonI8mm) return dot && (getauxval(AT_HWCAP2) & kHwcap2I8mm) != 0;
#endif
  return isa == Isa::kReference;
}

Isa best_isa() {
  Isa best = Isa::kReference;
  for (const Isa isa : kIsas) {
    // AMX has not run on real hardware yet: only who asks for it gets it.
    if (isa != Isa::kAmx && cpu_has(isa)) best = isa;
  }
  return best;
}

std::atomic<Isa>& chosen_isa() {
  static std::atomic<Isa> isa{best_isa()};
  return isa;
}

std::atomic<const cpu::Ops*>& stand_in(Isa isa) {
  static std::atomic<const cpu::Ops*> ops[std::size(kIsas)];
  return ops[static_cast<size_t>(isa)];
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
    case Isa::kAvxVnni:
      return "avx-vnni";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAmx:
      return "amx";
    case Isa::kNeonDot:
      return "neon-dotprod";
    case Isa::kNeonI8mm:
      return "neon-i8mm";
  }
  return "?";
}

bool isa_available(Isa isa) {
  return cpu_has(isa) || stand_in(isa).load() != nullptr;
}

void set_stand_in(Isa isa, const cpu::Ops* ops) {
  stand_in(isa).store(ops);
}

void force_isa(Isa isa) {
  CHECK(isa_available(isa));
  chosen_isa().store(isa, std::memory_order_relaxed);
}

const cpu::Ops* current_ops() {
  const Isa isa = current_isa();
  if (const cpu::Ops* ops = stand_in(isa).load(std::memory_order_relaxed)) return ops;
  switch (isa) {
#ifdef HADAL_X86_KERNELS
    case Isa::kAmx: {
      static const cpu::Ops amx = isa_amx::ops();
      return &amx;
    }
    case Isa::kAvx512:
      return &isa_avx512::kOps;
    case Isa::kAvxVnni:
      return &isa_avxvnni::kOps;
    case Isa::kAvx2:
      return &isa_avx2::kOps;
#endif
#ifdef HADAL_NEON_KERNELS
    case Isa::kNeonDot:
      return &isa_neon_dot::kOps;
    case Isa::kNeonI8mm:
      return &isa_neon_i8mm::kOps;
#endif
    default:
      return nullptr;
  }
}

}  // namespace hadal
