/// hadal pull: gets a model into the store.
#include <fmt/format.h>

#include "app/app.h"
#include "app/choose.h"
#include "app/embedded_model.h"
#include "app/output.h"
#include "app/pull.h"
#include "app/sha256.h"

namespace hadal {
namespace {

struct PullCommandOptions {
  PullOptions pull;
  bool choose = false;
};

/// The model that suits this machine; when its hub answers but does not deliver, the starter model.
Result<StoredModel> pull_chosen(PullOptions options, const Settings& settings) {
  const Choice choice = choose_model(look_at_machine(settings));
  if (!options.quiet) print_note(choice.why);
  options.reference = std::string(choice.entry->name);
  auto pulled = pull(options, settings);
  if (pulled.ok() || choice.entry->name == kStarterModel) return pulled;
  print_error(pulled.error());
  print_note("taking the starter model instead");
  options.reference = std::string(kStarterModel);
  return pull(options, settings);
}

/// Where nothing can be fetched, the program still answers. Not remembered: the next call tries
/// anew.
int take_embedded(const Error& why) {
  print_error(why);
  print_note(
      fmt::format("nothing can be fetched here; taking {}, the model inside the program: it "
                  "shows that everything works, and knows next to nothing",
                  kEmbeddedModel));
  print_out(std::string(kEmbeddedModel) + "\n");
  return kExitOk;
}

Result<int> pull_command(const PullCommandOptions& options, const Settings& settings) {
  if (options.choose != options.pull.reference.empty()) {
    return usage_error("name what to pull, or use --default",
                       "`hadal list --catalogue` shows what has a name");
  }
  if (!options.pull.sha256.empty() && !is_sha256(options.pull.sha256)) {
    return usage_error("--sha256 wants 64 hexadecimal digits");
  }
  if (options.choose) {
    if (const auto name = remembered_choice(settings)) {
      print_out(*name + "\n");
      return kExitOk;
    }
  }
  if (options.pull.reference == kEmbeddedModel && options.pull.name.empty() &&
      !find_stored(settings, options.pull.reference).has_value()) {
    print_note(fmt::format("{} is part of the program: nothing to pull", kEmbeddedModel));
    print_out(std::string(kEmbeddedModel) + "\n");
    return kExitOk;
  }
  const auto pulled =
      options.choose ? pull_chosen(options.pull, settings) : pull(options.pull, settings);
  if (!pulled.ok() && options.choose) return take_embedded(pulled.error());
  if (!pulled.ok()) return pulled.error();
  const StoredModel& model = pulled.value();
  if (options.choose) remember_choice(settings, model.name);
  if (!options.pull.quiet) {
    print_note(fmt::format("{} is here: {}", model.name, model.path.string()));
  }
  print_out(model.name + "\n");
  return kExitOk;
}

void add_pull(CLI::App& command, const Settings& settings, Action& run) {
  static PullCommandOptions options;
  command
      .add_option("model", options.pull.reference,
                  "a name of the catalogue, hf:ORG/REPO/FILE, ms:ORG/REPO/FILE, an http(s) "
                  "address, or a path")
      ->type_name("NAME");
  command.add_flag("--default", options.choose, "choose a model that suits this machine");
  command.add_option("--name", options.pull.name, "name in the store")->type_name("NAME");
  command.add_option("--sha256", options.pull.sha256, "what the file must hash to")
      ->type_name("HEX");
  command
      .add_option("--stall-timeout", options.pull.stall_seconds,
                  "give up a connection that is silent for so long (default 30)")
      ->check(CLI::Range(1, 3600))
      ->type_name("SECONDS");
  command.add_flag("-q,--quiet", options.pull.quiet, "no progress");
  command.footer(
      "Broken downloads resume, also in a later call. The file is compared with a hash (the "
      "catalogue's,\n"
      "yours, or the one the hub names) before it appears in the store. Prints the model's name.\n"
      "Environment: HADAL_HOME (store), HADAL_MIRROR (tried first), HF_ENDPOINT, HF_TOKEN, "
      "HF_HOME\n"
      "(a copy in that cache is used instead of a download), MODELSCOPE_ENDPOINT, https_proxy.\n"
      "Examples:\n"
      "  hadal pull smollm2-135m\n"
      "  hadal pull "
      "hf:bartowski/DeepSeek-R1-Distill-Qwen-1.5B-GGUF/DeepSeek-R1-Distill-Qwen-1.5B-Q4_K_M.gguf");
  run = [&settings] { return pull_command(options, settings); };
}

}  // namespace

extern const Subcommand kPullCommand;
const Subcommand kPullCommand = {
    "pull", "get a model: catalogue, Hugging Face, ModelScope, mirror, file", add_pull};

}  // namespace hadal
