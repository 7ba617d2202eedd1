#include "serve/dialects/openai_completions.h"

#include <algorithm>
#include <cmath>

#include "base/limits.h"
#include "serve/dialects/common.h"
#include "serve/prompt.h"

namespace hadal {
namespace {

class CompletionWriter final : public ReplyWriter {
 public:
  CompletionWriter(const ReplyHead& head, const Tokenizer& tokenizer, bool usage_asked,
                   bool logprobs, std::vector<std::string> echo)
      : tokenizer_(tokenizer),
        prefix_(reply_prefix(head, "text_completion")),
        usage_asked_(usage_asked),
        logprobs_(logprobs),
        echo_(std::move(echo)) {}

  void begin(std::string& out, const std::vector<Choice>& choices) override {
    for (const Choice& choice : choices) {
      const std::string_view text = echo_of(choice);
      if (!text.empty()) append_chunk(out, choice.index, text, nullptr, "");
    }
  }

  void delta(std::string& out, Choice& choice, const OutputPiece& piece) override {
    append_chunk(out, choice.index, piece.content, &choice, "");
  }

  void choice_end(std::string& out, Choice& choice) override {
    append_chunk(out, choice.index, "", &choice, public_reason(choice.finish_reason));
  }

  void end(std::string& out, const Usage& usage) override {
    if (usage_asked_) {
      out += "data: " + prefix_ + ",\"choices\":[],\"usage\":";
      append_usage(out, usage);
      out += "}\n\n";
    }
    out += "data: [DONE]\n\n";
  }

  void error(std::string& out, const ApiError& error) override { append_sse_error(out, error); }

  std::string whole(const std::vector<Choice>& choices, const Usage& usage) override {
    std::string out = prefix_ + ",\"choices\":[";
    for (const Choice& choice : choices) {
      if (choice.index > 0) out.push_back(',');
      append_choice(out, choice.index, std::string(echo_of(choice)) + choice.content,
                    choice.logprobs, public_reason(choice.finish_reason), 0);
    }
    out += "],\"usage\":";
    append_usage(out, usage);
    out += "}";
    return out;
  }

 private:
  std::string_view echo_of(const Choice& choice) const {
    const auto prompt = static_cast<size_t>(choice.prompt);
    return prompt < echo_.size() ? std::string_view(echo_[prompt]) : std::string_view();
  }

  void append_chunk(std::string& out, int index, std::string_view text, Choice* with_logprobs,
                    std::string_view reason) const {
    out += "data: " + prefix_ + ",\"choices\":[";
    std::vector<TokenLogEntry> entries;
    int64_t offset = 0;
    if (with_logprobs != nullptr) {
      entries.swap(with_logprobs->logprobs);
      offset = with_logprobs->text_offset;
      for (const TokenLogEntry& entry : entries) {
        with_logprobs->text_offset += characters_of(entry.id);
      }
    }
    append_choice(out, index, text, entries, reason, offset);
    out += usage_asked_ ? "],\"usage\":null}\n\n" : "]}\n\n";
  }

  void append_choice(std::string& out, int index, std::string_view text,
                     const std::vector<TokenLogEntry>& entries, std::string_view reason,
                     int64_t offset) const {
    out += "{\"index\":" + std::to_string(index) + ",\"text\":";
    append_json_string(out, text);
    out += ",\"logprobs\":";
    append_logprobs(out, entries, offset);
    out += ",\"finish_reason\":";
    if (reason.empty()) {
      out += "null}";
    } else {
      append_json_string(out, reason);
      out += "}";
    }
  }

