#pragma once
/// Options that several subcommands share. The structs they fill are function-local statics of the
/// add functions: there is one command line per process.
#include <string>

#include "app/app.h"

namespace hadal {

/// --model M, required.
CLI::Option* add_model_option(CLI::App& command, std::string& model);
/// -t, --threads T.
void add_threads_option(CLI::App& command, int& threads);
/// --json.
void add_json_option(CLI::App& command, bool& json);

/// find_model, then load_text; a doubtful vocabulary is reported on standard error.
Result<LoadedText> open_text(const std::string& model, const Settings& settings);
/// The same with weights; shows the progress of loading on a terminal.
Result<LoadedModel> open_model(const std::string& model, int threads, const Settings& settings,
                               const LoadOptions& options = {});

/// The same for commands that work on ids alone: `tokenizer` may be null.
Result<LoadedModel> open_weights(const std::string& model, int threads, const Settings& settings,
                                 const LoadOptions& options = {});

/// --kv-type f32|f16|q8_0, the type that keys and values are kept in.
void add_kv_option(CLI::App& command, std::string& kv);
Result<KvType> kv_type_from(const std::string& kv);

/// --latent absorbed|auto: how latent attention (DeepSeek V2 and V3) is computed.
void add_latent_option(CLI::App& command, std::string& latent);
Result<LatentForm> latent_form_from(const std::string& latent);

/// How a command that compares or measures lets one choose what numbers are rounded to.
struct RoundingOptions {
  std::string kv = "f16";
  std::string activations = "auto";
  std::string latent = "absorbed";
};
/// --kv-type, --activations auto|int8|int16 and --latent.
void add_rounding_options(CLI::App& command, RoundingOptions& options);
Result<LoadOptions> load_options_from(const RoundingOptions& options);

}  // namespace hadal
