#pragma once
/// Counters of a served model in Prometheus' text format (version 0.0.4).
#include <string>
#include <string_view>

#include "engine/engine.h"

namespace hadal {

inline constexpr std::string_view kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

/// Our own names, and the three of vLLM that load balancers and dashboards look for.
std::string metrics_text(std::string_view model, const EngineStats& stats);

}  // namespace hadal
