#include "tensor/hf/checkpoint.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "tensor/file/reader.h"
#include "tensor/hf/json_file.h"

namespace hadal {
namespace {

constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr std::string_view kDownloadAgain = "the files do not belong together; download them again";

/// Which shard has a tensor, and which shards there are, as the index says.
struct Index {
  std::string where;
  std::vector<std::string> files;                              ///< in order of name
  std::vector<std::pair<std::string_view, uint32_t>> tensors;  ///< by name; the file's place
  JsonFile json;                                               ///< what the names borrow from
};

/// A name that stays in the directory.
bool is_plain_name(std::string_view name) {
  return !name.empty() && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos && name != "." && name != "..";
}

Result<Index> read_index(JsonFile file) {
  Index index{file.where(), {}, {}, std::move(file)};
  const json::value* map = index.json.find("weight_map");
  if (map == nullptr || !map->is_object()) {
    return index.json.error(Code::kCorrupt, "weight_map", "is missing or no object");
  }
  const json::object& entries = map->get_object();
  if (entries.size() > limits::kSafetensorsTensorCount) {
    return index.json.error(
        Code::kCorrupt, "weight_map",
        fmt::format("has more than {} tensors", limits::kSafetensorsTensorCount));
  }
  std::map<std::string_view, uint32_t> places;
  for (const auto& entry : entries) {
    const std::string_view name(entry.key().data(), entry.key().size());
    const json::value& value = entry.value();
    const std::string_view shard =
        value.is_string() ? std::string_view(value.get_string()) : std::string_view();
    if (!is_plain_name(shard)) {
      return index.json.error(Code::kCorrupt, "weight_map",
                              fmt::format("gives tensor {} no file beside it", gguf_quoted(name)));
    }
    places.emplace(shard, 0);
  }
  if (places.size() > limits::kSafetensorsShards) {
    return index.json.error(Code::kCorrupt, "weight_map",
                            fmt::format("has more than {} files", limits::kSafetensorsShards));
  }
  for (auto& [shard, place] : places) {
    place = static_cast<uint32_t>(index.files.size());
    index.files.emplace_back(shard);
  }
  for (const auto& entry : entries) {
    index.tensors.emplace_back(std::string_view(entry.key().data(), entry.key().size()),
                               places.find(std::string_view(entry.value().get_string()))->second);
  }
  std::sort(index.tensors.begin(), index.tensors.end());
  return index;
}

/// The index's entry for a tensor.
const uint32_t* find_place(const Index& index, std::string_view name) {
  const auto it =
      std::lower_bound(index.tensors.begin(), index.tensors.end(), name,
                       [](const auto& entry, std::string_view n) { return entry.first < n; });
  return it == index.tensors.end() || it->first != name ? nullptr : &it->second;
}

Status add_shard(const std::filesystem::path& path, Checkpoint& out) {
  TRY(MappedFile mapping, MappedFile::open(path));
  TRY(const std::vector<SafeTensor> tensors, read_safetensors(mapping.bytes(), path.string()));
  const auto shard = static_cast<uint32_t>(out.shards.size());
  for (const SafeTensor& tensor : tensors) out.tensors.push_back({tensor, shard});
  out.shards.push_back(std::move(mapping));
  out.paths.push_back(path);
  if (out.tensors.size() > limits::kSafetensorsTensorCount) {
    return Error{Code::kCorrupt, fmt::format("{}: the shards hold more than {} tensors",
                                             path.string(), limits::kSafetensorsTensorCount)};
  }
  return Status::success();
}

/// Every tensor must lie where the index says, and every entry of the index must be there.
Status check_against_index(const Index& index, const Checkpoint& checkpoint) {
  for (const CheckpointTensor& tensor : checkpoint.tensors) {
    const uint32_t* place = find_place(index, tensor.name);
    if (place != nullptr && *place == tensor.shard) continue;
    const std::string says =
        place == nullptr ? "does not know" : "places in " + index.files[*place];
    return Error{Code::kCorrupt,
                 fmt::format("{}, which {} {}", checkpoint.place_of(tensor), kIndexName, says),
                 "shards may be swapped or of different models; download them again"};
  }
  for (const auto& [name, place] : index.tensors) {
    if (checkpoint.find(name) != nullptr) continue;
    return Error{Code::kCorrupt,
                 fmt::format("{}: tensor {}, which {} places there, is missing",
                             checkpoint.paths[place].string(), gguf_quoted(name), kIndexName),
                 std::string(kDownloadAgain)};
  }
  return Status::success();
}

Status sort_and_check_twins(Checkpoint& out) {
  std::sort(out.tensors.begin(), out.tensors.end(),
            [](const CheckpointTensor& a, const CheckpointTensor& b) { return a.name < b.name; });
  for (size_t i = 1; i < out.tensors.size(); ++i) {
    if (out.tensors[i].name != out.tensors[i - 1].name) continue;
    return Error{Code::kCorrupt, fmt::format("{} is also in {}", out.place_of(out.tensors[i]),
                                             out.paths[out.tensors[i - 1].shard].string())};
  }
  return Status::success();
}

/// The one file of a checkpoint without an index; nullopt when there is none at all.
Result<std::optional<std::filesystem::path>> single_file(const std::filesystem::path& directory) {
  std::error_code failed;
  const std::filesystem::path usual = directory / "model.safetensors";
  if (std::filesystem::exists(usual, failed)) return std::optional(usual);
  std::vector<std::filesystem::path> found;
  for (std::filesystem::directory_iterator it(directory, failed), end; !failed && it != end;
       it.increment(failed)) {
    if (it->path().extension() == ".safetensors") found.push_back(it->path());
  }
  if (found.size() > 1) {
    return Error{Code::kNotFound,
                 fmt::format("{} has {} safetensors files, but no {}", directory.string(),
                             found.size(), kIndexName),
                 "download the index too"};
  }
  if (found.empty()) return std::optional<std::filesystem::path>();
  return std::optional(found.front());
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const std::filesystem::path& directory) {
  Checkpoint out;
  TRY(std::optional<JsonFile> index_file, JsonFile::read_if_present(directory / kIndexName));
  if (!index_file) {
    TRY(const auto file, single_file(directory));
    if (file) TRY_STATUS(add_shard(*file, out));
    TRY_STATUS(sort_and_check_twins(out));
    return out;
  }
  TRY(const Index index, read_index(std::move(*index_file)));
  for (size_t i = 0; i < index.files.size(); ++i) {
    const std::filesystem::path path = directory / index.files[i];
    std::error_code failed;
    if (!std::filesystem::exists(path, failed)) {
      return Error{
          Code::kNotFound,
          fmt::format("shard {} of {} is missing: {}", i + 1, index.files.size(), path.string()),
          "put all files of the model into one folder"};
    }
    TRY_STATUS(add_shard(path, out));
  }
  TRY_STATUS(sort_and_check_twins(out));
  TRY_STATUS(check_against_index(index, out));
  return out;
}

const CheckpointTensor* Checkpoint::find(std::string_view name) const {
  const auto it = std::lower_bound(
      tensors.begin(), tensors.end(), name,
      [](const CheckpointTensor& tensor, std::string_view n) { return tensor.name < n; });
  return it == tensors.end() || it->name != name ? nullptr : &*it;
}

std::string Checkpoint::place_of(const CheckpointTensor& tensor) const {
  return fmt::format("{}: tensor {}", paths[tensor.shard].string(), gguf_quoted(tensor.name));
}

}  // namespace hadal
