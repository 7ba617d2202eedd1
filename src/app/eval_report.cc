#include "app/eval_report.h"

#include <algorithm>

#include <fmt/format.h>

#include "app/benchmark.h"
#include "app/output.h"

namespace hadal {
namespace {

constexpr int64_t kPromptTokens = 256;
constexpr int64_t kDecodeTokens = 32;

}  // namespace

double bits_per_weight(const GgufFile& file) {
  double bytes = 0;
  double values = 0;
  for (const TensorView& tensor : file.tensors()) {
    bytes += static_cast<double>(tensor.bytes);
    values += static_cast<double>(tensor.elements());
  }
  return values > 0 ? 8 * bytes / values : 0;
}

Status measure_speed(LoadedModel& model, ReportRow& row) {
  BenchmarkOptions work;
  const int64_t room = model.model->n_ctx_train() - 1;
  work.decode_tokens = std::min(kDecodeTokens, room / 2);
  work.prompt_tokens = std::min(kPromptTokens, room - work.decode_tokens);
  work.batch = 1;
  TRY(const Benchmark measured, run_benchmark(model, work));
  row.prefill_tps = measured.prefill.tps;
  row.decode_tps = measured.decode.tps;
  return {};
}

std::string report_text(const std::vector<ReportRow>& rows) {
  size_t width = 8;
  for (const ReportRow& row : rows) width = std::max(width, row.name.size());
  std::string out = fmt::format("{:<{}} {:>10} {:>6} {:>9} {:>8} {:>11} {:>10} {:>10} {:>8}\n",
                                "model", width, "size", "bits", "prefill", "decode", "perplexity",
                                "mean KLD", "p99 KLD", "top-1");
  const auto speed = [](double tps) { return tps > 0 ? fmt::format("{:.1f}", tps) : "-"; };
  for (const ReportRow& row : rows) {
    const Divergence& q = row.quality;
    out += fmt::format(
        "{:<{}} {:>10} {:>6.2f} {:>9} {:>8} {:>11.4f} {:>10.6f} {:>10.5f} {:>6.2f} %\n", row.name,
        width, human_bytes(row.file_bytes), row.bits_per_weight, speed(row.prefill_tps),
        speed(row.decode_tps), q.perplexity, q.mean_kld, q.p99_kld, 100 * q.top1_agreement);
  }
  return out;
}

json::object report_json(const std::vector<ReportRow>& rows, const std::string& reference) {
  json::array list;
  for (const ReportRow& row : rows) {
    const Divergence& q = row.quality;
    list.push_back({{"model", row.name},
                    {"bytes", row.file_bytes},
                    {"bits_per_weight", row.bits_per_weight},
                    {"prefill_tps", row.prefill_tps},
                    {"decode_tps", row.decode_tps},
                    {"perplexity", q.perplexity},
                    {"mean_kld", q.mean_kld},
                    {"p99_kld", q.p99_kld},
                    {"top1_agreement", q.top1_agreement},
                    {"tokens", q.tokens}});
  }
  const double of_reference = rows.empty() ? 0 : rows.front().quality.base_perplexity;
  return {{"reference", reference},
          {"reference_perplexity", of_reference},
          {"models", std::move(list)}};
}

}  // namespace hadal
