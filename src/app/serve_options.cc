#include "app/serve_options.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "app/options.h"
#include "app/output.h"
#include "base/env.h"
#include "base/limits.h"
#include "base/parse.h"

namespace hadal {
namespace {

constexpr int kStepTokensMax = 16'384;
constexpr int64_t kQueueSecondsMax = limits::kQueueMicros / 1'000'000;
constexpr int64_t kLatencyMillisMax = 60'000;
constexpr int64_t kSecondsMax = 100LL * 365 * 86400;

/// One key of the file, its flag, and how its value is read. False: not of the right kind.
struct ConfigKey {
  const char* name;
  bool (*set)(ServeOptions& options, const YAML::Node& node);
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

constexpr ConfigKey kKeys[] = {
    {"model", [](ServeOptions& o, const YAML::Node& n) { return read_text(n, o.model); }},
    {"host", [](ServeOptions& o, const YAML::Node& n) { return read_text(n, o.host); }},
    {"port",
     [](ServeOptions& o, const YAML::Node& n) { return read_integer(n, 0, 65535, o.port); }},
    {"codec", [](ServeOptions& o, const YAML::Node& n) { return read_text(n, o.codec); }},
    {"alias", [](ServeOptions& o, const YAML::Node& n) { return read_text(n, o.alias); }},
    {"threads",
     [](ServeOptions& o, const YAML::Node& n) { return read_integer(n, 1, 1024, o.threads); }},
    {"ctx",
     [](ServeOptions& o, const YAML::Node& n) {
       return read_integer<int64_t>(n, 16, limits::kModelContext, o.ctx);
     }},
    {"parallel",
     [](ServeOptions& o, const YAML::Node& n) { return read_integer(n, 1, 256, o.parallel); }},
    {"step-tokens",
     [](ServeOptions& o, const YAML::Node& n) {
       return read_integer(n, 1, kStepTokensMax, o.step_tokens);
     }},
    {"max-queue",
     [](ServeOptions& o, const YAML::Node& n) {
       return read_integer(n, 1, limits::kQueuedRequests, o.max_queue);
     }},
    {"queue-wait",
     [](ServeOptions& o, const YAML::Node& n) {
       return read_integer<int64_t>(n, 0, kQueueSecondsMax, o.queue_wait);
     }},
    {"latency-target",
     [](ServeOptions& o, const YAML::Node& n) {
       return read_integer<int64_t>(n, 0, kLatencyMillisMax, o.latency_target);
     }},
    {"kv-type",
     [](ServeOptions& o, const YAML::Node& n) {
       return read_text(n, o.kv_type) && kv_type_from(o.kv_type).ok();
     }},
    {"latent",
     [](ServeOptions& o, const YAML::Node& n) {
       return read_text(n, o.latent) && latent_form_from(o.latent).ok();
     }},
    {"kv-memory",
     [](ServeOptions& o, const YAML::Node& n) {
       return read_text(n, o.kv_memory) && parse_bytes(o.kv_memory).has_value();
     }},
    {"speculate",
     [](ServeOptions& o, const YAML::Node& n) {
       return read_text(n, o.speculation.mode) && is_speculation_mode(o.speculation.mode);
     }},
    {"draft-model",
     [](ServeOptions& o, const YAML::Node& n) { return read_text(n, o.speculation.draft_model); }},
    {"kv-cache-ram",
     [](ServeOptions& o, const YAML::Node& n) {
       return read_text(n, o.kv_cache_ram) && parse_bytes(o.kv_cache_ram).has_value();
     }},
    {"kv-cache-ram-seconds",
     [](ServeOptions& o, const YAML::Node& n) {
       return read_integer<int64_t>(n, 0, kSecondsMax, o.kv_cache_ram_seconds);
     }},
    {"kv-cache-disk",
     [](ServeOptions& o, const YAML::Node& n) {
       return read_text(n, o.kv_cache_disk) && parse_bytes(o.kv_cache_disk).has_value();
     }},
    {"kv-cache-disk-seconds",
     [](ServeOptions& o, const YAML::Node& n) {
       return read_integer<int64_t>(n, 0, kSecondsMax, o.kv_cache_disk_seconds);
     }},
    {"kv-cache-dir",
     [](ServeOptions& o, const YAML::Node& n) { return read_text(n, o.kv_cache_dir); }},
    {"log-level",
     [](ServeOptions& o, const YAML::Node& n) {
       return read_text(n, o.log_level) && log_level_from(o.log_level).has_value();
     }},
    {"api-key", [](ServeOptions& o, const YAML::Node& n) { return read_text(n, o.api_key); }},
    {"allow-host", [](ServeOptions& o, const YAML::Node& n) { return read_list(n, o.allow_host); }},
};

Status apply_entry(const CLI::App& command, const std::string& key, const YAML::Node& value,
                   const std::string& name, ServeOptions& options) {
  std::vector<std::string> names;
  for (const ConfigKey& known : kKeys) {
    names.emplace_back(known.name);
    if (key != known.name) continue;
    if (command.get_option("--" + key)->count() > 0) return {};  // the command line wins
    if (known.set(options, value)) return {};
    return Error{Code::kInvalidArgument,
                 fmt::format("{}: the value of '{}' is not what it takes", name, key),
                 fmt::format("`hadal serve --help` explains --{}", key)};
  }
  const std::string near = did_you_mean(near_names(key, names));
  return Error{Code::kInvalidArgument, fmt::format("{}: unknown key '{}'", name, key),
               near.empty() ? "keys are the flags of `hadal serve --help` without dashes" : near};
}

}  // namespace

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
  command.add_option("-m,--model", o.model, "a name from `hadal list`, or a path to a .gguf file")
      ->type_name("M");
  command
      .add_option("--host", o.host, "address to listen on (default 127.0.0.1: this machine only)")
      ->type_name("ADDRESS");
  command.add_option("--port", o.port, "port to listen on (default 8000; 0: any free one)")
      ->check(CLI::Range(0, 65535))
      ->type_name("N");
  command.add_option("--codec", o.codec, "write prompts and read answers as NAME does")
      ->type_name("NAME");
  command.add_option("--alias", o.alias, "the model's name for clients")->type_name("NAME");
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
      TRY_STATUS(apply_entry(command, entry.first.Scalar(), entry.second, name, options));
    }
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
