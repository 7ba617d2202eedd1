#include "app/served_engine.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "app/embedded_model.h"
#include "app/encoder_host.h"
#include "app/generate.h"
#include "app/kv_tiers.h"
#include "app/large_model.h"
#include "app/memory.h"
#include "app/options.h"
#include "app/output.h"
#include "app/pull.h"
#include "app/sha256.h"
#include "app/store.h"
#include "base/env.h"
#include "base/parse.h"

namespace hadal {
namespace {

constexpr int64_t kDefaultContextMax = 8192;

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

std::unique_ptr<ServedModel> describe(const LoadedModel& loaded, const HubModel& listed,
                                      const Codec& codec, int64_t n_ctx) {
  auto model = std::make_unique<ServedModel>();
  model->id = listed.id;
  model->aliases = listed.aliases;
  model->tokenizer = loaded.tokenizer.get();
  model->chat_template = loaded.chat_template.get();
  model->chosen_codec = codec;
  model->n_ctx = n_ctx;
  model->created = Env::real().unix_micros() / 1'000'000;
  model->defaults = file_defaults(*loaded.file);
  model->facts = facts_of(*loaded.file);
  const ModelConfig& config = loaded.model->config();
  model->facts["n_vocab"] = config.n_vocab;
  model->facts["n_ctx_train"] = config.n_ctx_train;
  model->facts["n_layers"] = config.n_layers;
  model->facts["d_model"] = config.d_model;
  model->facts["chat_template"] = loaded.chat_template != nullptr;
  model->facts["codec"] = codec.name();
  return model;
}

/// Prefixes stay in memory until others need it, so the whole budget is used in time. 0: what all
/// requests can fill.
Result<uint64_t> kv_bytes_for(const ModelSettings& options, const Model& model, int64_t n_ctx) {
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

int64_t context_for(const ModelSettings& options, const Model& model) {
  const int64_t trained = model.n_ctx_train() > 0 ? model.n_ctx_train() : kDefaultContextMax;
  return options.ctx > 0 ? options.ctx : std::min(trained, kDefaultContextMax);
}

/// Some instruction sets read the file's own form.
uint64_t weight_estimate(const GgufFile& file) {
  return std::max(packed_bytes_of(file), file.file_bytes());
}

/// What keys and values will take, about: of architectures whose configuration says so.
uint64_t kv_estimate(const ModelSettings& options, const GgufFile& file) {
  if (const auto asked = parse_bytes(options.kv_memory)) return *asked;
  const auto config = ModelConfig::from_gguf(file);
  if (!config.ok()) return 0;
  const ModelConfig& c = config.value();
  const int64_t trained = c.n_ctx_train > 0 ? c.n_ctx_train : kDefaultContextMax;
  const int64_t n_ctx = options.ctx > 0 ? options.ctx : std::min(trained, kDefaultContextMax);
  const int64_t width = c.latent ? c.latent.d_cache() : 2 * c.n_kv_heads * c.d_head;
  const uint64_t value_bytes = options.kv_type == "f32" ? 4 : options.kv_type == "q8_0" ? 1 : 2;
  const uint64_t all = static_cast<uint64_t>(n_ctx * options.parallel) *
                       static_cast<uint64_t>(width * c.n_layers) * value_bytes;
  const uint64_t machine = machine_memory_bytes();
  return machine > 0 ? std::min(all, machine / 2) : all;
}

class EngineInstance final : public HubInstance {
 public:
  explicit EngineInstance(LoadedModel loaded) : loaded_(std::move(loaded)) {}
  ~EngineInstance() override {
    embeddings_.reset();  // it works through the engine
    keep_pages();
    engine_.reset();
    if (pages_ != nullptr) log_kv_tiers(*pages_);
  }

  Status start(const HubModel& listed, const ModelSettings& options, KvType kv, Turns& turns,
               const Settings& settings);

  const Served& served() const override { return served_; }
  uint64_t memory_bytes() const override {
    const EngineOptions& options = engine_->options();
    const uint64_t all = static_cast<uint64_t>(options.n_ctx * options.max_batch) *
                         loaded_.model->kv_layout().bytes_per_token();
    return weight_estimate(*loaded_.file) + (options.kv_bytes > 0 ? options.kv_bytes : all);
  }
  void drain(int64_t timeout_micros) override {
    embeddings_->drain(timeout_micros);  // first: it works through the engine
    engine_->drain(timeout_micros);
  }
  void stop() override {
    embeddings_->stop();
    keep_pages();
    engine_->stop();
  }

 private:
  void keep_pages() {
    if (pages_ != nullptr && !std::exchange(keeps_, true)) begin_keeping(*pages_);
  }

  LoadedModel loaded_;
  Speculation speculation_;
  std::unique_ptr<TieredPages> pages_;
  bool keeps_ = false;  ///< pages go to their tiers, the engine is about to end
  std::optional<TurnTakingModel> model_;
  std::unique_ptr<Engine> engine_;
  std::optional<EngineBackend> backend_;
  std::unique_ptr<Embedder> embedder_;
  std::unique_ptr<EmbeddingQueue> embeddings_;
  Served served_;
};

Status EngineInstance::start(const HubModel& listed, const ModelSettings& options, KvType kv,
                             Turns& turns, const Settings& settings) {
  if (!loaded_.template_problem.empty()) {
    print_note("warning: " + loaded_.template_problem + "; chats use a simple fallback format");
  }
  const int64_t context = context_for(options, *loaded_.model);
  TRY(const uint64_t kv_bytes, kv_bytes_for(options, *loaded_.model, context));
  TRY(speculation_,
      open_speculation(options.speculation, loaded_, kv, context, options.parallel, settings));
  TRY(pages_, open_kv_tiers(options, loaded_, settings));
  EngineOptions engine_options = {.n_ctx = context,
                                  .max_batch = options.parallel,
                                  .max_step_tokens = options.step_tokens,
                                  .max_queue = options.max_queue,
                                  .kv_bytes = kv_bytes,
                                  .max_queue_micros = options.queue_wait * 1'000'000,
                                  .step_target_micros = options.latency_target * 1000};
  if (pages_ != nullptr) {
    engine_options.model_fingerprint = pages_->fingerprint();
    engine_options.tier = pages_.get();
  }
  TRY(const Codec codec, codec_of(loaded_, options.codec));
  model_.emplace(*loaded_.model, turns);
  engine_ = std::make_unique<Engine>(*model_, engine_options, Env::real(),
                                     take_turns(std::move(speculation_.drafter), turns));
  const int64_t n_ctx = engine_->options().n_ctx;
  if (n_ctx < context) {
    print_note(fmt::format("warning: memory for keys and values holds a context of {} tokens only",
                           n_ctx));
  }
  backend_.emplace(*engine_, pages_.get());
  auto model = describe(loaded_, listed, codec, n_ctx);
  model->facts["parallel"] = options.parallel;
  embedder_ = make_decoder_embedder(loaded_, between_steps_of(*engine_, turns));
  model->embeddings = embedder_->shape();
  embeddings_ = std::make_unique<EmbeddingQueue>(*embedder_, options.max_queue);
  served_ = {std::move(model), &*backend_, embeddings_.get()};
  return {};
}

std::string text_of(const GgufFile& file, std::string_view key) {
  const auto value = file.string(key);
  return value.ok() && value.value() ? std::string(*value.value()) : std::string();
}

/// The type that most bytes are of.
std::string quantization_of(const GgufFile& file) {
  std::map<std::string_view, uint64_t> bytes;
  for (const TensorView& tensor : file.tensors()) {
    bytes[dtype_info(tensor.type).name] += tensor.bytes;
  }
  const auto most = std::max_element(
      bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? std::string() : std::string(most->first);
}

int64_t modified_unix(const std::filesystem::path& path) {
  std::error_code failed;
  const auto time = std::filesystem::last_write_time(path, failed);
  if (failed) return 0;
  const auto system = std::chrono::file_clock::to_sys(time);
  return std::chrono::duration_cast<std::chrono::seconds>(system.time_since_epoch()).count();
}

}  // namespace

json::object facts_of(const GgufFile& file) {
  json::object facts;
  const std::string architecture = text_of(file, "general.architecture");
  facts["architecture"] = architecture;
  if (const GgufValue* words = file.find("tokenizer.ggml.tokens")) {
    facts["n_vocab"] = words->count();
  }
  constexpr std::pair<const char*, const char*> kKeys[] = {{"n_ctx_train", ".context_length"},
                                                           {"n_layers", ".block_count"},
                                                           {"d_model", ".embedding_length"}};
  for (const auto& [name, key] : kKeys) {
    const auto value = file.integer(architecture + key);
    if (value.ok() && value.value()) facts[name] = *value.value();
  }
  int64_t parameters = 0;
  for (const TensorView& tensor : file.tensors()) parameters += tensor.elements();
  facts["parameters"] = parameters;
  facts["quantization"] = quantization_of(file);
  facts["file_bytes"] = file.file_bytes();
  // Clients tell files apart by it. Hashing the whole file would take too long for a list.
  std::string identity = text_of(file, "general.name");
  for (const GgufFile::Origin& origin : file.origins()) {
    identity += fmt::format(" {} {}", origin.path.filename().string(), modified_unix(origin.path));
  }
  facts["digest"] = sha256_of(fmt::format("{} {}", identity, file.file_bytes()));
  facts["chat_template"] = file.find("tokenizer.chat_template") != nullptr;
  const std::string licence = text_of(file, "general.license");
  if (!licence.empty()) facts["licence"] = licence;
  return facts;
}

Result<HubModel> EngineLoader::list(const ListedModel& listed) {
  TRY(const std::filesystem::path path, find_model(listed.model, settings_));
  TRY_STATUS(kv_type_from(listed.settings.kv_type));
  TRY_STATUS(latent_form_from(listed.settings.latent));
  TRY(const GgufFile file, open_model_file(path));
  const std::string name = model_name_of(file, path);
  HubModel model{.id = name,
                 .keep_micros = parse_keep_alive(listed.settings.keep_alive).value_or(kKeepForever),
                 .preload = listed.settings.preload,
                 .settings = listed_.size(),
                 .path = listed.model,
                 .created = modified_unix(path),
                 .file_bytes = file.file_bytes(),
                 .facts = facts_of(file),
                 .chat_template = text_of(file, "tokenizer.chat_template")};
  if (Encoder::is_encoder(file)) model.facts["task"] = encoder_task(file);
  const std::vector<std::string>& alias = listed.settings.alias;
  if (!alias.empty()) {
    model.id = alias.front();
    model.aliases.assign(alias.begin() + 1, alias.end());
    if (std::find(alias.begin(), alias.end(), name) == alias.end()) model.aliases.push_back(name);
  }
  listed_.push_back(listed.settings);
  return model;
}

const ModelSettings& EngineLoader::settings_of(const HubModel& model) const {
  return model.from_store ? *store_settings_ : listed_[model.settings];
}

Result<uint64_t> EngineLoader::estimate(const HubModel& model) {
  TRY(const std::filesystem::path path, find_model(model.path, settings_));
  TRY(const GgufFile file, open_model_file(path));
  return weight_estimate(file) + kv_estimate(settings_of(model), file);
}

Result<std::unique_ptr<HubInstance>> EngineLoader::load(const HubModel& model) {
  const ModelSettings& options = settings_of(model);
  TRY(const KvType kv, kv_type_from(options.kv_type));
  TRY(const LatentForm latent, latent_form_from(options.latent));
  TRY(const std::filesystem::path path, find_model(model.path, settings_));
  TRY(const bool encodes, is_encoder_file(path));
  if (encodes) {
    TRY(LoadedEncoder encoder, load_encoder(path, {.quantise = options.int8}, options.threads));
    TRY(const uint64_t bytes, estimate(model));
    return make_encoder_instance(std::move(encoder), model, static_cast<size_t>(options.max_queue),
                                 bytes, turns_);
  }
  TRY(LoadedModel loaded, open_model(model.path, options.threads, settings_,
                                     {.kv_type = kv,
                                      .latent_form = latent,
                                      .predict = wants_prediction(options.speculation)}));
  auto instance = std::make_unique<EngineInstance>(std::move(loaded));
  TRY_STATUS(instance->start(model, options, kv, turns_, settings_));
  return std::unique_ptr<HubInstance>(std::move(instance));
}

std::optional<HubModel> EngineLoader::find_in_store(std::string_view name) {
  if (!store_settings_) return std::nullopt;
  const std::string reference(name);
  auto stored = find_stored(settings_, reference);
  if (!stored && (name.starts_with("hf:") || name.starts_with("ms:"))) {
    stored = find_stored(settings_, store_name_of(reference));  // as who pulled it calls it
    if (stored && is_other_hub_file(*stored, reference)) return std::nullopt;
  }
  if (!stored) return std::nullopt;
  HubModel model{
      .id = stored->name,
      .keep_micros = parse_keep_alive(store_settings_->keep_alive).value_or(kKeepForever),
      .from_store = true,
      .path = stored->name,
      .created = modified_unix(stored->path),
      .file_bytes = stored->bytes};
  const auto file = open_model_file(stored->path);
  if (!file.ok()) return model;  // loading it says what is wrong
  model.facts = facts_of(file.value());
  model.chat_template = text_of(file.value(), "tokenizer.chat_template");
  return model;
}

std::vector<HubModel> EngineLoader::store() {
  std::vector<HubModel> out;
  if (!store_settings_) return out;
  for (const StoredModel& stored : stored_models(settings_)) {
    out.push_back({.id = stored.name,
                   .from_store = true,
                   .path = stored.name,
                   .created = modified_unix(stored.path),
                   .file_bytes = stored.bytes});
  }
  return out;
}

}  // namespace hadal
