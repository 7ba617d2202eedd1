#pragma once
/// ServerCore and Connection: what server.cc, http_connection.cc and websocket.cc share. Private to
/// net; the only headers that see Asio.
///
/// Connections live in one map, owned by the network thread. A completion handler names its
/// connection by id and keeps it alive through a count of pending operations: a closed connection
/// is erased when the last of them has returned.
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "net/exchange.h"
#include "net/server.h"
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>

namespace hadal {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

/// The head of a request that asks for a WebSocket, and whom to hand it to.
struct Upgrade {
  std::string head;  ///< the request head as bytes, to be parsed again by Beast
  const Route* route = nullptr;
  uint64_t serial = 0;  ///< of the new exchange: posts to earlier ones must not reach it
};

/// One socket. Network thread only.
class Connection : public Exchange {
 public:
  Connection(ServerCore& server, uint64_t id) : server_(server), id_(id) {}

  virtual void start() = 0;
  /// Looks at deadlines.
  virtual void on_tick(int64_t now) = 0;
  /// Closes when idle, else after the running answer.
  virtual void drain() = 0;
  /// Closes the socket now; pending operations return with errors.
  virtual void close() = 0;
  virtual bool busy() const = 0;
  /// The end of a batch, see ServerCore::flush_later().
  virtual void flush() {}

  uint64_t id() const { return id_; }
  uint64_t serial() const { return serial_; }
  bool erasable() const { return closed_ && pending_ == 0; }
  PeerRef ref() { return PeerRef(server_, id_, serial_); }

  void attach(std::unique_ptr<PeerState> state) override { state_ = std::move(state); }
  PeerState* state() override { return state_.get(); }

 protected:
  /// Tells the attached state, once, that its client is gone.
  void abandon();

  ServerCore& server_;
  uint64_t id_;
  uint64_t serial_ = 0;  ///< number of the running exchange
  int pending_ = 0;      ///< asynchronous operations in flight
  bool closed_ = false;
  std::unique_ptr<PeerState> state_;
};

/// The server's inside. Public members are for net's own files.
class ServerCore {
 public:
  ServerCore(const ServerOptions& options_in, Router router_in)
      : options(options_in),
        allowed_hosts(with_own_host(options_in)),
        router(std::move(router_in)),
        acceptor(io),
        timer(io),
        workers(static_cast<size_t>(options_in.workers)) {}
  ~ServerCore();

  Status listen();
  void run();
  void stop(int64_t timeout_micros);

  /// Actions that come while the network thread is busy run as one batch: one wake-up, and one
  /// write per connection at its end.
  void post(uint64_t connection, uint64_t serial, UniqueFunction<void(Exchange&)> action);
  /// Whether a batch runs; then flush_later() has the connection's flush() called at its end.
  bool in_batch() const { return in_batch_; }
  void flush_later(uint64_t connection) { to_flush_.push_back(connection); }
  void work(UniqueFunction<void()> action);
  int64_t now() const;
  /// Erases the connection when nothing refers to it any more.
  void release(uint64_t id);
  /// Turns an HTTP connection (no operation pending) into a WebSocket under the same id.
  void upgrade(uint64_t id, tcp::socket socket, Upgrade upgrade);
  std::string error_body(const HttpRequest& request, int status, std::string_view code,
                         std::string_view message) const;

  const ServerOptions options;
  const std::vector<std::string> allowed_hosts;  ///< of the options, and the server's own
  const Router router;
  asio::io_context io{1};
  tcp::acceptor acceptor;
  asio::steady_timer timer;
  asio::thread_pool workers;
  std::unordered_map<uint64_t, std::unique_ptr<Connection>> connections;
  uint64_t next_id = 1;
  bool draining = false;
  uint16_t port = 0;
  std::thread thread;
  std::atomic<uint64_t> connection_count{0};
  std::atomic<uint64_t> request_count{0};
  std::atomic<uint64_t> gone_count{0};
  std::atomic<size_t> open_count{0};

 private:
  static std::vector<std::string> with_own_host(const ServerOptions& options) {
    std::vector<std::string> hosts = options.allowed_hosts;
    hosts.push_back(options.host);
    return hosts;
  }

  struct Posted {
    uint64_t connection;
    uint64_t serial;
    UniqueFunction<void(Exchange&)> action;
  };

  void run_posted();
  void accept();
  void refuse(tcp::socket socket);
  void tick();
  void finish_if_drained();

  Mutex posted_mu_;
  std::vector<Posted> posted_ GUARDED_BY(posted_mu_);
  std::vector<Posted> batch_;  ///< those that run; empty in between, its memory is used again
  std::vector<uint64_t> to_flush_;
  bool in_batch_ = false;
};

std::unique_ptr<Connection> make_http_connection(ServerCore& server, uint64_t id,
                                                 tcp::socket socket);
std::unique_ptr<Connection> make_websocket(ServerCore& server, uint64_t id, tcp::socket socket,
                                           Upgrade upgrade);

}  // namespace hadal
