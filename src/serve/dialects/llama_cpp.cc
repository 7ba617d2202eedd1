#include "serve/dialects/llama_cpp.h"

#include <algorithm>

#include "base/limits.h"
#include "serve/dialects/common.h"
#include "serve/prompt.h"

namespace hadal {
namespace {

constexpr ParamRow kRows[] = {
    // -1 and -2: as many as fit. 0: the prompt goes into the cache, nothing is made.
    {"n_predict", ParamKind::kInteger, -2, limits::kStreamTokens,
     [](RequestParams& p, const ParamValue& v) {
       p.prompt_only = v.integer == 0;
       p.max_tokens = p.prompt_only ? 1 : std::max<int64_t>(v.integer, 0);
     }},
    {"n_probs", ParamKind::kInteger, 0, limits::kTopLogprobs,
     [](RequestParams& p, const ParamValue& v) {
       p.logprobs = v.integer > 0;
       p.top_logprobs = v.integer;
     }},
    {"return_tokens", ParamKind::kBoolean, 0, 1,
     [](RequestParams& p, const ParamValue& v) { p.return_tokens = v.boolean; }},
};

void append_milliseconds(std::string& out, std::string_view name, int64_t micros) {
  out += ",\"" + std::string(name) + "\":";
  append_json_number(out, static_cast<double>(micros) / 1000);
}

/// "..._n", "..._ms" and both quotients.
void append_phase(std::string& out, std::string_view name, int64_t tokens, int64_t micros) {
  const std::string prefix(name);
  out += ",\"" + prefix + "_n\":" + std::to_string(tokens);
  append_milliseconds(out, prefix + "_ms", micros);
  out += ",\"" + prefix + "_per_token_ms\":";
  append_json_number(out, tokens == 0 ? 0 : double(micros) / 1000 / double(tokens));
  out += ",\"" + prefix + "_per_second\":";
  append_json_number(out, micros == 0 ? 0 : double(tokens) * 1e6 / double(micros));
}

/// What stays the same over an answer.
struct LlamaHead {
  std::string model;
  std::vector<std::string> prompts = {};    ///< as text
  std::vector<int64_t> prompt_tokens = {};  ///< of each
  std::string settings;                     ///< JSON
  bool stream = false;
};

class LlamaWriter final : public ReplyWriter {
 public:
  LlamaWriter(LlamaHead head, const Tokenizer& tokenizer)
      : head_(std::move(head)), tokenizer_(tokenizer) {}

  void begin(std::string&, const std::vector<Choice>&) override {}

  void delta(std::string& out, Choice& choice, const OutputPiece& piece) override {
    out += "data: ";
    append_start(out, choice, piece.content, false);
    out += ",\"tokens_predicted\":" + std::to_string(choice.completion_tokens) +
           ",\"tokens_evaluated\":" + std::to_string(prompt_tokens(choice));
    append_probabilities(out, choice);
    out += "}\n\n";
    choice.tokens.clear();
    choice.logprobs.clear();
  }

  void choice_end(std::string& out, Choice& choice) override {
    out += "data: ";
    append_result(out, choice);
    out += "\n\n";
  }

  void end(std::string&, const Usage&) override {}

  void error(std::string& out, const ApiError& error) override { append_sse_error(out, error); }

  std::string whole(const std::vector<Choice>& choices, const Usage&) override {
    std::string out;
    if (choices.size() > 1) out.push_back('[');
    for (const Choice& choice : choices) {
      if (&choice != &choices.front()) out.push_back(',');
      append_result(out, choice);
    }
    if (choices.size() > 1) out.push_back(']');
    return out;
  }

 private:
  int64_t prompt_tokens(const Choice& choice) const {
    return head_.prompt_tokens[static_cast<size_t>(choice.prompt)];
  }

