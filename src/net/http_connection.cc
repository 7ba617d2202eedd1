// One HTTP/1.1 connection.
//
//   read loop --> inbox --> parser (head, then body) --> dispatch --> worker --> reply or stream
//        ^                                                                            |
//        +---- keeps reading while the answer is made, to notice a client hanging up  v
//                                                              outbox --> sending --> socket
//
// The parser is Beast's, fed by hand: so one read can stay pending whatever the state, and nothing
// has to be cancelled between requests.
#include <array>
#include <charconv>
#include <memory>
#include <optional>
#include <utility>

#include "base/env.h"
#include "base/log.h"
#include "net/access.h"
#include "net/detail/core.h"
#include <boost/asio/post.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/websocket/rfc6455.hpp>

namespace hadal {
namespace {

namespace http = boost::beast::http;
using Parser = http::request_parser<http::string_body>;

// Connections that wait, for a request or for an answer's next token, are many: they have the small
// buffer only.
constexpr size_t kReadBytesSmall = 2 * limits::kKiB;
constexpr size_t kReadBytes = 16 * limits::kKiB;
constexpr size_t kOutboxKept = 4 * limits::kKiB;   // of a stream that says nothing for a tick
constexpr size_t kBatchBytes = 64 * limits::kKiB;  // sent at once, even amid a batch
constexpr int64_t kLingerMicros = 2'000'000;
constexpr std::string_view kRequestIdCharacters =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:";

std::string view(boost::beast::string_view text) {
  return {text.data(), text.size()};
}

bool well_formed_request_id(std::string_view id) {
  return !id.empty() && id.size() <= 128 &&
         id.find_first_not_of(kRequestIdCharacters) == std::string_view::npos;
}

std::string new_request_id() {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string id = "req_";
  for (uint64_t bits = Env::real().random_u64(); id.size() < 20; bits >>= 4) {
    id.push_back(kHex[bits & 15]);
  }
  return id;
}

/// A path as the log shows it: no control bytes, no novel.
std::string printable(std::string_view path) {
  constexpr size_t kShown = 128;
  std::string out(path.substr(0, kShown));
  for (char& c : out) {
    if (c <= ' ' || c > '~') c = '?';
  }
  return out.empty() ? "-" : out;
}

/// Header values come partly from our own data: no line break may pass.
void append_header(std::string& out, std::string_view name, std::string_view value) {
  out += name;
  out += ": ";
  for (const char c : value) {
    if (c != '\r' && c != '\n' && c != '\0') out.push_back(c);
  }
  out += "\r\n";
}

class HttpConnection final : public Connection {
 public:
  HttpConnection(ServerCore& server, uint64_t id, tcp::socket socket)
      : Connection(server, id), socket_(std::move(socket)) {}

  void start() override;
  void on_tick(int64_t now) override;
  void drain() override;
  void close() override;
  bool busy() const override { return phase_ == Phase::kAnswering || phase_ == Phase::kFlushing; }

  void reply(HttpReply reply) override;
  void start_stream(StreamHead head) override;
  void write(std::string_view bytes) override;
  void finish() override;
  void abort_stream() override;
  void observe_reply(UniqueFunction<void(const HttpReply&)> observer) override {
    if (phase_ == Phase::kAnswering && !streaming_) observer_ = std::move(observer);
  }
  size_t unsent_bytes() const override { return outbox_.size() + sending_.size() - sent_; }
  void note_tokens(int64_t prompt, int64_t completion) override {
    prompt_tokens_ = prompt;
    completion_tokens_ = completion;
  }

 private:
  enum class Phase : uint8_t {
    kIdle,  ///< between requests
    kHead,  ///< some bytes of a head are here
    kBody,
    kAnswering,  ///< a handler works on it, or streams
    kFlushing,   ///< answer complete, bytes still to be sent
    kLingering,  ///< our side is shut down; reading on so that the answer is not lost to a reset
    kUpgrading
  };

