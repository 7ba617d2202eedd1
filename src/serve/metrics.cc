#include "serve/metrics.h"

#include <algorithm>
#include <array>

#include "base/json.h"
#include "base/log.h"

namespace hadal {
namespace {

constexpr std::array<std::string_view, kPriorities> kClasses = {"interactive", "normal", "batch"};
constexpr std::array<std::string_view, 5> kCosts = {"step", "prompt_token", "decode_row",
                                                    "decode_read_1k", "prompt_read_1k"};

/// Writes metrics, each with its samples under its HELP and TYPE lines.
class MetricsWriter {
 public:
  explicit MetricsWriter(std::span<const ModelCounters> models) : models_(models) {}

  void head(std::string_view name, std::string_view type, std::string_view help) {
    out_.append("# HELP ").append(name).append(" ").append(help).append("\n# TYPE ");
    out_.append(name).append(" ").append(type).append("\n");
  }
  void sample(std::string_view name, std::string_view model, double value,
              std::string_view label = {}, std::string_view label_value = {}) {
    out_.append(name).append("{model_name=");
    append_json_string(out_, model);  // escapes quotes, backslashes and line ends alike
    if (!label.empty())
      out_.append(",").append(label).append("=\"").append(label_value).append("\"");
    out_.append("} ");
    append_json_number(out_, value);
    out_.push_back('\n');
  }
  /// `read` gives a number of an EngineStats.
  template <typename Read>
  void gauge(std::string_view name, std::string_view help, Read read) {
    all(name, "gauge", help, read);
  }
  template <typename Read>
  void counter(std::string_view name, std::string_view help, Read read) {
    all(name, "counter", help, read);
  }
  std::span<const ModelCounters> models() const { return models_; }
  std::string take() { return std::move(out_); }

 private:
  template <typename Read>
  void all(std::string_view name, std::string_view type, std::string_view help, Read read) {
    head(name, type, help);
    for (const ModelCounters& each : models_) {
      sample(name, each.model, static_cast<double>(read(each.stats)));
    }
  }

