#pragma once
/// What a Weight consists of. For the kernels room only.
#include "kernels/cpu/cpu_ops.h"
#include "kernels/matmul.h"
#include "kernels/panel_memory.h"

namespace hadal {

struct Weight::Packed {
  TensorView view;
  const cpu::Ops* ops = nullptr;  ///< nullptr: reference, straight from the view
  cpu::Format format = cpu::kFormats;
  cpu::Activation activation = cpu::kActivation8;
  int64_t panels = 0;
  int64_t panel_bytes = 0;
  const uint8_t* data = nullptr;  ///< panels * panel_bytes; in `memory` unless borrowed
  PanelMemory memory;

  bool quantised() const { return format < cpu::kQuantFormats; }
  const uint8_t* panel(int64_t index) const { return data + index * panel_bytes; }
};

}  // namespace hadal
