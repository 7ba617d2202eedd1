#include "app/serve_options.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "app/options.h"
#include "app/output.h"
#include "base/env.h"
#include "base/limits.h"
#include "base/parse.h"
#include "serve/directory.h"

namespace hadal {
namespace {

constexpr int kStepTokensMax = 16'384;
constexpr int64_t kQueueSecondsMax = limits::kQueueMicros / 1'000'000;
constexpr int64_t kLatencyMillisMax = 60'000;
constexpr int64_t kResponseDaysMax = 36'500;
constexpr int64_t kSecondsMax = 100LL * 365 * 86400;

/// One key of the file, its flag, and how its value is read. False: not of the right kind.
template <typename Options>
struct ConfigKey {
  const char* name;
  bool (*set)(Options& options, const YAML::Node& node);
};

bool read_text(const YAML::Node& node, std::string& out) {
  if (!node.IsScalar()) return false;
  out = node.Scalar();
  return true;
}

template <typename T>
bool read_integer(const YAML::Node& node, T min, T max, T& out) {
  if (!node.IsScalar()) return false;
  const auto value = parse_int<T>(node.Scalar());
  if (!value || *value < min || *value > max) return false;
  out = *value;
  return true;
}

bool read_flag(const YAML::Node& node, bool& out) {
  if (!node.IsScalar() || (node.Scalar() != "true" && node.Scalar() != "false")) return false;
  out = node.Scalar() == "true";
  return true;
}

bool read_list(const YAML::Node& node, std::vector<std::string>& out) {
  out.clear();
  if (node.IsScalar()) {
    out.push_back(node.Scalar());
    return true;
  }
  if (!node.IsSequence()) return false;
  for (const YAML::Node& entry : node) {
    if (!entry.IsScalar()) return false;
    out.push_back(entry.Scalar());
  }
  return true;
}

/// Keys of a model.
constexpr ConfigKey<ModelSettings> kModelKeys[] = {
    {"codec", [](ModelSettings& o, const YAML::Node& n) { return read_text(n, o.codec); }},
    {"alias", [](ModelSettings& o, const YAML::Node& n) { return read_list(n, o.alias); }},
    {"threads",
     [](ModelSettings& o, const YAML::Node& n) { return read_integer(n, 1, 1024, o.threads); }},
    {"ctx",
     [](ModelSettings& o, const YAML::Node& n) {
       return read_integer<int64_t>(n, 16, limits::kModelContext, o.ctx);
     }},
    {"int8",
     [](ModelSettings& o, const YAML::Node& n) { return YAML::convert<bool>::decode(n, o.int8); }},
    {"parallel",
     [](ModelSettings& o, const YAML::Node& n) { return read_integer(n, 1, 256, o.parallel); }},
    {"step-tokens",
     [](ModelSettings& o, const YAML::Node& n) {
       return read_integer(n, 1, kStepTokensMax, o.step_tokens);
     }},
    {"max-queue",
     [](ModelSettings& o, const YAML::Node& n) {
       return read_integer(n, 1, limits::kQueuedRequests, o.max_queue);
     }},
    {"queue-wait",
     [](ModelSettings& o, const YAML::Node& n) {
       return read_integer<int64_t>(n, 0, kQueueSecondsMax, o.queue_wait);
     }},
    {"latency-target",
     [](ModelSettings& o, const YAML::Node& n) {
       return read_integer<int64_t>(n, 0, kLatencyMillisMax, o.latency_target);
     }},
    {"kv-type",
     [](ModelSettings& o, const YAML::Node& n) {
       return read_text(n, o.kv_type) && kv_type_from(o.kv_type).ok();
     }},
    {"latent",
     [](ModelSettings& o, const YAML::Node& n) {
       return read_text(n, o.latent) && latent_form_from(o.latent).ok();
     }},
    {"kv-memory",
     [](ModelSettings& o, const YAML::Node& n) {
       return read_text(n, o.kv_memory) && parse_bytes(o.kv_memory).has_value();
     }},
    {"speculate",
     [](ModelSettings& o, const YAML::Node& n) {
       return read_text(n, o.speculation.mode) && is_speculation_mode(o.speculation.mode);
     }},
    {"draft-model",
     [](ModelSettings& o, const YAML::Node& n) { return read_text(n, o.speculation.draft_model); }},
    {"kv-cache-ram",
     [](ModelSettings& o, const YAML::Node& n) {
       return read_text(n, o.kv_cache_ram) && parse_bytes(o.kv_cache_ram).has_value();
     }},
    {"kv-cache-ram-seconds",
     [](ModelSettings& o, const YAML::Node& n) {
       return read_integer<int64_t>(n, 0, kSecondsMax, o.kv_cache_ram_seconds);
     }},
    {"kv-cache-disk",
     [](ModelSettings& o, const YAML::Node& n) {
       return read_text(n, o.kv_cache_disk) && parse_bytes(o.kv_cache_disk).has_value();
     }},
    {"kv-cache-disk-seconds",
     [](ModelSettings& o, const YAML::Node& n) {
       return read_integer<int64_t>(n, 0, kSecondsMax, o.kv_cache_disk_seconds);
     }},
    {"kv-cache-dir",
     [](ModelSettings& o, const YAML::Node& n) { return read_text(n, o.kv_cache_dir); }},
    {"keep-alive",
     [](ModelSettings& o, const YAML::Node& n) {
       return read_text(n, o.keep_alive) && parse_keep_alive(o.keep_alive).has_value();
     }},
};

/// Keys of the server alone.
constexpr ConfigKey<ServeOptions> kServerKeys[] = {
    {"model", [](ServeOptions& o, const YAML::Node& n) { return read_list(n, o.model); }},
    {"host", [](ServeOptions& o, const YAML::Node& n) { return read_text(n, o.host); }},
    {"port",
     [](ServeOptions& o, const YAML::Node& n) { return read_integer(n, 0, 65535, o.port); }},
    {"log-level",
     [](ServeOptions& o, const YAML::Node& n) {
       return read_text(n, o.log_level) && log_level_from(o.log_level).has_value();
     }},
    {"api-key", [](ServeOptions& o, const YAML::Node& n) { return read_text(n, o.api_key); }},
    {"strict-params",
     [](ServeOptions& o, const YAML::Node& n) { return read_flag(n, o.strict_params); }},
    {"allow-host", [](ServeOptions& o, const YAML::Node& n) { return read_list(n, o.allow_host); }},
    {"map", [](ServeOptions& o, const YAML::Node& n) { return read_list(n, o.map); }},
    {"allow-store",
     [](ServeOptions& o, const YAML::Node& n) { return read_flag(n, o.allow_store); }},
    {"allow-pull",
     [](ServeOptions& o, const YAML::Node& n) {
       return read_text(n, o.allow_pull) && parse_bytes(o.allow_pull).has_value();
     }},
    {"model-memory",
     [](ServeOptions& o, const YAML::Node& n) {
       return read_text(n, o.model_memory) && parse_bytes(o.model_memory).has_value();
     }},
    {"responses-disk",
     [](ServeOptions& o, const YAML::Node& n) {
       return read_text(n, o.responses_disk) && parse_bytes(o.responses_disk).has_value();
     }},
    {"responses-days",
     [](ServeOptions& o, const YAML::Node& n) {
       return read_integer<int64_t>(n, 1, kResponseDaysMax, o.responses_days);
     }},
    {"responses-dir",
     [](ServeOptions& o, const YAML::Node& n) { return read_text(n, o.responses_dir); }},
    {"load-wait",
     [](ServeOptions& o, const YAML::Node& n) {
       return read_integer<int64_t>(n, 0, kQueueSecondsMax, o.load_wait);
     }},
};

Error unknown_key(const std::string& file, const std::string& key,
                  const std::vector<std::string>& names) {
  const std::string near = did_you_mean(near_names(key, names));
  return Error{Code::kInvalidArgument, fmt::format("{}: unknown key '{}'", file, key),
               near.empty() ? "keys are the flags of `hadal serve --help` without dashes" : near};
}

Error bad_value(const std::string& file, const std::string& key) {
  return Error{Code::kInvalidArgument,
               fmt::format("{}: the value of '{}' is not what it takes", file, key),
               fmt::format("`hadal serve --help` explains --{}", key)};
}

Status apply_entry(const CLI::App& command, const std::string& key, const YAML::Node& value,
                   const std::string& file, ServeOptions& options) {
  std::vector<std::string> names = {"models", "aliases"};
  const auto apply = [&](const auto& keys) -> std::optional<Status> {
    for (const auto& known : keys) {
      names.emplace_back(known.name);
      if (key != known.name) continue;
      if (command.get_option("--" + key)->count() > 0) return Status{};  // the command line wins
      return known.set(options, value) ? Status{} : Status{bad_value(file, key)};
    }
    return std::nullopt;
  };
  if (const auto done = apply(kModelKeys)) return *done;
  if (const auto done = apply(kServerKeys)) return *done;
  return unknown_key(file, key, names);
}

/// Pattern to model, as --map has it.
Status apply_aliases(const YAML::Node& table, const std::string& file, ServeOptions& options) {
  if (!table.IsMap()) {
    return Error{Code::kInvalidArgument, file + ": 'aliases' are lines like 'claude-*: MODEL'"};
  }
  for (const auto& entry : table) {
    if (!entry.second.IsScalar()) return bad_value(file, "aliases");
    options.map.push_back(entry.first.Scalar() + "=" + entry.second.Scalar());
  }
  return {};
}

Status apply_model(const YAML::Node& node, const std::string& file, ServeOptions& options) {
  ListedModel listed{.model = {}, .settings = options.own_settings()};
  if (node.IsScalar()) listed.model = node.Scalar();
  if (node.IsMap()) {
    for (const auto& entry : node) {
      const std::string key = entry.first.Scalar();
      std::vector<std::string> names = {"model", "preload"};
      bool known = key == "model" || key == "preload";
      bool good = key == "model"     ? read_text(entry.second, listed.model)
                  : key == "preload" ? read_flag(entry.second, listed.settings.preload)
                                     : true;
      for (const auto& row : kModelKeys) {
        names.emplace_back(row.name);
        if (key != row.name) continue;
        known = true;
        good = row.set(listed.settings, entry.second);
      }
      if (!known) return unknown_key(file, key, names);
      if (!good) return bad_value(file, key);
    }
  }
  if (listed.model.empty()) {
    return Error{Code::kInvalidArgument,
                 file + ": each entry of 'models' is a name, or has the key 'model'"};
  }
  options.models.push_back(std::move(listed));
  return {};
}

}  // namespace

ModelSettings ServeOptions::own_settings() const {
  ModelSettings out = *this;
  out.alias.clear();
  out.preload = false;
  out.kv_cache_ram.clear();
  out.kv_cache_disk.clear();
  return out;
}

std::vector<ListedModel> ServeOptions::served() const {
  std::vector<ListedModel> out;
  for (const std::string& name : model) out.push_back({name, own_settings()});
  if (!out.empty()) out.front().settings = *this;
  out.insert(out.end(), models.begin(), models.end());
  if (out.empty()) return out;
  ModelSettings& first = out.front().settings;
  first.preload = true;
  if (first.kv_cache_ram.empty()) first.kv_cache_ram = kv_cache_ram;
  if (first.kv_cache_disk.empty()) first.kv_cache_disk = kv_cache_disk;
  return out;
}

std::optional<LogLevel> log_level_from(std::string_view name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "warn") return LogLevel::kWarn;
  if (name == "error") return LogLevel::kError;
  return std::nullopt;
}

