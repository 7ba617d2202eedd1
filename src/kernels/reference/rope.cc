#include <cmath>
#include <cstdint>

#include "kernels/reference/reference.h"

namespace hadal::reference {

void rope_row(const RopeTable& table, float* x, int64_t n_heads, int64_t d_head, int32_t position) {
  const auto half = static_cast<int64_t>(table.frequency.size());
  for (int64_t i = 0; i < half; ++i) {
    const double angle = static_cast<double>(position) * table.frequency[static_cast<size_t>(i)];
    const double c = std::cos(angle) * table.magnitude;
    const double s = std::sin(angle) * table.magnitude;
    const int64_t first = table.half_split ? i : 2 * i;
    const int64_t second = table.half_split ? i + half : 2 * i + 1;
    for (int64_t h = 0; h < n_heads; ++h) {
      float* head = x + h * d_head;
      const double a = head[first];
      const double b = head[second];
      head[first] = static_cast<float>(a * c - b * s);
      head[second] = static_cast<float>(a * s + b * c);
    }
  }
}

}  // namespace hadal::reference
