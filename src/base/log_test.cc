#include "base/log.h"

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/parse.h"

namespace hadal {
namespace {

/// A pipe of one page.
class Pipe {
 public:
  Pipe() {
    int fds[2];
    EXPECT_EQ(::pipe2(fds, O_CLOEXEC), 0);
    read_fd_ = fds[0];
    write_fd = fds[1];
    EXPECT_GE(::fcntl(write_fd, F_SETPIPE_SZ, 4096), 4096);
  }
  ~Pipe() {
    close_reader();
    ::close(write_fd);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  void close_reader() {
    if (read_fd_ >= 0) ::close(read_fd_);
    read_fd_ = -1;
  }

  /// Up to and with the line that ends in `last`; empty when it does not come.
  std::vector<std::string> read_to(const std::string& last) const {
    std::string text;
    char buffer[4096];
    while (!text.ends_with(last + "\n")) {
      const ssize_t n = ::read(read_fd_, buffer, sizeof(buffer));
      if (n <= 0) return {};
      text.append(buffer, static_cast<size_t>(n));
    }
    std::vector<std::string> lines;
    for (size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
      lines.push_back(text.substr(at, text.find('\n', at) - at));
    }
    return lines;
  }

  int write_fd = -1;

 private:
  int read_fd_ = -1;
};

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Goal: through the queue come the same lines in the same order.
TEST(LogWriter, WritesLinesInOrder) {
  const Pipe pipe;
  const LogWriter writer(pipe.write_fd);
  log_event(LogLevel::kWarn, "first", {{"key", "two words"}});
  log_text("as it is");
  log_event(LogLevel::kInfo, "last");
  const auto lines = pipe.read_to("info last");
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_TRUE(lines[0].ends_with("Z warning first key=\"two words\"")) << lines[0];
  EXPECT_EQ(lines[1], "as it is");
}

// Goal: a reader who does not read delays nobody, costs bounded memory, and hears what it missed.
TEST(LogWriter, DropsTheOldestWhenNobodyReads) {
  const Pipe pipe;
  const uint64_t dropped_before = log_lines_dropped();
  const LogWriter writer(pipe.write_fd);
  const std::string text(1000, 'x');
  constexpr uint64_t kLines = 4 * limits::kLogQueueBytes / 1000;
  const auto begin = std::chrono::steady_clock::now();
  for (uint64_t i = 0; i < kLines; ++i) log_text(text + std::to_string(i));
  EXPECT_LT(seconds_since(begin), 10);  // it would be for ever
  log_text("the end");
  const uint64_t dropped = log_lines_dropped() - dropped_before;
  EXPECT_GT(dropped, 2 * limits::kLogQueueBytes / 1000);
  const auto lines = pipe.read_to("the end");
  uint64_t told = 0;
  uint64_t notes = 0;  // one for each time that there was room
  for (const std::string& line : lines) {
    if (!line.starts_with("log_lines_dropped count=")) continue;
    told += parse_int<uint64_t>(line.substr(24)).value_or(0);
    ++notes;
  }
  EXPECT_EQ(told, dropped);
  EXPECT_EQ(lines.size(), kLines - dropped + notes + 1);
  EXPECT_EQ(lines[lines.size() - 2], text + std::to_string(kLines - 1));
}

// Goal: the end of a program does not wait for ever for a reader, nor end without the last lines.
TEST(LogWriter, EndsInTime) {
  const Pipe read;
  {
    const LogWriter writer(read.write_fd);
    for (int i = 0; i < 3; ++i) log_text("line " + std::to_string(i));
  }
  EXPECT_EQ(read.read_to("line 2").size(), 3u);
  static auto* const unread = new Pipe;  // stays open: the thread that was left alone waits for it
  const auto begin = std::chrono::steady_clock::now();
  {
    const LogWriter writer(unread->write_fd);
    for (int i = 0; i < 20; ++i) log_text(std::string(1000, 'x'));
  }
  EXPECT_LT(seconds_since(begin), 10);
}

// Goal: a reader that has gone is no signal that ends the program.
TEST(LogWriter, OutlivesItsReader) {
  Pipe pipe;
  pipe.close_reader();
  const LogWriter writer(pipe.write_fd);
  for (int i = 0; i < 20; ++i) log_text(std::string(1000, 'x'));
}

}  // namespace
}  // namespace hadal
