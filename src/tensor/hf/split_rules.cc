#include "tensor/hf/split_rules.h"

#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/limits.h"
#include "tensor/file/reader.h"

namespace hadal {
namespace {

struct KnownRules {
  std::string_view name;
  std::vector<std::string_view> steps;  ///< as `collect` writes them
};

// The rules as the tokenizer.json files of these families have them. "{}" stands for anything: the
// long classes of deepseek-llm come in several spellings of the same characters.
const std::vector<KnownRules>& known_rules() {
  static const std::vector<KnownRules> rules = {
      {"deepseek-v3",
       {"split \\p{N}{1,3}", "split [一-龥\u3040-ゟ゠-ヿ]+",
        "split [!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?"
        "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
        "bytes"}},
      {"qwen2",
       {"split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
        "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
        "bytes"}},
      {"llama-bpe",
       {"split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
        "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
        "bytes"}},
      {"deepseek-llm",
       {"split [\r\n]", "split \\s?[A-Za-zµ{}", "split \\s?[!-/:-~！-／{}", "split \\s+$",
        "split [一-龥ࠀ-一가-{}", "digits together", "bytes"}},
      {"deepseek-llm",
       {"split [\r\n]", "split \\s?[A-Za-zµ{}", "split \\s?[!-/:-~！-／{}", "split \\s+$",
        "split [一-龥ࠀ-一가-{}", "digits", "bytes"}},
      {"deepseek-llm",
       {"split [\r\n]", "split \\s?[A-Za-zµ{}", "split \\s?[!-/:-~！-／{}", "split \\s+$",
        "split [一-龥ࠀ-一가-{}", "split \\p{N}+", "bytes"}},
      {"deepseek-coder",
       {"split [\r\n]", "split \\s?\\p{L}+", "split \\s?\\p{P}+", "split [一-龥ࠀ-一가-{}", "digits",
        "bytes"}},
      {"deepseek-coder",
       {"split [\r\n]", "split \\s?\\p{L}+", "split \\s?\\p{P}+", "split [一-龥ࠀ-一가-{}",
        "split \\p{N}", "bytes"}},
      {"smollm", {"digits", "words and bytes"}},
      {"gpt-2", {"words and bytes"}},
  };
  return rules;
}

bool matches(std::string_view step, std::string_view known) {
  const size_t slot = known.find("{}");
  if (slot == std::string_view::npos) return step == known;
  return step.starts_with(known.substr(0, slot));
}

bool matches(const std::vector<std::string>& steps, const KnownRules& rules) {
  if (steps.size() != rules.steps.size()) return false;
  for (size_t i = 0; i < steps.size(); ++i) {
    if (!matches(steps[i], rules.steps[i])) return false;
  }
  return true;
}

std::string text_of(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(json::string_view(key.data(), key.size()));
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

bool flag_of(const json::object& object, std::string_view key, bool fallback) {
  const json::value* value = object.if_contains(json::string_view(key.data(), key.size()));
  return value != nullptr && value->is_bool() ? value->get_bool() : fallback;
}

/// One line per step, sequences in sequences flattened. What no rule knows becomes a line that no
/// rule has.
void collect(const json::value& value, std::vector<std::string>& steps) {
  if (!value.is_object() || steps.size() > limits::kJsonDepth) {
    steps.emplace_back("something that is no object");
    return;
  }
  const json::object& object = value.get_object();
  const std::string type = text_of(object, "type");
  if (type == "Sequence") {
    const json::value* list = object.if_contains("pretokenizers");
    if (list == nullptr || !list->is_array()) return;
    for (const json::value& part : list->get_array()) collect(part, steps);
  } else if (type == "Split") {
    const json::value* pattern = object.if_contains("pattern");
    const bool plain =
        text_of(object, "behavior") == "Isolated" && !flag_of(object, "invert", false);
    const std::string regex =
        pattern != nullptr && pattern->is_object() ? text_of(pattern->get_object(), "Regex") : "";
    steps.push_back((plain ? "split " : "split otherwise ") + regex);
  } else if (type == "Digits") {
    steps.emplace_back(flag_of(object, "individual_digits", false) ? "digits" : "digits together");
  } else if (type == "ByteLevel" && !flag_of(object, "add_prefix_space", true)) {
    steps.emplace_back(flag_of(object, "use_regex", true) ? "words and bytes" : "bytes");
  } else {
    steps.push_back(type);
  }
}

/// Whether the text is left alone, or brought into NFC, before it is split.
Result<bool> normalises(const JsonFile& tokenizer) {
  const json::value* value = tokenizer.find("normalizer");
  if (value == nullptr) return false;
  const std::string type = value->is_object() ? text_of(value->get_object(), "type") : "";
  if (type == "NFC") return true;
  const json::value* parts =
      type == "Sequence" ? value->get_object().if_contains("normalizers") : nullptr;
  if (parts != nullptr && parts->is_array() && parts->get_array().empty()) return false;
  return tokenizer.error(Code::kUnsupported, "normalizer",
                         fmt::format("is of type {}, which is not supported", gguf_quoted(type)));
}

}  // namespace

Result<std::string> name_split_rules(const JsonFile& tokenizer) {
  const json::value* value = tokenizer.find("pre_tokenizer");
  if (value == nullptr) {
    return tokenizer.error(Code::kUnsupported, "pre_tokenizer",
                           "is missing: only byte-level BPE is supported");
  }
  std::vector<std::string> steps;
  collect(*value, steps);
  TRY(const bool nfc, normalises(tokenizer));
  for (const KnownRules& rules : known_rules()) {
    if (!matches(steps, rules)) continue;
    if (nfc && rules.name != "qwen2") break;
    return std::string(rules.name);
  }
  return Error{
      Code::kUnsupported,
      fmt::format("{}: pre_tokenizer splits text in a way that is not known: {}", tokenizer.where(),
                  gguf_quoted(fmt::format("{}", fmt::join(steps, ", then ")))),
      "take a GGUF file of the model, whose converter named its rules"};
}

}  // namespace hadal
