// The front end alone: HTTP, JSON, templates, tokens to text, events, with an engine that answers
// at once. The server runs on one core, its clients in a second process on another, so the figures
// are per core of the server, the null engine included.
//
//   frontend_bench [requests|tokens|latency|streams] [seconds]
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "net/server.h"
#include "serve/manners.h"
#include "serve/shapes.h"
#include "serve/testing/scripted.h"
#include "timing.h"

namespace hadal {
namespace {

constexpr int kTokens = 256;  // of a streamed answer
constexpr int kConnections = 64;
constexpr int kIdleStreams = 5000;

struct Targets {
  double requests = 8000;
  double tokens = 400'000;
  double p99_ms = 1;
  double stream_kib = 32;
};
constexpr Targets kTargets;

void pin(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  sched_setaffinity(0, sizeof(set), &set);
}

/// Gives "a" to every request: at once one, or in steps a token to each running request as an
/// engine with a full batch does; or begins and then says nothing.
class NullEngine final : public TokenBackend {
 public:
  NullEngine() : thread_([this] { run(); }) {}
  ~NullEngine() override {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  Result<RequestId> submit(GenerateRequest request, std::unique_ptr<TokenSink> sink) override {
    const RequestId id = ++next_id_;
    sink->on_begin();
    if (idle_) {
      const std::lock_guard lock(mutex_);
      held_.push_back(std::move(sink));
      return id;
    }
    if (request.max_tokens == 1) {
      answer(*sink, 1);
      return id;
    }
    {
      const std::lock_guard lock(mutex_);
      arriving_.push_back({std::move(sink), request.max_tokens});
    }
    changed_.notify_one();
    return id;
  }
  void cancel(RequestId) override {}
  EngineStats stats() const override { return {.rows_max = 64, .queue_max = 256}; }

  void set_idle(bool idle) { idle_ = idle; }

 private:
  struct Row {
    std::unique_ptr<TokenSink> sink;
    int64_t left = 0;
  };

  static FinishEvent ended(int64_t tokens) {
    FinishEvent event;
    event.reason = FinishReason::kLength;
    event.completion_tokens = tokens;
    return event;
  }

  static void answer(TokenSink& sink, int64_t tokens) {
    for (int64_t i = 0; i < tokens; ++i) sink.on_token({.id = 'a'});
    sink.on_finish(ended(tokens));
  }

  void run() {
    std::vector<Row> rows;
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return ending_ || !rows.empty() || !arriving_.empty(); });
        if (ending_) return;
        for (Row& row : arriving_) rows.push_back(std::move(row));
        arriving_.clear();
      }
      for (Row& row : rows) {
        row.sink->on_token({.id = 'a'});
        if (--row.left == 0) {
          row.sink->on_finish(ended(kTokens));
        }
      }
      std::erase_if(rows, [](const Row& row) { return row.left == 0; });
    }
  }

  std::atomic<RequestId> next_id_{0};
  std::atomic<bool> idle_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Row> arriving_;
  std::vector<std::unique_ptr<TokenSink>> held_;
  bool ending_ = false;
  std::thread thread_;
};

std::string chat_request(bool stream, int max_tokens) {
  const std::string body = fmt::format(
      R"({{"model":"null","messages":[{{"role":"system","content":"You are helpful."}},)"
      R"({{"role":"user","content":"What is the capital of France?"}}],"temperature":0.7,)"
      R"("top_p":0.9,"stream":{},"max_tokens":{}}})",
      stream, max_tokens);
  return fmt::format(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
      "User-Agent: bench\r\nAuthorization: Bearer key\r\nContent-Type: application/json\r\n"
      "Content-Length: {}\r\n\r\n{}",
      body.size(), body);
}

int connect_to(uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    std::perror("connect");
    std::exit(1);
  }
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return fd;
}

/// One keep-alive connection of the load; counts answers.
struct Load {
  int fd = -1;
  std::string in = {};
  size_t searched = 0;

