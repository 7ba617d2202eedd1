/// From a file to the things that commands work with.
#include <optional>
#include <string_view>
#include <thread>

#include <fmt/format.h>

#include "app/app.h"
#include "app/embedded_model.h"
#include "app/large_model.h"
#include "app/output.h"
#include "app/packed_cache.h"
#include "base/env.h"
#include "base/limits.h"
#include "base/log.h"

namespace hadal {
namespace {

constexpr std::string_view kPrefix = "tokenizer.ggml.";

Status read_id(const GgufFile& file, std::string_view key, std::optional<int64_t>& out) {
  if (out.has_value()) return {};
  TRY(out, file.integer(std::string(kPrefix) + std::string(key)));
  return {};
}

Status read_flag(const GgufFile& file, std::string_view key, std::optional<bool>& out) {
  if (out.has_value()) return {};
  TRY(out, file.boolean(std::string(kPrefix) + std::string(key)));
  return {};
}

/// Some ids have two spellings in the wild; the first one found counts.
Status read_special_ids(const GgufFile& file, VocabSpec& spec) {
  TRY_STATUS(read_id(file, "bos_token_id", spec.bos));
  TRY_STATUS(read_id(file, "eos_token_id", spec.eos));
  TRY_STATUS(read_id(file, "eot_token_id", spec.eot));
  TRY_STATUS(read_id(file, "eom_token_id", spec.eom));
  TRY_STATUS(read_id(file, "unknown_token_id", spec.unknown));
  TRY_STATUS(read_id(file, "seperator_token_id", spec.separator));  // the format's own spelling
  TRY_STATUS(read_id(file, "separator_token_id", spec.separator));
  TRY_STATUS(read_id(file, "padding_token_id", spec.padding));
  TRY_STATUS(read_id(file, "cls_token_id", spec.cls));
  TRY_STATUS(read_id(file, "mask_token_id", spec.mask));
  TRY_STATUS(read_id(file, "fim_pre_token_id", spec.fim_prefix));
  TRY_STATUS(read_id(file, "prefix_token_id", spec.fim_prefix));
  TRY_STATUS(read_id(file, "fim_suf_token_id", spec.fim_suffix));
  TRY_STATUS(read_id(file, "suffix_token_id", spec.fim_suffix));
  TRY_STATUS(read_id(file, "fim_mid_token_id", spec.fim_middle));
  TRY_STATUS(read_id(file, "middle_token_id", spec.fim_middle));
  TRY_STATUS(read_id(file, "fim_pad_token_id", spec.fim_pad));
  TRY_STATUS(read_id(file, "fim_rep_token_id", spec.fim_repo));
  TRY_STATUS(read_id(file, "fim_sep_token_id", spec.fim_separator));
  return {};
}

Status read_flags(const GgufFile& file, VocabSpec& spec) {
  TRY_STATUS(read_flag(file, "add_bos_token", spec.add_bos));
  TRY_STATUS(read_flag(file, "add_eos_token", spec.add_eos));
  TRY_STATUS(read_flag(file, "add_space_prefix", spec.add_space_prefix));
  TRY_STATUS(read_flag(file, "remove_extra_whitespaces", spec.remove_extra_whitespaces));
  TRY_STATUS(read_flag(file, "normalizer.lowercase", spec.lowercase));
  TRY_STATUS(read_flag(file, "normalizer.strip_accents", spec.strip_accents));
  return {};
}

/// The array behind `key`, null when absent; an Error when it is longer than any vocabulary.
Result<const GgufValue*> find_array(const GgufFile& file, std::string_view key) {
  const GgufValue* value = file.find(std::string(kPrefix) + std::string(key));
  if (value != nullptr && value->count() > limits::kVocabTokens) {
    return Error{Code::kCorrupt, fmt::format("{}{} has {} entries, more than the limit of {}",
                                             kPrefix, key, value->count(), limits::kVocabTokens)};
  }
  return value;
}

Status read_strings(const GgufFile& file, std::string_view key, std::vector<std::string>& out) {
  TRY(const GgufValue* value, find_array(file, key));
  if (value == nullptr) return {};
  TRY(const std::vector<std::string_view> strings, value->as_strings());
  out.assign(strings.begin(), strings.end());
  return {};
}

Status read_kinds(const GgufFile& file, std::vector<uint8_t>& out) {
  TRY(const GgufValue* value, find_array(file, "token_type"));
  if (value == nullptr) return {};
  TRY(const std::vector<int64_t> kinds, value->as_ints());
  out.reserve(kinds.size());
  for (const int64_t kind : kinds) {
    // Files in the wild carry stray values here; what is not a known kind reads as undefined.
    out.push_back(kind >= 0 && kind <= static_cast<int64_t>(TokenKind::kByte)
                      ? static_cast<uint8_t>(kind)
                      : 0);
  }
  return {};
}

/// An array of bytes, of either sign.
Status read_charsmap(const GgufFile& file, std::string& out) {
  TRY(const GgufValue* value, find_array(file, "precompiled_charsmap"));
  if (value == nullptr) return {};
  TRY(const std::vector<int64_t> bytes, value->as_ints());
  out.reserve(bytes.size());
  for (const int64_t byte : bytes) out.push_back(static_cast<char>(byte & 0xFF));
  return {};
}

/// The file's stem without the part number of a split ("-00001-of-00003"), or what a directory of
/// safetensors is called.
std::string model_name(const GgufFile& file, const std::filesystem::path& path) {
  if (file.version() == 0) {
    const auto name = file.string("general.name");
    if (name.ok() && name.value()) return std::string(*name.value());
  }
  std::string stem = path.stem().string();
  constexpr size_t kPartChars = 15;
  if (stem.size() > kPartChars) {
    const std::string tail = stem.substr(stem.size() - kPartChars);
    if (tail.front() == '-' && tail.compare(6, 4, "-of-") == 0)
      stem.resize(stem.size() - kPartChars);
  }
  return stem;
}

/// The parts of a LoadedText that metadata gives.
struct Words {
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatTemplate> chat_template;
  std::string template_problem;
};

void read_template(const GgufFile& file, Words& out) {
  const auto source = file.string("tokenizer.chat_template");
  if (!source.ok()) {
    out.template_problem = source.error().message;
  } else if (!source.value().has_value()) {
    out.template_problem = "the file has no chat template";
  } else {
    auto parsed = ChatTemplate::parse(*source.value());
    if (parsed.ok()) {
      out.chat_template = std::make_unique<ChatTemplate>(std::move(parsed).value());
    } else {
      out.template_problem = "the file's chat template cannot be used: " + parsed.error().message;
    }
  }
}

}  // namespace

Result<VocabSpec> vocab_from_gguf(const GgufFile& file) {
  VocabSpec spec;
  TRY(const std::optional<std::string_view> model, file.string("tokenizer.ggml.model"));
  if (!model.has_value()) {
    return Error{Code::kNotFound,
                 fmt::format("{} has no vocabulary (tokenizer.ggml.model is missing)",
                             file.path().string())};
  }
  spec.model = std::string(*model);
  TRY(const std::optional<std::string_view> pre, file.string("tokenizer.ggml.pre"));
  spec.pre = std::string(pre.value_or(""));
  TRY_STATUS(read_strings(file, "tokens", spec.tokens));
  TRY_STATUS(read_strings(file, "merges", spec.merges));
  TRY(const GgufValue* scores, find_array(file, "scores"));
  if (scores != nullptr) {
    TRY(spec.scores, scores->as_floats());
  }
  TRY_STATUS(read_kinds(file, spec.kinds));
  TRY_STATUS(read_charsmap(file, spec.charsmap));
  TRY_STATUS(read_special_ids(file, spec));
  TRY_STATUS(read_flags(file, spec));
  return spec;
}

std::string model_name_of(const GgufFile& file, const std::filesystem::path& path) {
  return is_embedded_model(path) ? std::string(kEmbeddedModel) : model_name(file, path);
}

namespace {

/// What any use of a file begins with.
Result<LoadedText> open_file(const std::filesystem::path& path) {
  LoadedText out;
  TRY(GgufFile file, open_model_file(path));
  out.file = std::make_unique<GgufFile>(std::move(file));
  out.name = model_name_of(*out.file, path);
  return out;
}

Result<Words> read_words(const GgufFile& file) {
  Words out;
  TRY(VocabSpec spec, vocab_from_gguf(file));
  TRY(out.tokenizer, Tokenizer::create(std::move(spec)));
  read_template(file, out);
  return out;
}

void take_words(Words words, LoadedText& out) {
  out.tokenizer = std::move(words.tokenizer);
  out.chat_template = std::move(words.chat_template);
  out.template_problem = std::move(words.template_problem);
}

/// Beside a GGUF file of DeepSeek V4, NAME.gguf, the prediction block lies in one of its own,
/// "mtp-NAME.gguf". None: null.
Result<std::unique_ptr<GgufFile>> find_prediction_file(const GgufFile& model) {
  const std::filesystem::path path =
      model.path().parent_path() / ("mtp-" + model.path().filename().string());
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return std::unique_ptr<GgufFile>();
  TRY(GgufFile file, GgufFile::open(path));
  return std::make_unique<GgufFile>(std::move(file));
}

Status add_weights(const LoadOptions& options, const Settings& settings, int64_t opened_micros,
                   LoadedModel& out) {
  const PackedCache cache(settings.packed_directory());
  const bool has_file = !out.file->origins().empty();
  TRY(const WeightMemory memory, weight_memory(settings));
  const uint64_t bytes = packed_bytes_of(*out.file);
  const bool large = has_file && bytes > memory.comfortable;
  if (settings.packed_cache == PackedCacheUse::kOff) {
    if (large) {
      log_event(LogLevel::kWarn, "large_model.packed_in_memory",
                {{"bytes", bytes}, {"memory", memory.comfortable}, {"reason", "the cache is off"}});
    }
  } else {
    if (large) print_note(note_about_size(out.name, bytes, memory));
    out.packed = cache.find(*out.file, *out.pool);
    if (large && out.packed == nullptr) {
      TRY(out.packed, pack_large_model(cache, out, memory, opened_micros));
    }
  }
  LoadOptions with_image = options;
  with_image.packed = out.packed.get();
  if (options.predict) {
    TRY(out.prediction_file, find_prediction_file(*out.file));
    with_image.prediction_file = out.prediction_file.get();
  }
  TRY(out.model, Model::load(*out.file, with_image, *out.pool));
  if (settings.packed_cache == PackedCacheUse::kReadAndWrite && out.packed == nullptr && has_file) {
    out.keeper = std::make_unique<PackedKeeper>(
        cache, OpenedModel{out.file->origins(), opened_micros * 1000}, out.model->packed_parts());
  }
  return {};
}

/// A large vocabulary takes as long as mapped weights: both at once.
Result<LoadedModel> load_both(const std::filesystem::path& path, const LoadOptions& options,
                              int threads, const Settings& settings, bool needs_words) {
  const int64_t opened_micros = Env::real().unix_micros();
  TRY(LoadedText text, open_file(path));
  LoadedModel out(std::move(text));
  std::optional<Result<Words>> words;
  std::thread reader([&] { words = read_words(*out.file); });
  out.pool = std::make_unique<ThreadPool>(threads > 0 ? threads : ThreadPool::default_threads());
  const Status weights = add_weights(options, settings, opened_micros, out);
  reader.join();
  // What both read once: small tensors lie all over the file, and each brought its neighbours.
  out.file->forget();
  if (words->ok()) {
    take_words(std::move(*words).value(), out);
  } else if (needs_words) {
    return std::move(*words).error();
  }
  TRY_STATUS(weights);
  return out;
}

}  // namespace

LoadedModel::LoadedModel(LoadedText text) : LoadedText(std::move(text)) {}
LoadedModel::LoadedModel(LoadedModel&&) noexcept = default;
LoadedModel::~LoadedModel() = default;

Result<GgufFile> open_model_file(const std::filesystem::path& path) {
  return is_embedded_model(path) ? GgufFile::from_memory(embedded_model()) : GgufFile::open(path);
}

Result<LoadedText> load_text(const std::filesystem::path& path) {
  TRY(LoadedText out, open_file(path));
  TRY(Words words, read_words(*out.file));
  take_words(std::move(words), out);
  return out;
}

Result<LoadedModel> load_model(const std::filesystem::path& path, const LoadOptions& options,
                               int threads, const Settings& settings) {
  TRY(LoadedModel out, load_both(path, options, threads, settings, true));
  if (out.model->n_vocab() < out.tokenizer->size()) {
    return Error{Code::kCorrupt,
                 fmt::format("the vocabulary of {} has {} tokens, but its weights only {}",
                             path.string(), out.tokenizer->size(), out.model->n_vocab())};
  }
  return out;
}

Result<LoadedModel> load_weights(const std::filesystem::path& path, const LoadOptions& options,
                                 int threads, const Settings& settings) {
  return load_both(path, options, threads, settings, false);
}

}  // namespace hadal
