#include "tensor/hf/encoder_words.h"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/base64.h"
#include "base/limits.h"
#include "tensor/file/reader.h"

namespace hadal {
namespace {

constexpr std::string_view kBlank = "▁";  // U+2581
constexpr int64_t kWordCharacters = 100;  // of WordPiece, as text/tokenizer has it
constexpr int64_t kByte = 6;              // tokenizer.ggml.token_type

std::string text_at(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(json::string_view(key.data(), key.size()));
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

bool flag_at(const json::object& object, std::string_view key, bool fallback) {
  const json::value* value = object.if_contains(json::string_view(key.data(), key.size()));
  return value != nullptr && value->is_bool() ? value->get_bool() : fallback;
}

/// The object behind `key`, or those of its list when it is a "Sequence".
std::vector<const json::object*> steps_of(const JsonFile& file, std::string_view key,
                                          std::string_view list_key) {
  const json::value* value = file.find(key);
  if (value == nullptr || !value->is_object()) return {};
  const json::object& object = value->get_object();
  if (text_at(object, "type") != "Sequence") return {&object};
  std::vector<const json::object*> out;
  const json::value* list = object.if_contains(json::string_view(list_key.data(), list_key.size()));
  if (list == nullptr || !list->is_array()) return out;
  for (const json::value& one : list->get_array()) {
    if (one.is_object()) out.push_back(&one.get_object());
  }
  return out;
}

Error unknown_rule(const JsonFile& tokenizer, std::string_view key, const json::object& rule) {
  return Error{Code::kUnsupported,
               fmt::format("{}: {} has a step that is not known: {:.120}", tokenizer.where(), key,
                           gguf_quoted(to_json(rule))),
               "take a GGUF file of the model, whose converter named its rules"};
}

void write_list(const HfTokens& tokens, std::string_view model, MetadataWriter& out) {
  out.string("tokenizer.ggml.model", model);
  out.strings("tokenizer.ggml.tokens", tokens.tokens);
  out.integers("tokenizer.ggml.token_type", tokens.kinds);
}

/// What Unigram's normalizer says.
struct UnigramRules {
  std::string charsmap;
  bool strips = false;  ///< blanks at the end, and all but one between words
};

Status read_normalizer(const JsonFile& tokenizer, UnigramRules& out) {
  for (const json::object* step : steps_of(tokenizer, "normalizer", "normalizers")) {
    const std::string type = text_at(*step, "type");
    if (type == "Precompiled") {
      const auto bytes = base64_decode(text_at(*step, "precompiled_charsmap"));
      if (!bytes) {
        return tokenizer.error(Code::kCorrupt, "normalizer",
                               "has a precompiled_charsmap that is no base64");
      }
      out.charsmap = *bytes;
    } else if (type == "Strip") {
      if (!flag_at(*step, "strip_right", true)) return unknown_rule(tokenizer, "normalizer", *step);
      out.strips = true;
    } else if (type == "Replace") {
      const json::value* pattern = step->if_contains("pattern");
      const std::string regex =
          pattern != nullptr && pattern->is_object() ? text_at(pattern->get_object(), "Regex") : "";
      const std::string content = text_at(*step, "content");
      const bool known = regex == " {2,}" && (content == " " || content == kBlank);
      if (!known) return unknown_rule(tokenizer, "normalizer", *step);
      out.strips = true;
    } else {
      return unknown_rule(tokenizer, "normalizer", *step);
    }
  }
  return Status::success();
}

Status read_splitting(const JsonFile& tokenizer, UnigramRules& out) {
  bool marked = false;
  for (const json::object* step : steps_of(tokenizer, "pre_tokenizer", "pretokenizers")) {
    const std::string type = text_at(*step, "type");
    const std::string scheme = text_at(*step, "prepend_scheme");
    if (type == "WhitespaceSplit") {
      out.strips = true;
    } else if (type == "Metaspace" && text_at(*step, "replacement") == kBlank &&
               scheme != "never" && flag_at(*step, "add_prefix_space", true)) {
      marked = true;
    } else {
      return unknown_rule(tokenizer, "pre_tokenizer", *step);
    }
  }
  if (marked) return Status::success();
  return tokenizer.error(Code::kUnsupported, "pre_tokenizer",
                         "does not mark blanks, which a Unigram vocabulary is only known with");
}

/// The texts of the special tokens before and after a single text.
struct Frame {
  std::string before, after;
};

std::string special_of(const json::value& part) {
  const json::object* object = part.if_object();
  const json::value* special = object == nullptr ? nullptr : object->if_contains("SpecialToken");
  return special != nullptr && special->is_object() ? text_at(special->get_object(), "id") : "";
}

std::string first_text(const json::object& object, std::string_view key) {
  const json::value* pair = object.if_contains(json::string_view(key.data(), key.size()));
  if (pair == nullptr || !pair->is_array() || pair->get_array().empty()) return "";
  const json::value& text = pair->get_array().front();
  return text.is_string() ? std::string(text.get_string()) : "";
}

Frame read_frame(const JsonFile& tokenizer) {
  Frame out;
  for (const json::object* step : steps_of(tokenizer, "post_processor", "processors")) {
    const std::string type = text_at(*step, "type");
    if (type == "BertProcessing" || type == "RobertaProcessing") {
      out = {first_text(*step, "cls"), first_text(*step, "sep")};
    }
    const json::value* single = step->if_contains("single");
    if (type != "TemplateProcessing" || single == nullptr || !single->is_array() ||
        single->get_array().empty()) {
      continue;
    }
    const json::array& parts = single->get_array();
    out = {special_of(parts.front()), special_of(parts.back())};
  }
  return out;
}

}  // namespace

Status write_word_pieces(const JsonFile& tokenizer, const JsonFile& model, HfTokens& tokens,
                         MetadataWriter& out) {
  TRY(const std::string prefix, model.string_or("continuing_subword_prefix", "##"));
  TRY(const int64_t longest,
      model.integer_or("max_input_chars_per_word", kWordCharacters, 1, limits::kModelContext));
  if (prefix != "##" || longest != kWordCharacters) {
    return model.error(Code::kUnsupported, "continuing_subword_prefix",
                       "and max_input_chars_per_word are only supported as \"##\" and 100");
  }
  const auto normalizers = steps_of(tokenizer, "normalizer", "normalizers");
  const auto splitters = steps_of(tokenizer, "pre_tokenizer", "pretokenizers");
  if (normalizers.size() != 1 || splitters.size() != 1 ||
      text_at(*normalizers[0], "type") != "BertNormalizer" ||
      text_at(*splitters[0], "type") != "BertPreTokenizer" ||
      !flag_at(*normalizers[0], "clean_text", true) ||
      !flag_at(*normalizers[0], "handle_chinese_chars", true)) {
    return tokenizer.error(Code::kUnsupported, "normalizer",
                           "and pre_tokenizer of a WordPiece vocabulary are only supported as "
                           "BertNormalizer and BertPreTokenizer");
  }
  const bool lowercase = flag_at(*normalizers[0], "lowercase", true);
  out.boolean("tokenizer.ggml.normalizer.lowercase", lowercase);
  out.boolean("tokenizer.ggml.normalizer.strip_accents",
              flag_at(*normalizers[0], "strip_accents", lowercase));
  for (size_t id = 0; id < tokens.tokens.size(); ++id) {
    std::string& text = tokens.tokens[id];
    if (tokens.is_control(id)) continue;
    text = text.starts_with(prefix) ? text.substr(prefix.size()) : std::string(kBlank) + text;
  }
  write_list(tokens, "bert", out);
  return Status::success();
}

Status write_unigram(const JsonFile& tokenizer, const JsonFile& model, const HfTokens& tokens,
                     MetadataWriter& out) {
  if (tokens.scores.empty()) {
    return model.error(Code::kCorrupt, "vocab", "has no scores, which Unigram needs");
  }
  UnigramRules rules;
  TRY_STATUS(read_normalizer(tokenizer, rules));
  TRY_STATUS(read_splitting(tokenizer, rules));
  TRY(const bool fallback, model.boolean_or("byte_fallback", false));
  HfTokens list = tokens;
  if (fallback) {
    for (size_t id = 0; id < list.tokens.size(); ++id) {
      const std::string& text = list.tokens[id];
      if (text.size() == 6 && text.starts_with("<0x") && text.ends_with('>'))
        list.kinds[id] = kByte;
    }
  }
  write_list(list, "t5", out);
  out.numbers("tokenizer.ggml.scores", list.scores);
  if (!rules.charsmap.empty()) out.bytes("tokenizer.ggml.precompiled_charsmap", rules.charsmap);
  out.boolean("tokenizer.ggml.add_space_prefix", true);
  out.boolean("tokenizer.ggml.remove_extra_whitespaces", rules.strips);
  TRY(const int64_t unknown,
      model.integer("unk_id", 0, static_cast<int64_t>(list.tokens.size()) - 1));
  out.integer("tokenizer.ggml.unknown_token_id", unknown);
  return Status::success();
}

Status write_encoder_specials(const JsonFile& tokenizer, const HfTokens& tokens,
                              MetadataWriter& out) {
  const auto write = [&](std::string_view text, std::initializer_list<std::string_view> keys) {
    const auto id = text.empty() ? std::nullopt : tokens.find_added(text);
    if (!id) return false;
    for (const std::string_view key : keys) {
      out.integer(fmt::format("tokenizer.ggml.{}_token_id", key), *id);
    }
    return true;
  };
  const Frame frame = read_frame(tokenizer);
  out.boolean("tokenizer.ggml.add_bos_token", write(frame.before, {"bos", "cls"}));
  out.boolean("tokenizer.ggml.add_eos_token", write(frame.after, {"eos", "seperator"}));
  if (!write("[PAD]", {"padding"})) write("<pad>", {"padding"});
  if (!write("[MASK]", {"mask"})) write("<mask>", {"mask"});
  write("[UNK]", {"unknown"});  // of Unigram the model names it
  return Status::success();
}

}  // namespace hadal
