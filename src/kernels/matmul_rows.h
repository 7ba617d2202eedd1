#pragma once
/// What MatmulRows consists of. For the kernels room only.
#include "base/big_memory.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/matmul.h"

namespace hadal {

struct MatmulRows::Forms {
  const cpu::Ops* ops = nullptr;  ///< of the readers with rounded input
  bool needed[cpu::kActivations] = {};
  bool needs_floats = false;
  cpu::QuantInput rounded[cpu::kActivations] = {};
  cpu::FloatInput floats{};
  BigMemory rounded_memory[cpu::kActivations];
  BigMemory float_memory;

  /// Room for n rows in the forms that are asked for.
  void reserve(int64_t n, int64_t cols);
};

}  // namespace hadal