namespace {

std::string check_size(const std::string& text) {
  return parse_bytes(text).has_value() ? "" : "'" + text + "' is no size such as 4GiB";
}

void add_kv_cache_options(CLI::App& command, ServeOptions& o) {
  command
      .add_option("--kv-cache-ram", o.kv_cache_ram,
                  "further memory for keys and values of prompts that left --kv-memory (default: "
                  "none)")
      ->check(check_size)
      ->type_name("SIZE");
  command
      .add_option("--kv-cache-disk", o.kv_cache_disk,
                  "room on disk for keys and values of prompts; they are found again after a "
                  "restart (default: none)")
      ->check(check_size)
      ->type_name("SIZE");
  command
      .add_option("--kv-cache-dir", o.kv_cache_dir,
                  "where --kv-cache-disk keeps its files (default: kv in HADAL_HOME)")
      ->type_name("DIR");
  for (const auto& [name, seconds] :
       {std::pair("--kv-cache-ram-seconds", &o.kv_cache_ram_seconds),
        std::pair("--kv-cache-disk-seconds", &o.kv_cache_disk_seconds)}) {
    command
        .add_option(name, *seconds, "forget there what nobody used for so long (default: never)")
        ->check(CLI::Range(int64_t{0}, kSecondsMax))
        ->type_name("N");
  }
}

void add_response_options(CLI::App& command, ServeOptions& o) {
  command
      .add_option("--responses-disk", o.responses_disk,
                  "room on disk for stored answers of the Responses API (default 1GiB; 0: they are "
                  "kept in memory only)")
      ->check(check_size)
      ->type_name("SIZE");
  command
      .add_option("--responses-days", o.responses_days,
                  "how long stored answers are kept there (default 30)")
      ->check(CLI::Range(int64_t{1}, kResponseDaysMax))
      ->type_name("N");
  command
      .add_option("--responses-dir", o.responses_dir,
                  "where they are kept (default: responses in HADAL_HOME)")
      ->type_name("DIR");
}

std::string check_keep_alive(const std::string& text) {
  return parse_keep_alive(text).has_value() ? "" : "'" + text + "' is no duration such as 5m";
}

std::string check_map(const std::string& text) {
  const size_t equals = text.find('=');
  const bool good = equals != std::string::npos && equals > 0 && equals + 1 < text.size();
  return good ? "" : "'" + text + "' is not of the form PATTERN=MODEL";
}

void add_model_options(CLI::App& command, ServeOptions& o) {
  command
      .add_option("-m,--model", o.model,
                  "a name from `hadal list`, or a path to a .gguf file; several: the first is the "
                  "default one, others are loaded when they are asked for")
      ->allow_extra_args(false)
      ->type_name("M");
  command.add_option("--alias", o.alias, "the (first) model's name for clients; may be repeated")
      ->allow_extra_args(false)
      ->type_name("NAME");
  command
      .add_option("--map", o.map,
                  "a name that clients send, or a pattern with one *, and the model it means: "
                  "'claude-*=deepseek-v4'; may be repeated")
      ->allow_extra_args(false)
      ->check(check_map)
      ->type_name("PATTERN=MODEL");
  command
      .add_option("--keep-alive", o.keep_alive,
                  "how long a model stays loaded when nobody uses it, such as 5m (default -1: "
                  "until another one needs its memory)")
      ->check(check_keep_alive)
      ->type_name("TIME");
  command
      .add_option("--model-memory", o.model_memory,
                  "memory that loaded models may take together, with keys and values (default: "
                  "what the machine has but for a tenth)")
      ->check(check_size)
      ->type_name("SIZE");
  command
      .add_option("--load-wait", o.load_wait,
                  "seconds that a request may wait for its model to be loaded (default 300), then "
                  "it is told to come back later (503)")
      ->check(CLI::Range(int64_t{0}, kQueueSecondsMax))
      ->type_name("S");
  command.add_flag("--allow-store", o.allow_store,
                   "requests may name every model of `hadal list`, not only those named here");
  command
      .add_option("--allow-pull", o.allow_pull,
                  "requests may bring models from the catalogue and the hubs (/api/pull) until the "
                  "store holds SIZE, and copy and remove what is in it; with --allow-store")
      ->check(check_size)
      ->type_name("SIZE");
}

void add_queue_options(CLI::App& command, ServeOptions& o) {
  command
      .add_option("--max-queue", o.max_queue,
                  "requests that may wait for their turn (default 256); more are told to come back "
                  "later (429)")
      ->check(CLI::Range(1, limits::kQueuedRequests))
      ->type_name("N");
  command
      .add_option("--queue-wait", o.queue_wait,
                  "seconds that a request may wait for its turn (default 120; 0: for ever), then "
                  "it is told to come back later (503)")
      ->check(CLI::Range(int64_t{0}, kQueueSecondsMax))
      ->type_name("S");
  command
      .add_option("--latency-target", o.latency_target,
                  "milliseconds between two tokens of an answer that new prompts should not exceed "
                  "(default 50; 0: prompts first)")
      ->check(CLI::Range(int64_t{0}, kLatencyMillisMax))
      ->type_name("MS");
  command
      .add_option("--step-tokens", o.step_tokens, "tokens computed at once, at most (default 512)")
      ->check(CLI::Range(1, kStepTokensMax))
      ->type_name("N");
}

}  // namespace

