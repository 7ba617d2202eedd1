/// hadal template: messages on standard input to the prompt that a model gets.
#include "app/app.h"
#include "app/options.h"
#include "app/output.h"
#include "base/env.h"
#include "base/limits.h"

namespace hadal {
namespace {

struct TemplateCommandOptions {
  std::string model;
  std::string file;
  std::string bos;
  std::string eos;
  CLI::Option* bos_given = nullptr;
  CLI::Option* eos_given = nullptr;
};

/// The template and the texts of its two marks.
struct TemplateSource {
  ChatTemplate program;
  std::string bos;
  std::string eos;
};

std::string token_text(const Tokenizer& tokenizer, std::optional<TokenId> id) {
  return id.has_value() ? std::string(tokenizer.piece(*id, true)) : "";
}

Result<TemplateSource> load_source(const TemplateCommandOptions& options,
                                   const Settings& settings) {
  if (!options.file.empty()) {
    TRY(const std::string source,
        Env::real().read_file(options.file, limits::kTemplateSourceBytes));
    TRY(ChatTemplate program, ChatTemplate::parse(source));
    return TemplateSource{std::move(program), options.bos, options.eos};
  }
  TRY(LoadedText text, open_text(options.model, settings));
  if (text.chat_template == nullptr) {
    return Error{Code::kNotFound, options.model + ": " + text.template_problem,
                 "give one with --file T.jinja"};
  }
  TemplateSource source{std::move(*text.chat_template),
                        token_text(*text.tokenizer, text.tokenizer->bos()),
                        token_text(*text.tokenizer, text.tokenizer->eos())};
  if (options.bos_given->count() > 0) source.bos = options.bos;
  if (options.eos_given->count() > 0) source.eos = options.eos;
  return source;
}

Result<int> render(const TemplateCommandOptions& options, const Settings& settings) {
  if (options.model.empty() == options.file.empty()) {
    return usage_error("name a model with --model or a template with --file, not both",
                       "hadal template --model M < messages.json");
  }
  TRY(const TemplateSource source, load_source(options, settings));
  TRY(const std::string input, read_stdin(limits::kHttpBodyBytes));
  TRY(json::value parsed, parse_json(input));
  json::object variables;
  if (parsed.is_object()) {
    variables = std::move(parsed.get_object());
  } else if (parsed.is_array()) {
    variables["messages"] = std::move(parsed);
    variables["add_generation_prompt"] = true;
  } else {
    return Error{Code::kInvalidArgument,
                 "standard input is neither a list of messages nor an object",
                 R"(for example [{"role": "user", "content": "Hello"}])"};
  }
  const TemplateOptions with{source.bos, source.eos, Env::real().unix_micros() / 1'000'000};
  TRY(const MarkedText prompt, source.program.render(variables, with));
  print_out(prompt.bytes);
  return kExitOk;
}

void add_template(CLI::App& command, const Settings& settings, Action& run) {
  static TemplateCommandOptions options;
  add_model_option(command, options.model)->required(false);
  command.add_option("--file", options.file, "a Jinja template instead of a model's")
      ->type_name("T.jinja");
  options.bos_given = command.add_option("--bos", options.bos, "text of bos_token")->type_name("S");
  options.eos_given = command.add_option("--eos", options.eos, "text of eos_token")->type_name("S");
  command.footer(
      "Standard input: a JSON list of messages (the model is asked to answer), or an object with\n"
      "messages, tools, add_generation_prompt and any further variable, handed on as it is.\n"
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