  std::span<const ModelCounters> models_;
  std::string out_;
};

using S = const EngineStats&;

void write_queue(MetricsWriter& out) {
  out.gauge("hadal_requests_running", "Requests in the batch.", [](S s) { return s.running; });
  out.head("hadal_requests_waiting", "gauge", "Requests that wait for their turn.");
  for (const ModelCounters& each : out.models()) {
    for (size_t i = 0; i < kPriorities; ++i) {
      out.sample("hadal_requests_waiting", each.model, each.stats.waiting_by_class[i], "class",
                 kClasses[i]);
    }
  }
  out.gauge("hadal_queue_wait_seconds", "What a request sent now would wait, estimated.",
            [](S s) { return static_cast<double>(s.queue_wait_micros) / 1e6; });
  out.counter("hadal_requests_total", "Requests accepted.", [](S s) { return s.requests; });
  out.counter("hadal_requests_refused_total", "Refused, the queue being full.",
              [](S s) { return s.refused; });
  out.counter("hadal_requests_expired_total", "Ended by their wait in the queue.",
              [](S s) { return s.expired; });
  out.counter("hadal_preemptions_total", "Rows parked for want of pages.",
              [](S s) { return s.kv.preemptions; });
  out.counter("hadal_prompt_tokens_total", "Prompt tokens computed.",
              [](S s) { return s.prompt_tokens; });
  out.counter("hadal_completion_tokens_total", "Tokens sampled.",
              [](S s) { return s.completion_tokens; });
  out.counter("hadal_drafted_tokens_total", "Guessed tokens checked.",
              [](S s) { return s.drafted_tokens; });
  out.counter("hadal_accepted_tokens_total", "Guessed tokens that were right.",
              [](S s) { return s.accepted_tokens; });
}

void write_steps(MetricsWriter& out) {
  out.counter("hadal_steps_total", "Forward passes.", [](S s) { return s.steps; });
  out.gauge("hadal_step_prompt_budget", "Prompt tokens that the last step might take.",
            [](S s) { return s.step_budget; });
  out.gauge("hadal_step_tokens", "Tokens of the last step.", [](S s) { return s.step_tokens; });
  out.gauge("hadal_step_seconds", "Time of the last step.",
            [](S s) { return static_cast<double>(s.step_micros) / 1e6; });
  out.head("hadal_step_cost_seconds", "gauge", "What a step's time consists of, as fitted.");
  for (const ModelCounters& each : out.models()) {
    for (size_t i = 0; i < kCosts.size(); ++i) {
      out.sample("hadal_step_cost_seconds", each.model, each.stats.step_cost[i] / 1e6, "of",
                 kCosts[i]);
    }
  }
}

void write_pages(MetricsWriter& out) {
  out.gauge("hadal_kv_pages", "Pages of keys and values.", [](S s) { return s.kv.pages; });
  out.gauge("hadal_kv_pages_free", "Pages that hold nothing.", [](S s) { return s.kv.pages_free; });
  out.gauge("hadal_kv_pages_cached", "Pages that later requests can find.",
            [](S s) { return s.kv.pages_cached; });
  out.counter("hadal_prefix_lookup_tokens_total", "Prompt tokens looked for in the cache.",
              [](S s) { return s.kv.lookup_tokens; });
  out.counter("hadal_prefix_hit_tokens_total", "Prompt tokens found in the cache.",
              [](S s) { return s.kv.hit_tokens; });
  out.counter("hadal_kv_evictions_total", "Cached pages that made room.",
              [](S s) { return s.kv.evictions; });
}

/// One sample per tier that there is.
void write_tiers(MetricsWriter& out) {
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
  const auto any = [&](const TierStats EngineStats::*tier) {
    return std::any_of(out.models().begin(), out.models().end(),
                       [&](const ModelCounters& each) { return (each.stats.*tier).bytes_max > 0; });
  };
  if (!any(&EngineStats::ram_tier) && !any(&EngineStats::disk_tier)) return;
  for (const Metric& metric : kMetrics) {
    out.head(metric.name, metric.type, metric.help);
    for (const ModelCounters& each : out.models()) {
      const std::pair<std::string_view, const TierStats*> tiers[] = {
          {"ram", &each.stats.ram_tier}, {"disk", &each.stats.disk_tier}};
      for (const auto& [name, tier] : tiers) {
        if (tier->bytes_max == 0) continue;
        out.sample(metric.name, each.model, static_cast<double>(tier->*metric.value), "tier", name);
      }
    }
  }
}

double pages_in_use(const EngineStats& stats) {
  const auto pages = static_cast<double>(stats.kv.pages);
  return pages > 0 ? (pages - static_cast<double>(stats.kv.pages_free)) / pages : 0;
}

}  // namespace

std::string metrics_text(std::span<const ModelCounters> models) {
  if (models.empty()) return {};
  MetricsWriter out(models);
  write_queue(out);
  write_steps(out);
  write_pages(out);
  write_tiers(out);
  out.gauge("vllm:num_requests_running", "As vLLM names it.", [](S s) { return s.running; });
  out.gauge("vllm:num_requests_waiting", "As vLLM names it.", [](S s) { return s.waiting; });
  out.gauge("vllm:kv_cache_usage_perc", "As vLLM names it, 0 to 1.", pages_in_use);
  return out.take();
}

std::string models_metrics_text(std::span<const ModelEntry> models) {
  MetricsWriter out({});
  out.head("hadal_model_loaded", "gauge", "Whether a model that is served is loaded.");
  for (const ModelEntry& each : models) {
    out.sample("hadal_model_loaded", each.id, each.state == ModelState::kReady ? 1 : 0);
  }
  out.head("hadal_model_memory_bytes", "gauge", "Of weights, keys and values, while loaded.");
  for (const ModelEntry& each : models) {
    out.sample("hadal_model_memory_bytes", each.id, static_cast<double>(each.memory_bytes));
  }
  out.head("hadal_model_in_use", "gauge", "Answers that hold the model.");
  for (const ModelEntry& each : models) out.sample("hadal_model_in_use", each.id, each.in_use);
  out.head("hadal_model_loads_total", "counter", "How often it was loaded.");
  for (const ModelEntry& each : models) {
    out.sample("hadal_model_loads_total", each.id, static_cast<double>(each.loads));
  }
  return out.take();
}

std::string process_metrics_text() {
  MetricsWriter out({});
  constexpr std::string_view kDropped = "hadal_log_lines_dropped_total";
  out.head(kDropped, "counter", "Log lines that standard error did not take in time.");
  return out.take().append(kDropped).append(" ").append(std::to_string(log_lines_dropped())) + "\n";
}

}  // namespace hadal
