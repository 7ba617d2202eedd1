#include "net/server.h"

#include <chrono>

#include "base/json.h"
#include "base/log.h"
#include "net/detail/core.h"
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>

namespace hadal {
namespace {

constexpr size_t kPostsKept = 4096;  // a larger batch's memory is given back

}  // namespace

bool PeerState::on_quiet(Exchange& exchange) {
  (void)exchange;
  return false;
}

void PeerState::on_sent(Exchange& exchange) {
  (void)exchange;
}

void PeerState::on_message(Exchange& exchange, std::string text) {
  (void)exchange;
  (void)text;
}

void PeerRef::post(UniqueFunction<void(Exchange&)> action) const {
  server_->post(connection_, serial_, std::move(action));
}

void PeerRef::work(UniqueFunction<void()> action) const {
  server_->work(std::move(action));
}

void PeerRef::reply(HttpReply reply) const {
  post([answer = std::move(reply)](Exchange& e) mutable { e.reply(std::move(answer)); });
}

void Connection::abandon() {
  if (state_ == nullptr) return;
  server_.gone_count.fetch_add(1, std::memory_order_relaxed);
  const std::unique_ptr<PeerState> state = std::move(state_);
  state->on_gone();
}

ServerCore::~ServerCore() {
  stop(0);
  workers.join();
}

int64_t ServerCore::now() const {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string ServerCore::error_body(const HttpRequest& request, int status, std::string_view code,
                                   std::string_view message) const {
  if (options.error_body) return options.error_body(request, status, code, message);
  std::string body = "{\"error\":{\"message\":";
  append_json_string(body, message);
  body += "}}";
  return body;
}

Status ServerCore::listen() {
  boost::system::error_code error;
  tcp::resolver resolver(io);
  const auto found =
      resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, error);
  if (error || found.empty()) {
    return Error{Code::kInvalidArgument, "cannot resolve the address to listen on: " + options.host,
                 "use 127.0.0.1 or an address of this machine"};
  }
  const tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) {
    const std::string where = options.host + ":" + std::to_string(options.port);
    if (error == asio::error::address_in_use) {
      return Error{Code::kUnavailable,
                   "port " + std::to_string(options.port) + " on " + options.host +
                       " is taken by another program",
                   "stop it, or choose another port, for example --port " +
                       std::to_string(options.port == 65535 ? 8001 : options.port + 1)};
    }
    return Error{Code::kIo, "cannot listen on " + where + ": " + error.message(),
                 "choose another --host or --port (ports below 1024 need root)"};
  }
  port = acceptor.local_endpoint(error).port();
  return {};
}

void ServerCore::run() {
  accept();
  tick();
  thread = std::thread([this] {
    for (;;) {
      try {
        io.run();
        return;
      } catch (const std::exception& e) {
        // Nothing of ours throws; a library's exception (out of memory) must not end the service.
        log_event(LogLevel::kError, "net_exception", {{"what", e.what()}});
      }
    }
  });
}

void ServerCore::accept() {
  acceptor.async_accept([this](const boost::system::error_code& error, tcp::socket socket) {
    if (error == asio::error::operation_aborted || draining) return;
    if (!error) {
      if (connections.size() >= options.connections_max) {
        refuse(std::move(socket));
      } else {
        const uint64_t id = next_id++;
        connection_count.fetch_add(1, std::memory_order_relaxed);
        auto connection = make_http_connection(*this, id, std::move(socket));
        Connection& started = *connection;
        connections.emplace(id, std::move(connection));
        open_count = connections.size();
        started.start();
      }
    }
    accept();
  });
}

void ServerCore::refuse(tcp::socket socket) {
  const std::string body =
      error_body({}, 503, "too_many_connections", "Too many open connections.");
  const std::string bytes =
      "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
      "Connection: close\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body;
  boost::system::error_code ignored;
  socket.non_blocking(true, ignored);  // fits into the socket's buffer; else it is lost, no harm
  socket.write_some(asio::buffer(bytes), ignored);
  socket.shutdown(tcp::socket::shutdown_send, ignored);
}

