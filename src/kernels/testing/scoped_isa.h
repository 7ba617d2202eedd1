#pragma once
/// For tests: the instruction sets of this machine; a scope that restores the one in force.
#include <vector>

#include <gtest/gtest.h>

#include "kernels/kernels.h"

namespace hadal {

/// The reference first.
inline std::vector<Isa> available_isas() {
  std::vector<Isa> out;
  for (const Isa isa : kIsas) {
    if (isa_available(isa)) out.push_back(isa);
  }
  return out;
}

/// Why a test of packed weights is skipped where the reference computes.
inline constexpr const char* kNothingPacked =
    "SKIPPED: the instruction set in force is the reference's, which packs no weights; run it on a "
    "processor with AVX2 or NEON dot products, without HADAL_ISA=reference";

class IsaScope {
 public:
  IsaScope() : before_(current_isa()) {}
  explicit IsaScope(Isa isa) : before_(current_isa()) { force_isa(isa); }
  ~IsaScope() { force_isa(before_); }
  IsaScope(const IsaScope&) = delete;
  IsaScope& operator=(const IsaScope&) = delete;

 private:
  Isa before_;
};

/// Calls body() with each instruction set of this machine in force.
template <typename Body>
void on_each_isa(Body&& body) {
  for (const Isa isa : available_isas()) {
    const IsaScope scope(isa);
    SCOPED_TRACE(isa_name(isa));
    body();
  }
}

}  // namespace hadal
