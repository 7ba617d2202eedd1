// The front end alone: HTTP, JSON, templates, tokens to text, events, the access log, with an
// engine that answers at once. The server runs on one core, its clients in a second process on
// another. Rates are per second of processor time of the server's process, null engine and kernel
// included, so neither the clients nor other programs on the machine move them. The bound of a rate
// is a server that does nothing but receive the same requests and send the same bytes back.
//
//   frontend_bench [requests|tokens|steps|latency|streams] [seconds] 2> /dev/null
#include <algorithm>
#include <atomic>
#include <chrono>
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

#include "app/endpoints.h"
#include "base/log.h"
#include "net/server.h"
#include "serve/testing/scripted.h"
#include "timing.h"

namespace hadal {
namespace {

constexpr int kTokens = 256;  // of a streamed answer
constexpr int kConnections = 64;
constexpr auto kStep = std::chrono::milliseconds(2);  // of the part "steps"
constexpr int kIdleStreams = 5000;
constexpr int kIdleTokens = 16;  // that such a stream has had before it fell silent
constexpr TokenId kWord = 259;   // see bench_tokenizer()

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

/// Says a word to every request: at once one, or in steps one to each running request, one step
/// after another or in set intervals as a real engine; or a few and then nothing more.
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
      for (int i = 0; i < kIdleTokens; ++i) sink->on_token({.id = kWord});
      const std::lock_guard lock(mutex_);
      held_.push_back({std::move(sink), 0, std::move(request)});
      return id;
    }
    if (request.max_tokens == 1) {
      sink->on_token({.id = kWord});
      sink->on_finish(ended(1));
      return id;
    }
    {
      const std::lock_guard lock(mutex_);
      arriving_.push_back({std::move(sink), request.max_tokens, {}});
    }
    changed_.notify_one();
    return id;
  }
  void cancel(RequestId) override {}
  EngineStats stats() const override { return {.rows_max = 64, .queue_max = 256}; }

  void set_idle(bool idle) { idle_ = idle; }
  void set_step(std::chrono::microseconds interval) { interval_micros_ = interval.count(); }

 private:
  struct Row {
    std::unique_ptr<TokenSink> sink;
    int64_t left = 0;
    GenerateRequest request;  ///< of a silent one: an engine keeps it as long
  };

  static FinishEvent ended(int64_t tokens) {
    FinishEvent event;
    event.reason = FinishReason::kLength;
    event.completion_tokens = tokens;
    return event;
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
        row.sink->on_token({.id = kWord});
        if (--row.left == 0) row.sink->on_finish(ended(kTokens));
      }
      std::erase_if(rows, [](const Row& row) { return row.left == 0; });
      const int64_t interval = interval_micros_;
      if (interval > 0) std::this_thread::sleep_for(std::chrono::microseconds(interval));
    }
  }

  std::atomic<RequestId> next_id_{0};
  std::atomic<bool> idle_{false};
  std::atomic<int64_t> interval_micros_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Row> arriving_;
  std::vector<Row> held_;
  bool ending_ = false;
  std::thread thread_;
};

/// Answers requests of one size with the same bytes each, and does nothing else.
class BareServer {
 public:
  BareServer(size_t request_bytes, std::string answer)
      : request_bytes_(request_bytes), answer_(std::move(answer)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    CHECK(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0);
    CHECK(::listen(listener_, kConnections) == 0);
    CHECK(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~BareServer() {
    ending_ = true;
    thread_.join();
    ::close(listener_);
  }
  BareServer(const BareServer&) = delete;
  BareServer& operator=(const BareServer&) = delete;

  uint16_t port() const { return port_; }

 private:
  void run() {
    std::vector<pollfd> polls = {{listener_, POLLIN, 0}};
    std::vector<size_t> got = {0};
    while (!ending_) {
      ::poll(polls.data(), polls.size(), 100);
      for (size_t i = 1; i < polls.size(); ++i) {
        if (polls[i].revents != 0) answer(polls[i], got[i]);
      }
      if (polls[0].revents != 0) {
        polls.push_back({::accept(listener_, nullptr, nullptr), POLLIN, 0});
        got.push_back(0);
      }
    }
    for (size_t i = 1; i < polls.size(); ++i) ::close(polls[i].fd);
  }

  void answer(pollfd& peer, size_t& got) const {
    char buffer[16384];
    const ssize_t bytes = ::recv(peer.fd, buffer, sizeof(buffer), 0);
    if (bytes <= 0) {
      peer.events = 0;
      return;
    }
    got += static_cast<size_t>(bytes);
    if (got < request_bytes_) return;
    got = 0;
    (void)!::send(peer.fd, answer_.data(), answer_.size(), MSG_NOSIGNAL);
  }

  size_t request_bytes_;
  std::string answer_;
  int listener_ = -1;
  uint16_t port_ = 0;
  std::atomic<bool> ending_{false};
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

/// One keep-alive connection of the load.
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

  /// Whether a whole answer is here.
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
      return end != std::string::npos;
    }
    const size_t length = in.find("Content-Length: ");
    const size_t body = std::strtoul(in.c_str() + length + 16, nullptr, 10);
    return in.size() >= head + 4 + body;
  }

