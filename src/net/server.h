#pragma once
/// Server: HTTP/1.1 and WebSocket on one address. One network thread owns the sockets; handlers run
/// on a few worker threads (see router.h). Limits come from base/limits.h.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "base/result.h"
#include "net/router.h"

namespace hadal {

struct ServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8000;                         ///< 0: any free one, see Server::port()
  std::vector<std::string> allowed_hosts = {};  ///< further names that Host may carry
  std::string server_name = "hadal";
  int workers = 2;
  size_t connections_max = limits::kConnections;
  int64_t head_micros_max = 15'000'000;       ///< first byte of a request to the end of its head
  int64_t body_idle_micros_max = 30'000'000;  ///< between two reads of a body
  int64_t body_micros_max = 300'000'000;      ///< end of the head to the end of the body
  int64_t idle_micros_max = 75'000'000;       ///< between requests
  int64_t write_micros_max = 60'000'000;      ///< without the client taking a byte
  int64_t keep_alive_micros = 10'000'000;     ///< a sign of life in an answer without bytes
  int64_t tick_micros = 500'000;              ///< how often the above are looked at
  size_t send_buffer_bytes = 0;               ///< SO_SNDBUF of connections; 0: the system's
  /// May this request use a row of Scope::kApi? Empty: yes.
  std::function<bool(const HttpRequest&)> authorized = {};
  /// Body of an error that net itself answers; of `request`, what is known by then. Empty:
  /// {"error":{"message":...}}.
  std::function<std::string(const HttpRequest& request, int status, std::string_view code,
                            std::string_view message)>
      error_body = {};
};

/// Counters since start.
struct ServerStats {
  uint64_t connections = 0;
  uint64_t requests = 0;
  uint64_t gone = 0;  ///< exchanges whose client went away early
  size_t open = 0;
};

/// Everything that holds a PeerRef (the engine's sinks) must be gone before the Server is.
class Server {
 public:
  /// Binds and starts. kUnavailable with a hint when the port is taken.
  static Result<std::unique_ptr<Server>> start(const ServerOptions& options, Router router);
  /// Stops at once.
  ~Server();
  Server(const Server&) = delete;

  uint16_t port() const;
  ServerStats stats() const;
  /// Accepts nothing new, closes idle connections, lets running answers end for at most
  /// `timeout_micros`, then closes the rest (their PeerState::on_gone is called) and joins.
  void stop(int64_t timeout_micros);

 private:
  explicit Server(std::unique_ptr<ServerCore> core);
  std::unique_ptr<ServerCore> core_;
};

}  // namespace hadal
