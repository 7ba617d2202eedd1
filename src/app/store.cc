#include "app/store.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <sys/stat.h>

#include "app/catalogue.h"
#include "app/embedded_model.h"
#include "app/output.h"
#include "app/packed_cache.h"
#include "app/pull.h"
#include "base/env.h"
#include "base/json.h"
#include "base/limits.h"

namespace hadal {
namespace {

constexpr size_t kNameBytes = 128;
constexpr std::string_view kSuffix = ".gguf";

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

std::string member_text(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

/// A record that cannot be read counts as none: it only informs.
std::optional<StoreRecord> read_record(const std::filesystem::path& path) {
  const auto text = Env::real().read_file(path, limits::kConfigFileBytes);
  if (!text.ok()) return std::nullopt;
  const auto parsed = parse_json(text.value());
  if (!parsed.ok() || !parsed.value().is_object()) return std::nullopt;
  const json::object& object = parsed.value().get_object();
  StoreRecord record;
  record.origin = member_text(object, "origin");
  record.sha256 = member_text(object, "sha256");
  record.checked = member_text(object, "checked");
  record.licence = member_text(object, "licence");
  const json::value* bytes = object.if_contains("bytes");
  if (bytes != nullptr && bytes->is_int64() && bytes->get_int64() >= 0) {
    record.bytes = static_cast<uint64_t>(bytes->get_int64());
  }
  return record;
}

std::vector<std::string> known_names(const Settings& settings) {
  std::vector<std::string> names = {std::string(kEmbeddedModel)};
  for (const StoredModel& model : stored_models(settings)) names.push_back(model.name);
  for (const CatalogueEntry& entry : catalogue()) {
    if (std::find(names.begin(), names.end(), entry.name) == names.end())
      names.emplace_back(entry.name);
  }
  return names;
}

/// .gguf files of a directory, by name; the file system's answer, so possibly none.
std::vector<std::string> model_files(const std::filesystem::path& directory) {
  std::vector<std::string> names;
  std::error_code failed;
  for (std::filesystem::directory_iterator it(directory, failed), end; !failed && it != end;
       it.increment(failed)) {
    if (it->path().extension() == kSuffix) names.push_back(it->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::filesystem::path> find_file(const std::filesystem::path& path) {
  std::error_code failed;
  const auto status = std::filesystem::status(path, failed);
  if (std::filesystem::is_regular_file(status)) return path;
  if (std::filesystem::is_directory(status)) {
    const bool checkpoint = std::filesystem::exists(path / "config.json", failed) ||
                            std::filesystem::exists(path / "tokenizer.json", failed);
    if (checkpoint) return path;
    const auto files = model_files(path);
    return Error{Code::kInvalidArgument, path.string() + " is a directory, not a model file",
                 files.empty()
                     ? "name a .gguf file, or a directory with config.json and safetensors"
                     : "it holds: " + fmt::format("{}", fmt::join(files, ", "))};
  }
  if (std::filesystem::exists(status)) {
    return Error{Code::kInvalidArgument, path.string() + " is not a regular file",
                 "name a .gguf file"};
  }
  if (std::filesystem::is_symlink(std::filesystem::symlink_status(path, failed))) {
    return Error{Code::kNotFound, path.string() + " is a link to a file that does not exist"};
  }
  const std::filesystem::path directory = path.has_parent_path() ? path.parent_path() : ".";
  return Error{Code::kNotFound, path.string() + " does not exist",
               did_you_mean(near_names(path.filename().string(), model_files(directory)))};
}

}  // namespace

std::filesystem::path store_directory(const Settings& settings) {
  return settings.home / "models";
}

std::filesystem::path store_path(const Settings& settings, const std::string& name) {
  return store_directory(settings) / (name + std::string(kSuffix));
}

std::vector<StoredModel> stored_models(const Settings& settings) {
  std::vector<StoredModel> models;
  for (const std::string& file : model_files(store_directory(settings))) {
    const std::string name = file.substr(0, file.size() - kSuffix.size());
    if (auto model = find_stored(settings, name)) models.push_back(std::move(*model));
  }
  return models;
}

std::optional<StoredModel> find_stored(const Settings& settings, const std::string& name) {
  if (!is_model_name(name)) return std::nullopt;
  StoredModel model{name, store_path(settings, name), 0, std::nullopt};
  std::error_code failed;
  if (!std::filesystem::is_regular_file(model.path, failed) || failed) return std::nullopt;
  model.bytes = std::filesystem::file_size(model.path, failed);
  if (failed) return std::nullopt;
  std::filesystem::path record = model.path;
  model.record = read_record(record.replace_extension(".json"));
  return model;
}

bool is_other_hub_file(const StoredModel& stored, const std::string& reference) {
  const auto on_hub = [](const std::string& text) {
    return text.starts_with("hf:") || text.starts_with("ms:");
  };
  if (!stored.record.has_value() || !on_hub(stored.record->origin) || !on_hub(reference))
    return false;
  return stored.record->origin.substr(3) != reference.substr(3);  // hubs mirror each other
}

Status remove_stored(const Settings& settings, const StoredModel& model) {
  std::error_code failed;
  std::filesystem::remove(model.path, failed);
  if (failed)
    return Error{Code::kIo,
                 fmt::format("cannot remove {}: {}", model.path.string(), failed.message())};
  std::filesystem::path record = model.path;
  std::filesystem::remove(record.replace_extension(".json"), failed);
  PackedCache(settings.packed_directory()).clear_orphans();
  return {};
}

Status link_stored(const Settings& settings, const StoredModel& model, const std::string& name) {
  std::error_code failed;
  std::filesystem::create_hard_link(model.path, store_path(settings, name), failed);
  if (failed)
    return Error{Code::kIo, fmt::format("cannot link {}: {}", model.name, failed.message())};
  return model.record.has_value() ? write_record(settings, name, *model.record) : Status{};
}

uint64_t store_bytes(const Settings& settings, const std::string& except) {
  std::set<std::pair<dev_t, ino_t>> seen;
  uint64_t bytes = 0;
  std::error_code failed;
  for (std::filesystem::directory_iterator it(store_directory(settings), failed), end;
       !failed && it != end; it.increment(failed)) {
    struct stat file = {};
    if (it->path().stem() == except || ::stat(it->path().c_str(), &file) != 0) continue;
    if (!S_ISREG(file.st_mode) || !seen.insert({file.st_dev, file.st_ino}).second) continue;
    bytes += static_cast<uint64_t>(file.st_size);
  }
  return bytes;
}

Status write_record(const Settings& settings, const std::string& name, const StoreRecord& record) {
  const json::object object = {{"name", name},
                               {"origin", record.origin},
                               {"sha256", record.sha256},
                               {"checked", record.checked},
                               {"bytes", record.bytes},
                               {"licence", record.licence}};
  return Env::real().write_file(store_directory(settings) / (name + ".json"),
                                to_json(object) + "\n");
}

bool is_model_name(std::string_view name) {
  return !name.empty() && name.size() <= kNameBytes && name.front() != '.' && name.front() != '-' &&
         std::all_of(name.begin(), name.end(), is_name_char);
}

std::string to_model_name(std::string_view text) {
  std::string name;
  for (const char c : text.substr(0, kNameBytes)) name.push_back(is_name_char(c) ? c : '-');
  const size_t first = name.find_first_not_of(".-");
  name = first == std::string::npos ? "" : name.substr(first);
  return name.empty() ? "model" : name;
}

Result<std::filesystem::path> find_model(const std::string& reference, const Settings& settings) {
  if (reference.empty()) {
    return Error{Code::kInvalidArgument, "the model's name is empty",
                 "`hadal list` shows what is there"};
  }
  if (const auto stored = find_stored(settings, reference)) return stored->path;
  if (reference == kEmbeddedModel) return embedded_model_path();
  if (reference.rfind("hf:", 0) == 0 || reference.rfind("ms:", 0) == 0) {
    const auto stored = find_stored(settings, store_name_of(reference));
    if (stored.has_value() && !is_other_hub_file(*stored, reference)) return stored->path;
    return Error{Code::kNotFound, reference + " is not on this machine yet",
                 "get it with: hadal pull " + reference};
  }
  const std::filesystem::path path = reference;
  std::error_code failed;
  const bool looks_like_path =
      reference.find('/') != std::string::npos || path.extension() == kSuffix;
  if (looks_like_path || std::filesystem::exists(path, failed)) return find_file(path);
  if (find_in_catalogue(reference) != nullptr) {
    return Error{Code::kNotFound, reference + " is in the catalogue, but not on this machine yet",
                 "get it with: hadal pull " + reference};
  }
  const std::string near = did_you_mean(near_names(reference, known_names(settings)));
  return Error{Code::kNotFound, "there is no model '" + reference + "'",
               near.empty()
                   ? "`hadal list` shows what is here, `hadal list --catalogue` what can be pulled"
                   : near};
}

}  // namespace hadal
