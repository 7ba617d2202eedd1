/// hadal serve: loads a model and answers requests until SIGINT or SIGTERM.
///
/// Order of life: server first (a taken port shows at once, /health answers while the model loads),
/// then model and engine; at the end the engine drains before the server goes.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <string>

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <unistd.h>

#include "app/app.h"
#include "app/endpoints.h"
#include "app/generate.h"
#include "app/kv_tiers.h"
#include "app/memory.h"
#include "app/options.h"
#include "app/output.h"
#include "app/serve_options.h"
#include "base/env.h"
#include "base/log.h"
#include "base/parse.h"
#include "net/access.h"
#include "net/server.h"
#include "serve/prompt.h"
#include "serve/service.h"

namespace hadal {
namespace {

constexpr int64_t kDefaultContextMax = 8192;
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

/// The engine as serve sees it.
class EngineBackend final : public TokenBackend {
 public:
  /// `pages` may be null.
  EngineBackend(Engine& engine, const TieredPages* pages) : engine_(engine), pages_(pages) {}
  Result<RequestId> submit(GenerateRequest request, std::unique_ptr<TokenSink> sink) override {
    return engine_.submit(std::move(request), std::move(sink));
  }
  void cancel(RequestId id) override { engine_.cancel(id); }
  EngineStats stats() const override {
    EngineStats stats = engine_.stats();
    if (pages_ != nullptr) {
      stats.ram_tier = pages_->ram_stats();
      stats.disk_tier = pages_->disk_stats();
    }
    return stats;
  }

