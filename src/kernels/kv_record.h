#pragma once
/// Records apart from the pool's own: vectors of d numbers (a multiple of 32 in F16) in the form of
/// a key block with values_in_keys (kv_pool.h), kept in what is beside the keys. F32 or F16.
#include <cstdint>

#include "kernels/kv_pool.h"

namespace hadal {

int64_t record_bytes(KvType type, int64_t d);
void store_record(KvType type, const float* x, int64_t d, std::byte* record);
void load_record(KvType type, const std::byte* record, int64_t d, float* x);

}  // namespace hadal
