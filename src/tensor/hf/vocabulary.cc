#include "tensor/hf/vocabulary.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/env.h"
#include "base/limits.h"
#include "tensor/file/reader.h"
#include "tensor/hf/encoder_words.h"
#include "tensor/hf/split_rules.h"
#include "tensor/hf/token_list.h"

namespace hadal {
namespace {

/// "left right" each; older files write them so, newer ones as pairs.
Result<std::vector<std::string>> read_merges(const JsonFile& model) {
  const json::value* merges = model.find("merges");
  if (merges == nullptr || !merges->is_array()) {
    return model.error(Code::kCorrupt, "merges", "is missing or no array");
  }
  std::vector<std::string> out;
  for (const json::value& merge : merges->get_array()) {
    if (merge.is_string()) {
      out.emplace_back(merge.get_string());
      continue;
    }
    const json::array* pair = merge.if_array();
    if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_string() ||
        !(*pair)[1].is_string()) {
      return model.error(Code::kCorrupt, "merges", "holds something that is no pair of strings");
    }
    out.push_back(std::string((*pair)[0].get_string()) + " " +
                  std::string((*pair)[1].get_string()));
  }
  return out;
}

/// The text of a token in tokenizer_config.json: a string, or an object with "content".
std::optional<std::string> token_text(const JsonFile& config, std::string_view key) {
  const json::value* value = config.find(key);
  if (value != nullptr && value->is_object()) value = value->get_object().if_contains("content");
  if (value == nullptr || !value->is_string()) return std::nullopt;
  return std::string(value->get_string());
}

/// The ids behind `key` of config.json or generation_config.json: one or an array.
std::vector<int64_t> ids_of(const JsonFile* file, std::string_view key, size_t vocabulary) {
  std::vector<int64_t> out;
  const json::value* value = file == nullptr ? nullptr : file->find(key);
  if (value == nullptr) return out;
  const auto add = [&](const json::value& one) {
    const auto id = hf_token_id(&one);
    if (id && static_cast<size_t>(*id) < vocabulary) out.push_back(*id);
  };
  if (value->is_array()) {
    for (const json::value& one : value->get_array()) add(one);
  } else {
    add(*value);
  }
  return out;
}

/// The files beside tokenizer.json; null where there are none.
struct Neighbours {
  const JsonFile* tokenizer_config;
  const JsonFile* generation;
  const JsonFile* config;
  bool pools;  ///< an embedding model: the directory says how rows become one vector
};

std::optional<int64_t> named_token(const HfTokens& vocabulary, const Neighbours& files,
                                   std::string_view key) {
  const auto text =
      files.tokenizer_config == nullptr ? std::nullopt : token_text(*files.tokenizer_config, key);
  return text ? vocabulary.find_added(*text) : std::nullopt;
}

/// Ends: tokenizer_config.json's token first, then what generation_config.json and config.json add.
void write_ends(const HfTokens& vocabulary, const Neighbours& files,
                std::optional<int64_t> appended, MetadataWriter& out) {
  std::vector<int64_t> ends;
  if (appended) ends.push_back(*appended);
  const auto named = named_token(vocabulary, files, "eos_token");
  if (named && named != appended) ends.push_back(*named);
  for (const JsonFile* file : {files.generation, files.config}) {
    for (const int64_t id : ids_of(file, "eos_token_id", vocabulary.tokens.size())) {
      if (std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
    }
  }
  constexpr std::string_view kKeys[] = {
      "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
  for (size_t i = 0; i < std::min(ends.size(), std::size(kKeys)); ++i) {
    out.integer(kKeys[i], ends[i]);
  }
}

/// The first of `ids` or the token that tokenizer_config.json names.
std::optional<int64_t> special_id(const HfTokens& vocabulary, const Neighbours& files,
                                  std::string_view name) {
  if (const auto named = named_token(vocabulary, files, std::string(name) + "_token")) return named;
  // A tokenizer_config.json without the token means that there is none (Qwen).
  if (files.tokenizer_config != nullptr) return std::nullopt;
  const auto ids = ids_of(files.config, std::string(name) + "_token_id", vocabulary.tokens.size());
  return ids.empty() ? std::nullopt : std::optional(ids.front());
}

/// The texts of the special tokens that tokenizer.json's post-processor puts before (or after)
/// every text.
std::vector<std::string> template_ends(const JsonFile& tokenizer, bool before) {
  std::vector<std::string> out;
  const json::value* processor = tokenizer.find("post_processor");
  if (processor == nullptr || !processor->is_object()) return out;
  std::vector<const json::value*> parts = {processor};
  if (const json::value* list = processor->get_object().if_contains("processors");
      list != nullptr && list->is_array()) {
    for (const json::value& part : list->get_array()) parts.push_back(&part);
  }
  for (const json::value* part : parts) {
    const json::object* object = part->if_object();
    const json::value* single = object == nullptr ? nullptr : object->if_contains("single");
    if (single == nullptr || !single->is_array() || single->get_array().empty()) continue;
    const json::array& list = single->get_array();
    const json::object* end = (before ? list.front() : list.back()).if_object();
    const json::value* special = end == nullptr ? nullptr : end->if_contains("SpecialToken");
    const json::object* named = special == nullptr ? nullptr : special->if_object();
    const json::value* id = named == nullptr ? nullptr : named->if_contains("id");
    if (id != nullptr && id->is_string()) out.emplace_back(id->get_string());
  }
  return out;
}

Status write_specials(const JsonFile& tokenizer, const HfTokens& vocabulary,
                      const Neighbours& files, MetadataWriter& out) {
  const auto bos = special_id(vocabulary, files, "bos");
  if (bos) out.integer("tokenizer.ggml.bos_token_id", *bos);
  // Qwen3-Embedding's vector is that of a token which stands behind every text.
  std::optional<int64_t> appended;
  for (const std::string& text : template_ends(tokenizer, false)) {
    if (files.pools) appended = vocabulary.find_added(text);
  }
  write_ends(vocabulary, files, appended, out);
  if (const auto pad = named_token(vocabulary, files, "pad_token")) {
    out.integer("tokenizer.ggml.padding_token_id", *pad);
  }
  const std::vector<std::string> begins = template_ends(tokenizer, true);
  const bool usual = bos && std::find(begins.begin(), begins.end(),
                                      vocabulary.tokens[static_cast<size_t>(*bos)]) != begins.end();
  bool add_bos = usual;
  bool add_eos = false;
  if (files.tokenizer_config != nullptr) {
    TRY(add_bos, files.tokenizer_config->boolean_or("add_bos_token", usual));
    TRY(add_eos, files.tokenizer_config->boolean_or("add_eos_token", false));
  }
  out.boolean("tokenizer.ggml.add_bos_token", add_bos && bos.has_value());
  out.boolean("tokenizer.ggml.add_eos_token", add_eos || appended.has_value());
  // Fill-in-the-middle has no place in these files but the tokens' own texts.
  constexpr std::pair<std::string_view, std::string_view> kMiddle[] = {
      {"<｜fim▁begin｜>", "fim_pre"}, {"<｜fim▁hole｜>", "fim_suf"}, {"<｜fim▁end｜>", "fim_mid"},
      {"<|fim_prefix|>", "fim_pre"},  {"<|fim_suffix|>", "fim_suf"}, {"<|fim_middle|>", "fim_mid"},
      {"<|fim_pad|>", "fim_pad"},     {"<|repo_name|>", "fim_rep"},  {"<|file_sep|>", "fim_sep"}};
  for (const auto& [text, key] : kMiddle) {
    const auto id = vocabulary.find_added(text);
    if (id) out.integer(fmt::format("tokenizer.ggml.{}_token_id", key), *id);
  }
  return Status::success();
}

/// The template of tokenizer_config.json: one, or several by name.
std::optional<std::string> configured_template(const JsonFile& config) {
  const json::value* value = config.find("chat_template");
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return std::string(value->get_string());
  if (!value->is_array()) return std::nullopt;
  for (const json::value& one : value->get_array()) {
    const json::object* object = one.if_object();
    const json::value* name = object == nullptr ? nullptr : object->if_contains("name");
    const json::value* source = object == nullptr ? nullptr : object->if_contains("template");
    if (name == nullptr || source == nullptr || !source->is_string() || !name->is_string())
      continue;
    if (std::string_view(name->get_string()) == "default") {
      return std::string(source->get_string());
    }
  }
  return std::nullopt;
}

Status write_template(const std::filesystem::path& directory, const JsonFile* tokenizer_config,
                      MetadataWriter& out) {
  const std::filesystem::path file = directory / "chat_template.jinja";
  std::error_code failed;
  if (std::filesystem::exists(file, failed)) {
    TRY(const std::string source, Env::real().read_file(file, limits::kTemplateSourceBytes));
    out.string("tokenizer.chat_template", source);
    return Status::success();
  }
  const auto source =
      tokenizer_config == nullptr ? std::nullopt : configured_template(*tokenizer_config);
  if (source) out.string("tokenizer.chat_template", *source);
  return Status::success();
}

Status write_sampling(const JsonFile& generation, MetadataWriter& out) {
  TRY(const bool samples, generation.boolean_or("do_sample", false));
  if (!samples) return Status::success();
  constexpr std::pair<std::string_view, std::string_view> kKeys[] = {
      {"temperature", "temp"},
      {"top_k", "top_k"},
      {"top_p", "top_p"},
      {"min_p", "min_p"},
      {"repetition_penalty", "penalty_repeat"}};
  for (const auto& [from, to] : kKeys) {
    if (!generation.has(from)) continue;
    TRY(const double value, generation.number(from));
    out.number("general.sampling." + std::string(to), value);
  }
  return Status::success();
}

Status write_tokens(const JsonFile& tokenizer, const JsonFile& model, int64_t rows,
                    HfTokens& vocabulary, MetadataWriter& out) {
  TRY(const std::string type, model.string_or("type", "BPE"));
  if (type == "WordPiece" || type == "Unigram") {
    TRY(vocabulary, read_hf_tokens(tokenizer, model, rows));
    return type == "WordPiece" ? write_word_pieces(tokenizer, model, vocabulary, out)
                               : write_unigram(tokenizer, model, vocabulary, out);
  }
  TRY(const bool fallback, model.boolean_or("byte_fallback", false));
  if (type != "BPE" || fallback) {
    return Error{Code::kUnsupported,
                 fmt::format("{}: a tokenizer of type {}{} is not supported", tokenizer.where(),
                             gguf_quoted(type), fallback ? " with byte_fallback" : ""),
                 "supported: byte-level BPE, WordPiece, Unigram; or take a GGUF file of the model"};
  }
  TRY(const std::string pre, name_split_rules(tokenizer));
  TRY(const bool ignores, model.boolean_or("ignore_merges", false));
  if (ignores && pre != "llama-bpe") {
    return model.error(Code::kUnsupported, "ignore_merges", "is not supported with " + pre);
  }
  TRY(vocabulary, read_hf_tokens(tokenizer, model, rows));
  TRY(const std::vector<std::string> merges, read_merges(model));
  out.string("tokenizer.ggml.model", "gpt2");
  out.string("tokenizer.ggml.pre", pre);
  out.strings("tokenizer.ggml.tokens", vocabulary.tokens);
  out.integers("tokenizer.ggml.token_type", vocabulary.kinds);
  out.strings("tokenizer.ggml.merges", merges);
  return Status::success();
}

}  // namespace

Status write_hf_vocabulary(const std::filesystem::path& directory, const JsonFile* config,
                           int64_t vocab, MetadataWriter& out) {
  TRY(const auto tokenizer, JsonFile::read_if_present(directory / "tokenizer.json"));
  TRY(const auto tokenizer_config, JsonFile::read_if_present(directory / "tokenizer_config.json"));
  TRY(const auto generation, JsonFile::read_if_present(directory / "generation_config.json"));
  const auto pointer = [](const std::optional<JsonFile>& file) { return file ? &*file : nullptr; };
  if (generation) TRY_STATUS(write_sampling(*generation, out));
  TRY_STATUS(write_template(directory, pointer(tokenizer_config), out));
  if (!tokenizer) return Status::success();
  TRY(const std::optional<JsonFile> model, tokenizer->child("model"));
  if (!model) return tokenizer->error(Code::kCorrupt, "model", "is missing");
  HfTokens vocabulary;
  TRY_STATUS(write_tokens(*tokenizer, *model, vocab, vocabulary, out));
  std::error_code failed;
  const bool pools = std::filesystem::exists(directory / "1_Pooling" / "config.json", failed);
  TRY(const std::string type, model->string_or("type", "BPE"));
  if (type == "WordPiece" || type == "Unigram") {
    return write_encoder_specials(*tokenizer, vocabulary, out);
  }
  return write_specials(*tokenizer, vocabulary,
                        {pointer(tokenizer_config), pointer(generation), config, pools}, out);
}

}  // namespace hadal
