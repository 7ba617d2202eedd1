#include "text/codec.h"

#include <array>

#include "text/codec/markers.h"
#include "text/codec/writer.h"

namespace hadal {
namespace {

struct CodecName {
  std::string_view name;
  CodecKind kind;
};

constexpr std::array kNames = {
    CodecName{"template", CodecKind::kTemplate},
    CodecName{"deepseek-llm", CodecKind::kDeepSeekLlm},
    CodecName{"deepseek-v3", CodecKind::kDeepSeekV3},
    CodecName{"deepseek-r1", CodecKind::kDeepSeekR1},
    CodecName{"r1-distill", CodecKind::kR1Distill},
    CodecName{"deepseek-v3.1", CodecKind::kDeepSeekV31},
    CodecName{"deepseek-v3.2", CodecKind::kDeepSeekV32},
    CodecName{"deepseek-v4", CodecKind::kDeepSeekV4},
};

/// V4 as released in April 2026: other levels of effort.
constexpr std::string_view kPreviewName = "deepseek-v4-preview";

bool is_deepseek(std::string_view architecture) {
  return architecture.empty() || architecture.starts_with("deepseek");
}

/// Marks that no other family's template has. kTemplate: none of them.
CodecKind recognise(std::string_view source, std::string_view architecture) {
  const auto has = [&](std::string_view text) {
    return source.find(text) != std::string_view::npos;
  };
  if (has("｜DSML｜")) {
    // V4.1 begins with a token for the system text; its other marks have grown a blank as well.
    if (has("<｜System｜>")) return CodecKind::kTemplate;
    if (has("function_calls")) return CodecKind::kDeepSeekV32;
    return has("tool_calls>") ? CodecKind::kDeepSeekV4 : CodecKind::kTemplate;
  }
  if (has("<｜tool▁calls▁begin｜>")) {
    if (!has("```json")) return has("thinking") ? CodecKind::kDeepSeekV31 : CodecKind::kTemplate;
    if (!has("</think>")) return CodecKind::kDeepSeekV3;
    return is_deepseek(architecture) && has("is_first_sp") ? CodecKind::kDeepSeekR1
                                                           : CodecKind::kR1Distill;
  }
  const bool lines = has("'User: '") && has("'Assistant: '") && has("'Assistant:'");
  return lines && is_deepseek(architecture) ? CodecKind::kDeepSeekLlm : CodecKind::kTemplate;
}

/// For a file without a template.
CodecKind guess(std::string_view architecture, const Tokenizer& tokenizer) {
  const auto has = [&](std::string_view token) { return tokenizer.find(token).has_value(); };
  if (architecture == "deepseek4") return CodecKind::kDeepSeekV4;
  if (architecture == "deepseek32") return CodecKind::kDeepSeekV32;
  if (!has(kUser)) {
    return has(kBos) && architecture.starts_with("deepseek") ? CodecKind::kDeepSeekLlm
                                                             : CodecKind::kTemplate;
  }
  if (architecture == "qwen2" || architecture == "qwen3" || architecture == "llama") {
    return CodecKind::kR1Distill;
  }
  if (!architecture.starts_with("deepseek")) return CodecKind::kTemplate;
  if (has("<｜search▁begin｜>")) return CodecKind::kDeepSeekV31;
  return has(kThinkBegin) ? CodecKind::kDeepSeekR1 : CodecKind::kDeepSeekV3;
}

}  // namespace

Codec::Codec(CodecKind kind, const CodecModel& model)
    : kind_(kind), model_{.chat_template = model.chat_template, .tokenizer = model.tokenizer} {
  if (model.chat_template == nullptr) return;
  const std::string& source = model.chat_template->source();
  opens_think_ = source.find("<think>\\n") != std::string::npos;
  late_effort_ = source.find("Absolute maximum") == std::string::npos ||
                 source.find("Beyond maximum") != std::string::npos;
}

Codec Codec::choose(const CodecModel& model) {
  if (model.chat_template != nullptr) {
    return {recognise(model.chat_template->source(), model.architecture), model};
  }
  if (model.tokenizer != nullptr) return {guess(model.architecture, *model.tokenizer), model};
  return {CodecKind::kTemplate, model};
}

Result<Codec> Codec::named(std::string_view name, const CodecModel& model) {
  std::string list;
  for (const CodecName& known : kNames) {
    if (known.name == name) return Codec(known.kind, model);
    list += std::string(known.name) + ", ";
  }
  if (name == kPreviewName) {
    Codec codec(CodecKind::kDeepSeekV4, model);
    codec.late_effort_ = false;
    return codec;
  }
  return Error{Code::kNotFound, "no codec is called '" + std::string(name) + "'",
               "codecs: " + list + std::string(kPreviewName)};
}

std::string_view Codec::name() const {
  if (kind_ == CodecKind::kDeepSeekV4 && !late_effort_) return kPreviewName;
  for (const CodecName& known : kNames) {
    if (known.kind == kind_) return known.name;
  }
  return {};
}

CallSyntax Codec::call_syntax() const {
  switch (kind_) {
    case CodecKind::kTemplate:
      return model_.chat_template != nullptr &&
                     model_.chat_template->source().find("<tool_call>") != std::string::npos
                 ? CallSyntax::kTagged
                 : CallSyntax::kNone;
    case CodecKind::kDeepSeekLlm:
      return CallSyntax::kNone;
    case CodecKind::kDeepSeekV32:
    case CodecKind::kDeepSeekV4:
      return CallSyntax::kDsml;
    default:
      return CallSyntax::kTokens;
  }
}

Result<RenderedPrompt> Codec::render(const Conversation& conversation,
                                     const TemplateOptions& options) const {
  const std::string_view bos = options.bos_token.empty() ? kBos : options.bos_token;
  using Cut = TurnStyle::Cut;
  switch (kind_) {
    case CodecKind::kTemplate:
      return render_template(model_, conversation, options);
    case CodecKind::kDeepSeekLlm:
      return render_lines(conversation, bos);
    case CodecKind::kDeepSeekV3:
      return render_fenced(conversation, bos, {});
    case CodecKind::kR1Distill:
      if (model_.chat_template != nullptr && !conversation.uses_tools()) {
        return render_template(model_, conversation, options);
      }
      [[fallthrough]];
    case CodecKind::kDeepSeekR1:
      return render_fenced(conversation, bos,
                           {.last_system_only = kind_ == CodecKind::kR1Distill,
                            .cut = Cut::kBehindLastThink,
                            .generation = opens_think_ ? "<think>\n" : ""});
    case CodecKind::kDeepSeekV31:
      return render_v31(conversation, bos);
    case CodecKind::kDeepSeekV32:
      return render_v32(conversation, bos);
    case CodecKind::kDeepSeekV4:
      return render_v4(conversation, bos, late_effort_);
  }
  return RenderedPrompt{};
}

std::vector<TokenId> Codec::marker_ids(const Tokenizer& tokenizer) const {
  std::vector<TokenId> out;
  for (const OutputParser::Marker& marker : markers_of(call_syntax())) {
    if (const auto id = tokenizer.find(marker.text)) out.push_back(*id);
  }
  return out;
}

}  // namespace hadal