  void forget() {
    in.clear();
    searched = 0;
  }
};

/// One answer, byte for byte.
std::string answer_of(uint16_t port, bool stream, int max_tokens) {
  Load load{.fd = connect_to(port)};
  load.ask(chat_request(stream, max_tokens));
  do {
    load.receive();
  } while (!load.done(stream));
  ::close(load.fd);
  return load.in;
}

/// Processor time of this process, seconds.
struct CpuTime {
  double user = 0;
  double system = 0;

  static CpuTime now() {
    rusage usage = {};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& time) {
      return double(time.tv_sec) + double(time.tv_usec) * 1e-6;
    };
    return {seconds(usage.ru_utime), seconds(usage.ru_stime)};
  }
  double all() const { return user + system; }
  CpuTime since(const CpuTime& begin) const { return {user - begin.user, system - begin.system}; }
};

/// Of the clients' process, between its two marks.
struct LoadResult {
  int64_t answers = 0;
  double seconds = 0;
  double client_cpu = 0;
};

/// Keeps all connections asking. `mark` is called when what is measured begins.
template <typename Mark>
LoadResult run_load(uint16_t port, bool stream, int max_tokens, double seconds, Mark mark) {
  const std::string request = chat_request(stream, max_tokens);
  std::vector<Load> loads(kConnections);
  std::vector<pollfd> polls;
  for (Load& load : loads) {
    load.fd = connect_to(port);
    polls.push_back({load.fd, POLLIN, 0});
    load.ask(request);
  }
  int64_t answers = 0;
  const double warm = now() + 0.5;
  double begun = 0;
  CpuTime cpu;
  for (;;) {
    ::poll(polls.data(), polls.size(), 1000);
    for (size_t i = 0; i < loads.size(); ++i) {
      if ((polls[i].revents & POLLIN) == 0) continue;
      loads[i].receive();
      if (!loads[i].done(stream)) continue;
      loads[i].forget();
      ++answers;
      loads[i].ask(request);
    }
    const double time = now();
    if (begun == 0 && time > warm) {
      mark();
      begun = time;
      answers = 0;
      cpu = CpuTime::now();
    }
    if (begun > 0 && time - begun > seconds) {
      return {answers, time - begun, CpuTime::now().since(cpu).all()};
    }
  }
}

/// One request after another: median and 99th percentile, milliseconds.
struct Latency {
  double median = 0;
  double p99 = 0;
};

Latency run_latency(uint16_t port, double seconds) {
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
    load.forget();
  }
  std::sort(times.begin(), times.end());
  return {times[times.size() / 2], times[times.size() * 99 / 100]};
}

/// Runs `body` in a process of its own on the other core; its result comes through a pipe. `body`
/// may call its argument once: `cpu` is this process's time from then to the end.
template <typename Out, typename Body>
Out in_client(Body body, CpuTime* cpu = nullptr) {
  int pipe_fds[2];
  CHECK(::pipe(pipe_fds) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    pin(1);
    const char byte = 0;
    const Out out = body([&] { (void)!::write(pipe_fds[1], &byte, 1); });
    (void)!::write(pipe_fds[1], &out, sizeof(out));
    ::_exit(0);
  }
  ::close(pipe_fds[1]);
  CpuTime begun;
  char byte = 0;
  if (cpu != nullptr && ::read(pipe_fds[0], &byte, 1) == 1) begun = CpuTime::now();
  Out out;
  const bool came = ::read(pipe_fds[0], &out, sizeof(out)) == sizeof(out);
  if (cpu != nullptr) *cpu = CpuTime::now().since(begun);
  ::waitpid(child, nullptr, 0);
  ::close(pipe_fds[0]);
  if (!came) std::exit(1);
  return out;
}

void report(const char* what, double value, double target, bool more_is_better, const char* unit) {
  const bool met = more_is_better ? value >= target : value <= target;
  fmt::print("{:34} {:>12.3f} {:8} target {:>10} {}\n", what, value, unit,
             fmt::format("{}{}", more_is_better ? ">= " : "<= ", target), met ? "met" : "NOT MET");
  std::fflush(stdout);
}

struct Rate {
  const char* what;
  bool stream = false;
  int tokens = 1;     ///< of an answer; what is counted
  double target = 0;  ///< 0: none is set, and the bound not measured
};

