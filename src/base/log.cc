#include "base/log.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <deque>
#include <thread>

#include <poll.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "base/check.h"
#include "base/limits.h"
#include "base/mutex.h"

namespace hadal {
namespace {

// A pipe that poll() calls writable takes so many bytes (PIPE_BUF) without blocking.
constexpr size_t kWriteBytes = 4096;
// A line that came alone waits so long for others: a wake-up for each would cost more than they do.
constexpr auto kGatherTime = std::chrono::milliseconds(2);
constexpr auto kFlushTime = std::chrono::seconds(1);
constexpr auto kAbortTime = std::chrono::milliseconds(200);

std::atomic<uint64_t> lines_dropped{0};

}  // namespace

/// The lines that wait and the thread that writes them.
class LogQueue {
 public:
  explicit LogQueue(int fd) : fd_(fd), thread_([this] { run(); }) {}
  /// REQUIRES: finish() returned true.
  ~LogQueue() { thread_.join(); }
  LogQueue(const LogQueue&) = delete;
  LogQueue& operator=(const LogQueue&) = delete;

  void push(std::string_view line) {
    const MutexLock lock(mu_);
    lines_.emplace_back(line);
    bytes_ += line.size();
    while (bytes_ > limits::kLogQueueBytes && lines_.size() > 1) drop_oldest();
    if (waits_) changed_.notify_all();
  }

  /// Waits until all lines are written; false when the file took nothing for that time.
  bool drain(std::chrono::microseconds patience) {
    const MutexLock lock(mu_);
    uint64_t seen = written_;
    while (!lines_.empty() || busy_) {
      const bool in_time = changed_.wait_for(mu_, patience);
      if (!in_time && written_ == seen) return false;
      seen = written_;
    }
    return true;
  }

  /// The same, and then the thread ends; if not, it never does.
  bool finish() {
    const bool drained = drain(kFlushTime);
    const MutexLock lock(mu_);
    ending_ = true;
    changed_.notify_all();
    if (!drained) thread_.detach();
    return drained;
  }

 private:
  void drop_oldest() REQUIRES(mu_) {
    bytes_ -= lines_.front().size();
    lines_.pop_front();
    ++untold_;
    lines_dropped.fetch_add(1, std::memory_order_relaxed);
  }

  void run() {
    // A reader that has gone is an error of write(), not the end of the program.
    sigset_t pipes;
    sigemptyset(&pipes);
    sigaddset(&pipes, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipes, nullptr);
    std::string portion;
    while (take(portion)) write(portion);
  }

  /// The next lines, about kWriteBytes of them; false at the end.
  bool take(std::string& portion) {
    const MutexLock lock(mu_);
    busy_ = false;
    ++written_;
    changed_.notify_all();
    while (lines_.empty() && !ending_) {
      waits_ = true;
      changed_.wait(mu_);
      waits_ = false;
      if (!ending_) changed_.wait_for(mu_, kGatherTime);
    }
    if (lines_.empty()) return false;
    busy_ = true;
    portion.clear();
    if (untold_ > 0) {
      portion = "log_lines_dropped count=" + std::to_string(untold_) + "\n";
      untold_ = 0;
    }
    do {
      portion += lines_.front();
      bytes_ -= lines_.front().size();
      lines_.pop_front();
    } while (!lines_.empty() && portion.size() + lines_.front().size() <= kWriteBytes);
    return true;
  }

  void write(std::string_view bytes) const {
    while (!bytes.empty()) {
      pollfd poll_fd = {fd_, POLLOUT, 0};
      if (::poll(&poll_fd, 1, -1) < 0) continue;
      const ssize_t n = ::write(fd_, bytes.data(), std::min(bytes.size(), kWriteBytes));
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (n <= 0) return;  // nobody will ever read it
      bytes.remove_prefix(static_cast<size_t>(n));
    }
  }

  const int fd_;
  Mutex mu_;
  CondVar changed_;
  std::deque<std::string> lines_ GUARDED_BY(mu_);
  size_t bytes_ GUARDED_BY(mu_) = 0;
  uint64_t untold_ GUARDED_BY(mu_) = 0;   ///< dropped lines that no line tells of yet
  uint64_t written_ GUARDED_BY(mu_) = 0;  ///< counts portions
  bool busy_ GUARDED_BY(mu_) = false;     ///< a portion is being written
  bool waits_ GUARDED_BY(mu_) = false;    ///< the thread, for lines
  bool ending_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

namespace {

/// Where lines go. Leaked on purpose: threads may log while the program ends.
struct Outlet {
  Mutex mu;
  LogQueue* queue GUARDED_BY(mu) = nullptr;  ///< null: straight to standard error
};

Outlet& outlet() {
  static auto* const the = new Outlet;
  return *the;
}

void put_line(std::string_view line) {
  Outlet& out = outlet();
  const MutexLock lock(out.mu);
  if (out.queue != nullptr) {
    out.queue->push(line);
  } else {
    std::fwrite(line.data(), 1, line.size(), stderr);
  }
}

class LineSink final : public spdlog::sinks::base_sink<std::mutex> {
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    put_line({line.data(), line.size()});
  }
  void flush_() override {}
};

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kNothing:
      return spdlog::level::off;
  }
  return spdlog::level::info;
}

spdlog::logger& sink() {
  static spdlog::logger* const logger = [] {
    // Leaked like the outlet.
    auto* created = new spdlog::logger("hadal", std::make_shared<LineSink>());  // tidy: allow
    created->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
    return created;
  }();
  return *logger;
}

void append_field(std::string& line, const LogField& field) {
  line.push_back(' ');
  line.append(field.key);
  line.push_back('=');
  if (field.value.find_first_of(" \"\n\r\t=") == std::string::npos && !field.value.empty()) {
    line.append(field.value);
    return;
  }
  line.push_back('"');
  for (char c : field.value) {
    if (c == '\n' || c == '\r' || c == '\t') c = ' ';
    if (c == '"' || c == '\\') line.push_back('\\');
    line.push_back(c);
  }
  line.push_back('"');
}

}  // namespace

void set_log_level(LogLevel level) {
  sink().set_level(spdlog_level(level));
}

void log_event(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  if (!sink().should_log(spdlog_level(level))) return;
  std::string line(event);
  for (const LogField& field : fields) append_field(line, field);
  sink().log(spdlog_level(level), line);
}

void log_text(std::string_view text) {
  put_line(std::string(text) + "\n");
}

LogWriter::LogWriter(int fd) : queue_(std::make_unique<LogQueue>(fd)) {
  Outlet& out = outlet();
  bool alone = false;
  {
    const MutexLock lock(out.mu);
    alone = out.queue == nullptr;
    out.queue = queue_.get();
  }
  CHECK(alone);
}

LogWriter::~LogWriter() {
  {
    Outlet& out = outlet();
    const MutexLock lock(out.mu);
    out.queue = nullptr;
  }
  if (!queue_->finish()) (void)queue_.release();  // its thread stands in a write, perhaps for ever
}

uint64_t log_lines_dropped() {
  return lines_dropped.load(std::memory_order_relaxed);
}

void log_before_abort(std::string_view text) {
  {
    Outlet& out = outlet();
    const MutexLock lock(out.mu);
    if (out.queue != nullptr) out.queue->drain(kAbortTime);
  }
  pollfd stderr_fd = {STDERR_FILENO, POLLOUT, 0};
  if (::poll(&stderr_fd, 1, kAbortTime.count()) == 1) {
    (void)!::write(STDERR_FILENO, text.data(), text.size());
  }
}

}  // namespace hadal
