#include "serve/metrics.h"

#include <array>

#include "base/json.h"

namespace hadal {
namespace {

constexpr std::array<std::string_view, kPriorities> kClasses = {"interactive", "normal", "batch"};
constexpr std::array<std::string_view, 5> kCosts = {"step", "prompt_token", "decode_row",
                                                    "decode_read_1k", "prompt_read_1k"};

/// Writes samples, each under its HELP and TYPE lines.
class MetricsWriter {
 public:
  explicit MetricsWriter(std::string_view model) {
    labels_ = "model_name=";
    append_json_string(labels_, model);  // escapes quotes, backslashes and line ends alike
  }

  void head(std::string_view name, std::string_view type, std::string_view help) {
    out_.append("# HELP ").append(name).append(" ").append(help).append("\n# TYPE ");
    out_.append(name).append(" ").append(type).append("\n");
  }
  void sample(std::string_view name, double value, std::string_view label = {},
              std::string_view label_value = {}) {
    out_.append(name).append("{").append(labels_);
    if (!label.empty())
      out_.append(",").append(label).append("=\"").append(label_value).append("\"");
    out_.append("} ");
    append_json_number(out_, value);
    out_.push_back('\n');
  }
  void gauge(std::string_view name, std::string_view help, double value) {
    head(name, "gauge", help);
    sample(name, value);
  }
  void counter(std::string_view name, std::string_view help, uint64_t value) {
    head(name, "counter", help);
    sample(name, static_cast<double>(value));
  }
  std::string take() { return std::move(out_); }

 private:
  std::string labels_;
  std::string out_;
};

void write_queue(MetricsWriter& out, const EngineStats& stats) {
  out.gauge("hadal_requests_running", "Requests in the batch.", stats.running);
  out.head("hadal_requests_waiting", "gauge", "Requests that wait for their turn.");
  for (size_t i = 0; i < kPriorities; ++i) {
    out.sample("hadal_requests_waiting", stats.waiting_by_class[i], "class", kClasses[i]);
  }
  out.gauge("hadal_queue_wait_seconds", "What a request sent now would wait, estimated.",
            static_cast<double>(stats.queue_wait_micros) / 1e6);
  out.counter("hadal_requests_total", "Requests accepted.", stats.requests);
  out.counter("hadal_requests_refused_total", "Refused, the queue being full.", stats.refused);
  out.counter("hadal_requests_expired_total", "Ended by their wait in the queue.", stats.expired);
  out.counter("hadal_preemptions_total", "Rows parked for want of pages.", stats.kv.preemptions);
  out.counter("hadal_prompt_tokens_total", "Prompt tokens computed.", stats.prompt_tokens);
  out.counter("hadal_completion_tokens_total", "Tokens sampled.", stats.completion_tokens);
  out.counter("hadal_drafted_tokens_total", "Guessed tokens checked.", stats.drafted_tokens);
  out.counter("hadal_accepted_tokens_total", "Guessed tokens that were right.",
              stats.accepted_tokens);
}

void write_steps(MetricsWriter& out, const EngineStats& stats) {
  out.counter("hadal_steps_total", "Forward passes.", stats.steps);
  out.gauge("hadal_step_prompt_budget", "Prompt tokens that the last step might take.",
            static_cast<double>(stats.step_budget));
  out.gauge("hadal_step_tokens", "Tokens of the last step.",
            static_cast<double>(stats.step_tokens));
  out.gauge("hadal_step_seconds", "Time of the last step.",
            static_cast<double>(stats.step_micros) / 1e6);
  out.head("hadal_step_cost_seconds", "gauge", "What a step's time consists of, as fitted.");
  for (size_t i = 0; i < kCosts.size(); ++i) {
    out.sample("hadal_step_cost_seconds", stats.step_cost[i] / 1e6, "of", kCosts[i]);
  }
}

void write_pages(MetricsWriter& out, const KvStats& kv) {
  out.gauge("hadal_kv_pages", "Pages of keys and values.", static_cast<double>(kv.pages));
  out.gauge("hadal_kv_pages_free", "Pages that hold nothing.", static_cast<double>(kv.pages_free));
  out.gauge("hadal_kv_pages_cached", "Pages that later requests can find.",
            static_cast<double>(kv.pages_cached));
  out.counter("hadal_prefix_lookup_tokens_total", "Prompt tokens looked for in the cache.",
              kv.lookup_tokens);
  out.counter("hadal_prefix_hit_tokens_total", "Prompt tokens found in the cache.", kv.hit_tokens);
  out.counter("hadal_kv_evictions_total", "Cached pages that made room.", kv.evictions);
}

/// One sample per tier that there is.
void write_tiers(MetricsWriter& out, const EngineStats& stats) {
  struct Metric {
    std::string_view name, type, help;
    uint64_t TierStats::*value;
  };
  constexpr Metric kMetrics[] = {
      {"hadal_kv_tier_pages", "gauge", "Pages beside the pool.", &TierStats::pages},
      {"hadal_kv_tier_bytes", "gauge", "Bytes that they take.", &TierStats::bytes},
      {"hadal_kv_tier_bytes_max", "gauge", "The budget.", &TierStats::bytes_max},
      {"hadal_kv_tier_stored_total", "counter", "Pages taken in.", &TierStats::stored},
      {"hadal_kv_tier_refused_total", "counter", "Pages that promised no reuse.",
       &TierStats::refused},
      {"hadal_kv_tier_dropped_total", "counter", "Pages that found no room or a full queue.",
       &TierStats::dropped},
      {"hadal_kv_tier_hits_total", "counter", "Pages given back.", &TierStats::hits},
      {"hadal_kv_tier_misses_total", "counter", "Pages asked for that were gone.",
       &TierStats::misses},
      {"hadal_kv_tier_evicted_total", "counter", "Pages that made room.", &TierStats::evicted},
      {"hadal_kv_tier_expired_total", "counter", "Pages unused for too long.", &TierStats::expired},
      {"hadal_kv_tier_corrupt_total", "counter", "Pages that were damaged.", &TierStats::corrupt},
      {"hadal_kv_tier_errors_total", "counter", "Refusals of the disk.", &TierStats::errors}};
  const std::pair<std::string_view, const TierStats*> tiers[] = {{"ram", &stats.ram_tier},
                                                                 {"disk", &stats.disk_tier}};
  if (stats.ram_tier.bytes_max == 0 && stats.disk_tier.bytes_max == 0) return;
  for (const Metric& metric : kMetrics) {
    out.head(metric.name, metric.type, metric.help);
    for (const auto& [name, tier] : tiers) {
      if (tier->bytes_max == 0) continue;
      out.sample(metric.name, static_cast<double>(tier->*metric.value), "tier", name);
    }
  }
}

}  // namespace

std::string metrics_text(std::string_view model, const EngineStats& stats) {
  MetricsWriter out(model);
  write_queue(out, stats);
  write_steps(out, stats);
  write_pages(out, stats.kv);
  write_tiers(out, stats);
  const double pages = static_cast<double>(stats.kv.pages);
  const double used = pages - static_cast<double>(stats.kv.pages_free);
  out.gauge("vllm:num_requests_running", "As vLLM names it.", stats.running);
  out.gauge("vllm:num_requests_waiting", "As vLLM names it.", stats.waiting);
  out.gauge("vllm:kv_cache_usage_perc", "As vLLM names it, 0 to 1.", pages > 0 ? used / pages : 0);
  return out.take();
}

}  // namespace hadal
