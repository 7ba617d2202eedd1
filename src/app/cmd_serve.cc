/// hadal serve: loads models and answers requests until SIGINT or SIGTERM.
///
/// Order of life: server first (a taken port shows at once, /health answers while models load),
/// then models and their engines; at the end the engines drain before the server goes.
#include <cerrno>
#include <csignal>
#include <optional>
#include <set>
#include <string>

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <unistd.h>

#include "app/app.h"
#include "app/client_store.h"
#include "app/endpoints.h"
#include "app/memory.h"
#include "app/model_hub.h"
#include "app/output.h"
#include "app/serve_options.h"
#include "app/served_engine.h"
#include "base/env.h"
#include "base/log.h"
#include "base/parse.h"
#include "net/access.h"
#include "net/server.h"
#include "serve/response_archive.h"
#include "serve/service.h"
#include "store/answer_records.h"

namespace hadal {
namespace {

constexpr int64_t kDrainMicros = 10'000'000;
constexpr int64_t kFlushMicros = 2'000'000;

int stop_pipe[2] = {-1, -1};

/// First signal: an orderly end. Second: the default, at once.
void on_stop_signal(int signal) {
  const char byte = 1;
  const ssize_t written = ::write(stop_pipe[1], &byte, 1);
  (void)written;
  std::signal(signal, SIG_DFL);
}

Status catch_stop_signals() {
  if (::pipe(stop_pipe) != 0) return Error{Code::kIo, "cannot make a pipe"};
  struct sigaction action = {};
  action.sa_handler = on_stop_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  return {};
}

void wait_for_stop_signal() {
  char byte;
  while (::read(stop_pipe[0], &byte, 1) < 0 && errno == EINTR) {
  }
}

/// The key as OpenAI's clients send it (Authorization: Bearer) or as Anthropic's do (x-api-key),
/// compared in constant time.
bool has_key(const HttpRequest& request, const std::string& key) {
  const auto fits = [&](std::string_view given) {
    return given.size() == key.size() && CRYPTO_memcmp(given.data(), key.data(), key.size()) == 0;
  };
  constexpr std::string_view kBearer = "Bearer ";
  const std::string* header = request.header("authorization");
  if (header != nullptr && header->starts_with(kBearer) &&
      fits(std::string_view(*header).substr(kBearer.size()))) {
    return true;
  }
  const std::string* api_key = request.header("x-api-key");
  return api_key != nullptr && fits(*api_key);
}

ServerOptions server_options(const ServeOptions& options) {
  ServerOptions out;
  out.host = options.host;
  out.port = static_cast<uint16_t>(options.port);
  out.allowed_hosts = options.allow_host;
  char own_name[256] = {};
  if (::gethostname(own_name, sizeof(own_name) - 1) == 0) out.allowed_hosts.push_back(own_name);
  out.server_name = "hadal/" HADAL_VERSION;
  out.error_body = net_error_body;
  if (!options.api_key.empty()) {
    out.authorized = [key = options.api_key](const HttpRequest& r) { return has_key(r, key); };
  }
  return out;
}

void warn_when_open(const ServeOptions& options) {
  const std::string host =
      options.host.find(':') == std::string::npos ? options.host : "[" + options.host + "]";
  if (is_loopback_host(host) || !options.api_key.empty()) return;
  print_note(
      fmt::format("WARNING: listening on {} without an API key: everyone who reaches this "
                  "address can use the model.",
                  options.host));
  print_note("         Use --api-key KEY, or --host 127.0.0.1 for this machine only.");
}

void print_greeting(const ServeOptions& options, uint16_t port, const ModelHub& hub) {
  const std::vector<ModelEntry> models = hub.entries();
  const ModelEntry& model = models.front();
  const bool everywhere = options.host == "0.0.0.0" || options.host == "::";
  const std::string host = everywhere                                    ? "127.0.0.1"
                           : options.host.find(':') == std::string::npos ? options.host
                                                                         : "[" + options.host + "]";
  const std::string url = fmt::format("http://{}:{}", host, port);
  std::string name;
  append_json_string(name, model.id);
  const std::string key = options.api_key.empty() ? "" : " -H 'Authorization: Bearer YOUR_KEY'";
  print_note(
      fmt::format("Hadal serves {} ({} tokens of context) at {}", model.id, model.n_ctx, url));
  if (models.size() > 1) {
    print_note(fmt::format("  {} more     loaded when they are asked for", models.size() - 1));
  }
  print_note(fmt::format("  web page    {}/", url));
  print_note(fmt::format("  OpenAI API  {}/v1", url));
  if (const json::value* task = model.facts.if_contains("task")) {
    const bool embeds = *task == "embedding";
    print_note(fmt::format(
        "  try it      curl {}/v1/{}{} -H 'Content-Type: application/json' -d "
        "'{{\"model\":{},{}}}'",
        url, embeds ? "embeddings" : "rerank", key, name,
        embeds ? "\"input\":\"Hello\"" : "\"query\":\"Hello\",\"documents\":[\"Hi\",\"Rain\"]"));
    print_note("Ctrl-C ends it.");
    return;
  }
  print_note(fmt::format(
      "  try it      curl {}/v1/chat/completions{} -H 'Content-Type: application/json' "
      "-d '{{\"model\":{},\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'",
      url, key, name));
  print_note("Ctrl-C ends it.");
}

/// Names must mean one model each.
Status check_names(const std::vector<HubModel>& models, const std::vector<ModelAlias>& aliases,
                   bool allow_store) {
  std::set<std::string> names;
  for (const HubModel& model : models) {
    std::vector<std::string> own = model.aliases;
    own.push_back(model.id);
    for (const std::string& name : own) {
      if (names.insert(name).second) continue;
      return Error{Code::kInvalidArgument, fmt::format("two models are called '{}'", name),
                   "name them with --alias, or with the key 'alias' in the file"};
    }
  }
  for (const ModelAlias& alias : aliases) {
    if (allow_store || names.contains(alias.model)) continue;
    return Error{
        Code::kInvalidArgument,
        fmt::format("'{}' means the model '{}', which is not served", alias.pattern, alias.model),
        did_you_mean(near_names(alias.model, {names.begin(), names.end()}))};
  }
  return {};
}

std::vector<ModelAlias> alias_table(const ServeOptions& options) {
  std::vector<ModelAlias> table;
  for (const std::string& entry : options.map) {
    const size_t equals = entry.find('=');
    table.push_back({entry.substr(0, equals), entry.substr(equals + 1)});
  }
  return table;
}

/// A tenth stays for the rest of the program and the system.
Result<HubOptions> hub_options(const ServeOptions& options) {
  HubOptions out{.wait_micros = options.load_wait * 1'000'000};
  const uint64_t machine = machine_memory_bytes();
  if (machine > 0) out.memory_bytes = machine - machine / 10;
  if (const auto asked = parse_bytes(options.model_memory)) {
    if (machine > 0 && *asked > machine) {
      return Error{Code::kInvalidArgument,
                   fmt::format("--model-memory {} is more than the machine has ({:.1f} GiB)",
                               options.model_memory, static_cast<double>(machine) / 0x1p30)};
    }
    out.memory_bytes = *asked;
    out.memory_is_hard = true;
  }
  return out;
}

/// Files of the models that are served by name, and of those that guess for them.
std::vector<std::filesystem::path> files_of(const ServeOptions& options, const Settings& settings) {
  std::vector<std::filesystem::path> files;
  for (const ListedModel& listed : options.served()) {
    for (const std::string& name : {listed.model, listed.settings.speculation.draft_model}) {
      const auto path = find_model(name, settings);
      std::error_code failed;
      if (path.ok()) files.push_back(std::filesystem::canonical(path.value(), failed));
    }
  }
  return files;
}

/// Where stored answers outlive the program; null: nowhere. A disk that cannot be used is told of
/// and done without.
std::unique_ptr<ResponseArchive> open_archive(const ServeOptions& options,
                                              const Settings& settings) {
  const uint64_t bytes = parse_bytes(options.responses_disk).value_or(0);
  if (bytes == 0) return nullptr;
  constexpr int64_t kDayMicros = 86'400'000'000;
  Env& env = Env::real();
  auto records = AnswerRecords::open(
      {.directory = options.responses_dir.empty() ? settings.responses_directory()
                                                  : std::filesystem::path(options.responses_dir),
       .bytes_max = bytes,
       .age_micros_max = options.responses_days * kDayMicros},
      env.unix_micros());
  if (!records.ok()) {
    log_event(LogLevel::kWarn, "responses_in_memory_only", {{"reason", records.error().text()}});
    return nullptr;
  }
  log_event(LogLevel::kInfo, "responses_on_disk",
            {{"file", records.value()->file().string()},
             {"answers", records.value()->count()},
             {"bytes", records.value()->bytes()},
             {"days", options.responses_days}});
  return std::make_unique<ResponseArchive>(std::move(records).value(), env);
}

/// The hub's models go before the server does, whose clients they still hear of it.
struct EndOfModels {
  ModelHub& hub;
  std::optional<ClientStore>& store;
  Server& server;
  ~EndOfModels() {
    server.stop(0);
    hub.shutdown();
    if (store) store->shutdown();
  }
};

Result<int> serve(const ServeOptions& options, const Settings& settings) {
  set_log_level(log_level_from(options.log_level).value_or(LogLevel::kInfo));
  const LogWriter log;  // what ends a start in vain is printed after its end
  std::optional<ModelSettings> store_settings;
  if (options.names_store()) store_settings = options.own_settings();
  EngineLoader loader(settings, store_settings);
  std::vector<HubModel> models;
  for (const ListedModel& listed : options.served()) {
    TRY(HubModel model, loader.list(listed));
    models.push_back(std::move(model));
  }
  TRY_STATUS(check_names(models, alias_table(options), options.names_store()));
  TRY(const HubOptions limits, hub_options(options));
  TRY(const WebPack pack, WebPack::parse(WebPack::embedded()));
  warn_when_open(options);
  ModelHub hub(Env::real(), loader, std::move(models), alias_table(options), limits);
  Service service(Env::real(), hub);
  if (options.strict_params) service.set_strict();
  std::optional<ClientStore> store;
  if (const auto bytes = parse_bytes(options.allow_pull)) {
    store.emplace(settings, hub, ClientStore::Limits{*bytes, files_of(options, settings)});
    service.set_store(*store);
  }
  service.responses().keep_in(open_archive(options, settings));
  TRY(auto server, Server::start(server_options(options), Router(make_routes(service, pack))));
  const EndOfModels end{hub, store, *server};
  TRY_STATUS(hub.preload());
  TRY_STATUS(catch_stop_signals());
  print_greeting(options, server->port(), hub);
  wait_for_stop_signal();
  print_note("stopping: running answers may end");
  service.begin_drain();
  hub.drain(kDrainMicros);
  if (store) store->shutdown();
  hub.stop();                  // who is still there hears of it...
  server->stop(kFlushMicros);  // ...and answers reach their clients
  return kExitOk;
}

void add_serve(CLI::App& command, const Settings& settings, Action& run) {
  static ServeOptions options;
  add_serve_options(command, options);
  run = [&command, &settings]() -> Result<int> {
    TRY_STATUS(apply_config_file(command, options));
    if (options.model.empty() && options.models.empty()) {
      return usage_error("no model is named", "use --model NAME; `hadal list` shows the names");
    }
    return serve(options, settings);
  };
}

}  // namespace

extern const Subcommand kServeCommand;
const Subcommand kServeCommand = {"serve", "answer requests over HTTP (OpenAI API) and a web page",
                                  add_serve};

}  // namespace hadal
