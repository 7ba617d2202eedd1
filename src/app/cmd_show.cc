/// hadal show: what is known about a model, from its file, the store and the catalogue.
#include <map>

#include <fmt/format.h>

#include "app/app.h"
#include "app/catalogue.h"
#include "app/embedded_model.h"
#include "app/options.h"
#include "app/output.h"
#include "app/sha256.h"
#include "app/store.h"

namespace hadal {
namespace {

struct ShowOptions {
  std::string model;
  bool all = false;
  bool json = false;
};

/// What both forms of output say.
struct ModelFacts {
  std::string name;
  std::filesystem::path path;  ///< empty: not on this machine
  uint64_t bytes = 0;
  std::string sha256;  ///< empty: not known without reading the whole file
  std::string architecture;
  std::string licence;
  std::string origin;
};

std::string metadata_text(const GgufFile& file, std::string_view key) {
  const auto value = file.string(key);
  return value.ok() && value.value().has_value() ? std::string(*value.value()) : "";
}

ModelFacts facts_from_catalogue(const CatalogueEntry& entry) {
  ModelFacts facts;
  facts.name = std::string(entry.name);
  facts.bytes = entry.bytes;
  facts.sha256 = std::string(entry.sha256);
  facts.licence = std::string(entry.licence);
  return facts;
}

ModelFacts facts_from_file(const std::filesystem::path& path, const GgufFile& file,
                           const std::optional<StoredModel>& stored) {
  ModelFacts facts;
  facts.path = path;
  facts.name = stored.has_value()        ? stored->name
               : is_embedded_model(path) ? std::string(kEmbeddedModel)
               : file.version() == 0     ? metadata_text(file, "general.name")
                                         : path.stem().string();
  facts.bytes = file.file_bytes();
  facts.architecture = metadata_text(file, "general.architecture");
  facts.licence = metadata_text(file, "general.license");
  if (stored.has_value() && stored->record.has_value()) {
    facts.sha256 = stored->record->sha256;
    facts.origin = stored->record->origin;
    if (!stored->record->licence.empty()) facts.licence = stored->record->licence;
  }
  const CatalogueEntry* entry = find_in_catalogue(facts.name);
  if (facts.licence.empty() && entry != nullptr) facts.licence = std::string(entry->licence);
  return facts;
}

json::value text_or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

void print_facts_json(const ModelFacts& facts) {
  print_json(json::object{{"name", facts.name},
                          {"path", text_or_null(facts.path.string())},
                          {"bytes", facts.bytes},
                          {"sha256", text_or_null(facts.sha256)},
                          {"architecture", text_or_null(facts.architecture)},
                          {"licence", text_or_null(facts.licence)}});
}

void print_line(std::string_view label, const std::string& text) {
  if (!text.empty()) print_out(fmt::format("{:<14}{}\n", label, text));
}

void print_facts(const ModelFacts& facts) {
  print_line("name", facts.name);
  print_line("path", facts.path.empty()
                         ? "not on this machine; get it with: hadal pull " + facts.name
                         : facts.path.string());
  print_line("size", human_bytes(facts.bytes));
  print_line("sha256", facts.sha256);
  print_line("architecture", facts.architecture);
  print_line("licence", facts.licence.empty() ? "the file names none" : facts.licence);
  print_line("origin", facts.origin);
}

/// Tensors by type, then the metadata (arrays and long texts cut unless `all`).
void print_contents(const GgufFile& file, bool all) {
  std::map<std::string_view, std::pair<int, uint64_t>> by_type;
  int64_t parameters = 0;
  for (const TensorView& tensor : file.tensors()) {
    auto& [count, bytes] = by_type[dtype_info(tensor.type).name];
    ++count;
    bytes += tensor.bytes;
    parameters += tensor.elements();
  }
  print_line("parameters",
             fmt::format("{:.1f} million in {} tensors", static_cast<double>(parameters) / 1e6,
                         file.tensors().size()));
  for (const auto& [type, of_type] : by_type) {
    print_out(fmt::format("  {:<12}{:>5} tensors  {:>10}\n", type, of_type.first,
                          human_bytes(of_type.second)));
  }
  print_out(file.version() == 0 ? "metadata (of config.json and tokenizer.json, as GGUF keys)\n"
                                : fmt::format("metadata (GGUF version {})\n", file.version()));
  constexpr size_t kChars = 60;
  for (const GgufValue& value : file.metadata()) {
    print_out(fmt::format("  {:<44} {}\n", value.key(), value.to_text(all ? 1 << 20 : kChars)));
  }
}

Result<int> show(const ShowOptions& options, const Settings& settings) {
  const auto stored = find_stored(settings, options.model);
  const CatalogueEntry* entry = find_in_catalogue(options.model);
  const auto path = find_model(options.model, settings);
  if (!path.ok()) {
    if (entry == nullptr) return path.error();
    const ModelFacts facts = facts_from_catalogue(*entry);
    options.json ? print_facts_json(facts) : print_facts(facts);
    return kExitOk;
  }
  TRY(const GgufFile file, open_model_file(path.value()));
  ModelFacts facts = facts_from_file(path.value(), file, stored);
  if (!options.json) {
    print_facts(facts);
    print_contents(file, options.all);
    return kExitOk;
  }
  if (is_embedded_model(path.value())) {
    const auto bytes = embedded_model();
    facts.path.clear();
    facts.sha256 = sha256_of({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  } else if (facts.sha256.empty() && file.version() != 0) {
    TRY(facts.sha256, sha256_of_file(path.value()));
  }
  print_facts_json(facts);
  return kExitOk;
}

void add_show(CLI::App& command, const Settings& settings, Action& run) {
  static ShowOptions options;
  command
      .add_option("model,-m,--model", options.model,
                  "a name from `hadal list`, the catalogue, or a path")
      ->required()
      ->type_name("M");
  command.add_flag("--all", options.all, "metadata values in full");
  add_json_option(command, options.json);
  command.footer("Example: hadal show smollm2-135m");
  run = [&settings] { return show(options, settings); };
}

}  // namespace

extern const Subcommand kShowCommand;
const Subcommand kShowCommand = {"show", "what is known about a model: metadata, tensors, licence",
                                 add_show};

}  // namespace hadal
