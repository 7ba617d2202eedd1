/// hadal list, hadal rm: the store and the catalogue.
#include <fmt/format.h>

#include "app/app.h"
#include "app/catalogue.h"
#include "app/embedded_model.h"
#include "app/options.h"
#include "app/output.h"
#include "app/store.h"

namespace hadal {
namespace {

struct ListOptions {
  bool catalogue = false;
  bool json = false;
};

json::value text_or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

constexpr std::string_view kInside = "part of the program";

/// The model inside the program comes first, unless the store has one of its name.
bool shows_embedded(const Settings& settings) {
  return !find_stored(settings, std::string(kEmbeddedModel)).has_value();
}

void list_store_json(const std::vector<StoredModel>& models, bool with_embedded) {
  json::array list;
  if (with_embedded) {
    list.push_back({{"name", std::string(kEmbeddedModel)},
                    {"path", nullptr},
                    {"bytes", embedded_model().size()},
                    {"sha256", nullptr},
                    {"licence", std::string(kEmbeddedLicence)},
                    {"origin", std::string(kInside)}});
  }
  for (const StoredModel& model : models) {
    const StoreRecord record = model.record.value_or(StoreRecord{});
    list.push_back({{"name", model.name},
                    {"path", model.path.string()},
                    {"bytes", model.bytes},
                    {"sha256", text_or_null(record.sha256)},
                    {"licence", text_or_null(record.licence)},
                    {"origin", text_or_null(record.origin)}});
  }
  print_json(json::object{{"models", std::move(list)}});
}

void list_catalogue_json(const Settings& settings) {
  json::array list;
  for (const CatalogueEntry& entry : catalogue()) {
    json::array sources;
    for (const CatalogueSource& source : entry.sources) {
      sources.push_back({{"kind", std::string(source_name(source.kind))},
                         {"place", std::string(source.place)},
                         {"file", std::string(source.file)}});
    }
    list.push_back({{"name", std::string(entry.name)},
                    {"display", std::string(entry.display)},
                    {"family", std::string(entry.family)},
                    {"licence", std::string(entry.licence)},
                    {"parameters", entry.parameters},
                    {"bytes", entry.bytes},
                    {"memory_bytes", entry.memory_bytes()},
                    {"sha256", text_or_null(std::string(entry.sha256))},
                    {"here", find_stored(settings, std::string(entry.name)).has_value()},
                    {"sources", std::move(sources)}});
  }
  print_json(json::object{{"models", std::move(list)}});
}

void list_catalogue(const Settings& settings) {
  print_out(
      fmt::format("{:<32}{:<5}{:>9}{:>11}  {}\n", "name", "here", "size", "memory", "licence"));
  for (const CatalogueEntry& entry : catalogue()) {
    const bool here = find_stored(settings, std::string(entry.name)).has_value();
    print_out(fmt::format("{:<32}{:<5}{:>9}{:>11}  {}\n", entry.name, here ? "yes" : "",
                          human_bytes(entry.bytes), human_bytes(entry.memory_bytes()),
                          entry.licence));
  }
}

Result<int> list(const ListOptions& options, const Settings& settings) {
  if (options.catalogue) {
    options.json ? list_catalogue_json(settings) : list_catalogue(settings);
    return kExitOk;
  }
  const std::vector<StoredModel> models = stored_models(settings);
  if (options.json) {
    list_store_json(models, shows_embedded(settings));
    return kExitOk;
  }
  if (models.empty())
    print_note("none pulled yet; `hadal list --catalogue` shows what `hadal pull NAME` can get");
  if (shows_embedded(settings)) {
    print_out(fmt::format("{:<40}{:>10}  {}\n", kEmbeddedModel,
                          human_bytes(embedded_model().size()), kInside));
  }
  for (const StoredModel& model : models) {
    print_out(fmt::format("{:<40}{:>10}  {}\n", model.name, human_bytes(model.bytes),
                          model.record.has_value() ? model.record->origin : ""));
  }
  return kExitOk;
}

void add_list(CLI::App& command, const Settings& settings, Action& run) {
  static ListOptions options;
  command.add_flag("--catalogue", options.catalogue, "what can be pulled by name");
  add_json_option(command, options.json);
  run = [&settings] { return list(options, settings); };
}

Result<int> remove(const std::vector<std::string>& names, const Settings& settings) {
  for (const std::string& name : names) {
    const auto model = find_stored(settings, name);
    if (!model.has_value() && name == kEmbeddedModel) {
      return Error{Code::kInvalidArgument,
                   fmt::format("{} is part of the program and cannot be removed", name)};
    }
    if (!model.has_value()) {
      std::vector<std::string> all;
      for (const StoredModel& other : stored_models(settings)) all.push_back(other.name);
      const std::string near = did_you_mean(near_names(name, all));
      return Error{Code::kNotFound, fmt::format("the store has no model '{}'", name),
                   near.empty() ? "`hadal list` shows what is there" : near};
    }
    TRY_STATUS(remove_stored(settings, *model));
    print_note(fmt::format("removed {} ({})", name, human_bytes(model->bytes)));
  }
  return kExitOk;
}

void add_rm(CLI::App& command, const Settings& settings, Action& run) {
  static std::vector<std::string> names;
  command.add_option("model", names, "names from `hadal list`")->required()->type_name("NAME");
  run = [&settings] { return remove(names, settings); };
}

}  // namespace

extern const Subcommand kListCommand;
extern const Subcommand kRmCommand;
const Subcommand kListCommand = {"list", "models on this machine, or in the catalogue", add_list};
const Subcommand kRmCommand = {"rm", "remove models from the store", add_rm};

}  // namespace hadal
