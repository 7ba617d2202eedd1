#pragma once
/// Options of `hadal serve`, from the command line and a YAML file. The command line wins.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/app.h"
#include "app/speculation.h"
#include "base/log.h"

namespace hadal {

/// How one model is loaded and served.
struct ModelSettings {
  std::string codec;               ///< how prompts are written and answers read; empty: as it asks
  std::vector<std::string> alias;  ///< names that clients see, the first before all; also its own
  int threads = 0;                 ///< 0: the cores at hand
  int64_t ctx = 0;                 ///< 0: what the model was trained on, at most 8192
  int parallel = 8;                ///< requests answered at once
  int step_tokens = 512;
  int max_queue = 256;
  int64_t queue_wait = 120;     ///< seconds; 0: for ever
  int64_t latency_target = 50;  ///< milliseconds; 0: none
  std::string kv_type = "f16";
  std::string latent = "absorbed";
  std::string kv_memory;             ///< a size; empty: what all requests can fill, within reason
  std::string kv_cache_ram;          ///< a size; empty: none
  std::string kv_cache_disk;         ///< a size; empty: none
  std::string kv_cache_dir;          ///< empty: HADAL_HOME/kv
  int64_t kv_cache_ram_seconds = 0;  ///< 0: no limit
  int64_t kv_cache_disk_seconds = 0;
  SpeculationOptions speculation;
  bool int8 = false;              ///< an encoder's matrices are rounded to 8 bits
  std::string keep_alive = "-1";  ///< how long it stays loaded unused, see parse_keep_alive()
  bool preload = false;           ///< loaded from the start
};

/// A model by name or path, and its settings.
struct ListedModel {
  std::string model;
  ModelSettings settings;
};

/// The settings are those of all models that have none of their own.
struct ServeOptions : ModelSettings {
  std::vector<std::string> model;   ///< the first is the default one
  std::vector<ListedModel> models;  ///< of the file
  std::vector<std::string> map;     ///< PATTERN=MODEL
  bool allow_store = false;         ///< requests may name models of the store
  std::string allow_pull;           ///< a size: requests may bring that much; empty: nothing
  std::string model_memory;         ///< a size; empty: what the machine has, within reason
  int64_t load_wait = 300;          ///< seconds
  std::string host = "127.0.0.1";
  int port = 8000;
  std::string log_level = "info";
  std::string api_key;  ///< empty: no key is asked for
  std::vector<std::string> allow_host;
  std::string responses_disk = "1GiB";  ///< a size: stored answers of the Responses API; 0: none
  std::string responses_dir;            ///< empty: HADAL_HOME/responses
  int64_t responses_days = 30;          ///< how long they are kept there
  bool strict_params = false;           ///< unknown members of a request are an error
  std::string config;

  /// The models that are to be served, the default one first and loaded from the start. Room
  /// beside the pool (kv_cache_*) is the default one's unless a model asks for its own.
  std::vector<ListedModel> served() const;
  /// Who may pull may name what was pulled.
  bool names_store() const { return allow_store || !allow_pull.empty(); }
  /// What a further model begins with.
  ModelSettings own_settings() const;
};

/// Nothing for a name that is no level.
std::optional<LogLevel> log_level_from(std::string_view name);

/// Adds the flags. `options` must outlive the command.
void add_serve_options(CLI::App& command, ServeOptions& options);

/// Reads `options.config`, if any, into the options that `command` did not get. Keys are the flag
/// names; an unknown key is an error that names the nearest known one.
Status apply_config_file(const CLI::App& command, ServeOptions& options);

/// The same for a text; `name` is for messages.
Status apply_config_text(const CLI::App& command, const std::string& text, const std::string& name,
                         ServeOptions& options);

}  // namespace hadal
