#include "tensor/hf/translate.h"

#include <cstring>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "tensor/file/reader.h"
#include "tensor/hf/checkpoint.h"
#include "tensor/hf/config.h"
#include "tensor/hf/json_file.h"
#include "tensor/hf/metadata.h"
#include "tensor/hf/names.h"
#include "tensor/hf/pooling.h"
#include "tensor/hf/vocabulary.h"

namespace hadal {
namespace {

/// "DeepSeek-V3" of ".../DeepSeek-V3/", or of
/// ".../models--deepseek-ai--DeepSeek-V3/snapshots/1a2b".
std::string name_of(const std::filesystem::path& directory) {
  std::error_code failed;
  std::filesystem::path full = std::filesystem::absolute(directory, failed).lexically_normal();
  if (!full.has_filename()) full = full.parent_path();
  if (full.parent_path().filename() != "snapshots") return full.filename().string();
  const std::string hub = full.parent_path().parent_path().filename().string();
  const size_t at = hub.rfind("--");
  return at == std::string::npos ? full.filename().string() : hub.substr(at + 2);
}

TensorView vector_view(std::string_view name, const std::vector<float>& values) {
  TensorView view;
  view.name = name;
  view.ne[0] = static_cast<int64_t>(values.size());
  view.data = reinterpret_cast<const std::byte*>(values.data());
  view.bytes = values.size() * sizeof(float);
  return view;
}

/// Lets the bytes of `text` be read as any file's are.
Status read_metadata(const std::string& text, TranslatedCheckpoint& out) {
  out.metadata_bytes.resize(text.size());
  std::memcpy(out.metadata_bytes.data(), text.data(), text.size());
  const std::string where = out.directory.string();
  TRY(GgufPart part, GgufReader(out.metadata_bytes, where).read());
  out.metadata = std::move(part.metadata);
  return Status::success();
}

Status translate_model(const JsonFile& config, Checkpoint weights, TranslatedCheckpoint& out) {
  TRY(const std::string architecture, hf_architecture(config));
  MetadataWriter metadata(architecture);
  metadata.string("general.architecture", architecture);
  metadata.string("general.type", "model");
  metadata.string("general.name", name_of(out.directory));
  TRY(HfModel model, read_hf_config(config, weights, metadata));
  TRY_STATUS(write_hf_pooling(out.directory, model, metadata));
  TRY_STATUS(write_hf_vocabulary(out.directory, &config, model.shape.vocab, metadata));
  TRY_STATUS(read_metadata(metadata.finish(), out));
  if (weights.tensors.empty()) return Status::success();
  TRY(out.tensors, bind_hf_tensors(model, weights, config.where(), out.names));
  if (!model.rope_divisors.empty()) {
    out.rope_divisors = std::move(model.rope_divisors);
    out.tensors.push_back(vector_view("rope_freqs.weight", out.rope_divisors));
  }
  out.mappings = std::move(weights.shards);
  out.mapped_paths = std::move(weights.paths);
  return Status::success();
}

}  // namespace

std::optional<std::filesystem::path> checkpoint_directory(const std::filesystem::path& path) {
  std::error_code failed;
  if (std::filesystem::is_directory(path, failed)) return path;
  const std::string name = path.filename().string();
  const bool of_checkpoint = name == "config.json" || name.ends_with(".safetensors") ||
                             name.ends_with(".safetensors.index.json");
  if (!of_checkpoint || !std::filesystem::exists(path, failed)) return std::nullopt;
  const std::filesystem::path parent = path.parent_path();
  return parent.empty() ? std::filesystem::path(".") : parent;
}

Result<TranslatedCheckpoint> translate_checkpoint(const std::filesystem::path& directory) {
  TranslatedCheckpoint out;
  out.directory = directory;
  TRY(const auto config, JsonFile::read_if_present(directory / "config.json"));
  TRY(Checkpoint weights, Checkpoint::open(directory));
  std::error_code failed;
  const bool has_words = std::filesystem::exists(directory / "tokenizer.json", failed);
  if (config) {
    // Weights mean what the config says, so it counts as a part of the model.
    TRY(MappedFile mapping, MappedFile::open(directory / "config.json"));
    TRY_STATUS(translate_model(*config, std::move(weights), out));
    out.mappings.push_back(std::move(mapping));
    out.mapped_paths.push_back(directory / "config.json");
    return out;
  }
  if (!weights.tensors.empty() || !has_words) {
    return Error{Code::kNotFound,
                 fmt::format("{} has no config.json{}", directory.string(),
                             weights.tensors.empty() ? "" : ", which its safetensors files need"),
                 "name a .gguf file, or a directory with config.json and safetensors files"};
  }
  MetadataWriter metadata("");
  metadata.string("general.name", name_of(directory));
  TRY_STATUS(write_hf_vocabulary(directory, nullptr, 0, metadata));
  TRY_STATUS(read_metadata(metadata.finish(), out));
  return out;
}

}  // namespace hadal
