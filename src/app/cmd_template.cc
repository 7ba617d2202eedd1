/// hadal template: messages on standard input to the prompt that a model gets.
#include "app/app.h"
#include "app/generate.h"
#include "app/options.h"
#include "app/output.h"
#include "base/env.h"
#include "base/limits.h"

namespace hadal {
namespace {

struct TemplateCommandOptions {
  std::string model;
  std::string file;
  std::string codec;
  std::string bos;
  std::string eos;
  CLI::Option* bos_given = nullptr;
  CLI::Option* eos_given = nullptr;
};

std::string token_text(const Tokenizer& tokenizer, std::optional<TokenId> id) {
  return id.has_value() ? std::string(tokenizer.piece(*id, true)) : "";
}

Result<json::object> read_variables() {
  TRY(const std::string input, read_stdin(limits::kHttpBodyBytes));
  TRY(json::value parsed, parse_json(input));
  if (parsed.is_object()) return std::move(parsed.get_object());
  if (parsed.is_array()) {
    json::object variables;
    variables["messages"] = std::move(parsed);
    variables["add_generation_prompt"] = true;
    return variables;
  }
  return Error{Code::kInvalidArgument, "standard input is neither a list of messages nor an object",
               R"(for example [{"role": "user", "content": "Hello"}])"};
}

/// A template sees every variable as it is.
Result<std::string> render_template(const ChatTemplate& program, const std::string& bos,
                                    const std::string& eos) {
  TRY(const json::object variables, read_variables());
  const TemplateOptions with{bos, eos, Env::real().unix_micros() / 1'000'000};
  TRY(MarkedText prompt, program.render(variables, with));
  return std::move(prompt.bytes);
}

/// A codec reads a request: what a request has no field for is a template's variable.
Result<std::string> render_request(const LoadedText& text, const Codec& codec) {
  TRY(const json::object variables, read_variables());
  json::object body;
  json::object extra;
  body["add_generation_prompt"] = false;
  for (const auto& [name, value] : variables) {
    const bool field = name == "messages" || name == "tools" || name == "tool_choice" ||
                       name == "add_generation_prompt" || name == "continue_final_message" ||
                       (name == "thinking" && value.is_object());
    (field ? body : extra)[name] = value;
  }
  body["chat_template_kwargs"] = std::move(extra);
  TRY(RenderedPrompt prompt, render_body(text, codec, body));
  return std::move(prompt.text.bytes);
}

Result<std::string> render_model(const TemplateCommandOptions& options, const Settings& settings) {
  TRY(const LoadedText text, open_text(options.model, settings));
  TRY(const Codec codec, codec_of(text, options.codec));
  if (codec.kind() != CodecKind::kTemplate) return render_request(text, codec);
  if (text.chat_template == nullptr) {
    return Error{Code::kNotFound, options.model + ": " + text.template_problem,
                 "give one with --file T.jinja"};
  }
  const Tokenizer& tokenizer = *text.tokenizer;
  return render_template(
      *text.chat_template,
      options.bos_given->count() > 0 ? options.bos : token_text(tokenizer, tokenizer.bos()),
      options.eos_given->count() > 0 ? options.eos : token_text(tokenizer, tokenizer.eos()));
}

Result<std::string> render_file(const TemplateCommandOptions& options) {
  TRY(const std::string source, Env::real().read_file(options.file, limits::kTemplateSourceBytes));
  TRY(const ChatTemplate program, ChatTemplate::parse(source));
  return render_template(program, options.bos, options.eos);
}

Result<int> render(const TemplateCommandOptions& options, const Settings& settings) {
  if (options.model.empty() == options.file.empty()) {
    return usage_error("name a model with --model or a template with --file, not both",
                       "hadal template --model M < messages.json");
  }
  TRY(const std::string prompt,
      options.file.empty() ? render_model(options, settings) : render_file(options));
  print_out(prompt);
  return kExitOk;
}

void add_template(CLI::App& command, const Settings& settings, Action& run) {
  static TemplateCommandOptions options;
  add_model_option(command, options.model)->required(false);
  command.add_option("--file", options.file, "a Jinja template instead of a model's")
      ->type_name("T.jinja");
  command
      .add_option("--codec", options.codec, "write the prompt as NAME does (template: by Jinja)")
      ->type_name("NAME");
  options.bos_given = command.add_option("--bos", options.bos, "text of bos_token")->type_name("S");
  options.eos_given = command.add_option("--eos", options.eos, "text of eos_token")->type_name("S");
  command.footer(
      "Standard input: a JSON list of messages (the model is asked to answer), or an object with\n"
      "messages, tools, add_generation_prompt and any further variable, handed on as it is.\n"
      "A model of a known DeepSeek generation has a codec: thinking, reasoning_effort and\n"
      "drop_thinking are its variables.\n"
      "Prints the prompt and nothing else.\n"
      "Example: echo '[{\"role\":\"user\",\"content\":\"Hello\"}]' | hadal template --model "
      "smollm2-135m");
  run = [&settings] { return render(options, settings); };
}

}  // namespace

extern const Subcommand kTemplateCommand;
const Subcommand kTemplateCommand = {"template", "messages (JSON) to the prompt a model gets",
                                     add_template};

}  // namespace hadal
