/// hadal chat: a conversation in the terminal.
#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

#include "app/app.h"
#include "app/chat_backend.h"
#include "app/line_editor.h"
#include "app/options.h"
#include "app/output.h"
#include "base/env.h"
#include "base/limits.h"

namespace hadal {
namespace {

constexpr std::string_view kHelp =
    "  /help           this list\n"
    "  /clear          forget the conversation (the system message stays)\n"
    "  /system TEXT    set the system message (without TEXT: none) and start anew\n"
    "  /regen          answer the last question again\n"
    "  /save FILE      write the conversation as JSON\n"
    "  /load FILE      go on with a saved conversation\n"
    "  /speed          show or hide the speed after each answer\n"
    "  /exit           leave (Ctrl-D does too)\n"
    "A line that ends in \\ goes on in the next one. Ctrl-C stops an answer.\n";

struct ChatOptions {
  std::string model;
  std::string url;
  std::string system;
  int threads = 0;
  ChatBackendOptions backend;
};

/// Shows an answer as it comes: reasoning dimmed on a terminal, then the answer.
class AnswerPrinter {
 public:
  AnswerPrinter() : colour_(::isatty(STDOUT_FILENO) == 1) {}
  void show(const OutputPiece& piece) {
    if (!piece.reasoning.empty()) {
      if (!dim_ && colour_) print_out("\033[2m");
      dim_ = true;
      print_out(piece.reasoning);
    }
    if (!piece.content.empty()) {
      if (dim_) print_out(colour_ ? "\033[0m\n\n" : "\n\n");
      dim_ = false;
      print_out(piece.content);
    }
    std::fflush(stdout);
  }
  void finish() {
    print_out(dim_ && colour_ ? "\033[0m\n" : "\n");
    std::fflush(stdout);
  }

 private:
  bool colour_;
  bool dim_ = false;
};

/// The conversation and what the commands do to it.
class ChatSession {
 public:
  ChatSession(ChatBackend& backend, std::string system)
      : backend_(backend), system_(std::move(system)) {
    clear();
  }

  /// False: leave.
  bool take(const std::string& line) {
    if (line.empty() || line.find_first_not_of(" \t") == std::string::npos) return true;
    if (line.front() != '/') {
      messages_.push_back({{"role", "user"}, {"content", line}});
      answer();
      return true;
    }
    const size_t space = line.find(' ');
    const std::string word = line.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : line.substr(space + 1);
    if (word == "/exit" || word == "/quit") return false;
    command(word, rest);
    return true;
  }

 private:
  void command(const std::string& word, const std::string& rest) {
    if (word == "/help") {
      print_note(kHelp);
    } else if (word == "/clear") {
      clear();
      print_note("(a new conversation)");
    } else if (word == "/system") {
      system_ = rest;
      clear();
      print_note("(a new conversation)");
    } else if (word == "/regen") {
      regenerate();
    } else if (word == "/speed") {
      speed_ = !speed_;
    } else if (word == "/save") {
      report(save(rest));
    } else if (word == "/load") {
      report(load(rest));
    } else {
      print_note(word + " is not a command; /help lists them");
    }
  }

  static void report(const Status& status) {
    if (!status.ok()) print_error(status.error());
  }

  void clear() {
    messages_.clear();
    if (!system_.empty()) messages_.push_back({{"role", "system"}, {"content", system_}});
  }

  static bool has_role(const json::value& message, std::string_view role) {
    const json::object* object = message.if_object();
    const json::value* found = object != nullptr ? object->if_contains("role") : nullptr;
    return found != nullptr && found->is_string() && found->get_string() == role;
  }

  void regenerate() {
    if (!messages_.empty() && has_role(messages_.back(), "assistant")) messages_.pop_back();
    if (messages_.empty() || !has_role(messages_.back(), "user")) {
      print_note("there is no question yet");
      return;
    }
    answer();
  }

  void answer() {
    AnswerPrinter printer;
    const auto answer = backend_.answer(
        messages_, [&](const OutputPiece& piece) { printer.show(piece); },
        LineEditor::interrupted());
    printer.finish();
    if (!answer.ok()) {
      print_error(answer.error());
      messages_.pop_back();  // the question that got no answer
      return;
    }
    const ChatAnswer& out = answer.value();
    messages_.push_back({{"role", "assistant"}, {"content", out.content}});
    if (speed_) {
      const std::string prefill =
          out.prefill_tps > 0 ? fmt::format(" at {:.0f}/s", out.prefill_tps) : "";
      print_note(fmt::format("[{} prompt tokens{}, {} tokens at {:.1f}/s{}]", out.prompt_tokens,
                             prefill, out.completion_tokens, out.decode_tps,
                             out.cut_off ? ", cut off" : ""));
    }
  }

