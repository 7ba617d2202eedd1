#pragma once
/// app: the hall. main, one file per subcommand (cmd_NAME.cc), the endpoint table and the adapters
/// between rooms. The only room that sees all others, reads the environment and prints results.
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/thread_pool.h"
#include "engine/engine.h"
#include "model/model.h"
#include "model/packed_image.h"
#include "tensor/gguf.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"
#include <CLI/App.hpp>

namespace hadal {

class PackedKeeper;

/// Whether a model's packed form is taken from the packed cache, and kept there. One that is larger
/// than memory is kept for kRead too: it cannot start otherwise.
enum class PackedCacheUse : uint8_t { kOff, kRead, kReadAndWrite };

/// What the environment says, read once at start (HADAL_HOME, HF_HOME, HF_ENDPOINT, HF_TOKEN, ...).
struct Settings {
  std::filesystem::path home;      ///< model store and history; $HADAL_HOME or ~/.cache/hadal
  std::filesystem::path hf_home;   ///< $HF_HOME or ~/.cache/huggingface
  std::filesystem::path hf_cache;  ///< $HF_HUB_CACHE or hf_home/hub
  std::string hf_endpoint;         ///< $HF_ENDPOINT or the public hub
  std::string hf_token;
  std::string modelscope_endpoint;
  std::string mirror;  ///< $HADAL_MIRROR: base address tried first for every file
  PackedCacheUse packed_cache = PackedCacheUse::kReadAndWrite;  ///< $HADAL_PACKED_CACHE=off: kOff
  std::string memory;  ///< $HADAL_MEMORY: most that packed weights may take; empty: what is at hand
  std::string isa;     ///< $HADAL_ISA: the instruction set to compute with; empty: the best one
  static Settings from_environment();

  std::filesystem::path packed_directory() const { return home / "packed"; }
  std::filesystem::path kv_directory() const { return home / "kv"; }
  std::filesystem::path responses_directory() const { return home / "responses"; }
};

/// A subcommand: fills `command`, and sets `run` to what it does; the value is the exit code.
using Action = std::function<Result<int>()>;
struct Subcommand {
  const char* name;
  const char* summary;
  void (*add)(CLI::App& command, const Settings& settings, Action& run);
};

/// Tokenizer, template and metadata of a file: enough for tokenize, detokenize, template.
struct LoadedText {
  std::unique_ptr<GgufFile> file;
  std::string name;  ///< what clients call it
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatTemplate> chat_template;  ///< null when the file has none that can be used
  std::string template_problem;                 ///< why chat_template is null
};

/// LoadedText plus weights. Members are destroyed in the right order.
struct LoadedModel : LoadedText {
  explicit LoadedModel(LoadedText text);
  LoadedModel(LoadedModel&&) noexcept;
  ~LoadedModel();

  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<GgufFile> prediction_file;  ///< of a model whose prediction block lies apart
  std::unique_ptr<PackedImage> packed;  ///< what the model's weights were mapped from, or null
  std::unique_ptr<Model> model;
  std::unique_ptr<PackedKeeper> keeper;  ///< writes the packed form for the next start, or null
};

/// `reference`: a path to a .gguf or to a directory of safetensors, a name in the store or in the
/// catalogue (already pulled), or the model inside the program (app/embedded_model.h).
Result<std::filesystem::path> find_model(const std::string& reference, const Settings& settings);
/// Opens what find_model() found.
Result<GgufFile> open_model_file(const std::filesystem::path& path);
/// What clients call the model of that file.
std::string model_name_of(const GgufFile& file, const std::filesystem::path& path);
Result<LoadedText> load_text(const std::filesystem::path& path);
Result<LoadedModel> load_model(const std::filesystem::path& path, const LoadOptions& options,
                               int threads, const Settings& settings);

/// The same for commands that work on ids alone: without a usable vocabulary `tokenizer` is null.
Result<LoadedModel> load_weights(const std::filesystem::path& path, const LoadOptions& options,
                                 int threads, const Settings& settings);

/// The vocabulary as the file's metadata describes it.
Result<VocabSpec> vocab_from_gguf(const GgufFile& file);

}  // namespace hadal
