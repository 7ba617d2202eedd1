/// GgufFile: one or more parts joined into one catalogue of metadata and tensors.
///
///   open(path) -> map -> GgufReader (per part, validates) -> split.* agree? -> join -> index
///   open(directory) -> translate_checkpoint (safetensors in the same terms) -> index
#include "tensor/gguf.h"

#include <functional>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "base/mapped_file.h"
#include "tensor/file/reader.h"
#include "tensor/file/split.h"
#include "tensor/hf/translate.h"

namespace hadal {

namespace {

std::string_view key_of(const GgufValue& value) {
  return value.key();
}
std::string_view name_of(const TensorView& tensor) {
  return tensor.name;
}

/// What a part says about the split it belongs to. Absent keys are 0 (number, count) or -1.
struct SplitKeys {
  int64_t number = 0;  ///< 0-based
  int64_t count = 0;   ///< 0 in whole files, also in merged ones
  int64_t tensors = -1;
};

Result<SplitKeys> split_keys(const GgufPart& part, std::string_view where) {
  SplitKeys keys;
  const std::pair<std::string_view, int64_t*> fields[] = {{"split.no", &keys.number},
                                                          {"split.count", &keys.count},
                                                          {"split.tensors.count", &keys.tensors}};
  for (const GgufValue& value : part.metadata) {
    for (const auto& [key, target] : fields) {
      if (value.key() != key) continue;
      auto number = value.as_int();
      if (!number.ok()) {
        return Error{number.error().code, fmt::format("{}: {}", where, number.error().message)};
      }
      *target = number.value();
    }
  }
  if (keys.count < 0 || keys.count > limits::kGgufSplitParts) {
    return Error{Code::kCorrupt, fmt::format("{}: split.count is {}, expected 0 to {}", where,
                                             keys.count, limits::kGgufSplitParts)};
  }
  if (keys.count > 0 && (keys.number < 0 || keys.number >= keys.count)) {
    return Error{Code::kCorrupt, fmt::format("{}: split.no is {}, but split.count is {}", where,
                                             keys.number, keys.count)};
  }
  return keys;
}

Status check_tensor_total(const SplitKeys& keys, size_t tensors, std::string_view where) {
  if (keys.tensors < 0 || static_cast<uint64_t>(keys.tensors) == tensors) return Status::success();
  return Error{Code::kCorrupt,
               fmt::format("{}: split.tensors.count is {}, but the parts hold {} tensors", where,
                           keys.tensors, tensors)};
}

struct OpenPart {
  MappedFile mapping;
  GgufPart part;
  SplitKeys keys;
};

Result<OpenPart> open_part(const std::filesystem::path& path) {
  TRY(MappedFile mapping, MappedFile::open(path));
  const std::string where = path.string();
  TRY(GgufPart part, GgufReader(mapping.bytes(), where).read());
  TRY(const SplitKeys keys, split_keys(part, where));
  return OpenPart{std::move(mapping), std::move(part), keys};
}

/// One part of a split, whose keys must fit its place (0-based) and the part `first` opened first.
Result<OpenPart> open_sibling(const std::filesystem::path& path, int64_t place,
                              const SplitKeys& first) {
  auto opened = open_part(path);
  if (!opened.ok()) {
    Error error = std::move(opened).error();
    if (error.code == Code::kNotFound) {
      error.message = fmt::format("part {} of {} of the split model is missing: {}", place + 1,
                                  first.count, path.string());
      error.hint = "put all parts into one folder";
    }
    return error;
  }
  const SplitKeys& keys = opened.value().keys;
  const auto mismatch = [&](std::string_view key, int64_t found, int64_t expected) {
    return Error{Code::kCorrupt,
                 fmt::format("{}: {} is {}, expected {}", path.string(), key, found, expected),
                 "the parts do not belong together; download them again"};
  };
  if (keys.count != first.count) return mismatch("split.count", keys.count, first.count);
  if (keys.number != place) return mismatch("split.no", keys.number, place);
  if (keys.tensors != first.tensors)
    return mismatch("split.tensors.count", keys.tensors, first.tensors);
  return opened;
}

/// The split that `opened` is a part of, judged by its file name and its keys.
Result<SplitName> split_of(const std::filesystem::path& path, const SplitKeys& keys) {
  const auto name = parse_split_name(path);
  if (!name) {
    return Error{
        Code::kInvalidArgument,
        fmt::format("{} is part {} of {} of a split model, but its name does not lead to the "
                    "other parts",
                    path.string(), keys.number + 1, keys.count),
        fmt::format("name the parts NAME-00001-of-{:05}.gguf and so on", keys.count)};
  }
  if (name->count != keys.count || name->part != keys.number + 1) {
    return Error{
        Code::kCorrupt,
        fmt::format("{} says in split.no and split.count that it is part {} of {}, which its "
                    "name contradicts",
                    path.string(), keys.number + 1, keys.count),
        "give the file its original name back"};
  }
  return *name;
}

}  // namespace

struct GgufFile::State {
  std::filesystem::path path;
  std::vector<MappedFile> mappings;                 ///< none for from_memory()
  std::vector<std::filesystem::path> mapped_paths;  ///< of each
  uint64_t file_bytes = 0;
  uint32_t version = 0;
  std::vector<GgufValue> metadata;
  std::vector<uint32_t> metadata_order;
  std::vector<TensorView> tensors;
  std::vector<uint32_t> tensor_order;
  TranslatedCheckpoint checkpoint;  ///< what a directory's metadata and tensors borrow from

