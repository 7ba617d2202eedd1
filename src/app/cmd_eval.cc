/// hadal eval perplexity, hadal eval kld: how good a model's predictions are on a text.
#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "app/app.h"
#include "app/eval_report.h"
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
  std::string models;  ///< of a report, between commas
  bool speed = true;
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

std::vector<std::string> names_between_commas(const std::string& text) {
  std::vector<std::string> names;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    if (end > begin) names.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return names;
}

/// One model beside the reference at a time, so that the memory of two is enough.
Result<int> report(const EvalOptions& options, const Settings& settings) {
  const std::vector<std::string> names = names_between_commas(options.models);
  if (names.empty()) return usage_error("--models names no model", "for example a.gguf,b.gguf");
  TRY(const LoadOptions load, load_options_from(options.rounding));
  TRY(LoadedModel base, open_model(options.base, options.threads, settings, load));
  TRY(const WindowOptions windows, window_options(options, base));
  TRY(const std::vector<TokenId> ids, ids_of_file(options.file, *base.tokenizer));
  std::vector<ReportRow> rows;
  for (const std::string& name : names) {
    TRY(LoadedModel model, open_model(name, options.threads, settings, load));
    const auto fits = window_options(options, model);
    if (!fits.ok()) return fits.error();
    ReportRow row;
    row.name = model.name;
    row.file_bytes = model.file->file_bytes();
    row.bits_per_weight = bits_per_weight(*model.file);
    TRY(row.quality, measure_divergence(model, base, ids, windows));
    if (options.speed) TRY_STATUS(measure_speed(model, row));
    rows.push_back(std::move(row));
  }
  if (options.json) {
    print_json(report_json(rows, base.name));
  } else {
    print_out(report_text(rows));
    print_out(fmt::format("reference {}: {}, {:.2f} bits, perplexity {:.4f}; {} positions\n",
                          base.name, human_bytes(base.file->file_bytes()),
                          bits_per_weight(*base.file), rows.front().quality.base_perplexity,
                          rows.front().quality.tokens));
  }
  return kExitOk;
}

void add_common(CLI::App& command, EvalOptions& options) {
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
  CLI::App* of_many = command.add_subcommand(
      "report", "size, speed and loss of several files of a model, side by side");
  add_model_option(*of_one, options.model);
  add_model_option(*of_two, options.model);
  of_many->add_option("--models", options.models, "names or paths, between commas")
      ->required()
      ->type_name("A,B,...");
  for (CLI::App* each : {of_one, of_two, of_many}) add_common(*each, options);
  for (CLI::App* each : {of_two, of_many}) {
    each->add_option("--base,--reference", options.base, "the model to compare with")
        ->required()
        ->type_name("B");
  }
  of_many->add_flag("!--no-speed", options.speed, "leave prefill and decode speed out");
  command.footer(
      "The text is cut into windows of --ctx positions (BOS first where the vocabulary adds one); "
      "every\n"
      "token after a window's first is scored, as it is served, in windows that do not overlap.\n"
      "Example: hadal eval perplexity --model smollm2-135m --file text.txt --json");
  run = [&settings, of_one, of_many] {
    if (of_many->parsed()) return report(options, settings);
    return of_one->parsed() ? perplexity(options, settings) : kld(options, settings);
  };
}

}  // namespace

extern const Subcommand kEvalCommand;
const Subcommand kEvalCommand = {"eval", "perplexity of a text, divergence between models",
                                 add_eval};

}  // namespace hadal
