#include "serve/directory.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/parse.h"

namespace hadal {
namespace {

constexpr double kKeepMicrosMax = 1e15;  // 30 years

bool has_name(const ModelEntry& entry, std::string_view name) {
  return name == entry.id ||
         std::find(entry.aliases.begin(), entry.aliases.end(), name) != entry.aliases.end();
}

}  // namespace

std::string_view model_state_name(ModelState state) {
  constexpr std::array<std::string_view, 4> kNames = {"unloaded", "loading", "loaded", "unloading"};
  return kNames[static_cast<size_t>(state)];
}

std::optional<int64_t> parse_keep_alive(std::string_view text) {
  struct Unit {
    std::string_view name;
    double micros;
  };
  constexpr Unit kUnits[] = {{"ms", 1e3},  {"us", 1},  {"ns", 1e-3},
                             {"h", 3.6e9}, {"m", 6e7}, {"s", 1e6}};
  if (text.empty()) return std::nullopt;
  const bool negative = text.front() == '-';
  if (negative || text.front() == '+') text.remove_prefix(1);
  double micros = 0;
  if (const auto seconds = parse_double(text)) {
    micros = *seconds * 1e6;
  } else {
    if (text.empty()) return std::nullopt;
    while (!text.empty()) {
      const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
      const auto number = parse_double(text.substr(0, digits));
      text.remove_prefix(digits);
      const auto* unit = std::find_if(std::begin(kUnits), std::end(kUnits),
                                      [&](const Unit& u) { return text.starts_with(u.name); });
      if (!number || unit == std::end(kUnits)) return std::nullopt;
      text.remove_prefix(unit->name.size());
      micros += *number * unit->micros;
    }
  }
  if (!(micros >= 0)) return std::nullopt;
  if (negative && micros > 0) return kKeepForever;
  return static_cast<int64_t>(std::min(micros, kKeepMicrosMax));
}

std::vector<ModelEntry> ModelDirectory::entries() const {
  std::vector<ModelEntry> out;
  for (const ServedRef& served : loaded()) {
    const ServedModel& model = *served->model;
    ModelEntry entry{.id = model.id,
                     .aliases = model.aliases,
                     .created = model.created,
                     .n_ctx = model.n_ctx,
                     .loads = 1,
                     .facts = model.facts};
    if (model.chat_template != nullptr) entry.chat_template = model.chat_template->source();
    out.push_back(std::move(entry));
  }
  return out;
}

std::optional<ModelEntry> ModelDirectory::find(std::string_view name) const {
  for (ModelEntry& entry : entries()) {
    if (name.empty() || has_name(entry, name)) return std::move(entry);
  }
  return std::nullopt;
}

void ModelDirectory::keep(std::string_view, int64_t) {}

Checked ModelDirectory::unload(std::string_view) {
  return ApiError{
      .status = 400, .code = "unsupported", .message = "This server cannot unload its model."};
}

ApiError unknown_model(std::string_view name, std::string_view available) {
  return {.status = 404,
          .code = "model_not_found",
          .message = "The model '" + std::string(name.substr(0, 200)) +
                     "' does not exist here; this server has '" + std::string(available) + "'.",
          .param = "model"};
}

void SingleModel::set(std::unique_ptr<const ServedModel> model, TokenBackend& backend,
                      EmbeddingBackend* embeddings) {
  auto served = std::make_shared<Served>();  // see ServedRef; tidy: allow
  served->model = std::move(model);
  served->backend = &backend;
  served->embeddings = embeddings;
  MutexLock lock(mu_);
  model_ = std::move(served);
}

ServedRef SingleModel::current() const {
  MutexLock lock(mu_);
  return model_;
}

std::vector<ServedRef> SingleModel::loaded() const {
  std::vector<ServedRef> models;
  if (ServedRef served = current()) models.push_back(std::move(served));
  return models;
}

bool SingleModel::acquire(std::string_view name, Then then) {
  ServedRef served = current();
  if (served == nullptr) {
    then(nullptr, ApiError{.status = 503,
                           .code = "model_loading",
                           .message = "The model is still being loaded."});
    return true;
  }
  const ServedModel& model = *served->model;
  const bool known =
      name.empty() || name == model.id ||
      std::find(model.aliases.begin(), model.aliases.end(), name) != model.aliases.end();
  if (!known) {
    then(nullptr, unknown_model(name, model.id));
    return true;
  }
  then(std::move(served), std::nullopt);
  return true;
}

}  // namespace hadal