  /// Code points that begin in this token: a character spread over tokens counts once.
  int64_t characters_of(TokenId id) const {
    const std::string_view bytes = tokenizer_.piece(id, true);
    return std::count_if(bytes.begin(), bytes.end(),
                         [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
  }

  /// `offset`: where the first token begins in the text of the choice.
  void append_logprobs(std::string& out, const std::vector<TokenLogEntry>& entries,
                       int64_t offset) const {
    if (!logprobs_ || entries.empty()) {
      out += "null";
      return;
    }
    std::string tokens, values, tops, offsets;
    for (const TokenLogEntry& entry : entries) {
      if (!tokens.empty()) {
        tokens.push_back(',');
        values.push_back(',');
        tops.push_back(',');
        offsets.push_back(',');
      }
      offsets += std::to_string(offset);
      offset += characters_of(entry.id);
      append_token_text(tokens, tokenizer_, entry.id);
      append_json_number(values, entry.logprob);  // NaN is written as null
      if (std::isnan(entry.logprob)) {
        tops += "null";
        continue;
      }
      tops.push_back('{');
      for (size_t i = 0; i < entry.top.size(); ++i) {
        if (i > 0) tops.push_back(',');
        append_token_text(tops, tokenizer_, entry.top[i].id);
        tops.push_back(':');
        append_json_number(tops, entry.top[i].logprob);
      }
      tops.push_back('}');
    }
    out += "{\"tokens\":[" + tokens + "],\"token_logprobs\":[" + values + "],\"top_logprobs\":[" +
           tops + "],\"text_offset\":[" + offsets + "]}";
  }

  const Tokenizer& tokenizer_;
  std::string prefix_;
  bool usage_asked_;
  bool logprobs_;
  std::vector<std::string> echo_;  ///< per prompt; empty: none
};

Checked read_prompts(const ServedModel& model, const json::value& value, GenerationPlan& out) {
  const auto add_text = [&](const json::string& text) {
    out.prompts.push_back(
        encode_text(model, std::string_view(text.data(), text.size()), true, true));
  };
  if (value.is_string()) {
    add_text(value.get_string());
    return std::nullopt;
  }
  if (!value.is_array() || value.get_array().empty()) {
    return invalid_param("prompt", "'prompt' must be a string, a list of strings or token ids.");
  }
  const json::array& list = value.get_array();
  const int64_t n_vocab = model.tokenizer->size();
  if (list.front().is_number()) {
    out.prompts.emplace_back();
    return read_token_ids(value, "prompt", n_vocab, out.prompts.back());
  }
  if (list.size() > size_t{limits::kPrompts}) {
    return invalid_param("prompt", "'prompt' has more than 256 entries.");
  }
  for (const json::value& entry : list) {
    if (entry.is_string()) {
      add_text(entry.get_string());
      continue;
    }
    out.prompts.emplace_back();
    if (Checked error = read_token_ids(entry, "prompt", n_vocab, out.prompts.back())) return error;
  }
  return std::nullopt;
}

/// prefix text, suffix text -> FIM prefix, FIM suffix, FIM middle, in the order models were
/// trained on ("prefix-suffix-middle").
Checked read_infill(const ServedModel& model, const json::value& prompt, const json::value& suffix,
                    GenerationPlan& out) {
  const VocabSpec& spec = model.tokenizer->spec();
  if (!spec.fim_prefix || !spec.fim_suffix || !spec.fim_middle) {
    ApiError error = invalid_param(
        "suffix",
        "This model's vocabulary has no fill-in-the-middle tokens, so 'suffix' cannot work.");
    error.code = "unsupported";
    return error;
  }
  if (!prompt.is_string() || !suffix.is_string()) {
    return invalid_param("suffix", "With 'suffix', both it and 'prompt' must be strings.");
  }
  const auto append_text = [&](std::vector<TokenId>& ids, const json::string& text) {
    const auto more = encode_text(model, std::string_view(text.data(), text.size()), false, false);
    ids.insert(ids.end(), more.begin(), more.end());
  };
  std::vector<TokenId> ids = {static_cast<TokenId>(*spec.fim_prefix)};
  append_text(ids, prompt.get_string());
  ids.push_back(static_cast<TokenId>(*spec.fim_suffix));
  append_text(ids, suffix.get_string());
  ids.push_back(static_cast<TokenId>(*spec.fim_middle));
  out.prompts.push_back(model.tokenizer->with_bos(std::move(ids)));
  return std::nullopt;
}

std::vector<std::string> echo_texts(const ServedModel& model, const GenerationPlan& plan) {
  std::vector<std::string> texts;
  if (!plan.params.echo) return texts;
  for (const auto& ids : plan.prompts) {
    texts.push_back(model.tokenizer->decode(ids, plan.params.show_special));
  }
  return texts;
}

Checked settle_best_of(RequestParams& params) {
  if (params.best_of == 0) return std::nullopt;
  if (params.best_of < params.n) {
    return invalid_param("best_of", "'best_of' must not be below 'n'.");
  }
  if (params.best_of == params.n) return std::nullopt;
  if (params.stream) {
    return invalid_param("best_of", "'best_of' above 'n' cannot be streamed.");
  }
  // They are ranked by log-probabilities, asked for or not.
  params.sampling.top_logprobs = std::max(params.sampling.top_logprobs, 0);
  return std::nullopt;
}

}  // namespace

Checked plan_openai_completions(const ServedModel& model, json::object& body, Env& env,
                                GenerationPlan& out) {
  RequestParams& params = out.params;
  params.sampling = model.defaults;
  params.max_tokens = 16;  // the API's own default for this endpoint
  if (const json::value* most = find_member(body, "max_tokens"); most != nullptr && *most == 0) {
    params.prompt_only = true;  // scoring tools ask for the echo alone
    body["max_tokens"] = 1;
  }
  if (Checked error = read_params(body, common_params(), params)) return error;
  if (Checked error = read_params(body, completion_params(), params)) return error;
  if (Checked error = read_structured_params(body, model.tokenizer->size(), params)) return error;
  settle_params(params);
  if (Checked error = settle_best_of(params)) return error;
  if (params.prompt_only && !params.echo) {
    return invalid_param("max_tokens", "'max_tokens' may be 0 only with 'echo': true.");
  }
  const json::value* prompt = find_member(body, "prompt");
  if (prompt == nullptr) return invalid_param("prompt", "'prompt' is missing.");
  const json::value* suffix = find_member(body, "suffix");
  Checked problem = suffix != nullptr ? read_infill(model, *prompt, *suffix, out)
                                      : read_prompts(model, *prompt, out);
  if (problem) return problem;
  for (const auto& ids : out.prompts) {
    if (Checked error = check_context(model, ids.size())) {
      error->param = "prompt";
      return error;
    }
  }
  if (out.prompts.size() * static_cast<size_t>(params.made()) > size_t{limits::kPrompts}) {
    return invalid_param(params.made() > params.n ? "best_of" : "n",
                         "'n' or 'best_of' times the number of prompts is more than 256.");
  }
  out.output = {.show_special = params.show_special, .continues_text = true};
  const ReplyHead head{
      .id = new_id(env, "cmpl-"), .created = env.unix_micros() / 1'000'000, .model = model.id};
  out.writer = std::make_unique<CompletionWriter>(head, *model.tokenizer,
                                                  params.stream && params.include_usage,
                                                  params.logprobs, echo_texts(model, out));
  return std::nullopt;
}

}  // namespace hadal
