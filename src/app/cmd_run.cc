/// hadal run: one prompt, one answer.
#include <cstdio>
#include <optional>

#include <fmt/format.h>

#include "app/app.h"
#include "app/generate.h"
#include "app/options.h"
#include "app/output.h"
#include "app/sampling_options.h"
#include "app/speculation.h"
#include "base/limits.h"

namespace hadal {
namespace {

struct RunOptions {
  std::string model;
  std::string prompt;
  std::string system;
  bool raw = false;
  bool special = false;
  bool json = false;
  int64_t max_tokens = 0;
  int64_t context = 0;
  int threads = 0;
  std::string kv = "f16";
  std::string latent = "absorbed";
  SamplingOptions sampling;
  SpeculationOptions speculation;
};

Result<std::vector<TokenId>> prompt_ids(const RunOptions& options, const std::string& prompt,
                                        const LoadedText& text) {
  if (options.raw) {
    const Specials specials = options.special ? Specials::kParse : Specials::kText;
    return text.tokenizer->with_bos(text.tokenizer->encode(prompt, specials));
  }
  json::array messages;
  if (!options.system.empty())
    messages.push_back({{"role", "system"}, {"content", options.system}});
  messages.push_back({{"role", "user"}, {"content", prompt}});
  TRY(ConversationPrompt out, conversation_prompt(text, messages));
  return std::move(out.ids);
}

void print_speeds(const Generated& out, const EngineStats& stats) {
  const char* why =
      out.finish.reason == FinishReason::kLength ? ", stopped at the length limit" : "";
  const std::string guesses =
      stats.drafted_tokens == 0
          ? ""
          : fmt::format(", {} of {} guesses right", stats.accepted_tokens, stats.drafted_tokens);
  print_note(fmt::format("[{} prompt tokens at {:.1f}/s, {} tokens at {:.1f}/s{}{}]",
                         out.finish.prompt_tokens, prefill_speed(out.finish),
                         out.finish.completion_tokens, decode_speed(out.finish), guesses, why));
}

void print_result(const Generated& out, const EngineStats& stats, bool speculates) {
  json::object result{{"text", out.text},
                      {"ids", json::array(out.ids.begin(), out.ids.end())},
                      {"prompt_tokens", out.finish.prompt_tokens},
                      {"completion_tokens", out.finish.completion_tokens},
                      {"prefill_tps", prefill_speed(out.finish)},
                      {"decode_tps", decode_speed(out.finish)}};
  if (speculates) {
    result["drafted_tokens"] = stats.drafted_tokens;
    result["accepted_tokens"] = stats.accepted_tokens;
  }
  print_json(result);
}

Result<int> run_prompt(const RunOptions& options, const Settings& settings) {
  std::string prompt = options.prompt;
  if (prompt == "-") {
    TRY(prompt, read_stdin(limits::kHttpBodyBytes));
  }
  TRY(const KvType kv, kv_type_from(options.kv));
  TRY(const LatentForm latent, latent_form_from(options.latent));
  TRY(const LoadedModel model, open_model(options.model, options.threads, settings,
                                          {.kv_type = kv,
                                           .latent_form = latent,
                                           .predict = wants_prediction(options.speculation)}));
  TRY(std::vector<TokenId> ids, prompt_ids(options, prompt, model));
  if (ids.empty()) return usage_error("the prompt is empty", "give some text with --prompt");
  TRY(const int64_t context, context_for(static_cast<int64_t>(ids.size()), options.max_tokens,
                                         options.context, model.model->n_ctx_train()));
  TRY(Speculation speculation,
      open_speculation(options.speculation, model, kv, context, 1, settings));
  Engine engine(*model.model, {.n_ctx = context, .max_batch = 1}, Env::real(),
                std::move(speculation.drafter));
  GenerateRequest request;
  const bool continuation = options.raw && continues_text(*model.tokenizer, ids);
  request.prompt = std::move(ids);
  request.sampling = options.sampling.params();
  request.max_tokens = options.max_tokens;
  const auto stream = [&](std::string_view text) {
    if (options.json) return;
    print_out(text);
    std::fflush(stdout);
  };
  TRY(const Generated out,
      generate(engine, *model.tokenizer, std::move(request), stream, nullptr, continuation));
  if (options.json) {
    print_result(out, engine.stats(), options.speculation.mode != "off");
  } else {
    if (out.text.empty() || out.text.back() != '\n') print_out("\n");
    std::fflush(stdout);
    print_speeds(out, engine.stats());
  }
  return kExitOk;
}

void add_run(CLI::App& command, const Settings& settings, Action& run) {
  static RunOptions options;
  add_model_option(command, options.model);
  command.add_option("-p,--prompt", options.prompt, "what to ask (- reads standard input)")
      ->required()
      ->type_name("P");
  command.add_option("--system", options.system, "a system message before it")->type_name("S");
  command.add_flag("--raw", options.raw, "continue the text as it is, without the chat template");
  command.add_flag("--special", options.special,
                   "with --raw: control tokens in the text become their ids");
  command
      .add_option("-n,--max-tokens", options.max_tokens, "end after N tokens (0: as many as fit)")
      ->check(CLI::Range(int64_t{0}, int64_t{limits::kStreamTokens}))
      ->type_name("N");
  command.add_option("--ctx", options.context, "positions for prompt and answer")
      ->check(CLI::Range(int64_t{1}, limits::kModelContext))
      ->type_name("N");
  options.sampling.add_to(command);
  add_speculation_options(command, options.speculation);
  add_kv_option(command, options.kv);
  add_latent_option(command, options.latent);
  add_threads_option(command, options.threads);
  add_json_option(command, options.json);
  command.footer(
      "The text streams to standard output, speeds go to standard error.\n"
      "Example: hadal run --model smollm2-135m --prompt 'Name three rivers.' -n 64 --temp 0");
  run = [&settings] { return run_prompt(options, settings); };
}

}  // namespace

extern const Subcommand kRunCommand;
const Subcommand kRunCommand = {"run", "answer one prompt", add_run};

}  // namespace hadal