  void begin_request();
  void arm_read();
  void on_read(const boost::system::error_code& error, std::string_view bytes);
  void parse();
  bool on_head();
  void on_parse_error(const boost::system::error_code& error);
  void set_target(std::string_view target);
  bool check_framing(std::string& target);
  bool check_head(Router::Match& match);
  bool check_access(const Router::Match& match);
  bool reply_options(const Router::Match& match);
  void dispatch();
  void keep_for_answer(const HttpRequest& request);
  void fail();
  void begin_upgrade(const Route* route);
  void refuse(int status, std::string_view code, std::string_view message, HeaderList headers = {});
  std::string head_bytes(int status, std::string_view type, const HeaderList& headers) const;
  void send(std::string_view bytes);
  void send_outbox();
  void flush() override;
  void write_some();
  void on_written(const boost::system::error_code& error, size_t bytes);
  void on_flushed();
  void gone();
  void show_life();
  void shrink(int64_t now);
  void enter(Phase phase);
  void log_access(bool complete) const;

  tcp::socket socket_;
  std::array<char, kReadBytesSmall> small_buffer_;
  std::unique_ptr<char[]> large_buffer_;  ///< kReadBytes, while a request comes in; else null
  std::string inbox_;                     ///< what was read and the parser did not take yet
  std::optional<Parser> parser_;
  HttpRequest request_;
  const Route* route_ = nullptr;
  UniqueFunction<void(const HttpReply&)> observer_;
  std::string outbox_;
  std::string sending_;
  size_t sent_ = 0;
  Phase phase_ = Phase::kIdle;
  bool reading_ = false;
  bool writing_ = false;
  bool flush_waits_ = false;
  bool keep_alive_ = true;
  bool http10_ = false;
  bool head_only_ = false;
  bool streaming_ = false;
  bool event_stream_ = false;
  bool aborted_ = false;
  int status_ = 0;
  int64_t prompt_tokens_ = -1;  ///< -1: nothing was generated
  int64_t completion_tokens_ = 0;
  int64_t request_since_ = 0;  ///< first byte of the request
  int64_t handed_over_ = 0;    ///< to the handler; 0: not yet
  int64_t since_ = 0;          ///< when the phase began, or its last progress
  int64_t body_since_ = 0;     ///< end of the head
  int64_t write_since_ = 0;    ///< last progress of writing
};

void HttpConnection::enter(Phase phase) {
  phase_ = phase;
  since_ = server_.now();
  if (phase == Phase::kHead) request_since_ = since_;
}

/// One line per request: never content, nor the query, which may hold secrets. Probes and pages
/// that went well are for debugging only.
void HttpConnection::log_access(bool complete) const {
  const bool dull = complete && status_ < 400 && route_ != nullptr &&
                    route_->scope == Scope::kPublic && prompt_tokens_ < 0;
  const LogLevel level = dull ? LogLevel::kDebug : LogLevel::kInfo;
  const std::string method = request_.method.empty() ? "-" : request_.method;
  const std::string path = printable(request_.path);
  const int64_t ms = (server_.now() - request_since_) / 1000;
  const std::string_view end = complete && !aborted_ ? "complete" : "cut";
  if (prompt_tokens_ < 0) {
    log_event(level, "request",
              {{"method", method},
               {"path", path},
               {"status", status_},
               {"ms", ms},
               {"end", end},
               {"id", request_.request_id}});
    return;
  }
  log_event(level, "request",
            {{"method", method},
             {"path", path},
             {"status", status_},
             {"ms", ms},
             {"end", end},
             {"prompt_tokens", prompt_tokens_},
             {"completion_tokens", completion_tokens_},
             {"id", request_.request_id}});
}

void HttpConnection::start() {
  boost::system::error_code ignored;
  socket_.set_option(tcp::no_delay(true), ignored);
  if (server_.options.send_buffer_bytes > 0) {
    socket_.set_option(
        asio::socket_base::send_buffer_size(static_cast<int>(server_.options.send_buffer_bytes)),
        ignored);
  }
  begin_request();
  arm_read();
}

void HttpConnection::begin_request() {
  ++serial_;
  parser_.emplace();
  parser_->header_limit(limits::kHttpHeaderBytes);
  parser_->body_limit(boost::none);  // on_head sets what the row allows
  request_ = {};
  route_ = nullptr;
  streaming_ = event_stream_ = aborted_ = head_only_ = http10_ = false;
  status_ = 0;
  prompt_tokens_ = -1;
  completion_tokens_ = handed_over_ = 0;
  enter(Phase::kIdle);
}

void HttpConnection::arm_read() {
  if (reading_ || closed_ || phase_ == Phase::kUpgrading) return;
  // A pipelining client is read ahead only so far.
  if (busy() && inbox_.size() > limits::kHttpHeaderBytes) return;
  reading_ = true;
  ++pending_;
  const bool more = phase_ == Phase::kHead || phase_ == Phase::kBody;
  if (more && large_buffer_ == nullptr) large_buffer_.reset(new char[kReadBytes]);
  const asio::mutable_buffer buffer =
      more ? asio::buffer(large_buffer_.get(), kReadBytes) : asio::buffer(small_buffer_);
  socket_.async_read_some(buffer, [this, read = static_cast<const char*>(buffer.data())](
                                      const boost::system::error_code& error, size_t bytes) {
    --pending_;
    reading_ = false;
    on_read(error, {read, bytes});
    server_.release(id_);
  });
}

void HttpConnection::on_read(const boost::system::error_code& error, std::string_view bytes) {
  if (closed_) return;
  if (error) {
    gone();
    return;
  }
  if (phase_ == Phase::kLingering) {
    arm_read();
    return;
  }
  inbox_.append(bytes);
  if (phase_ == Phase::kIdle) enter(Phase::kHead);
  if (phase_ == Phase::kBody) since_ = server_.now();
  if (phase_ == Phase::kHead || phase_ == Phase::kBody) parse();
  if (phase_ != Phase::kHead && phase_ != Phase::kBody) large_buffer_.reset();
  if (inbox_.empty() && inbox_.capacity() > kReadBytesSmall) inbox_.shrink_to_fit();
  arm_read();
}

void HttpConnection::parse() {
  while (phase_ == Phase::kHead || phase_ == Phase::kBody) {
    boost::system::error_code error;
    const size_t used = parser_->put(asio::buffer(inbox_), error);
    inbox_.erase(0, used);
    if (error == http::error::need_more) {
      // What the parser could not use stays in the inbox; lines and chunk heads have an end.
      if (inbox_.size() > limits::kHttpHeaderBytes + kReadBytes) {
        refuse(431, "header_too_large", "A header or chunk line is too long.");
      }
      return;
    }
    if (error) {
      on_parse_error(error);
      return;
    }
    if (phase_ == Phase::kHead && parser_->is_header_done() && !on_head()) return;
    if (parser_->is_done()) {
      dispatch();
      return;
    }
    if (inbox_.empty()) return;
  }
}

void HttpConnection::on_parse_error(const boost::system::error_code& error) {
  if (error == http::error::header_limit) {
    refuse(431, "header_too_large", "The request header is larger than 32 KiB.");
  } else if (error == http::error::body_limit) {
    refuse(413, "body_too_large", "The request body is larger than this endpoint accepts.");
  } else {
    refuse(400, "malformed_request", "The bytes are not a valid HTTP/1.1 request.");
  }
}

/// The head is complete: decides whether to go on. Afterwards the phase is kBody, or an answer is
/// on its way.
bool HttpConnection::on_head() {
  const auto& message = parser_->get();
  enter(Phase::kBody);
  body_since_ = since_;
  http10_ = message.version() < 11;
  keep_alive_ = message.keep_alive() && !server_.draining;
  request_.method = view(message.method_string());
  head_only_ = request_.method == "HEAD";
  std::string target = view(message.target());
  size_t field_count = 0;
  for (const auto& field : message) {
    ++field_count;
    request_.headers.emplace_back(view(field.name_string()), view(field.value()));
  }
  const std::string* id = request_.header("x-request-id");
  request_.request_id = id != nullptr && well_formed_request_id(*id) ? *id : new_request_id();
  set_target(target);
  if (target.size() > limits::kHttpTargetBytes) {
    refuse(414, "uri_too_long", "The request target is longer than 8 KiB.");
    return false;
  }
  if (field_count > limits::kHttpHeaderCount) {
    refuse(431, "too_many_headers", "The request has more than 100 header fields.");
    return false;
  }
  if (!check_framing(target)) return false;
  set_target(target);
  Router::Match match = server_.router.find(request_.method, request_.path);
  if (!check_access(match) || reply_options(match) || !check_head(match)) return false;
  route_ = match.route;
  request_.path_values = std::move(match.values);
  if (!request_.path_values.empty()) request_.path_tail = request_.path_values.back();
  if (route_->open_socket) {
    begin_upgrade(route_);
    return false;
  }
  const auto length = parser_->content_length();
  if (length && *length > route_->body_bytes_max) {
    refuse(413, "body_too_large", "The request body is larger than this endpoint accepts.");
    return false;
  }
  parser_->body_limit(route_->body_bytes_max);
  parser_->eager(true);
  const std::string* expect = request_.header("expect");
  if (expect != nullptr && ascii_lower(*expect) == "100-continue" && !parser_->is_done()) {
    send("HTTP/1.1 100 Continue\r\n\r\n");
  }
  return true;
}

void HttpConnection::set_target(std::string_view target) {
  const size_t question = target.find('?');
  request_.path = target.substr(0, question);
  request_.query = question == std::string_view::npos ? "" : target.substr(question + 1);
}

/// What HTTP/1.1 asks of every request beyond its grammar. An absolute target is made relative.
bool HttpConnection::check_framing(std::string& target) {
  const auto hosts =
      std::count_if(request_.headers.begin(), request_.headers.end(),
                    [](const auto& field) { return ascii_lower(field.first) == "host"; });
  if (hosts > 1 || (hosts == 0 && !http10_)) {
    refuse(400, "bad_host", "An HTTP/1.1 request has exactly one Host header.");
    return false;
  }
  const size_t scheme = target.find("://");
  if (scheme != std::string::npos && (ascii_lower(target.substr(0, scheme)) == "http" ||
                                      ascii_lower(target.substr(0, scheme)) == "https")) {
    const size_t path = target.find_first_of("/?", scheme + 3);
    const std::string authority = target.substr(scheme + 3, path - scheme - 3);
    target = path == std::string::npos ? "/" : target.substr(path);
    if (target.front() == '?') target.insert(0, "/");
    // The authority of the target counts, not the Host header (RFC 9112, 3.2.2).
    for (auto& [name, value] : request_.headers) {
      if (ascii_lower(name) == "host") value = authority;
    }
    if (hosts == 0) request_.headers.emplace_back("Host", authority);
  }
  const std::string* transfer = request_.header("transfer-encoding");
  if (transfer != nullptr && ascii_lower(*transfer) != "chunked") {
    keep_alive_ = false;
    refuse(501, "unsupported_transfer_encoding", "Only chunked transfer encoding is understood.");
    return false;
  }
  const std::string* encoding = request_.header("content-encoding");
  if (encoding != nullptr && !encoding->empty() && ascii_lower(*encoding) != "identity") {
    refuse(415, "unsupported_encoding", "Send the body without Content-Encoding.");
    return false;
  }
  return true;
}

/// Host and Origin: the rules of net/access.h.
bool HttpConnection::check_access(const Router::Match& match) {
  const std::string* host = request_.header("host");
  const std::string host_text = host == nullptr ? "" : *host;
  if (!host_allowed(host_text, server_.allowed_hosts)) {
    refuse(421, "host_not_allowed",
           "This server does not answer for the host name in the Host header; start it with "
           "--allow-host NAME to permit it.");
    return false;
  }
  const std::string* origin = request_.header("origin");
  const bool changes = request_.method != "GET" && request_.method != "HEAD";
  const bool socket = match.route != nullptr && match.route->open_socket;
  if (origin != nullptr && (changes || socket) && !origin_allowed(*origin, host_text)) {
    refuse(403, "origin_not_allowed", "A page of another site may not call this server.");
    return false;
  }
  return true;
}

bool HttpConnection::reply_options(const Router::Match& match) {
  if (request_.method != "OPTIONS" || !match.path_exists) return false;
  HeaderList headers = {{"Allow", match.allow}};
  if (request_.header("origin") != nullptr) {
    headers.emplace_back("Access-Control-Allow-Methods", match.allow);
    headers.emplace_back("Access-Control-Allow-Headers",
                         allowed_headers(request_.header("access-control-request-headers")));
    headers.emplace_back("Access-Control-Max-Age", "600");
  }
  keep_alive_ = keep_alive_ && parser_->is_done();
  enter(Phase::kAnswering);
  reply({.status = 204, .content_type = "", .body = "", .headers = std::move(headers)});
  return true;
}

bool HttpConnection::check_head(Router::Match& match) {
  if (match.route == nullptr) {
    if (match.path_exists) {
      refuse(405, "method_not_allowed", "This path does not know the method.",
             {{"Allow", match.allow}});
    } else {
      refuse(404, "not_found", "There is no such path on this server.");
    }
    return false;
  }
  if (match.route->scope == Scope::kApi && server_.options.authorized &&
      !server_.options.authorized(request_)) {
    refuse(401, "invalid_api_key",
           "A valid API key is needed: Authorization: Bearer KEY, or x-api-key: KEY.",
           {{"WWW-Authenticate", "Bearer"}});
    return false;
  }
  return true;
}

void HttpConnection::begin_upgrade(const Route* route) {
  if (!boost::beast::websocket::is_upgrade(parser_->get()) || !inbox_.empty()) {
    refuse(426, "upgrade_required", "This path speaks WebSocket only.", {{"Upgrade", "websocket"}});
    return;
  }
  server_.request_count.fetch_add(1, std::memory_order_relaxed);
  phase_ = Phase::kUpgrading;
  Upgrade upgrade;
  upgrade.route = route;
  status_ = 101;
  log_access(true);
  upgrade.serial = serial_ + 1;
  upgrade.head = "GET " + request_.path + " HTTP/1.1\r\n";
  for (const auto& [name, value] : request_.headers) append_header(upgrade.head, name, value);
  upgrade.head += "\r\n";
  // After this handler has returned: it is a member function of the object to be replaced.
  asio::post(server_.io, [server = &server_, id = id_, this, u = std::move(upgrade)]() mutable {
    server->upgrade(id, std::move(socket_), std::move(u));
  });
}

void HttpConnection::dispatch() {
  HttpRequest request = std::exchange(request_, {});
  request.body = std::move(parser_->get().body());
  keep_for_answer(request);
  parser_.reset();
  enter(Phase::kAnswering);
  handed_over_ = since_;
  server_.request_count.fetch_add(1, std::memory_order_relaxed);
  server_.work([route = route_, peer = ref(), r = std::move(request)]() mutable {
    try {
      route->handle(std::move(r), peer);
    } catch (const std::exception& e) {
      // Libraries throw bad_alloc and length_error; one request ends, the service stays.
      log_event(LogLevel::kError, "handler_exception", {{"what", e.what()}});
      peer.post([](Exchange& exchange) { static_cast<HttpConnection&>(exchange).fail(); });
    }
  });
}

/// What the answer's head and the access log need of a request that the handler gets.
void HttpConnection::keep_for_answer(const HttpRequest& request) {
  request_.method = request.method;
  request_.path = request.path;
  request_.request_id = request.request_id;
  for (const char* name : {"origin", "traceparent"}) {
    if (const std::string* value = request.header(name)) {
      request_.headers.emplace_back(name, *value);
    }
  }
}

void HttpConnection::fail() {
  reply({.status = 500,
         .body = server_.error_body(request_, 500, "internal_error", "The request failed.")});
}

/// An answer before the request was read completely.
void HttpConnection::refuse(int status, std::string_view code, std::string_view message,
                            HeaderList headers) {
  if (request_.request_id.empty()) request_.request_id = new_request_id();
  keep_alive_ = keep_alive_ && phase_ == Phase::kBody && parser_->is_done();
  if (status == 408 || status == 431) keep_alive_ = false;
  enter(Phase::kAnswering);
  reply({.status = status,
         .body = server_.error_body(request_, status, code, message),
         .headers = std::move(headers)});
}

std::string HttpConnection::head_bytes(int status, std::string_view type,
                                       const HeaderList& headers) const {
  std::string out = "HTTP/1.1 " + std::to_string(status) + " ";
  out += status_text(status);
  out += "\r\n";
  append_header(out, "Server", server_.options.server_name);
  append_header(out, "x-request-id", request_.request_id);
  const std::string* trace = request_.header("traceparent");
  if (trace != nullptr && well_formed_traceparent(*trace)) {
    append_header(out, "traceparent", *trace);
  }
  if (!type.empty()) append_header(out, "Content-Type", type);
  if (find_header(headers, "X-Content-Type-Options") == nullptr) {
    append_header(out, "X-Content-Type-Options", "nosniff");
  }
  const std::string* origin = request_.header("origin");
  if (origin != nullptr && is_loopback_host(host_of(origin->substr(
                               std::min(origin->size(), origin->find("://") + 3))))) {
    append_header(out, "Access-Control-Allow-Origin", *origin);
    append_header(out, "Access-Control-Expose-Headers",
                  "x-request-id, openai-processing-ms, retry-after, retry-after-ms, traceparent, "
                  "x-ratelimit-limit-requests, x-ratelimit-remaining-requests, "
                  "x-ratelimit-reset-requests");
    append_header(out, "Vary", "Origin");
  }
  if (handed_over_ > 0) {
    const int64_t ms = (server_.now() - handed_over_) / 1000;
    append_header(out, "openai-processing-ms", std::to_string(ms));
  }
  for (const auto& [name, value] : headers) append_header(out, name, value);
  append_header(out, "Connection", keep_alive_ ? "keep-alive" : "close");
  return out;
}

void HttpConnection::reply(HttpReply reply) {
  if (closed_ || phase_ != Phase::kAnswering) return;
  if (streaming_) {
    write(event_stream_ ? "data: " + reply.body + "\n\n" : reply.body + "\n");
    reply.status >= 400 ? abort_stream() : finish();
    return;
  }
  if (server_.draining) keep_alive_ = false;
  if (observer_) std::exchange(observer_, {})(reply);
  status_ = reply.status;
  std::string bytes = head_bytes(reply.status, reply.content_type, reply.headers);
  if (reply.status != 204 && reply.status != 304) {
    append_header(bytes, "Content-Length", std::to_string(reply.body.size()));
  }
  bytes += "\r\n";
  if (!head_only_ && reply.status != 204 && reply.status != 304) bytes += reply.body;
  enter(Phase::kFlushing);
  state_.reset();
  send(bytes);
}

void HttpConnection::start_stream(StreamHead head) {
  if (closed_ || phase_ != Phase::kAnswering || streaming_) return;
  streaming_ = true;
  observer_ = {};
  status_ = head.status;
  event_stream_ = head.content_type.starts_with("text/event-stream");
  if (http10_ || server_.draining) keep_alive_ = false;
  std::string bytes = head_bytes(head.status, head.content_type, head.headers);
  append_header(bytes, "Cache-Control", "no-cache");
  append_header(bytes, "X-Accel-Buffering", "no");  // proxies must not collect the stream
  if (!http10_) append_header(bytes, "Transfer-Encoding", "chunked");
  bytes += "\r\n";
  send(bytes);
}

void HttpConnection::write(std::string_view bytes) {
  if (closed_ || !streaming_ || phase_ != Phase::kAnswering || bytes.empty()) return;
  if (head_only_) return;
  if (http10_) {
    send(bytes);
    return;
  }
  char size[20];
  const auto [end, error] = std::to_chars(size, size + sizeof(size), bytes.size(), 16);
  CHECK(error == std::errc{});
  outbox_.append(size, end).append("\r\n").append(bytes).append("\r\n");
  send_outbox();
}

void HttpConnection::finish() {
  if (closed_ || !streaming_ || phase_ != Phase::kAnswering) return;
  enter(Phase::kFlushing);
  state_.reset();
  if (http10_ || head_only_) {
    send("");
  } else {
    send("0\r\n\r\n");
  }
}

void HttpConnection::abort_stream() {
  if (closed_ || phase_ != Phase::kAnswering) return;
  aborted_ = true;  // the last chunk is missing: no client takes this for a whole answer
  keep_alive_ = false;
  enter(Phase::kFlushing);
  state_.reset();
  send("");
}

void HttpConnection::send(std::string_view bytes) {
  outbox_ += bytes;
  send_outbox();
}

void HttpConnection::send_outbox() {
  if (writing_) return;
  if (!server_.in_batch() || outbox_.size() > kBatchBytes) {
    write_some();
  } else if (!flush_waits_) {
    flush_waits_ = true;
    server_.flush_later(id_);
  }
}

void HttpConnection::flush() {
  flush_waits_ = false;
  if (!closed_ && !writing_) write_some();
}

void HttpConnection::write_some() {
  if (sent_ == sending_.size()) {
    sending_.clear();
    sent_ = 0;
    std::swap(sending_, outbox_);
  }
  if (sending_.empty()) {
    if (phase_ == Phase::kFlushing) on_flushed();
    return;
  }
  writing_ = true;
  write_since_ = server_.now();
  ++pending_;
  socket_.async_write_some(asio::buffer(sending_.data() + sent_, sending_.size() - sent_),
                           [this](const boost::system::error_code& error, size_t bytes) {
                             --pending_;
                             writing_ = false;
                             on_written(error, bytes);
                             server_.release(id_);
                           });
}

void HttpConnection::on_written(const boost::system::error_code& error, size_t bytes) {
  if (closed_) return;
  if (error) {
    gone();
    return;
  }
  sent_ += bytes;
  write_some();
  const bool all_sent = !writing_ && streaming_ && phase_ == Phase::kAnswering;
  if (all_sent && state_ != nullptr) state_->on_sent(*this);
}

void HttpConnection::on_flushed() {
  log_access(true);
  if (!keep_alive_ || server_.draining) {
    boost::system::error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    enter(Phase::kLingering);
    arm_read();
    return;
  }
  begin_request();
  // From a fresh stack: a pipelining client must not make this recursive.
  ++pending_;
  asio::post(server_.io, [this] {
    --pending_;
    if (!closed_ && phase_ == Phase::kIdle && !inbox_.empty()) {
      enter(Phase::kHead);
      parse();
    }
    if (!closed_) arm_read();
    server_.release(id_);
  });
}

void HttpConnection::gone() {
  if (phase_ == Phase::kAnswering) abandon();
  close();
}

void HttpConnection::close() {
  if (closed_ || phase_ == Phase::kUpgrading) return;
  if (busy()) log_access(phase_ == Phase::kFlushing);
  abandon();
  closed_ = true;
  observer_ = {};
  ++serial_;  // posts to the old exchange find nothing
  boost::system::error_code ignored;
  socket_.close(ignored);
  server_.release(id_);
}

void HttpConnection::drain() {
  keep_alive_ = false;
  if (phase_ == Phase::kIdle || phase_ == Phase::kHead) close();
}

/// Clients and proxies give up on answers that are silent for long.
void HttpConnection::show_life() {
  if (state_ != nullptr && state_->on_quiet(*this)) return;
  if (event_stream_) write(": keep-alive\n\n");
}

/// What a burst needed is not kept through the silence after it.
void HttpConnection::shrink(int64_t now) {
  if (sending_.capacity() + outbox_.capacity() <= kOutboxKept) return;
  if (unsent_bytes() == 0 && now - write_since_ > server_.options.tick_micros) {
    sending_.clear();
    sent_ = 0;
    sending_.shrink_to_fit();
    outbox_.shrink_to_fit();
  }
}

void HttpConnection::on_tick(int64_t now) {
  if (closed_) return;
  const ServerOptions& options = server_.options;
  if (writing_ && now - write_since_ > options.write_micros_max) {
    gone();
    return;
  }
  switch (phase_) {
    case Phase::kIdle:
      shrink(now);
      if (now - since_ > options.idle_micros_max) close();
      return;
    case Phase::kHead:
      if (now - since_ > options.head_micros_max) {
        refuse(408, "timeout", "The request head did not arrive in time.");
      }
      return;
    case Phase::kBody:
      if (now - since_ > options.body_idle_micros_max ||
          now - body_since_ > options.body_micros_max) {
        refuse(408, "timeout", "The request body did not arrive in time.");
      }
      return;
    case Phase::kLingering:
      if (now - since_ > kLingerMicros) close();
      return;
    case Phase::kAnswering:
      if (writing_) return;
      shrink(now);
      if (now - std::max(since_, write_since_) > options.keep_alive_micros) show_life();
      return;
    case Phase::kFlushing:
    case Phase::kUpgrading:
      return;
  }
}

}  // namespace

std::unique_ptr<Connection> make_http_connection(ServerCore& server, uint64_t id,
                                                 tcp::socket socket) {
  return std::make_unique<HttpConnection>(server, id, std::move(socket));
}

}  // namespace hadal