/// A rate, what it consists of, and its bound.
void measure_rate(const Rate& rate, uint16_t port, double seconds) {
  const auto load = [&](uint16_t to, CpuTime& time) {
    return in_client<LoadResult>(
        [&](auto mark) { return run_load(to, rate.stream, rate.tokens, seconds, mark); }, &time);
  };
  CpuTime cpu;
  const LoadResult ours = load(port, cpu);
  const std::string answer = answer_of(port, rate.stream, rate.tokens);
  const double units = double(ours.answers) * rate.tokens;
  const double reached = units / cpu.all();
  if (rate.target > 0) {
    report(rate.what, reached, rate.target, true, "1/s");
  } else {
    fmt::print("{:34} {:>12.3f} 1/s\n", rate.what, reached);
  }
  fmt::print("  wall clock {:.0f} 1/s, server at {:.0f} % of a core, clients at {:.0f} %\n",
             units / ours.seconds, 100 * cpu.all() / ours.seconds,
             100 * ours.client_cpu / ours.seconds);
  fmt::print("  each {:.3f} us of our code, {:.3f} us of the kernel, {:.1f} bytes\n",
             cpu.user / units * 1e6, cpu.system / units * 1e6, double(answer.size()) / rate.tokens);
  if (rate.target > 0) {
    const BareServer bare(chat_request(rate.stream, rate.tokens).size(), answer);
    CpuTime bare_cpu;
    const double bare_units = double(load(bare.port(), bare_cpu).answers) * rate.tokens;
    const double bound = bare_units / bare_cpu.all();
    fmt::print("  bound (receive, send) {:.0f} 1/s, reached {:.0f} %\n", bound,
               100 * reached / bound);
  }
  std::fflush(stdout);
}

void measure_latency(uint16_t port, double seconds) {
  const std::string answer = answer_of(port, false, 1);
  const BareServer bare(chat_request(false, 1).size(), answer);
  const auto alone = [&](uint16_t to) {
    return in_client<Latency>([&](auto) { return run_latency(to, seconds); });
  };
  const Latency ours = alone(port);
  const Latency least = alone(bare.port());
  report("request alone, p99", ours.p99, kTargets.p99_ms, false, "ms");
  fmt::print("  median {:.3f} ms; bound (receive, send): median {:.3f}, p99 {:.3f} ms\n",
             ours.median, least.median, least.p99);
  std::fflush(stdout);
}

double resident_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0;
  int64_t resident = 0;
  file >> total >> resident;
  return double(resident) * double(::sysconf(_SC_PAGESIZE));
}

/// Growth of resident memory per stream that had a few tokens and then says nothing, all of which
/// its client has read. The kernel's socket not counted.
double idle_stream_bytes(uint16_t port, NullEngine& engine) {
  engine.set_idle(true);
  int ready[2];
  int leave[2];
  CHECK(::pipe(ready) == 0 && ::pipe(leave) == 0);
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
      const auto words = [&] {
        size_t count = 0;
        for (size_t at = 0; (at = load.in.find("data: ", at)) != std::string::npos; ++at) ++count;
        return count;
      };
      while (words() < kIdleTokens + 1) load.receive();  // one before the first names the role
      load.in = {};
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

/// One token per byte, and a word of an answer that is as long as words are.
std::unique_ptr<Tokenizer> bench_tokenizer() {
  VocabSpec spec = byte_tokenizer()->spec();
  CHECK(static_cast<TokenId>(spec.tokens.size()) == kWord);
  spec.tokens.emplace_back("\xC4\xA0word");  // U+0120 stands for a blank
  spec.kinds.push_back(static_cast<uint8_t>(TokenKind::kNormal));
  auto created = Tokenizer::create(std::move(spec));
  CHECK(created.ok());
  return std::move(created).value();
}

/// As published models have it.
constexpr const char* kTemplate =
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful AI assistant.<|im_end|>\\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

int run(const std::string& part, double seconds) {
  rlimit files = {};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  ::signal(SIGPIPE, SIG_IGN);
  pin(0);
  const LogWriter log;

  const std::unique_ptr<Tokenizer> tokenizer = bench_tokenizer();
  auto source = ChatTemplate::parse(kTemplate);
  CHECK(source.ok());
  const ChatTemplate chat_template = std::move(source).value();
  auto model = std::make_unique<ServedModel>();
  model->id = "null";
  model->tokenizer = tokenizer.get();
  model->chat_template = &chat_template;
  model->chosen_codec = model->codec();
  model->n_ctx = 8192;
  NullEngine engine;
  SingleModel models;
  models.set(std::move(model), engine);
  Service service(Env::real(), models);
  auto pack = WebPack::parse(WebPack::embedded());
  CHECK(pack.ok());
  ServerOptions options;
  options.port = 0;
  options.connections_max = 2 * kIdleStreams;
  options.error_body = net_error_body;
  options.authorized = [](const HttpRequest& request) {
    const std::string* header = request.header("authorization");
    return header != nullptr && *header == "Bearer key";
  };
  auto server = Server::start(options, Router(make_routes(service, pack.value())));
  CHECK(server.ok());
  const uint16_t port = server.value()->port();

  const auto wanted = [&](const char* name) { return part.empty() || part == name; };
  if (wanted("requests")) {
    measure_rate({.what = "requests/s per core", .target = kTargets.requests}, port, seconds);
  }
  if (wanted("tokens")) {
    const Rate tokens = {.what = "streamed tokens/s per core",
                         .stream = true,
                         .tokens = kTokens,
                         .target = kTargets.tokens};
    measure_rate(tokens, port, seconds);
  }
  if (wanted("steps")) {
    engine.set_step(kStep);
    const Rate each = {
        .what = "tokens/s per core, each written", .stream = true, .tokens = kTokens};
    measure_rate(each, port, seconds);
    engine.set_step({});
  }
  if (wanted("latency")) measure_latency(port, seconds);
  if (wanted("streams")) {
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
