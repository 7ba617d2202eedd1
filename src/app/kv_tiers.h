#pragma once
/// The slower places for keys and values that `hadal serve` is asked for.
#include <memory>

#include "app/app.h"
#include "app/serve_options.h"
#include "engine/tiered_pages.h"

namespace hadal {

/// Null when the options ask for none. An error for sizes that cannot be; a disk that cannot be
/// used is told of in the log and does without.
Result<std::unique_ptr<TieredPages>> open_kv_tiers(const ModelSettings& options,
                                                   const LoadedModel& loaded,
                                                   const Settings& settings);

/// Lets the engine that ends next leave its pages to the tiers, within some seconds.
void begin_keeping(TieredPages& pages);

/// One line of what the tiers did, to the log.
void log_kv_tiers(const TieredPages& pages);

}  // namespace hadal
