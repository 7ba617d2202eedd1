/// hadal logits: what the model thinks comes after some ids. For comparing engines.
#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "app/app.h"
#include "app/options.h"
#include "app/output.h"
#include "app/sequence_runner.h"
#include "base/env.h"

namespace hadal {
namespace {

struct LogitsOptions {
  std::string model;
  std::string ids;
  std::string rows;
  RoundingOptions rounding = {.kv = "f32"};
  int top = 20;
  bool all = false;
  bool json = false;
  int threads = 0;
};

std::vector<TokenId> likeliest(std::span<const float> logits, size_t count) {
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  count = std::min(count, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
                    [&](TokenId a, TokenId b) {
                      const float x = logits[static_cast<size_t>(a)];
                      const float y = logits[static_cast<size_t>(b)];
                      return x != y ? x > y : a < b;
                    });
  order.resize(count);
  return order;
}

void print_logits_json(std::span<const float> logits, const LogitsOptions& options) {
  json::object object = {{"n_vocab", logits.size()}};
  if (options.all) {
    object["logits"] = json::array(logits.begin(), logits.end());
  } else {
    json::array top;
    for (const TokenId id : likeliest(logits, static_cast<size_t>(options.top))) {
      top.push_back({{"id", id}, {"logit", logits[static_cast<size_t>(id)]}});
    }
    object["top"] = std::move(top);
  }
  print_json(object);
}

void print_logits(std::span<const float> logits, const LogitsOptions& options,
                  const Tokenizer* tokenizer) {
  const size_t count = options.all ? logits.size() : static_cast<size_t>(options.top);
  for (const TokenId id : likeliest(logits, count)) {
    std::string shown;
    if (tokenizer != nullptr) append_json_string(shown, tokenizer->piece(id, true));
    print_out(fmt::format("{:>8} {:>11.5f}  {}\n", id, logits[static_cast<size_t>(id)], shown));
  }
}

/// The logits of every position, position by position in id order, as little-endian float32.
Result<int> write_rows(SequenceRunner& runner, std::span<const TokenId> ids, int64_t n_vocab,
                       const LogitsOptions& options) {
  const size_t width = static_cast<size_t>(n_vocab);
  std::vector<float> all(ids.size() * width);
  TRY_STATUS(runner.append_all(ids, all));
  TRY_STATUS(Env::real().write_file(
      options.rows, {reinterpret_cast<const char*>(all.data()), all.size() * sizeof(float)}));
  return kExitOk;
}

Result<int> logits(const LogitsOptions& options, const Settings& settings) {
  const auto ids = parse_ids(options.ids);
  if (!ids.ok()) return usage_error(ids.error().message, ids.error().hint);
  if (ids.value().empty()) return usage_error("--ids names no id", "for example --ids \"1 2 3\"");
  TRY(const LoadOptions load, load_options_from(options.rounding));
  TRY(const LoadedModel model, open_weights(options.model, options.threads, settings, load));
  for (const TokenId id : ids.value()) {
    if (id >= model.model->n_vocab()) {
      return usage_error(
          fmt::format("id {} is outside of the vocabulary", id),
          fmt::format("{} has ids 0 to {}", options.model, model.model->n_vocab() - 1));
    }
  }
  const auto count = static_cast<int64_t>(ids.value().size());
  if (count > model.model->n_ctx_train()) {
    return Error{Code::kInvalidArgument,
                 fmt::format("{} ids are more than the {} positions the model was trained for",
                             count, model.model->n_ctx_train())};
  }
  SequenceRunner runner(*model.model, count);
  if (!options.rows.empty())
    return write_rows(runner, ids.value(), model.model->n_vocab(), options);
  std::vector<float> last(static_cast<size_t>(model.model->n_vocab()));
  TRY_STATUS(runner.append(ids.value(), last));
  options.json ? print_logits_json(last, options)
               : print_logits(last, options, model.tokenizer.get());
  return kExitOk;
}

void add_logits(CLI::App& command, const Settings& settings, Action& run) {
  static LogitsOptions options;
  add_model_option(command, options.model);
  command.add_option("--ids", options.ids, "the sequence so far; nothing is added")
      ->required()
      ->type_name("\"1 2 3\"");
  command.add_option("--top", options.top, "how many of the likeliest (default 20)")
      ->check(CLI::Range(1, 1 << 24))
      ->type_name("N");
  command.add_flag("--all", options.all, "every logit of the vocabulary, in id order");
  command
      .add_option("--rows", options.rows,
                  "write the logits of every position to this file instead (float32, id order)")
      ->type_name("FILE");
  add_rounding_options(command, options.rounding);
  add_threads_option(command, options.threads);
  add_json_option(command, options.json);
  command.footer("Example: hadal logits --model smollm2-135m --ids \"19556 905\" --json");
  run = [&settings] { return logits(options, settings); };
}

}  // namespace

extern const Subcommand kLogitsCommand;
const Subcommand kLogitsCommand = {"logits", "logits after the last of some ids", add_logits};

}  // namespace hadal
