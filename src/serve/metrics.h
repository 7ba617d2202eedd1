#pragma once
/// Counters of served models in Prometheus' text format (version 0.0.4).
#include <span>
#include <string>
#include <string_view>

#include "engine/engine.h"
#include "serve/directory.h"

namespace hadal {

inline constexpr std::string_view kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

/// A loaded model's.
struct ModelCounters {
  std::string model;
  EngineStats stats;
};

/// Our own names, and the three of vLLM that load balancers and dashboards look for; one sample per
/// model, under its label.
std::string metrics_text(std::span<const ModelCounters> models);

/// Which models are loaded, and how often they were.
std::string models_metrics_text(std::span<const ModelEntry> models);

/// Of the program as a whole.
std::string process_metrics_text();

}  // namespace hadal
