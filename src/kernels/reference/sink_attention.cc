#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/kv_record.h"
#include "kernels/reference/reference.h"

namespace hadal::reference {

void sink_attention_head(KvPool& kv, const SinkAttention& what, const AttentionRows& rows,
                         int64_t row, int64_t head, const float* q, int64_t n_heads, float* out) {
  const auto r = static_cast<size_t>(row);
  const int64_t d = kv.layout().d_head;
  const int64_t position = rows.positions[r];
  const KvSequence& pages = rows.pages[static_cast<size_t>(rows.sequences[r])];
  std::vector<const std::byte*> seen;
  for (int64_t p = std::max(what.first, position + 1 - what.window); p <= position; ++p) {
    seen.push_back(kv.key_record(what.layer, pages, p));
  }
  if (!what.beside_end.empty()) {
    const int64_t first = r == 0 ? 0 : what.beside_end[r - 1];
    for (int64_t i = first; i < what.beside_end[r]; ++i) {
      seen.push_back(what.beside[static_cast<size_t>(i)]);
    }
  }
  const float* query = q + (row * n_heads + head) * d;
  const double sink = what.sinks[static_cast<size_t>(head)];
  std::vector<float> key(static_cast<size_t>(d));
  std::vector<double> scores;
  double top = sink;
  for (const std::byte* record : seen) {
    load_record(kv.layout().type, record, d, key.data());
    double dot = 0;
    for (int64_t i = 0; i < d; ++i)
      dot += static_cast<double>(query[i]) * key[static_cast<size_t>(i)];
    scores.push_back(dot * what.scale);
    top = std::max(top, scores.back());
  }
  double sum = std::exp(sink - top);
  std::vector<double> mix(static_cast<size_t>(d), 0.0);
  for (size_t j = 0; j < seen.size(); ++j) {
    const double weight = std::exp(scores[j] - top);
    load_record(kv.layout().type, seen[j], d, key.data());
    for (size_t i = 0; i < mix.size(); ++i) mix[i] += weight * key[i];
    sum += weight;
  }
  for (int64_t i = 0; i < d; ++i) {
    out[(row * n_heads + head) * d + i] = static_cast<float>(mix[static_cast<size_t>(i)] / sum);
  }
}

}  // namespace hadal::reference