 private:
  Engine& engine_;
  const TieredPages* pages_;
};

/// Bearer key, compared in constant time.
bool has_key(const HttpRequest& request, const std::string& key) {
  constexpr std::string_view kBearer = "Bearer ";
  const std::string* header = request.header("authorization");
  if (header == nullptr || !header->starts_with(kBearer)) return false;
  const std::string_view given = std::string_view(*header).substr(kBearer.size());
  return given.size() == key.size() && CRYPTO_memcmp(given.data(), key.data(), key.size()) == 0;
}

ServerOptions server_options(const ServeOptions& options) {
  ServerOptions out;
  out.host = options.host;
  out.port = static_cast<uint16_t>(options.port);
  out.allowed_hosts = options.allow_host;
  char own_name[256] = {};
  if (::gethostname(own_name, sizeof(own_name) - 1) == 0) out.allowed_hosts.push_back(own_name);
  out.server_name = "hadal/" HADAL_VERSION;
  out.error_body = openai_error_body;
  if (!options.api_key.empty()) {
    out.authorized = [key = options.api_key](const HttpRequest& r) { return has_key(r, key); };
  }
  return out;
}

/// Sampling that the file itself recommends (general.sampling.*), else plain sampling at 1.
SamplingParams file_defaults(const GgufFile& file) {
  SamplingParams params;
  const auto read = [&](const char* key, auto& value) {
    const auto number = file.number(std::string("general.sampling.") + key);
    if (number.ok() && number.value().has_value()) {
      value = static_cast<std::remove_reference_t<decltype(value)>>(*number.value());
    }
  };
  SamplingParams wanted;
  read("temp", wanted.temperature);
  read("top_k", wanted.top_k);
  read("top_p", wanted.top_p);
  read("min_p", wanted.min_p);
  read("penalty_repeat", wanted.repetition_penalty);
  return validate(wanted, 1 << 30).ok() ? wanted : params;
}

std::unique_ptr<ServedModel> describe(const LoadedModel& loaded, const std::string& alias,
                                      const Codec& codec, int64_t n_ctx) {
  auto model = std::make_unique<ServedModel>();
  model->id = alias.empty() ? loaded.name : alias;
  if (!alias.empty() && alias != loaded.name) model->aliases.push_back(loaded.name);
  model->tokenizer = loaded.tokenizer.get();
  model->chat_template = loaded.chat_template.get();
  model->chosen_codec = codec;
  model->n_ctx = n_ctx;
  model->created = Env::real().unix_micros() / 1'000'000;
  model->defaults = file_defaults(*loaded.file);
  const ModelConfig& config = loaded.model->config();
  model->facts["architecture"] = config.architecture;
  model->facts["n_vocab"] = config.n_vocab;
  model->facts["n_ctx_train"] = config.n_ctx_train;
  model->facts["n_layers"] = config.n_layers;
  model->facts["d_model"] = config.d_model;
  model->facts["file_bytes"] = loaded.file->file_bytes();
  model->facts["chat_template"] = loaded.chat_template != nullptr;
  model->facts["codec"] = codec.name();
  return model;
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

void print_greeting(const ServeOptions& options, uint16_t port, const ServedModel& model) {
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
  print_note(fmt::format("  web page    {}/", url));
  print_note(fmt::format("  OpenAI API  {}/v1", url));
  print_note(fmt::format(
      "  try it      curl {}/v1/chat/completions{} -H 'Content-Type: application/json' "
      "-d '{{\"model\":{},\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'",
      url, key, name));
  print_note("Ctrl-C ends it.");
}

/// Prefixes stay in memory until others need it, so the whole budget is used in time. 0: what all
/// requests can fill.
Result<uint64_t> kv_bytes_for(const ServeOptions& options, const Model& model, int64_t n_ctx) {
  const uint64_t machine = machine_memory_bytes();
  if (const auto asked = parse_bytes(options.kv_memory)) {
    if (machine == 0 || *asked < machine) return std::max<uint64_t>(*asked, 1);
    return Error{Code::kInvalidArgument,
                 fmt::format("--kv-memory {} is more than the machine has ({:.1f} GiB)",
                             options.kv_memory, static_cast<double>(machine) / 0x1p30)};
  }
  const uint64_t all =
      model.kv_layout().bytes_per_token() * static_cast<uint64_t>(n_ctx * options.parallel);
  return machine == 0 || all <= machine / 2 ? 0 : machine / 2;
}

int64_t context_for(const ServeOptions& options, const Model& model) {
  const int64_t trained = model.n_ctx_train() > 0 ? model.n_ctx_train() : kDefaultContextMax;
  return options.ctx > 0 ? options.ctx : std::min(trained, kDefaultContextMax);
}

Result<int> serve(const ServeOptions& options, const Settings& settings) {
  set_log_level(log_level_from(options.log_level).value_or(LogLevel::kInfo));
  TRY(const std::filesystem::path path, find_model(options.model, settings));
  (void)path;
  TRY(const KvType kv, kv_type_from(options.kv_type));
  TRY(const LatentForm latent, latent_form_from(options.latent));
  TRY(const WebPack pack, WebPack::parse(WebPack::embedded()));
  warn_when_open(options);
  Service service(Env::real());
  TRY(auto server, Server::start(server_options(options), Router(make_routes(service, pack))));
  TRY(LoadedModel loaded, open_model(options.model, options.threads, settings,
                                     {.kv_type = kv,
                                      .latent_form = latent,
                                      .predict = wants_prediction(options.speculation)}));
  if (!loaded.template_problem.empty()) {
    print_note("warning: " + loaded.template_problem + "; chats use a simple fallback format");
  }
  const int64_t context = context_for(options, *loaded.model);
  TRY(const uint64_t kv_bytes, kv_bytes_for(options, *loaded.model, context));
  TRY(Speculation speculation,
      open_speculation(options.speculation, loaded, kv, context, options.parallel, settings));
  TRY(const std::unique_ptr<TieredPages> pages, open_kv_tiers(options, loaded, settings));
  EngineOptions engine_options = {.n_ctx = context,
                                  .max_batch = options.parallel,
                                  .max_step_tokens = options.step_tokens,
                                  .max_queue = options.max_queue,
                                  .kv_bytes = kv_bytes,
                                  .max_queue_micros = options.queue_wait * 1'000'000,
                                  .step_target_micros = options.latency_target * 1000};
  if (pages != nullptr) {
    engine_options.model_fingerprint = pages->fingerprint();
    engine_options.tier = pages.get();
  }
  Engine engine(*loaded.model, engine_options, Env::real(), std::move(speculation.drafter));
  const int64_t n_ctx = engine.options().n_ctx;
  if (n_ctx < context) {
    print_note(fmt::format("warning: memory for keys and values holds a context of {} tokens only",
                           n_ctx));
  }
  EngineBackend backend(engine, pages.get());
  TRY(const Codec codec, codec_of(loaded, options.codec));
  auto model = describe(loaded, options.alias, codec, n_ctx);
  const ServedModel& served = *model;
  TRY_STATUS(catch_stop_signals());
  service.set_model(std::move(model), backend);
  print_greeting(options, server->port(), served);
  wait_for_stop_signal();
  print_note("stopping: running answers may end");
  service.begin_drain();
  engine.drain(kDrainMicros);
  if (pages != nullptr) begin_keeping(*pages);
  engine.stop();               // who is still there hears of it...
  server->stop(kFlushMicros);  // ...and answers reach their clients
  if (pages != nullptr) log_kv_tiers(*pages);
  return kExitOk;
}

void add_serve(CLI::App& command, const Settings& settings, Action& run) {
  static ServeOptions options;
  add_serve_options(command, options);
  run = [&command, &settings]() -> Result<int> {
    TRY_STATUS(apply_config_file(command, options));
    if (options.model.empty()) {
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
