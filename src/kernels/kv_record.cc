#include "kernels/kv_record.h"

#include <cstring>

#include "base/check.h"
#include "kernels/isa.h"
#include "kernels/reference/reference.h"
#include "tensor/dtype.h"

namespace hadal {

int64_t record_bytes(KvType type, int64_t d) {
  CHECK(type != KvType::kQ8_0);
  return d * (type == KvType::kF32 ? 4 : 2);
}

void store_record(KvType type, const float* x, int64_t d, std::byte* record) {
  if (type == KvType::kF32) {
    std::memcpy(record, x, static_cast<size_t>(d) * sizeof(float));
  } else if (const cpu::Ops* ops = current_ops(); ops != nullptr) {
    ops->store_record(static_cast<int>(type), x, d, reinterpret_cast<uint8_t*>(record));
  } else {
    reference::store_record(type, x, d, record);
  }
}

void load_record(KvType type, const std::byte* record, int64_t d, float* x) {
  if (type == KvType::kF32) {
    std::memcpy(x, record, static_cast<size_t>(d) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < d; ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, record + i * 2, sizeof(bits));
    x[i] = type == KvType::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
  }
}

}  // namespace hadal
