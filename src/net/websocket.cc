// One WebSocket: text messages in and out, in order. Beast frames, masks and answers pings.
#include <deque>

#include "base/log.h"
#include "net/detail/core.h"
#include <boost/asio/buffers_iterator.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/websocket/stream.hpp>

namespace hadal {
namespace {

namespace http = boost::beast::http;
namespace websocket = boost::beast::websocket;

constexpr size_t kWebSocketUnsentBytes = 4 * limits::kMiB;
/// Reads (fragments, or pieces of them) of one message: so many, and one more for so many bytes.
constexpr size_t kReadsFree = 64;
constexpr size_t kReadBytesMean = 128;

class WebSocketConnection final : public Connection {
 public:
  WebSocketConnection(ServerCore& server, uint64_t id, tcp::socket socket, Upgrade upgrade)
      : Connection(server, id), upgrade_(std::move(upgrade)), stream_(std::move(socket)) {
    serial_ = upgrade_.serial;
  }

  void start() override;
  /// Beast's own timer pings idle peers and drops dead ones; here only an end that waits.
  void on_tick(int64_t) override {
    if (draining_) drain();
  }
  void drain() override;
  void close() override;
  bool busy() const override { return !closed_; }

  void reply(HttpReply) override {}
  void start_stream(StreamHead) override {}
  void write(std::string_view bytes) override;
  void finish() override;
  void abort_stream() override { finish(); }
  size_t unsent_bytes() const override { return unsent_; }

 private:
  void read();
  void on_read(const boost::system::error_code& error);
  void refuse(websocket::close_code code);
  void drop_slow_reader();
  void write_next();
  void count_ping();

  Upgrade upgrade_;
  websocket::stream<tcp::socket> stream_;
  http::request<http::string_body> request_;
  boost::beast::flat_buffer buffer_;
  std::deque<std::string> outbox_;
  size_t unsent_ = 0;
  int64_t ping_window_ = 0;  ///< when counting of pings began anew
  int pings_ = 0;
  size_t reads_ = 0;  ///< of the message that is coming in
  websocket::close_code close_code_ = websocket::close_code::normal;
  bool open_ = false;
  bool writing_ = false;
  bool finishing_ = false;
  bool draining_ = false;
};

void WebSocketConnection::start() {
  http::request_parser<http::string_body> parser;
  parser.header_limit(2 * limits::kHttpHeaderBytes);
  boost::system::error_code error;
  parser.put(asio::buffer(upgrade_.head), error);
  if (error || !parser.is_header_done()) {
    close();
    return;
  }
  request_ = parser.release();
  auto timeout = websocket::stream_base::timeout::suggested(boost::beast::role_type::server);
  stream_.set_option(timeout);
  stream_.read_message_max(limits::kWebSocketMessageBytes);
  stream_.control_callback([this](websocket::frame_type kind, boost::beast::string_view) {
    if (kind == websocket::frame_type::ping) count_ping();
  });
  ++pending_;
  stream_.async_accept(request_, [this](const boost::system::error_code& accept_error) {
    --pending_;
    if (accept_error || closed_) {
      close();
    } else {
      open_ = true;
      state_ = upgrade_.route->open_socket(ref());
      write_next();
      read();
    }
    server_.release(id_);
  });
}

/// Each ping costs us a write: a peer may send a few per second, not a flood.
void WebSocketConnection::count_ping() {
  const int64_t now = server_.now();
  if (now - ping_window_ > 1'000'000) {
    ping_window_ = now;
    pings_ = 0;
  }
  if (++pings_ > limits::kWebSocketPingsPerSecond) close();
}

void WebSocketConnection::read() {
  ++pending_;
  stream_.async_read_some(buffer_, 0, [this](const boost::system::error_code& error, size_t) {
    --pending_;
    on_read(error);
    server_.release(id_);
  });
}

void WebSocketConnection::on_read(const boost::system::error_code& error) {
  if (closed_) return;
  if (error) {
    close();
    return;
  }
  if (!stream_.is_message_done()) {
    // A message in crumbs costs us a turn of the loop for each.
    if (++reads_ > kReadsFree + buffer_.size() / kReadBytesMean) {
      refuse(websocket::close_code::policy_error);
    } else {
      read();
    }
    return;
  }
  reads_ = 0;
  if (stream_.got_binary()) {
    refuse(websocket::close_code::unknown_data);
    return;
  }
  const auto bytes = buffer_.cdata();
  std::string text(static_cast<const char*>(bytes.data()), bytes.size());
  buffer_.consume(buffer_.size());
  if (state_ != nullptr && !finishing_) state_->on_message(*this, std::move(text));
  if (!closed_) read();
}

void WebSocketConnection::refuse(websocket::close_code code) {
  close_code_ = code;
  finish();
}

/// A running answer may end first; the server's own deadline ends the waiting.
void WebSocketConnection::drain() {
  draining_ = true;
  if (state_ != nullptr && state_->busy()) return;
  if (!finishing_) refuse(websocket::close_code::going_away);
}

void WebSocketConnection::write(std::string_view bytes) {
  if (closed_ || finishing_) return;
  unsent_ += bytes.size();
  if (unsent_ > kWebSocketUnsentBytes) {
    drop_slow_reader();
    return;
  }
  outbox_.emplace_back(bytes);
  if (open_ && !writing_) write_next();
}

/// Later, because close() ends the state that is writing.
void WebSocketConnection::drop_slow_reader() {
  finishing_ = true;
  ++pending_;
  asio::post(server_.io, [this] {
    --pending_;
    close();
    server_.release(id_);
  });
}

void WebSocketConnection::write_next() {
  if (closed_) return;
  if (outbox_.empty()) {
    if (!finishing_) return;
    ++pending_;
    writing_ = true;
    stream_.async_close(close_code_, [this](const boost::system::error_code&) {
      --pending_;
      close();
      server_.release(id_);
    });
    return;
  }
  writing_ = true;
  ++pending_;
  stream_.text(true);
  stream_.async_write(asio::buffer(outbox_.front()),
                      [this](const boost::system::error_code& error, size_t) {
                        --pending_;
                        writing_ = false;
                        unsent_ -= outbox_.front().size();
                        outbox_.pop_front();
                        if (error) {
                          close();
                        } else {
                          write_next();
                        }
                        server_.release(id_);
                      });
}

void WebSocketConnection::finish() {
  if (closed_ || finishing_) return;
  finishing_ = true;
  abandon();
  if (open_ && !writing_) write_next();
}

void WebSocketConnection::close() {
  if (closed_) return;
  abandon();
  closed_ = true;
  ++serial_;
  boost::system::error_code ignored;
  stream_.next_layer().close(ignored);
  server_.release(id_);
}

}  // namespace

std::unique_ptr<Connection> make_websocket(ServerCore& server, uint64_t id, tcp::socket socket,
                                           Upgrade upgrade) {
  return std::make_unique<WebSocketConnection>(server, id, std::move(socket), std::move(upgrade));
}

}  // namespace hadal
