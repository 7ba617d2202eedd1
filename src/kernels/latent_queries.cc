#include "kernels/latent_queries.h"

#include <algorithm>
#include <vector>

namespace hadal {

void lay_queries(const cpu::Ops& ops, int64_t n, FunctionRef<const float*(int64_t)> query,
                 int64_t d, int64_t d_key, float scale, float* out) {
  thread_local std::vector<float> memory;
  const auto floats = static_cast<size_t>(16 * d_key);
  if (memory.size() < floats) memory.resize(floats);
  for (int64_t first = 0; first < n; first += 16) {
    const uint8_t* rows[16];
    for (int64_t i = 0; i < 16; ++i) {
      float* row = memory.data() + i * d_key;
      rows[i] = reinterpret_cast<const uint8_t*>(row);
      const int64_t given = first + i < n ? d : 0;
      const float* source = given > 0 ? query(first + i) : nullptr;
      for (int64_t c = 0; c < given; ++c) row[c] = source[c] * scale;
      std::fill(row + given, row + d_key, 0.0f);
    }
    ops.unpack_records(cpu::kKvF32, rows, d_key, out + first * d_key);
  }
}

}  // namespace hadal
