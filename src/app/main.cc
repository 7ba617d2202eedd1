/// The program: picks a subcommand, runs it, turns its outcome into an exit code.
#include <array>
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "app/app.h"
#include "app/output.h"
#include "kernels/kernels.h"
#include <CLI/CLI.hpp>

namespace hadal {

extern const Subcommand kServeCommand;
extern const Subcommand kChatCommand;
extern const Subcommand kRunCommand;
extern const Subcommand kPullCommand;
extern const Subcommand kListCommand;
extern const Subcommand kShowCommand;
extern const Subcommand kRmCommand;
extern const Subcommand kCacheCommand;
extern const Subcommand kTokenizeCommand;
extern const Subcommand kDetokenizeCommand;
extern const Subcommand kTemplateCommand;
extern const Subcommand kEmbedCommand;
extern const Subcommand kLogitsCommand;
extern const Subcommand kEvalCommand;
extern const Subcommand kQuantizeCommand;
extern const Subcommand kConvertCommand;
extern const Subcommand kImatrixCommand;
extern const Subcommand kBenchCommand;

namespace {

constexpr std::array kCommands = {
    &kServeCommand,    &kChatCommand,    &kRunCommand,   &kPullCommand,     &kListCommand,
    &kShowCommand,     &kRmCommand,      &kCacheCommand, &kTokenizeCommand, &kDetokenizeCommand,
    &kTemplateCommand, &kLogitsCommand,  &kEvalCommand,  &kBenchCommand,    &kConvertCommand,
    &kQuantizeCommand, &kImatrixCommand, &kEmbedCommand};

constexpr const char* kExamples =
    "Examples:\n"
    "  hadal pull smollm2-135m                          get a small model (98 MB)\n"
    "  hadal run --model smollm2-135m --prompt 'Hello'  one answer\n"
    "  hadal chat --model smollm2-135m                  talk in the terminal\n"
    "  hadal serve --model smollm2-135m                 OpenAI-compatible service on "
    "127.0.0.1:8000\n"
    "  hadal list --catalogue                           what can be pulled by name\n"
    "\n"
    "A model is a name from `hadal list` or a path to a .gguf file. Results go to standard "
    "output,\n"
    "progress to standard error. `hadal COMMAND --help` explains one command.\n"
    "Models and history lie in $HADAL_HOME (~/.cache/hadal). $HADAL_ISA chooses the instruction "
    "set\n"
    "to compute with (reference, avx2, avx512, ...); without it the best one is taken.\n"
    "A model with weights larger than $HADAL_MEMORY (12GiB; without it: what is available) is "
    "read\n"
    "from the disk as it computes.\n";

int wrong_usage(const std::string& message, const std::string& hint) {
  print_error(Error{Code::kInvalidArgument, message, hint});
  return kExitUsage;
}

/// A first word that is no command: CLI11 would only call it an unexpected argument.
const char* unknown_command(int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return nullptr;
  for (const Subcommand* command : kCommands) {
    if (std::string_view(argv[1]) == command->name) return nullptr;
  }
  return argv[1];
}

int finish(const Result<int>& outcome) {
  if (!outcome.ok()) {
    print_error(outcome.error());
    return kExitFailed;
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    print_error(Error{Code::kIo, "cannot write the result to standard output"});
    return kExitFailed;
  }
  return outcome.value();
}

Status choose_isa(const std::string& name) {
  if (name.empty()) return {};
  std::string possible;
  for (const Isa isa : kIsas) {
    if (!isa_available(isa)) continue;
    if (isa_name(isa) == name) {
      force_isa(isa);
      return {};
    }
    possible += (possible.empty() ? "" : ", ") + std::string(isa_name(isa));
  }
  return Error{Code::kInvalidArgument,
               fmt::format("HADAL_ISA is '{}', which this machine cannot compute with", name),
               "it can use: " + possible};
}

int run(int argc, char** argv) {
  std::vector<std::string> names;
  for (const Subcommand* command : kCommands) names.emplace_back(command->name);
  if (const char* unknown = unknown_command(argc, argv)) {
    const std::string near = did_you_mean(near_names(unknown, names));
    return wrong_usage(fmt::format("'{}' is not a command", unknown),
                       near.empty() ? "`hadal --help` lists the commands" : near);
  }

  const Settings settings = Settings::from_environment();
  CLI::App app("Hadal serves DeepSeek-family models on your own machine.", "hadal");
  app.footer(kExamples);
  app.set_version_flag("--version", "hadal " HADAL_VERSION);
  app.require_subcommand(1);
  std::array<Action, kCommands.size()> actions;
  std::array<CLI::App*, kCommands.size()> added;
  for (size_t i = 0; i < kCommands.size(); ++i) {
    added[i] = app.add_subcommand(kCommands[i]->name, kCommands[i]->summary);
    kCommands[i]->add(*added[i], settings, actions[i]);
  }

  std::string asked_for;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& problem) {
    if (problem.get_exit_code() == 0) return app.exit(problem);  // --help, --version
    for (const CLI::App* command : app.get_subcommands()) asked_for = command->get_name() + " ";
    return wrong_usage(problem.what(), fmt::format("see `hadal {}--help`", asked_for));
  }
  if (const Status isa = choose_isa(settings.isa); !isa.ok()) {
    return wrong_usage(isa.error().message, isa.error().hint);
  }
  for (size_t i = 0; i < kCommands.size(); ++i) {
    if (added[i]->parsed()) return finish(actions[i]());
  }
  return kExitUsage;
}

}  // namespace
}  // namespace hadal

int main(int argc, char** argv) {
  return hadal::run(argc, argv);
}
