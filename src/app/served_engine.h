#pragma once
/// EngineLoader: how `hadal serve` loads the models of its hub, each with an engine of its own.
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "app/app.h"
#include "app/model_hub.h"
#include "app/serve_options.h"
#include "app/turns.h"

namespace hadal {

/// What a file says of its model before anything is loaded: architecture, n_vocab, n_ctx_train,
/// n_layers, d_model, parameters, quantization, file_bytes, chat_template, licence.
json::object facts_of(const GgufFile& file);

/// Thread-safe where HubLoader asks for it. Must outlive the hub.
class EngineLoader final : public HubLoader {
 public:
  /// `store_settings`: how models of the store are loaded; empty: requests may not name them.
  EngineLoader(const Settings& settings, std::optional<ModelSettings> store_settings)
      : settings_(settings), store_settings_(std::move(store_settings)) {}

  /// Looks at the model's file. Call for all models before the hub is made.
  Result<HubModel> list(const ListedModel& listed);

  Result<uint64_t> estimate(const HubModel& model) override;
  Result<std::unique_ptr<HubInstance>> load(const HubModel& model) override;
  std::optional<HubModel> find_in_store(std::string_view name) override;
  std::vector<HubModel> store() override;

 private:
  const ModelSettings& settings_of(const HubModel& model) const;

  const Settings& settings_;
  const std::optional<ModelSettings> store_settings_;
  std::vector<ModelSettings> listed_;  ///< by HubModel::settings
  Turns turns_;
};

}  // namespace hadal