  Status save(const std::string& file) const {
    if (file.empty()) return Error{Code::kInvalidArgument, "/save wants a file name"};
    TRY_STATUS(Env::real().write_file(file, to_json(json::object{{"messages", messages_}}) + "\n"));
    print_note(fmt::format("({} messages written to {})", messages_.size(), file));
    return {};
  }

  Status load(const std::string& file) {
    if (file.empty()) return Error{Code::kInvalidArgument, "/load wants a file name"};
    TRY(const std::string text, Env::real().read_file(file, limits::kHttpBodyBytes));
    TRY(const json::value parsed, parse_json(text));
    const json::object* object = parsed.if_object();
    const json::value* list = object != nullptr ? object->if_contains("messages") : &parsed;
    if (list == nullptr || !list->is_array()) {
      return Error{Code::kInvalidArgument, file + " holds no list of messages"};
    }
    messages_ = list->get_array();
    print_note(fmt::format("({} messages)", messages_.size()));
    return {};
  }

  ChatBackend& backend_;
  std::string system_;
  json::array messages_;
  bool speed_ = true;
};

Result<std::unique_ptr<ChatBackend>> make_backend(const ChatOptions& options,
                                                  const Settings& settings) {
  if (!options.url.empty()) return make_remote_chat(options.url, options.model, options.backend);
  TRY(LoadedModel model, open_model(options.model, options.threads, settings,
                                    {.predict = wants_prediction(options.backend.speculation)}));
  return make_local_chat(std::move(model), options.backend, settings);
}

Result<int> chat(const ChatOptions& options, const Settings& settings) {
  if (options.model.empty() && options.url.empty()) {
    return usage_error("name a model with --model, or a server with --url",
                       "hadal chat --model smollm2-135m");
  }
  TRY(const std::unique_ptr<ChatBackend> backend, make_backend(options, settings));
  std::error_code failed;  // without the directory there is no history, nothing worse
  std::filesystem::create_directories(settings.home, failed);
  LineEditor editor(settings.home / "chat_history");
  const bool terminal = ::isatty(STDIN_FILENO) == 1;
  if (terminal) print_note(fmt::format("{}. /help lists commands.", backend->description()));
  ChatSession session(*backend, options.system);
  while (true) {
    std::string line;
    const LineEditor::Event event = editor.read("> ", line);
    if (event == LineEditor::Event::kEnd) break;
    if (event == LineEditor::Event::kInterrupted) {
      if (!terminal) return 130;  // as a shell reports a program that Ctrl-C ended
      print_note("\n(/exit or Ctrl-D leaves)");
      continue;
    }
    if (!session.take(line)) break;
  }
  if (terminal) print_out("\n");
  return kExitOk;
}

void add_chat(CLI::App& command, const Settings& settings, Action& run) {
  static ChatOptions options;
  add_model_option(command, options.model)->required(false);
  command
      .add_option("--url", options.url,
                  "talk to a server instead (--model then names one of its models)")
      ->type_name("U");
  command.add_option("--system", options.system, "a system message")->type_name("S");
  command
      .add_option("-n,--max-tokens", options.backend.max_tokens,
                  "end an answer after N tokens (0: as many as fit)")
      ->check(CLI::Range(int64_t{0}, int64_t{limits::kStreamTokens}))
      ->type_name("N");
  command.add_option("--ctx", options.backend.context, "positions for the whole conversation")
      ->check(CLI::Range(int64_t{1}, limits::kModelContext))
      ->type_name("N");
  options.backend.sampling.add_to(command);
  add_speculation_options(command, options.backend.speculation);
  add_threads_option(command, options.threads);
  command.footer(
      "Examples:\n"
      "  hadal chat --model smollm2-135m\n"
      "  hadal chat --url http://127.0.0.1:8000");
  run = [&settings] { return chat(options, settings); };
}

}  // namespace

extern const Subcommand kChatCommand;
const Subcommand kChatCommand = {"chat", "talk with a model or a server in the terminal", add_chat};

}  // namespace hadal
