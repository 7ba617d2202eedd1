/// hadal tokenize, hadal detokenize: text to ids and back.
#include <fmt/format.h>

#include "app/app.h"
#include "app/options.h"
#include "app/output.h"
#include "base/limits.h"

namespace hadal {
namespace {

struct TokenizeOptions {
  std::string model;
  bool specials = false;
  bool bos = false;
  bool json = false;
};

Result<int> tokenize(const TokenizeOptions& options, const Settings& settings) {
  TRY(const LoadedText text, open_text(options.model, settings));
  TRY(const std::string input, read_stdin(limits::kTextInputBytes));
  std::vector<TokenId> ids =
      text.tokenizer->encode(input, options.specials ? Specials::kParse : Specials::kText);
  if (options.bos) ids = text.tokenizer->with_bos(std::move(ids));
  if (options.json) {
    print_json(json::object{{"ids", json::array(ids.begin(), ids.end())}});
  } else {
    print_out(fmt::format("{}\n", fmt::join(ids, " ")));
  }
  return kExitOk;
}

void add_tokenize(CLI::App& command, const Settings& settings, Action& run) {
  static TokenizeOptions options;
  add_model_option(command, options.model);
  command.add_flag("--special", options.specials, "control tokens in the text become their ids");
  command.add_flag("--bos", options.bos, "add the tokens that the vocabulary puts around a text");
  add_json_option(command, options.json);
  command.footer("Example: echo -n 'Hello 世界' | hadal tokenize --model smollm2-135m");
  run = [&settings] { return tokenize(options, settings); };
}

struct DetokenizeOptions {
  std::string model;
  std::string ids;
  bool hide_control = false;
};

Result<int> detokenize(const DetokenizeOptions& options, const Settings& settings) {
  std::string words = options.ids;
  if (words.empty()) {
    TRY(words, read_stdin(limits::kTextInputBytes));
  }
  const auto ids = parse_ids(words);
  if (!ids.ok()) return usage_error(ids.error().message, ids.error().hint);
  TRY(const LoadedText text, open_text(options.model, settings));
  for (const TokenId id : ids.value()) {
    if (id >= text.tokenizer->size()) {
      return usage_error(
          fmt::format("id {} is outside of the vocabulary", id),
          fmt::format("{} has ids 0 to {}", options.model, text.tokenizer->size() - 1));
    }
  }
  print_out(text.tokenizer->decode(ids.value(), !options.hide_control));
  return kExitOk;
}

void add_detokenize(CLI::App& command, const Settings& settings, Action& run) {
  static DetokenizeOptions options;
  add_model_option(command, options.model);
  command.add_option("--ids", options.ids, "the ids (default: standard input)")
      ->type_name("\"1 2 3\"");
  command.add_flag("--hide-control", options.hide_control, "leave out control tokens");
  command.footer(
      "Prints the bytes and nothing else, also no line end.\n"
      "Example: echo 19556 905 | hadal detokenize --model smollm2-135m");
  run = [&settings] { return detokenize(options, settings); };
}

}  // namespace

extern const Subcommand kTokenizeCommand;
extern const Subcommand kDetokenizeCommand;
const Subcommand kTokenizeCommand = {"tokenize", "text on standard input to token ids",
                                     add_tokenize};
const Subcommand kDetokenizeCommand = {"detokenize", "token ids to text", add_detokenize};

}  // namespace hadal
