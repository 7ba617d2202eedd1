#pragma once
/// For tests: the instruction set that was in force comes back at the end of a scope.
#include "kernels/kernels.h"

namespace hadal {

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

}  // namespace hadal