void add_serve_options(CLI::App& command, ServeOptions& o) {
  add_model_options(command, o);
  command
      .add_option("--host", o.host, "address to listen on (default 127.0.0.1: this machine only)")
      ->type_name("ADDRESS");
  command.add_option("--port", o.port, "port to listen on (default 8000; 0: any free one)")
      ->check(CLI::Range(0, 65535))
      ->type_name("N");
  command.add_option("--codec", o.codec, "write prompts and read answers as NAME does")
      ->type_name("NAME");
  command
      .add_option("-t,--threads", o.threads, "threads to compute with (default: the cores at hand)")
      ->check(CLI::Range(1, 1024))
      ->type_name("T");
  command
      .add_option("--ctx", o.ctx,
                  "tokens of prompt and answer together (default: as trained, at most 8192)")
      ->check(CLI::Range(int64_t{16}, limits::kModelContext))
      ->type_name("N");
  command.add_option("--parallel", o.parallel, "requests answered at once (default 8)")
      ->check(CLI::Range(1, 256))
      ->type_name("N");
  command.add_flag("--int8", o.int8, "compute an embedding or reranking model with 8 bits");
  add_queue_options(command, o);
  add_kv_option(command, o.kv_type);
  add_latent_option(command, o.latent);
  add_speculation_options(command, o.speculation);
  command
      .add_option(
          "--kv-memory", o.kv_memory,
          "memory for keys and values, of running requests and of prefixes kept for later "
          "ones, such as 4GiB (default: what all --parallel requests can fill, at most half "
          "of the machine's)")
      ->check(check_size)
      ->type_name("SIZE");
  add_kv_cache_options(command, o);
  add_response_options(command, o);
  command
      .add_option("--log-level", o.log_level,
                  "debug, info (default: one line per request), warn or error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
      ->type_name("LEVEL");
  command
      .add_option("--api-key", o.api_key, "ask clients for this key (Authorization: Bearer KEY)")
      ->type_name("KEY");
  command.add_option("--allow-host", o.allow_host, "a further name this server may be called by")
      ->type_name("NAME");
  command.add_flag("--strict-params", o.strict_params,
                   "refuse requests with members that the endpoint does not know");
  command.add_option("--config", o.config, "YAML file with these options (the command line wins)")
      ->type_name("FILE");
}

Status apply_config_text(const CLI::App& command, const std::string& text, const std::string& name,
                         ServeOptions& options) {
  try {
    const YAML::Node root = YAML::Load(text);
    if (root.IsNull()) return {};
    if (!root.IsMap()) {
      return Error{Code::kInvalidArgument, name + ": expected lines like 'port: 8000'"};
    }
    for (const auto& entry : root) {
      const std::string key = entry.first.Scalar();
      if (key == "models" || key == "aliases") continue;
      TRY_STATUS(apply_entry(command, key, entry.second, name, options));
    }
    // Models begin with what the whole file says.
    if (const YAML::Node models = root["models"]) {
      if (!models.IsSequence()) return bad_value(name, "models");
      for (const YAML::Node& node : models) TRY_STATUS(apply_model(node, name, options));
    }
    if (const YAML::Node aliases = root["aliases"]) return apply_aliases(aliases, name, options);
    return {};
  } catch (const YAML::Exception& problem) {
    return Error{Code::kInvalidArgument, name + ": " + problem.what()};
  }
}

Status apply_config_file(const CLI::App& command, ServeOptions& options) {
  if (options.config.empty()) return {};
  TRY(const std::string text, Env::real().read_file(options.config, limits::kConfigFileBytes));
  return apply_config_text(command, text, options.config, options);
}

}  // namespace hadal