  static void append_start(std::string& out, const Choice& choice, std::string_view content,
                           bool stop) {
    out += "{\"index\":" + std::to_string(choice.index) + ",\"content\":";
    append_json_string(out, content);
    out += ",\"tokens\":[";
    for (size_t i = 0; i < choice.tokens.size(); ++i) {
      if (i > 0) out.push_back(',');
      out += std::to_string(choice.tokens[i]);
    }
    out += stop ? "],\"id_slot\":-1,\"stop\":true" : "],\"id_slot\":-1,\"stop\":false";
  }

  void append_probability(std::string& out, TokenId id, float logprob) const {
    out += "{\"id\":" + std::to_string(id) + ",\"token\":";
    append_token_text(out, tokenizer_, id);
    out += ",\"bytes\":";
    append_token_bytes(out, tokenizer_, id);
    out += ",\"logprob\":";
    append_json_number(out, logprob);
  }

  void append_probabilities(std::string& out, const Choice& choice) const {
    if (choice.logprobs.empty()) return;
    out += ",\"completion_probabilities\":[";
    for (size_t i = 0; i < choice.logprobs.size(); ++i) {
      const TokenLogEntry& entry = choice.logprobs[i];
      if (i > 0) out.push_back(',');
      append_probability(out, entry.id, entry.logprob);
      out += ",\"top_logprobs\":[";
      for (size_t k = 0; k < entry.top.size(); ++k) {
        if (k > 0) out.push_back(',');
        append_probability(out, entry.top[k].id, entry.top[k].logprob);
        out.push_back('}');
      }
      out += "]}";
    }
    out += "]";
  }

  /// The last event of a stream, or the whole answer.
  void append_result(std::string& out, const Choice& choice) const {
    const FinishEvent& timing = choice.timing;
    const std::string& word = choice.output->matched_stop();
    const std::string& prompt = head_.prompts[static_cast<size_t>(choice.prompt)];
    append_start(out, choice, choice.content, true);
    out += ",\"model\":";
    append_json_string(out, head_.model);
    out += ",\"tokens_predicted\":" + std::to_string(choice.completion_tokens) +
           ",\"tokens_evaluated\":" + std::to_string(prompt_tokens(choice)) +
           ",\"generation_settings\":" + head_.settings + ",\"prompt\":";
    append_json_string(out, prompt);
    if (!head_.stream) {
      const bool found = choice.content.find('\n') != std::string::npos;
      out += found ? ",\"has_new_line\":true" : ",\"has_new_line\":false";
    }
    out += ",\"truncated\":false,\"stop_type\":";
    out += choice.finish_reason == "length" ? "\"limit\"" : word.empty() ? "\"eos\"" : "\"word\"";
    out += ",\"stopping_word\":";
    append_json_string(out, word);
    out += ",\"tokens_cached\":" + std::to_string(prompt_tokens(choice) + choice.completion_tokens);
    append_probabilities(out, choice);
    out += ",\"timings\":{\"cache_n\":" + std::to_string(choice.cached_tokens);
    append_phase(out, "prompt", prompt_tokens(choice) - choice.cached_tokens,
                 timing.prefill_micros);
    append_phase(out, "predicted", choice.completion_tokens, timing.decode_micros);
    out += "}}";
  }