  void ask(const std::string& request) const {
    if (::send(fd, request.data(), request.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(request.size())) {
      std::perror("send");
      std::exit(1);
    }
  }

  void receive() {
    char buffer[65536];
    const ssize_t got = ::recv(fd, buffer, sizeof(buffer), 0);
    if (got <= 0) {
      std::fprintf(stderr, "the server hung up\n");
      std::exit(1);
    }
    in.append(buffer, static_cast<size_t>(got));
  }

  /// Whether a whole answer is here; then it is forgotten.
  bool done(bool stream) {
    const size_t head = in.find("\r\n\r\n");
    if (head == std::string::npos) return false;
    if (!in.starts_with("HTTP/1.1 200")) {
      std::fprintf(stderr, "%s\n", in.c_str());
      std::exit(1);
    }
    if (stream) {
      const size_t end = in.find("\r\n0\r\n\r\n", std::max(head, searched));
      searched = in.size() < 8 ? 0 : in.size() - 8;
      if (end == std::string::npos) return false;
    } else {
      const size_t length = in.find("Content-Length: ");
      const size_t body = std::strtoul(in.c_str() + length + 16, nullptr, 10);
      if (in.size() < head + 4 + body) return false;
    }
    in.clear();
    searched = 0;
    return true;
  }
};

/// Answers per second over all connections.
double run_load(uint16_t port, bool stream, int max_tokens, double seconds) {
  const std::string request = chat_request(stream, max_tokens);
  std::vector<Load> loads(kConnections);
  std::vector<pollfd> polls;
  for (Load& load : loads) {
    load.fd = connect_to(port);
    polls.push_back({load.fd, POLLIN, 0});
    load.ask(request);
  }
  int64_t answers = 0;
  const double warm = now() + 0.3;
  double begun = 0;
  for (;;) {
    ::poll(polls.data(), polls.size(), 1000);
    for (size_t i = 0; i < loads.size(); ++i) {
      if ((polls[i].revents & POLLIN) == 0) continue;
      loads[i].receive();
      if (!loads[i].done(stream)) continue;
      ++answers;
      loads[i].ask(request);
    }
    const double time = now();
    if (begun == 0 && time > warm) {
      begun = time;
      answers = 0;
    }
    if (begun > 0 && time - begun > seconds) return double(answers) / (time - begun);
  }
}

/// One request after another: median and 99th percentile, milliseconds.
std::pair<double, double> run_latency(uint16_t port, double seconds) {
  const std::string request = chat_request(false, 1);
  Load load{.fd = connect_to(port)};
  std::vector<double> times;
  const double begun = now();
  while (now() - begun < seconds) {
    const double start = now();
    load.ask(request);
    do {
      load.receive();
    } while (!load.done(false));
    times.push_back((now() - start) * 1e3);
  }
  std::sort(times.begin(), times.end());
  return {times[times.size() / 2], times[times.size() * 99 / 100]};
}

/// In a process of its own on the other core; its result comes through a pipe.
template <typename Body>
std::vector<double> in_client(Body body) {
  int pipe_fds[2];
  if (::pipe(pipe_fds) != 0) return {};
  const pid_t child = ::fork();
  if (child == 0) {
    pin(1);
    const std::vector<double> out = body();
    (void)!::write(pipe_fds[1], out.data(), out.size() * sizeof(double));
    ::_exit(0);
  }
  ::close(pipe_fds[1]);
  std::vector<double> out(8);
  const ssize_t got = ::read(pipe_fds[0], out.data(), out.size() * sizeof(double));
  out.resize(got < 0 ? 0 : static_cast<size_t>(got) / sizeof(double));
  int status = 0;
  ::waitpid(child, &status, 0);
  ::close(pipe_fds[0]);
  if (out.empty()) std::exit(1);
  return out;
}

double resident_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0;
  int64_t resident = 0;
  file >> total >> resident;
  return double(resident) * double(::sysconf(_SC_PAGESIZE));
}

