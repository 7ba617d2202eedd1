#pragma once
/// --speculate and --draft-model: what guesses the next tokens for serve and run.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "app/app.h"
#include "engine/drafter.h"

namespace hadal {

struct SpeculationOptions {
  std::string mode = "off";  ///< off, ngram, mtp or draft
  std::string draft_model;   ///< for draft: a name or a path
};

bool is_speculation_mode(std::string_view name);
/// Whether the served model is to be loaded with its prediction layer.
bool wants_prediction(const SpeculationOptions& options);
void add_speculation_options(CLI::App& command, SpeculationOptions& options);

/// A drafter for the engine and what it borrows. Must outlive the engine.
struct Speculation {
  std::optional<LoadedText> text;  ///< of the draft model
  std::unique_ptr<Model> model;
  std::unique_ptr<Drafter> drafter;  ///< null: off
};

/// `served` must outlive the result, which computes on its threads. An engine of `n_ctx` positions
/// and `rows` rows. kInvalidArgument when the draft model has another vocabulary.
Result<Speculation> open_speculation(const SpeculationOptions& options, const LoadedModel& served,
                                     KvType kv_type, int64_t n_ctx, int rows,
                                     const Settings& settings);

}  // namespace hadal