  LlamaHead head_;
  const Tokenizer& tokenizer_;
};

bool is_id_or_text(const json::value& value) {
  return value.is_int64() || value.is_uint64() || value.is_string();
}

/// One prompt: a text, or a list of ids and texts. BOS goes before it as the vocabulary asks.
Checked read_prompt(const ServedModel& model, const json::value& value, std::vector<TokenId>& out) {
  if (value.is_string()) {
    out = encode_text(model, std::string_view(value.get_string()), true, true);
    return std::nullopt;
  }
  for (const json::value& entry : value.get_array()) {
    if (entry.is_string()) {
      const auto ids = encode_text(model, std::string_view(entry.get_string()), true, false);
      out.insert(out.end(), ids.begin(), ids.end());
      continue;
    }
    if (!entry.is_int64() || entry.get_int64() < 0 ||
        entry.get_int64() >= model.tokenizer->size()) {
      return invalid_param("prompt", "'prompt' holds something that is no token id of this model.");
    }
    out.push_back(static_cast<TokenId>(entry.get_int64()));
  }
  // Ids alone are taken as they are; with text in it the list is a text.
  const json::array& list = value.get_array();
  const bool has_text = std::ranges::any_of(list, [](const auto& e) { return e.is_string(); });
  if (has_text) out = model.tokenizer->with_bos(std::move(out));
  return std::nullopt;
}

/// A list is one prompt when it has an id in it, else one prompt per entry.
Checked read_prompts(const ServedModel& model, const json::value& value, GenerationPlan& out) {
  const auto malformed = [] {
    return invalid_param("prompt",
                         "'prompt' must be a text, a list of token ids and texts, or a "
                         "list of such prompts.");
  };
  std::vector<const json::value*> prompts;
  if (value.is_string()) {
    prompts.push_back(&value);
  } else if (!value.is_array()) {
    return malformed();
  } else {
    const json::array& list = value.get_array();
    const bool one = std::ranges::any_of(
        list, [](const json::value& entry) { return entry.is_int64() || entry.is_uint64(); });
    if (one) {
      prompts.push_back(&value);
    } else {
      for (const json::value& entry : list) prompts.push_back(&entry);
    }
  }
  if (prompts.size() > size_t{limits::kPrompts}) {
    return invalid_param("prompt", "'prompt' has more than 256 entries.");
  }
  for (const json::value* prompt : prompts) {
    const bool list = prompt->is_array() && std::ranges::all_of(prompt->get_array(), is_id_or_text);
    if (!prompt->is_string() && !list) return malformed();
    if (Checked error = read_prompt(model, *prompt, out.prompts.emplace_back())) return error;
  }
  if (out.prompts.empty()) return malformed();
  return std::nullopt;
}

Checked read_llama_params(const ServedModel& model, const json::object& body, RequestParams& out) {
  out.sampling = model.defaults;
  if (Checked error = read_params(body, common_params(), out)) return error;
  if (Checked error = read_params(body, llama_params(), out)) return error;
  if (Checked error = read_structured_params(body, model.tokenizer->size(), out)) return error;
  if (out.stream) out.return_tokens = true;
  settle_params(out);
  return std::nullopt;
}

/// Checks the prompts and makes the writer.
Checked settle_plan(const ServedModel& model, GenerationPlan& out) {
  const RequestParams& params = out.params;
  if (out.prompts.size() * static_cast<size_t>(params.made()) > size_t{limits::kPrompts}) {
    return invalid_param("n", "'n' times the number of prompts is more than 256.");
  }
  LlamaHead head{
      .model = model.id, .settings = to_json(llama_settings(params)), .stream = params.stream};
  for (const auto& ids : out.prompts) {
    if (Checked error = check_context(model, ids.size())) {
      error->param = "prompt";
      return error;
    }
    head.prompts.push_back(model.tokenizer->decode(ids, true));
    head.prompt_tokens.push_back(static_cast<int64_t>(ids.size()));
  }
  out.output = {.show_special = params.show_special, .continues_text = true};
  out.writer = std::make_unique<LlamaWriter>(std::move(head), *model.tokenizer);
  return std::nullopt;
}

/// A member that may be absent; false when it is there but no string.
bool read_text(const json::object& object, std::string_view name, std::string& out) {
  const json::value* value = find_member(object, name);
  if (value == nullptr) return true;
  if (!value->is_string()) return false;
  out = value->get_string();
  return true;
}

struct ExtraFile {
  std::string name = "tmp";
  std::string text;
};

Checked read_extra(const json::object& body, std::vector<ExtraFile>& out) {
  const json::value* extra = find_member(body, "input_extra");
  if (extra == nullptr) return std::nullopt;
  const ApiError malformed = invalid_param(
      "input_extra", "'input_extra' must be a list of {\"filename\": string, \"text\": string}.");
  if (!extra->is_array()) return malformed;
  for (const json::value& entry : extra->get_array()) {
    ExtraFile file;
    if (!entry.is_object() || find_member(entry.get_object(), "text") == nullptr ||
        !read_text(entry.get_object(), "text", file.text) ||
        !read_text(entry.get_object(), "filename", file.name)) {
      return malformed;
    }
    out.push_back(std::move(file));
  }
  return std::nullopt;
}

/// The ids of an infill prompt, built from left to right.
class InfillPrompt {
 public:
  explicit InfillPrompt(const ServedModel& model) : model_(model) {}