/// Bytes per stream that was begun and says nothing, after its head came. Kernel memory not
/// counted.
double idle_stream_bytes(uint16_t port, NullEngine& engine) {
  engine.set_idle(true);
  int ready[2];
  int leave[2];
  if (::pipe(ready) != 0 || ::pipe(leave) != 0) return 0;
  const double before = resident_bytes();
  const pid_t child = ::fork();
  char byte = 0;
  if (child == 0) {
    pin(1);
    const std::string request = chat_request(true, kTokens);
    std::vector<Load> loads(kIdleStreams);
    for (Load& load : loads) {
      load.fd = connect_to(port);
      load.ask(request);
      load.receive();
    }
    (void)!::write(ready[1], &byte, 1);
    (void)!::read(leave[0], &byte, 1);
    ::_exit(0);
  }
  (void)!::read(ready[0], &byte, 1);
  const double after = resident_bytes();
  (void)!::write(leave[1], &byte, 1);
  ::waitpid(child, nullptr, 0);
  return (after - before) / kIdleStreams;
}

void report(const char* what, double value, double target, bool more_is_better, const char* unit) {
  const bool met = more_is_better ? value >= target : value <= target;
  fmt::print("{:34} {:>12.3f} {:10} target {:>10} {}\n", what, value, unit,
             fmt::format("{}{}", more_is_better ? ">= " : "<= ", target), met ? "met" : "NOT MET");
  std::fflush(stdout);
}

int run(const std::string& part, double seconds) {
  rlimit files = {};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  ::signal(SIGPIPE, SIG_IGN);
  pin(0);
  set_log_level(LogLevel::kWarn);

  const std::unique_ptr<Tokenizer> tokenizer = byte_tokenizer();
  auto source = ChatTemplate::parse(
      "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
      "{% if add_generation_prompt %}<|assistant|>{% endif %}");
  CHECK(source.ok());
  const ChatTemplate chat_template = std::move(source).value();
  auto model = std::make_unique<ServedModel>();
  model->id = "null";
  model->tokenizer = tokenizer.get();
  model->chat_template = &chat_template;
  model->n_ctx = 8192;
  NullEngine engine;
  SingleModel models;
  models.set(std::move(model), engine);
  Service service(Env::real(), models);
  std::vector<Route> routes(1);
  routes[0] = {.method = "POST", .path = "/v1/chat/completions", .body_bytes_max = 1 << 20};
  routes[0].handle = [&service](HttpRequest&& request, PeerRef peer) {
    run_handler(service, handlers::chat_completions, &shapes::kChatCompletions, std::move(request),
                peer);
  };
  ServerOptions options;
  options.port = 0;
  options.connections_max = 2 * kIdleStreams;
  auto server = Server::start(options, Router(std::move(routes)));
  CHECK(server.ok());
  const uint16_t port = server.value()->port();

  if (part.empty() || part == "requests") {
    const double rate =
        in_client([&] { return std::vector<double>{run_load(port, false, 1, seconds)}; })[0];
    report("requests/s per core", rate, kTargets.requests, true, "1/s");
  }
  if (part.empty() || part == "tokens") {
    const double rate =
        in_client([&] { return std::vector<double>{run_load(port, true, kTokens, seconds)}; })[0];
    report("streamed tokens/s per core", rate * kTokens, kTargets.tokens, true, "1/s");
  }
  if (part.empty() || part == "latency") {
    const std::vector<double> ms = in_client([&] {
      const auto [median, p99] = run_latency(port, seconds);
      return std::vector<double>{median, p99};
    });
    fmt::print("{:34} {:>12.3f} ms\n", "request alone, median", ms[0]);
    report("request alone, p99", ms[1], kTargets.p99_ms, false, "ms");
  }
  if (part.empty() || part == "streams") {
    const double bytes = idle_stream_bytes(port, engine);
    report("memory of an idle stream (5,000)", bytes / 1024, kTargets.stream_kib, false, "KiB");
  }
  server.value()->stop(0);
  return 0;
}

}  // namespace
}  // namespace hadal

int main(int argc, char** argv) {
  const std::string first = argc > 1 ? argv[1] : "";
  const bool part = !first.empty() && first[0] >= 'a';
  const char* time = part ? (argc > 2 ? argv[2] : "4") : (argc > 1 ? argv[1] : "4");
  return hadal::run(part ? first : "", std::atof(time));
}
