/// hadal eval perplexity, hadal eval kld: how good a model's predictions are on a text.
#include <cstdio>

#include <fmt/format.h>

#include "app/app.h"
#include "app/options.h"
#include "app/output.h"
#include "app/scoring.h"
#include "base/env.h"
#include "base/limits.h"
#include <CLI/CLI.hpp>  // all of it: nested subcommands are made in this file

namespace hadal {
namespace {

struct EvalOptions {
  std::string model;
  std::string base;
  std::string file;
  RoundingOptions rounding;
  int64_t ctx = 512;
  int threads = 0;
  bool json = false;
};

void show_window(int64_t done, int64_t all) {
  fmt::print(stderr, "\rwindow {} of {}{}", done, all, done == all ? "\r\033[K" : "");
  std::fflush(stderr);
}

Result<WindowOptions> window_options(const EvalOptions& options, const LoadedModel& model) {
  const int64_t limit = model.model->n_ctx_train();
  if (options.ctx > limit) {
    return Error{Code::kInvalidArgument,
                 fmt::format("--ctx {} is more than the {} positions the model was trained for",
                             options.ctx, limit)};
  }
  WindowOptions windows;
  windows.ctx = options.ctx;
  if (stderr_is_terminal()) windows.progress = show_window;
  return windows;
}

Result<std::vector<TokenId>> ids_of_file(const std::string& file, const Tokenizer& tokenizer) {
  TRY(const std::string text, Env::real().read_file(file, limits::kTextInputBytes));
  return tokenizer.encode(text, Specials::kText);
}

Result<int> perplexity(const EvalOptions& options, const Settings& settings) {
  TRY(const LoadOptions load, load_options_from(options.rounding));
  TRY(LoadedModel model, open_model(options.model, options.threads, settings, load));
  TRY(const WindowOptions windows, window_options(options, model));
  TRY(const std::vector<TokenId> ids, ids_of_file(options.file, *model.tokenizer));
  TRY(const Perplexity result, measure_perplexity(model, ids, windows));
  if (options.json) {
    print_json(json::object{{"perplexity", result.perplexity}, {"tokens", result.tokens}});
  } else {
    print_out(fmt::format("perplexity {:.4f} over {} tokens (windows of {})\n", result.perplexity,
                          result.tokens, options.ctx));
  }
  return kExitOk;
}

Result<int> kld(const EvalOptions& options, const Settings& settings) {
  TRY(const LoadOptions load, load_options_from(options.rounding));
  TRY(LoadedModel base, open_model(options.base, options.threads, settings, load));
  TRY(LoadedModel model, open_model(options.model, options.threads, settings, load));
  TRY(const WindowOptions windows, window_options(options, base));
  const auto fits = window_options(options, model);
  if (!fits.ok()) return fits.error();
  TRY(const std::vector<TokenId> ids, ids_of_file(options.file, *base.tokenizer));
  TRY(const Divergence result, measure_divergence(model, base, ids, windows));
  if (options.json) {
    print_json(json::object{{"mean_kld", result.mean_kld},
                            {"p99_kld", result.p99_kld},
                            {"top1_agreement", result.top1_agreement},
                            {"tokens", result.tokens}});
  } else {
    print_out(fmt::format(
        "mean KL divergence {:.6f}, 99th percentile {:.6f}, same likeliest token {:.3f} %, "
        "over {} positions\n",
        result.mean_kld, result.p99_kld, 100 * result.top1_agreement, result.tokens));
  }
  return kExitOk;
}

void add_common(CLI::App& command, EvalOptions& options) {
  add_model_option(command, options.model);
  command.add_option("-f,--file", options.file, "the text (UTF-8)")->required()->type_name("F");
  command.add_option("--ctx", options.ctx, "positions per window (default 512)")
      ->check(CLI::Range(int64_t{2}, limits::kModelContext))
      ->type_name("N");
  add_rounding_options(command, options.rounding);
  add_threads_option(command, options.threads);
  add_json_option(command, options.json);
}

void add_eval(CLI::App& command, const Settings& settings, Action& run) {
  static EvalOptions options;
  command.require_subcommand(1);
  CLI::App* of_one = command.add_subcommand("perplexity", "how surprised the model is by a text");
  CLI::App* of_two =
      command.add_subcommand("kld", "how far a model's predictions are from another's");
  add_common(*of_one, options);
  add_common(*of_two, options);
  of_two->add_option("--base", options.base, "the model to compare with")
      ->required()
      ->type_name("B");
  command.footer(
      "The text is cut into windows of --ctx positions (BOS first where the vocabulary adds one); "
      "every\n"
      "token after a window's first is scored, as it is served, in windows that do not overlap.\n"
      "Example: hadal eval perplexity --model smollm2-135m --file text.txt --json");
  run = [&settings, of_one] {
    return of_one->parsed() ? perplexity(options, settings) : kld(options, settings);
  };
}

}  // namespace

extern const Subcommand kEvalCommand;
const Subcommand kEvalCommand = {"eval", "perplexity of a text, divergence between two models",
                                 add_eval};

}  // namespace hadal
