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

struct ServeOptions {
  std::string model;
  std::string host = "127.0.0.1";
  int port = 8000;
  std::string codec;  ///< how prompts are written and answers read; empty: as the model asks
  std::string alias;  ///< name that clients see; default: the model's own
  int threads = 0;    ///< 0: the cores at hand
  int64_t ctx = 0;    ///< 0: what the model was trained on, at most 8192
  int parallel = 8;   ///< requests answered at once
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
  std::string log_level = "info";
  std::string api_key;  ///< empty: no key is asked for
  std::vector<std::string> allow_host;
  std::string config;
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
