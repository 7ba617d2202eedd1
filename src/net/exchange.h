#pragma once
/// Exchange: one request being answered (or one open WebSocket), and PeerRef, the handle by which
/// other threads reach it. An Exchange lives on the network thread only; everything else posts to
/// it, so no locks are needed and a client that went away is simply no longer found.
///
///   void handle(HttpRequest&& request, PeerRef peer) {            // worker thread
///     peer.post([](Exchange& e) { e.reply({.body = "{}"}); });    // network thread
///   }
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "net/http.h"
#include "net/unique_function.h"

namespace hadal {

class Exchange;

/// What an endpoint keeps for as long as its exchange lives. Used on the network thread.
class PeerState {
 public:
  virtual ~PeerState() = default;
  /// The client went away (or the server stops) before the answer was complete. Called at most
  /// once, just before destruction.
  virtual void on_gone() {}
  /// HTTP: nothing was sent for keep_alive_micros. True: this answer has its own sign of life;
  /// false: an event stream gets a comment.
  virtual bool on_quiet(Exchange& exchange);
  /// HTTP streams: the client's side has taken all that was written; a good time for more. May end
  /// the exchange, and with it this object.
  virtual void on_sent(Exchange& exchange);
  /// WebSocket only: one text message.
  virtual void on_message(Exchange& exchange, std::string text);
  /// WebSocket only: an answer is being made; a server that goes down waits for it.
  virtual bool busy() const { return false; }
};

/// Network thread only. After finish() or reply() nothing more can be written.
class Exchange {
 public:
  virtual ~Exchange() = default;
  /// In a stream that was begun before the answer was known, to show life, it becomes the last
  /// event, and an error cuts the stream off.
  virtual void reply(HttpReply reply) = 0;
  virtual void start_stream(StreamHead head) = 0;
  /// HTTP: the next part of a started stream. WebSocket: one text message.
  virtual void write(std::string_view bytes) = 0;
  /// HTTP: ends the stream. WebSocket: closes it.
  virtual void finish() = 0;
  /// Ends the stream in a way that the client can tell from a complete one.
  virtual void abort_stream() = 0;
  /// Bytes that the client has not taken yet (beyond the socket's own buffers).
  virtual size_t unsent_bytes() const = 0;
  /// Counts for the access log.
  virtual void note_tokens(int64_t prompt, int64_t completion) {
    (void)prompt;
    (void)completion;
  }
  /// HTTP: calls `observer` with the whole answer just before it is sent. Destroyed uncalled when
  /// there is none: the answer is a stream, or its client went away.
  virtual void observe_reply(UniqueFunction<void(const HttpReply&)> observer) { (void)observer; }
  virtual void attach(std::unique_ptr<PeerState> state) = 0;
  /// Null when nothing is attached.
  virtual PeerState* state() = 0;
};

class ServerCore;

/// Names one exchange. Copyable, usable from any thread while the Server lives; once the exchange
/// is over, posts to it do nothing.
class PeerRef {
 public:
  PeerRef(ServerCore& server, uint64_t connection, uint64_t serial)
      : server_(&server), connection_(connection), serial_(serial) {}
  /// Runs `action` on the network thread, after earlier posts, unless the exchange is over.
  void post(UniqueFunction<void(Exchange&)> action) const;
  /// Runs `action` on a worker thread.
  void work(UniqueFunction<void()> action) const;
  void reply(HttpReply reply) const;

 private:
  ServerCore* server_;
  uint64_t connection_;
  uint64_t serial_;
};

}  // namespace hadal