  /// Parts come in order; the first one brings the metadata.
  void add(GgufPart part, uint64_t bytes) {
    if (file_bytes == 0) {
      metadata = std::move(part.metadata);
      version = part.version;
    }
    file_bytes += bytes;
    tensors.insert(tensors.end(), part.tensors.begin(), part.tensors.end());
  }

  Status take_checkpoint() {
    path = checkpoint.directory;
    mappings = std::move(checkpoint.mappings);
    mapped_paths = std::move(checkpoint.mapped_paths);
    metadata = std::move(checkpoint.metadata);
    tensors = std::move(checkpoint.tensors);
    for (const MappedFile& mapping : mappings) file_bytes += mapping.bytes().size();
    return index(path.string());
  }

  /// Checks what only the whole shows, and builds the indexes.
  Status finish(const SplitKeys& keys, std::string_view where) {
    if (keys.count > 0) TRY_STATUS(check_tensor_total(keys, tensors.size(), where));
    if (tensors.size() > limits::kGgufTensorCount) {
      return Error{Code::kCorrupt,
                   fmt::format("{}: the parts hold {} tensors, more than the limit of {}", where,
                               tensors.size(), limits::kGgufTensorCount)};
    }
    return index(where);
  }

  Status index(std::string_view where) {
    metadata_order = sorted_by_name(metadata, key_of);
    tensor_order = sorted_by_name(tensors, name_of);
    if (const TensorView* twice = first_duplicate(tensors, tensor_order, name_of)) {
      return Error{Code::kCorrupt,
                   fmt::format("{}: tensor {} appears twice", where, gguf_quoted(twice->name))};
    }
    return Status::success();
  }
};

GgufFile::GgufFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
GgufFile::GgufFile(GgufFile&&) noexcept = default;
GgufFile& GgufFile::operator=(GgufFile&&) noexcept = default;
GgufFile::~GgufFile() = default;

Result<GgufFile> GgufFile::open(const std::filesystem::path& path) {
  auto state = std::make_unique<State>();
  if (const auto directory = checkpoint_directory(path)) {
    TRY(state->checkpoint, translate_checkpoint(*directory));
    TRY_STATUS(state->take_checkpoint());
    return GgufFile(std::move(state));
  }
  state->path = path;
  TRY(OpenPart opened, open_part(path));
  const SplitKeys keys = opened.keys;
  const auto keep = [&state](OpenPart part, const std::filesystem::path& part_path) {
    state->mapped_paths.push_back(part_path);
    const uint64_t bytes = part.mapping.bytes().size();
    state->mappings.push_back(std::move(part.mapping));
    state->add(std::move(part.part), bytes);
  };
  if (keys.count <= 1) {
    keep(std::move(opened), path);
  } else {
    TRY(const SplitName name, split_of(path, keys));
    for (uint32_t number = 1; number <= name.count; ++number) {
      if (number == name.part) {
        keep(std::move(opened), path);
        continue;
      }
      const auto sibling_path = path.parent_path() / split_file_name(name, number);
      TRY(OpenPart sibling, open_sibling(sibling_path, number - 1, keys));
      keep(std::move(sibling), sibling_path);
    }
  }
  TRY_STATUS(state->finish(keys, path.string()));
  return GgufFile(std::move(state));
}

Result<GgufFile> GgufFile::from_memory(std::span<const std::byte> bytes) {
  constexpr std::string_view kWhere = "GGUF in memory";
  TRY(GgufPart part, GgufReader(bytes, kWhere).read());
  TRY(const SplitKeys keys, split_keys(part, kWhere));
  if (keys.count > 1) {
    return Error{Code::kInvalidArgument,
                 fmt::format("{}: this is one of {} parts of a split model", kWhere, keys.count),
                 "open the file by its path"};
  }
  auto state = std::make_unique<State>();
  state->add(std::move(part), bytes.size());
  TRY_STATUS(state->finish(keys, kWhere));
  return GgufFile(std::move(state));
}

const std::filesystem::path& GgufFile::path() const {
  return state_->path;
}
uint64_t GgufFile::file_bytes() const {
  return state_->file_bytes;
}
std::vector<GgufFile::Origin> GgufFile::origins() const {
  std::vector<Origin> origins;
  for (size_t i = 0; i < state_->mappings.size(); ++i) {
    origins.push_back({state_->mapped_paths[i], state_->mappings[i].identity()});
  }
  return origins;
}
void GgufFile::forget(const TensorView& tensor) const {
  const std::less<const std::byte*> before;  // pointers into different mappings
  for (const MappedFile& mapping : state_->mappings) {
    const std::span<const std::byte> bytes = mapping.bytes();
    if (!before(tensor.data, bytes.data()) && before(tensor.data, bytes.data() + bytes.size())) {
      mapping.forget({tensor.data, tensor.bytes});
    }
  }
}
void GgufFile::forget() const {
  for (const MappedFile& mapping : state_->mappings) mapping.forget(mapping.bytes());
}
uint32_t GgufFile::version() const {
  return state_->version;
}
std::span<const GgufValue> GgufFile::metadata() const {
  return state_->metadata;
}
std::span<const TensorView> GgufFile::tensors() const {
  return state_->tensors;
}

const GgufValue* GgufFile::find(std::string_view key) const {
  return find_by_name(state_->metadata, state_->metadata_order, key, key_of);
}

const TensorView* GgufFile::find_tensor(std::string_view name) const {
  return find_by_name(state_->tensors, state_->tensor_order, name, name_of);
}

namespace {

/// nullopt for an absent key, else what the accessor says.
template <typename T>
Result<std::optional<T>> optional_value(const GgufValue* value,
                                        Result<T> (GgufValue::*get)() const) {
  if (value == nullptr) return std::optional<T>();
  TRY(T found, (value->*get)());
  return std::optional<T>(found);
}

}  // namespace

Result<std::optional<std::string_view>> GgufFile::string(std::string_view key) const {
  return optional_value(find(key), &GgufValue::as_string);
}
Result<std::optional<int64_t>> GgufFile::integer(std::string_view key) const {
  return optional_value(find(key), &GgufValue::as_int);
}
Result<std::optional<double>> GgufFile::number(std::string_view key) const {
  return optional_value(find(key), &GgufValue::as_float);
}
Result<std::optional<bool>> GgufFile::boolean(std::string_view key) const {
  return optional_value(find(key), &GgufValue::as_bool);
}

}  // namespace hadal
