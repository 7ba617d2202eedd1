#pragma once
/// The model store: HADAL_HOME/models/NAME.gguf with NAME.json beside it (where it came from and
/// what it hashes to). A model is usable when its .gguf is there; the record is information.
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "app/app.h"
#include "base/result.h"

namespace hadal {

/// What NAME.json says.
struct StoreRecord {
  std::string origin;   ///< "hf:ORG/REPO/FILE", "pypi:PACKAGE==VERSION", an address or a path
  std::string sha256;   ///< of the whole file, computed here after the download
  std::string checked;  ///< what it was compared with: "catalogue", "hub", "given" or "nothing"
  uint64_t bytes = 0;
  std::string licence;
};

struct StoredModel {
  std::string name;
  std::filesystem::path path;
  uint64_t bytes = 0;
  std::optional<StoreRecord> record;
};

std::filesystem::path store_directory(const Settings& settings);
std::filesystem::path store_path(const Settings& settings, const std::string& name);
/// All models, by name.
std::vector<StoredModel> stored_models(const Settings& settings);
/// Nothing when the store has no model of that name.
std::optional<StoredModel> find_stored(const Settings& settings, const std::string& name);
/// Whether `stored` came from another file of a hub than `reference` (hf:... or ms:...) names:
/// files of one name lie in many repositories. False when its origin is not known to be a hub.
bool is_other_hub_file(const StoredModel& stored, const std::string& reference);

/// Takes a name of a model away: its file and its record.
Status remove_stored(const Settings& settings, const StoredModel& model);
/// The same file under a further name; where the file system cannot, an error.
Status link_stored(const Settings& settings, const StoredModel& model, const std::string& name);
/// What lies in the store, unfinished files too, each file once whatever its names; without those
/// of `except`.
uint64_t store_bytes(const Settings& settings, const std::string& except);

Status write_record(const Settings& settings, const std::string& name, const StoreRecord& record);

/// A name is letters, digits and "._-", does not start with a dot or dash, at most 128 bytes.
bool is_model_name(std::string_view name);
/// The nearest allowed name to `text` (a file name from outside).
std::string to_model_name(std::string_view text);

}  // namespace hadal