  void token(std::optional<int64_t> id) {
    if (id) ids_.push_back(static_cast<TokenId>(*id));
  }
  void text(std::string_view text) {
    const auto more = encode_text(model_, text, false, false);
    ids_.insert(ids_.end(), more.begin(), more.end());
  }
  std::vector<TokenId> take() { return model_.tokenizer->with_bos(std::move(ids_)); }

 private:
  const ServedModel& model_;
  std::vector<TokenId> ids_;
};

void append_extra(const VocabSpec& spec, const std::vector<ExtraFile>& files, InfillPrompt& out) {
  if (files.empty()) return;
  const bool named = spec.fim_repo && spec.fim_separator;
  if (named) {
    out.token(spec.fim_repo);
    out.text("myproject\n");
  }
  for (const ExtraFile& file : files) {
    if (named) {
      out.token(spec.fim_separator);
      out.text(file.name + "\n" + file.text);
    } else {
      out.text("\n\n--- snippet ---\n\n" + file.text);
    }
  }
  if (named) {
    out.token(spec.fim_separator);
    out.text("filename\n");
  } else {
    out.text("\n\n--- snippet ---\n\n");
  }
}

}  // namespace

std::span<const ParamRow> llama_params() {
  return kRows;
}

Checked plan_llama_completion(const ServedModel& model, json::object& body, Env&,
                              GenerationPlan& out) {
  if (Checked error = read_llama_params(model, body, out.params)) return error;
  const json::value* prompt = find_member(body, "prompt");
  if (prompt == nullptr) return invalid_param("prompt", "'prompt' is missing.");
  if (Checked error = read_prompts(model, *prompt, out)) return error;
  return settle_plan(model, out);
}

Checked plan_llama_infill(const ServedModel& model, json::object& body, Env&, GenerationPlan& out) {
  if (Checked error = read_llama_params(model, body, out.params)) return error;
  std::string prefix;
  std::string suffix;
  std::string middle;
  for (const auto& [name, text] :
       {std::pair{"input_prefix", &prefix}, std::pair{"input_suffix", &suffix},
        std::pair{"prompt", &middle}}) {
    if (read_text(body, name, *text)) continue;
    return invalid_param(name, "'" + std::string(name) + "' must be a string.");
  }
  std::vector<ExtraFile> extra;
  if (Checked error = read_extra(body, extra)) return error;
  const VocabSpec& spec = model.tokenizer->spec();
  if (!spec.fim_prefix || !spec.fim_suffix || !spec.fim_middle) {
    ApiError error =
        invalid_param("input_prefix", "This model's vocabulary has no fill-in-the-middle tokens.");
    error.code = "unsupported";
    return error;
  }
  InfillPrompt ids(model);
  append_extra(spec, extra, ids);
  ids.token(spec.fim_prefix);
  ids.text(prefix);
  ids.token(spec.fim_suffix);
  ids.text(suffix);
  ids.token(spec.fim_middle);
  ids.text(middle);
  out.prompts.push_back(ids.take());
  return settle_plan(model, out);
}

Checked apply_template_body(const ServedModel& model, const json::object& body, Env& env,
                            std::string& out) {
  Conversation conversation;
  if (Checked error = read_conversation(body, conversation)) return error;
  RenderedPrompt rendered;
  if (Checked error = render_conversation(model, std::move(conversation), "", env, rendered)) {
    return error;
  }
  out = "{\"prompt\":";
  append_json_string(out, rendered.text.bytes);
  out += "}";
  return std::nullopt;
}

}  // namespace hadal
