#include "app/speculation.h"

#include <algorithm>

#include <fmt/format.h>

#include "app/options.h"

namespace hadal {
namespace {

/// Rows that a draft model guesses for at once; with more of them guesses do not pay any more.
constexpr int kDraftRows = 8;

Status check_same_words(const LoadedText& draft, const LoadedModel& served) {
  if (draft.tokenizer->spec().tokens == served.tokenizer->spec().tokens) return {};
  return Error{Code::kInvalidArgument,
               fmt::format("{} has another vocabulary than {}, so it cannot guess for it",
                           draft.name, served.name),
               "a draft model is a smaller model of the same family"};
}

}  // namespace

bool is_speculation_mode(std::string_view name) {
  return name == "off" || name == "ngram" || name == "mtp" || name == "draft";
}

bool wants_prediction(const SpeculationOptions& options) {
  return options.mode == "mtp";
}

void add_speculation_options(CLI::App& command, SpeculationOptions& o) {
  command
      .add_option(
          "--speculate", o.mode,
          "guess tokens and check several at once, same answers in fewer steps: off, ngram "
          "(copies from prompt and answer), mtp (the model's own prediction layer) or draft "
          "(default " +
              o.mode + ")")
      ->check(CLI::IsMember({"off", "ngram", "mtp", "draft"}))
      ->type_name("HOW");
  command.add_option("--draft-model", o.draft_model, "the small model that guesses, for draft")
      ->type_name("M");
}

Result<Speculation> open_speculation(const SpeculationOptions& options, const LoadedModel& served,
                                     KvType kv_type, int64_t n_ctx, int rows,
                                     const Settings& settings) {
  Speculation out;
  if (options.mode != "draft" && !options.draft_model.empty()) {
    return Error{Code::kInvalidArgument, "--draft-model is named but not used",
                 "add --speculate draft"};
  }
  if (options.mode == "ngram") out.drafter = make_ngram_drafter();
  if (options.mode == "mtp") {
    if (!served.model->predicts()) {
      return Error{Code::kInvalidArgument, served.name + " has no layer for multi-token prediction",
                   "--speculate ngram works with every model"};
    }
    out.drafter = make_prediction_drafter(
        *served.model, static_cast<double>(served.model->prediction_bytes_per_token()) /
                           static_cast<double>(served.model->weight_bytes_per_token()));
  }
  if (options.mode != "draft") return out;
  if (options.draft_model.empty()) {
    return Error{Code::kInvalidArgument, "--speculate draft needs a model that guesses",
                 "name it with --draft-model"};
  }
  TRY(LoadedText text, open_text(options.draft_model, settings));
  TRY_STATUS(check_same_words(text, served));
  TRY(out.model, Model::load(*text.file, {.kv_type = kv_type}, *served.pool));
  out.text = std::move(text);
  // Few rows take as long as reading the weights does.
  const double cost = static_cast<double>(out.model->weight_bytes_per_token()) /
                      static_cast<double>(served.model->weight_bytes_per_token());
  out.drafter = make_model_drafter(*out.model, {.n_vocab = served.model->n_vocab(),
                                                .n_ctx = n_ctx,
                                                .rows = std::min(rows, kDraftRows),
                                                .cost_per_token = cost});
  return out;
}

}  // namespace hadal
