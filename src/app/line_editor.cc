/// libedit on a terminal. It is given its own character reader, because its built-in one goes on
/// after a signal: Ctrl-C must throw the line away and come back.
#include "app/line_editor.h"

#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstring>

#include <histedit.h>
#include <langinfo.h>
#include <poll.h>
#include <unistd.h>

#include "base/utf8.h"

namespace hadal {
namespace {

constexpr int kHistoryLines = 1000;

/// Characters are counted and moved over as a whole only in a UTF-8 locale.
void choose_locale() {
  if (std::setlocale(LC_CTYPE, "") == nullptr || std::strcmp(nl_langinfo(CODESET), "UTF-8") != 0) {
    std::setlocale(LC_CTYPE, "C.UTF-8");
  }
}

void on_interrupt(int) {
  LineEditor::interrupted().store(true);
}

void catch_interrupt(bool catch_it) {
  struct sigaction action = {};
  action.sa_handler = catch_it ? on_interrupt : SIG_DFL;  // without SA_RESTART: reads come back
  ::sigaction(SIGINT, &action, nullptr);
}

/// One byte; -1 at an interrupt, 0 at the end. Waits in short steps: a signal that comes just
/// before the wait would otherwise not end it.
int read_byte(char& byte) {
  constexpr int kStepMillis = 100;
  while (true) {
    if (LineEditor::interrupted().load()) return -1;
    pollfd input = {STDIN_FILENO, POLLIN, 0};
    if (::poll(&input, 1, kStepMillis) <= 0) continue;
    const ssize_t n = ::read(STDIN_FILENO, &byte, 1);
    if (n >= 0) return static_cast<int>(n);
    if (errno != EINTR && errno != EAGAIN) return -1;
  }
}

/// libedit's character reader: a whole UTF-8 character at a time.
int read_character(EditLine*, wchar_t* out) {
  std::string bytes;
  while (bytes.size() < 4) {
    char byte = 0;
    const int n = read_byte(byte);
    if (n <= 0) return n;
    bytes.push_back(byte);
    if (utf8_complete_prefix(bytes) == bytes.size()) break;
  }
  *out = static_cast<wchar_t>(utf8_decode(bytes, 0).code_point);
  return 1;
}

}  // namespace

struct LineEditor::State {
  EditLine* edit = nullptr;  ///< null: standard input is not a terminal
  History* history = nullptr;
  std::string history_file;
  std::string prompt;
};

namespace {

char* prompt_of(EditLine* edit) {
  void* data = nullptr;
  el_get(edit, EL_CLIENTDATA, &data);
  return static_cast<std::string*>(data)->data();
}

}  // namespace

std::atomic<bool>& LineEditor::interrupted() {
  static std::atomic<bool> flag{false};  // a signal handler reaches nothing else
  return flag;
}

LineEditor::LineEditor(const std::filesystem::path& history) : state_(std::make_unique<State>()) {
  choose_locale();
  catch_interrupt(true);
  if (::isatty(STDIN_FILENO) != 1 || ::isatty(STDOUT_FILENO) != 1) return;
  state_->edit = el_init("hadal", stdin, stdout, stderr);
  if (state_->edit == nullptr) return;
  state_->history = history_init();
  state_->history_file = history.string();
  el_set(state_->edit, EL_EDITOR, "emacs");
  el_set(state_->edit, EL_SIGNAL, 0);
  el_set(state_->edit, EL_CLIENTDATA, &state_->prompt);
  el_set(state_->edit, EL_PROMPT, prompt_of);
  el_set(state_->edit, EL_GETCFN, read_character);
  // Home, End, Delete and word-wise movement as terminals send them.
  for (const auto& [keys, action] : {std::pair{"\033[H", "ed-move-to-beg"},
                                     {"\033[F", "ed-move-to-end"},
                                     {"\033[3~", "ed-delete-next-char"},
                                     {"\033[1;5C", "em-next-word"},
                                     {"\033[1;5D", "ed-prev-word"},
                                     {"^R", "em-inc-search-prev"}}) {
    el_set(state_->edit, EL_BIND, keys, action, nullptr);
  }
  if (state_->history != nullptr) {
    HistEvent event;
    ::history(state_->history, &event, H_SETSIZE, kHistoryLines);
    ::history(state_->history, &event, H_SETUNIQUE, 1);
    if (!state_->history_file.empty())
      ::history(state_->history, &event, H_LOAD, state_->history_file.c_str());
    el_set(state_->edit, EL_HIST, ::history, state_->history);
  }
}

LineEditor::~LineEditor() {
  if (state_->history != nullptr) {
    HistEvent event;
    if (!state_->history_file.empty())
      ::history(state_->history, &event, H_SAVE, state_->history_file.c_str());
    history_end(state_->history);
  }
  if (state_->edit != nullptr) el_end(state_->edit);
  catch_interrupt(false);
}

LineEditor::Event LineEditor::read(const std::string& prompt, std::string& line) {
  line.clear();
  interrupted().store(false);
  state_->prompt = prompt;
  while (true) {
    const Event event = read_piece(line);
    if (event != Event::kLine) return event;
    if (line.empty() || line.back() != '\\') break;
    line.back() = '\n';
    state_->prompt = std::string(prompt.size() > 2 ? prompt.size() - 2 : 0, ' ') + "| ";
  }
  if (state_->history != nullptr && !line.empty()) {
    HistEvent event;
    ::history(state_->history, &event, H_ENTER, line.c_str());
  }
  return Event::kLine;
}

LineEditor::Event LineEditor::read_piece(std::string& line) {
  if (state_->edit != nullptr) {
    // Before the prompt is seen: what is typed between it and libedit's own switch would be edited
    // by the terminal, byte by byte.
    el_set(state_->edit, EL_PREP_TERM, 1);
    int count = 0;
    const char* text = el_gets(state_->edit, &count);
    if (interrupted().load()) return Event::kInterrupted;
    if (text == nullptr || count <= 0) return Event::kEnd;
    line.append(text, static_cast<size_t>(count));
    if (line.back() == '\n') line.pop_back();
    return Event::kLine;
  }
  bool any = false;
  while (true) {
    char byte = 0;
    const int n = read_byte(byte);
    if (n < 0) return interrupted().load() ? Event::kInterrupted : Event::kEnd;
    if (n == 0) return any ? Event::kLine : Event::kEnd;
    any = true;
    if (byte == '\n') return Event::kLine;
    line.push_back(byte);
  }
}

}  // namespace hadal