void ServerCore::tick() {
  timer.expires_after(std::chrono::microseconds(options.tick_micros));
  timer.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    const int64_t time = now();
    std::vector<uint64_t> ids;
    ids.reserve(connections.size());
    for (const auto& [id, connection] : connections) ids.push_back(id);
    for (const uint64_t id : ids) {
      const auto found = connections.find(id);
      if (found != connections.end()) found->second->on_tick(time);
    }
    tick();
  });
}

void ServerCore::post(uint64_t connection, uint64_t serial,
                      UniqueFunction<void(Exchange&)> action) {
  bool first;
  {
    MutexLock lock(posted_mu_);
    first = posted_.empty();
    posted_.push_back({connection, serial, std::move(action)});
  }
  if (first) asio::post(io, [this] { run_posted(); });
}

void ServerCore::run_posted() {
  batch_.clear();  // what an exception may have left must not run again
  {
    MutexLock lock(posted_mu_);
    batch_.swap(posted_);
  }
  in_batch_ = true;
  for (Posted& posted : batch_) {
    const auto found = connections.find(posted.connection);
    if (found == connections.end() || found->second->serial() != posted.serial) continue;
    if (found->second->erasable()) continue;
    try {
      posted.action(*found->second);
    } catch (const std::exception& e) {
      log_event(LogLevel::kError, "net_exception", {{"what", e.what()}});
    }
  }
  in_batch_ = false;
  for (const uint64_t id : to_flush_) {
    const auto found = connections.find(id);
    if (found != connections.end()) found->second->flush();
  }
  to_flush_.clear();
  batch_.clear();
  if (batch_.capacity() > kPostsKept) std::vector<Posted>().swap(batch_);
}

void ServerCore::work(UniqueFunction<void()> action) {
  asio::post(workers, [call = std::move(action)]() mutable {
    try {
      call();
    } catch (const std::exception& e) {
      log_event(LogLevel::kError, "handler_exception", {{"what", e.what()}});
    }
  });
}

void ServerCore::release(uint64_t id) {
  const auto found = connections.find(id);
  if (found == connections.end() || !found->second->erasable()) return;
  // Later, because the caller is a member function of the connection itself.
  asio::post(io, [this, id] {
    const auto again = connections.find(id);
    if (again == connections.end() || !again->second->erasable()) return;
    connections.erase(again);
    open_count = connections.size();
    finish_if_drained();
  });
}

void ServerCore::upgrade(uint64_t id, tcp::socket socket, Upgrade upgrade) {
  auto websocket = make_websocket(*this, id, std::move(socket), std::move(upgrade));
  Connection& started = *websocket;
  connections[id] = std::move(websocket);
  started.start();
}

void ServerCore::finish_if_drained() {
  if (draining && connections.empty()) timer.cancel();
}

void ServerCore::stop(int64_t timeout_micros) {
  if (!thread.joinable()) return;
  asio::post(io, [this] {
    draining = true;
    boost::system::error_code ignored;
    acceptor.close(ignored);
    std::vector<Connection*> open;
    for (const auto& [id, connection] : connections) open.push_back(connection.get());
    for (Connection* connection : open) connection->drain();
    finish_if_drained();
  });
  const int64_t deadline = now() + timeout_micros;
  while (open_count.load() > 0 && now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  asio::post(io, [this] {
    std::vector<Connection*> open;
    for (const auto& [id, connection] : connections) open.push_back(connection.get());
    for (Connection* connection : open) connection->close();
    timer.cancel();
    // A last turn of the loop lets aborted operations return and connections be erased.
    asio::post(io, [this] { io.stop(); });
  });
  thread.join();
  workers.join();  // handlers still running use what the caller destroys next
  connections.clear();
}

Server::Server(std::unique_ptr<ServerCore> core) : core_(std::move(core)) {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::start(const ServerOptions& options, Router router) {
  auto core = std::make_unique<ServerCore>(options, std::move(router));
  TRY_STATUS(core->listen());
  core->run();
  return std::unique_ptr<Server>(new Server(std::move(core)));
}

uint16_t Server::port() const {
  return core_->port;
}
void Server::stop(int64_t timeout_micros) {
  core_->stop(timeout_micros);
}

ServerStats Server::stats() const {
  return {.connections = core_->connection_count,
          .requests = core_->request_count,
          .gone = core_->gone_count,
          .open = core_->open_count};
}

}  // namespace hadal
