/// hadal imatrix: how much each column of each matrix counts, measured on a text.
#include <algorithm>

#include <fmt/format.h>

#include "app/app.h"
#include "app/options.h"
#include "app/output.h"
#include "app/scoring.h"
#include "app/sequence_runner.h"
#include "base/env.h"
#include "base/limits.h"
#include "tuning/tuning.h"

namespace hadal {
namespace {

struct ImatrixOptions {
  std::string model;
  std::string file;
  std::string output;
  int64_t ctx = 512;
  int64_t chunks = 0;
  bool overwrite = false;
  bool json = false;
  int threads = 0;
};

/// Positions whose logits are held at once; nobody reads them, but the last layer skips rows that
/// want none.
constexpr size_t kRows = 64;

Status run_window(SequenceRunner& runner, std::span<const TokenId> window,
                  std::vector<float>& logits, size_t n_vocab) {
  runner.clear();
  for (size_t begin = 0; begin < window.size(); begin += kRows) {
    const size_t rows = std::min(kRows, window.size() - begin);
    logits.resize(rows * n_vocab);
    TRY_STATUS(runner.append_all(window.subspan(begin, rows), logits));
  }
  return {};
}

Result<int> imatrix(const ImatrixOptions& options, const Settings& settings) {
  if (!options.overwrite && std::filesystem::exists(options.output)) {
    return Error{Code::kInvalidArgument, fmt::format("{} exists already", options.output),
                 "choose another name, or replace it with --overwrite"};
  }
  TRY(LoadedModel model, open_model(options.model, options.threads, settings));
  if (options.ctx > model.model->n_ctx_train()) {
    return Error{Code::kInvalidArgument,
                 fmt::format("--ctx {} is more than the {} positions the model was trained for",
                             options.ctx, model.model->n_ctx_train())};
  }
  TRY(const std::string text, Env::real().read_file(options.file, limits::kTextInputBytes));
  const std::vector<TokenId> ids = model.tokenizer->encode(text, Specials::kText);
  auto windows = cut_windows(ids, *model.tokenizer, options.ctx);
  if (windows.empty()) {
    return Error{Code::kInvalidArgument, fmt::format("{} has {} tokens", options.file, ids.size()),
                 "give a longer text"};
  }
  if (options.chunks > 0 && windows.size() > static_cast<size_t>(options.chunks)) {
    windows.resize(static_cast<size_t>(options.chunks));
  }
  ImportanceCollector collector(*model.file, *model.pool);
  TRY_STATUS(model.model->set_observer(&collector));
  SequenceRunner runner(*model.model, options.ctx);
  std::vector<float> logits;
  for (size_t w = 0; w < windows.size(); ++w) {
    TRY_STATUS(run_window(runner, windows[w], logits, static_cast<size_t>(model.model->n_vocab())));
    collector.end_chunk();
    if (stderr_is_terminal()) {
      fmt::print(stderr, "\rwindow {} of {}{}", w + 1, windows.size(),
                 w + 1 == windows.size() ? "\r\033[K" : "");
    }
  }
  TRY_STATUS(model.model->set_observer(nullptr));
  const ImportanceMatrix& matrix = collector.matrix();
  TRY_STATUS(matrix.write(options.output, std::filesystem::path(options.file).filename().string(),
                          static_cast<uint32_t>(options.ctx), options.overwrite));
  if (options.json) {
    print_json(json::object{
        {"output", options.output},
        {"tensors", matrix.size()},
        {"chunks", matrix.chunks()},
        {"tokens", std::min(ids.size(), windows.size() * static_cast<size_t>(options.ctx))}});
  } else {
    print_out(fmt::format("{}: {} tensors, {} windows of {} tokens\n", options.output,
                          matrix.size(), matrix.chunks(), options.ctx));
  }
  return kExitOk;
}

void add_imatrix(CLI::App& command, const Settings& settings, Action& run) {
  static ImatrixOptions options;
  add_model_option(command, options.model);
  command
      .add_option(
          "-f,--file", options.file,
          "a text (UTF-8) like those that the model will see; some 50 000 tokens are enough")
      ->required()
      ->type_name("F");
  command.add_option("-o,--output", options.output, "the file to write")
      ->required()
      ->type_name("F.imatrix");
  command.add_option("--ctx", options.ctx, "positions per window (default 512)")
      ->check(CLI::Range(int64_t{2}, limits::kModelContext))
      ->type_name("N");
  command.add_option("--chunks", options.chunks, "so many windows at most (default: all)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31))
      ->type_name("N");
  command.add_flag("--overwrite", options.overwrite, "replace the file");
  add_threads_option(command, options.threads);
  add_json_option(command, options.json);
  command.footer(
      "Use the least quantised file of the model that runs here.\n"
      "Example: hadal imatrix --model model-f16.gguf --file text.txt --output model.imatrix");
  run = [&settings] { return imatrix(options, settings); };
}

}  // namespace

extern const Subcommand kImatrixCommand;
const Subcommand kImatrixCommand = {"imatrix", "measure what a quantiser should keep", add_imatrix};

}  // namespace hadal
