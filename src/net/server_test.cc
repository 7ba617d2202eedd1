// Goal: the HTTP server keeps its limits, notices clients that leave, and ends in order - over real
// sockets.
#include "net/server.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include <gtest/gtest.h>

#include "net/testing/test_client.h"

namespace hadal {
namespace {

/// Waits for something another thread does; 20 s at most.
bool eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

struct GoneCounter final : PeerState {
  explicit GoneCounter(std::atomic<int>& counter) : gone(counter) {}
  void on_gone() override { ++gone; }
  std::atomic<int>& gone;
};

struct EchoSocket final : PeerState {
  explicit EchoSocket(std::atomic<int>& counter) : gone(counter) {}
  void on_gone() override { ++gone; }
  void on_message(Exchange& exchange, std::string text) override {
    if (text == "bye") {
      exchange.finish();
    } else if (text == "flood") {
      std::atomic<int>& counter = gone;
      for (int i = 0; i < 8; ++i) exchange.write(std::string(1 << 20, 'x'));
      EXPECT_EQ(counter, 0) << "the state has ended below its own call";
    } else {
      exchange.write("echo " + text);
    }
  }
  std::atomic<int>& gone;
};

class ServerTest : public ::testing::Test {
 protected:
  static Route route(const char* method, const char* path, size_t body_bytes_max,
                     std::function<void(HttpRequest&&, PeerRef)> handle) {
    Route out;
    out.method = method;
    out.path = path;
    out.body_bytes_max = body_bytes_max;
    out.handle = std::move(handle);
    return out;
  }

  std::vector<Route> routes() {
    std::vector<Route> out;
    out.push_back(route("GET", "/hello", 0, [](HttpRequest&&, PeerRef peer) {
      peer.reply({.content_type = "text/plain", .body = "hi"});
    }));
    out.push_back(route("POST", "/echo", 1 << 20, [](HttpRequest&& request, PeerRef peer) {
      peer.reply({.content_type = "text/plain", .body = request.body});
    }));
    out.push_back(route("GET", "/throw", 0, [](HttpRequest&&, PeerRef) {
      throw std::bad_alloc();  // as a library would
    }));
    // Streams until the client leaves; the test feeds it through stream_peer_.
    out.push_back(route("GET", "/events", 0, [this](HttpRequest&&, PeerRef peer) {
      peer.post([this, peer](Exchange& exchange) {
        exchange.attach(std::make_unique<GoneCounter>(gone_));
        exchange.start_stream({});
        exchange.write("data: first\n\n");
        const std::lock_guard lock(mutex_);
        stream_peer_ = std::make_unique<PeerRef>(peer);
      });
    }));
    Route socket;
    socket.method = "GET";
    socket.path = "/ws";
    socket.open_socket = [this](PeerRef) { return std::make_unique<EchoSocket>(gone_); };
    out.push_back(std::move(socket));
    return out;
  }

  void start(ServerOptions options = {}) {
    options.port = 0;
    options.tick_micros = 20'000;
    auto started = Server::start(options, Router(routes()));
    ASSERT_TRUE(started.ok()) << started.error().text();
    server_ = std::move(started).value();
  }

  std::string ask(std::string_view bytes) {
    TestClient client(server_->port());
    client.send(bytes);
    return client.read_reply();
  }

  PeerRef stream_peer() {
    EXPECT_TRUE(eventually([&] {
      const std::lock_guard lock(mutex_);
      return stream_peer_ != nullptr;
    }));
    const std::lock_guard lock(mutex_);
    return *stream_peer_;
  }

  std::atomic<int> gone_{0};
  std::atomic<size_t> unsent_{0};
  std::atomic<bool> reached_{false};
  std::mutex mutex_;
  std::unique_ptr<PeerRef> stream_peer_;
  std::unique_ptr<Server> server_;
};

TEST_F(ServerTest, AnswersAndKeepsTheConnection) {
  start();
  TestClient client(server_->port());
  for (int i = 0; i < 3; ++i) {
    client.send("GET /hello HTTP/1.1\r\nHost: localhost\r\nx-request-id: abc-1\r\n\r\n");
    const std::string reply = client.read_reply();
    EXPECT_TRUE(reply.starts_with("HTTP/1.1 200 OK\r\n")) << reply;
    EXPECT_TRUE(reply.ends_with("\r\n\r\nhi")) << reply;
    EXPECT_NE(reply.find("x-request-id: abc-1\r\n"), std::string::npos);
  }
  EXPECT_EQ(server_->stats().connections, 1u);
  EXPECT_EQ(server_->stats().requests, 3u);
}

TEST_F(ServerTest, MalformedRequestIdIsReplaced) {
  start();
  const std::string reply =
      ask("GET /hello HTTP/1.1\r\nHost: localhost\r\nx-request-id: a b\r\n\r\n");
  EXPECT_NE(reply.find("x-request-id: req_"), std::string::npos) << reply;
}

TEST_F(ServerTest, PipelinedRequestsAreAnsweredInOrder) {
  start();
  TestClient client(server_->port());
  std::string bytes;
  for (int i = 0; i < 50; ++i) {
    bytes += "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n";
    bytes += std::to_string(10 + i);
  }
  client.send(bytes);
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(client.read_reply().ends_with("\r\n\r\n" + std::to_string(10 + i)));
  }
}

TEST_F(ServerTest, HeadOptionsAndWrongMethods) {
  start();
  const std::string head =
      ask("HEAD /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(head.starts_with("HTTP/1.1 200")) << head;
  EXPECT_NE(head.find("Content-Length: 2"), std::string::npos);
  EXPECT_FALSE(head.ends_with("hi"));
  EXPECT_NE(
      ask("OPTIONS /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").find("Allow: GET, HEAD, OPTIONS"),
      std::string::npos);
  EXPECT_TRUE(ask("PUT /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").starts_with("HTTP/1.1 405"));
  EXPECT_TRUE(ask("GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n").starts_with("HTTP/1.1 404"));
  EXPECT_TRUE(ask("OPTIONS /none HTTP/1.1\r\nHost: localhost\r\n\r\n").starts_with("HTTP/1.1 404"));
}

TEST_F(ServerTest, LimitsOfTheHead) {
  start();
  const std::string begin = "GET /hello HTTP/1.1\r\nHost: localhost\r\n";
  EXPECT_TRUE(
      ask(begin + "A: " + std::string(40'000, 'x') + "\r\n\r\n").starts_with("HTTP/1.1 431"));
  std::string many = begin;
  for (int i = 0; i < 101; ++i) many += "h" + std::to_string(i) + ": v\r\n";
  EXPECT_TRUE(ask(many + "\r\n").starts_with("HTTP/1.1 431"));
  EXPECT_TRUE(ask("GET /" + std::string(9000, 'p') + " HTTP/1.1\r\nHost: localhost\r\n\r\n")
                  .starts_with("HTTP/1.1 414"));
}

TEST_F(ServerTest, GarbageIsRefused) {
  start();
  for (const char* bytes :
       {"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
        "GET /hello HTTP/1.1\r\nbad header\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        "Content-Length: 3\r\n\r\nabc"}) {
    EXPECT_TRUE(ask(bytes).starts_with("HTTP/1.1 400")) << bytes;
  }
}

TEST_F(ServerTest, BodyLimitCountsAlsoWhenChunked) {
  start();
  EXPECT_TRUE(ask("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048577\r\n\r\n")
                  .starts_with("HTTP/1.1 413"));
  TestClient client(server_->port());
  client.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
  const std::string chunk = "10000\r\n" + std::string(65536, 'c') + "\r\n";
  for (int i = 0; i < 17; ++i) client.send(chunk);
  EXPECT_TRUE(client.read_reply().starts_with("HTTP/1.1 413"));
  EXPECT_TRUE(ask("GET /hello HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
                  .starts_with("HTTP/1.1 413"));
}

TEST_F(ServerTest, ChunkedBodyInTinyPieces) {
  start();
  TestClient client(server_->port());
  client.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
  std::string bytes, expected;
  for (int i = 0; i < 5000; ++i) {
    const char letter = static_cast<char>('a' + i % 26);
    bytes += std::string("1\r\n") + letter + "\r\n";
    expected.push_back(letter);
  }
  for (size_t i = 0; i < bytes.size(); i += 977) client.send(bytes.substr(i, 977));
  client.send("0\r\n\r\n");
  EXPECT_TRUE(client.read_reply().ends_with("\r\n\r\n" + expected));
}

TEST_F(ServerTest, EndlessChunkExtensionIsRefused) {
  start();
  TestClient client(server_->port());
  client.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1;");
  for (int i = 0; i < 100 && client.send(std::string(4096, 'e')); ++i) {
  }
  const std::string reply = client.read_reply();
  EXPECT_TRUE(reply.empty() || reply.starts_with("HTTP/1.1 4")) << reply;
  EXPECT_TRUE(ask("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").ends_with("hi"));
}

TEST_F(ServerTest, ExpectContinue) {
  start();
  TestClient client(server_->port());
  client.send(
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: "
      "2\r\n\r\n");
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("ok");
  EXPECT_TRUE(client.read_reply().ends_with("ok"));
}

TEST_F(ServerTest, ForeignHostAndOriginAreRefused) {
  start();
  EXPECT_TRUE(ask("GET /hello HTTP/1.1\r\nHost: evil.com\r\n\r\n").starts_with("HTTP/1.1 421"));
  EXPECT_TRUE(ask("POST /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.com\r\n"
                  "Content-Length: 0\r\n\r\n")
                  .starts_with("HTTP/1.1 403"));
  EXPECT_TRUE(
      ask("GET /ws HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.com\r\nUpgrade: websocket\r\n"
          "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
          .starts_with("HTTP/1.1 403"));
}

// Goal: a page on a loopback origin may call with whatever headers its SDK adds, and read the
// answer.
TEST_F(ServerTest, LoopbackPagesPassThePreflight) {
  start();
  const std::string reply =
      ask("OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:5173\r\n"
          "Access-Control-Request-Method: POST\r\n"
          "Access-Control-Request-Headers: content-type,x-stainless-os\r\n\r\n");
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 204")) << reply;
  EXPECT_NE(reply.find("Access-Control-Allow-Origin: http://localhost:5173\r\n"),
            std::string::npos);
  EXPECT_NE(reply.find("Access-Control-Allow-Headers: content-type,x-stainless-os\r\n"),
            std::string::npos);
  EXPECT_TRUE(ask("OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.com\r\n\r\n")
                  .starts_with("HTTP/1.1 403"));
}

// Goal: one Host, a known transfer coding, an unpacked body; an absolute target names the host.
TEST_F(ServerTest, FramingOfRequests) {
  start();
  const std::pair<const char*, const char*> cases[] = {
      {"GET /hello HTTP/1.1\r\n\r\n", "400"},
      {"GET /hello HTTP/1.0\r\n\r\n", "200"},
      {"GET /hello HTTP/1.1\r\nHost: localhost\r\nHost: evil.com\r\n\r\n", "400"},
      {"GET http://localhost/hello HTTP/1.1\r\nHost: localhost\r\n\r\n", "200"},
      {"GET http://evil.com/hello HTTP/1.1\r\nHost: localhost\r\n\r\n", "421"},
      {"GET http://localhost HTTP/1.1\r\nHost: localhost\r\n\r\n", "404"},
      {"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "501"},
      {"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\n"
       "Content-Length: 2\r\n\r\nhi",
       "415"},
      {"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: identity\r\n"
       "Content-Length: 2\r\n\r\nhi",
       "200"}};
  for (const auto& [bytes, status] : cases) {
    EXPECT_TRUE(ask(bytes).substr(9).starts_with(status)) << bytes;
  }
}

TEST_F(ServerTest, KeyIsAskedForAfterRouting) {
  ServerOptions options;
  options.authorized = [](const HttpRequest& request) {
    const std::string* key = request.header("authorization");
    return key != nullptr && *key == "Bearer k";
  };
  start(options);
  EXPECT_TRUE(ask("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").starts_with("HTTP/1.1 401"));
  EXPECT_TRUE(ask("GET /hello HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer k\r\n\r\n")
                  .starts_with("HTTP/1.1 200"));
  EXPECT_TRUE(ask("GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n").starts_with("HTTP/1.1 404"));
}

TEST_F(ServerTest, ExceptionInAHandlerEndsOneRequestOnly) {
  start();
  EXPECT_TRUE(ask("GET /throw HTTP/1.1\r\nHost: localhost\r\n\r\n").starts_with("HTTP/1.1 500"));
  EXPECT_TRUE(ask("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").ends_with("hi"));
}

TEST_F(ServerTest, SlowHeadTimesOut) {
  ServerOptions options;
  options.head_micros_max = 100'000;
  start(options);
  TestClient client(server_->port());
  client.send("GET /hello HT");
  EXPECT_TRUE(client.read_to_end().starts_with("HTTP/1.1 408"));
}

TEST_F(ServerTest, DrippingBodyTimesOut) {
  ServerOptions options;
  options.body_micros_max = 100'000;
  start(options);
  TestClient client(server_->port());
  client.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n");
  std::thread dripping([&] {  // never idle, never done
    for (int i = 0; i < 2000 && client.send("x"); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  });
  EXPECT_TRUE(client.read_to_end().starts_with("HTTP/1.1 408"));
  dripping.join();
}

TEST_F(ServerTest, IdleConnectionIsClosed) {
  ServerOptions options;
  options.idle_micros_max = 50'000;
  start(options);
  TestClient client(server_->port());
  EXPECT_TRUE(client.at_end());
}

TEST_F(ServerTest, TooManyConnectionsGet503) {
  ServerOptions options;
  options.connections_max = 2;
  start(options);
  TestClient one(server_->port());
  TestClient two(server_->port());
  EXPECT_TRUE(eventually([&] { return server_->stats().open == 2; }));
  TestClient three(server_->port());
  EXPECT_TRUE(three.read_to_end().starts_with("HTTP/1.1 503"));
  one.hang_up();
  EXPECT_TRUE(eventually([&] { return server_->stats().open == 1; }));
  EXPECT_TRUE(ask("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").ends_with("hi"));
}

TEST_F(ServerTest, StreamIsChunkedAndEnds) {
  start();
  TestClient client(server_->port());
  client.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const std::string head = client.read_until("\r\n\r\n");
  EXPECT_NE(head.find("Transfer-Encoding: chunked"), std::string::npos);
  EXPECT_NE(head.find("X-Accel-Buffering: no"), std::string::npos);
  EXPECT_EQ(client.read_until("\n\n\r\n"), "d\r\ndata: first\n\n\r\n");
  stream_peer().post([](Exchange& exchange) { exchange.finish(); });
  EXPECT_EQ(client.read_until("0\r\n\r\n"), "0\r\n\r\n");
  EXPECT_EQ(gone_, 0);
  client.send("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_TRUE(client.read_reply().ends_with("hi"));
}

TEST_F(ServerTest, StreamToAnOldClientIsNotChunked) {
  start();
  TestClient client(server_->port());
  client.send("GET /events HTTP/1.0\r\n\r\n");
  EXPECT_EQ(client.read_until("\r\n\r\n").find("chunked"), std::string::npos);
  stream_peer().post([](Exchange& exchange) { exchange.finish(); });
  EXPECT_EQ(client.read_to_end(), "data: first\n\n");
}

TEST_F(ServerTest, AbortedStreamLacksItsEnd) {
  start();
  TestClient client(server_->port());
  client.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  client.read_until("\n\n\r\n");
  stream_peer().post([](Exchange& exchange) { exchange.abort_stream(); });
  EXPECT_EQ(client.read_to_end(), "");
}

TEST_F(ServerTest, IdleStreamGetsKeepAliveComments) {
  ServerOptions options;
  options.keep_alive_micros = 50'000;
  start(options);
  TestClient client(server_->port());
  client.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_TRUE(client.read_until(": keep-alive\n\n").ends_with(": keep-alive\n\n"));
}

TEST_F(ServerTest, HangUpIsNoticedWhileStreaming) {
  start();
  TestClient client(server_->port());
  client.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  client.read_until("first");
  const PeerRef peer = stream_peer();
  client.hang_up();
  EXPECT_TRUE(eventually([&] { return gone_ == 1; }));
  peer.post([&](Exchange&) { reached_ = true; });  // finds nobody
  EXPECT_TRUE(ask("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").ends_with("hi"));
  EXPECT_FALSE(reached_);
}

TEST_F(ServerTest, UnsentBytesGrowWithASlowReader) {
  ServerOptions options;
  options.send_buffer_bytes = 4096;
  start(options);
  TestClient client(server_->port(), 4096);
  client.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const PeerRef peer = stream_peer();
  EXPECT_TRUE(eventually([&] {
    peer.post([&](Exchange& exchange) {
      if (exchange.unsent_bytes() < (1 << 20)) exchange.write(std::string(65536, 's'));
      unsent_ = exchange.unsent_bytes();
    });
    return unsent_ > (1 << 19);
  }));
}

/// Writes a piece whenever the last one is taken, then ends.
class PieceWriter final : public PeerState {
 public:
  void on_sent(Exchange& exchange) override {
    if (left_ == 0) {
      exchange.finish();
      return;
    }
    EXPECT_EQ(exchange.unsent_bytes(), 0u);
    exchange.write(std::string(100'000, static_cast<char>('a' + --left_)));
  }

 private:
  int left_ = 20;
};

// Goal: a state that writes only what its client takes gets everything through, in order.
TEST_F(ServerTest, WritesMoreWhenAllIsSent) {
  ServerOptions options;
  options.send_buffer_bytes = 4096;
  start(options);
  TestClient client(server_->port(), 4096);
  client.send("GET /events HTTP/1.0\r\nHost: localhost\r\n\r\n");
  const PeerRef peer = stream_peer();
  peer.post([](Exchange& exchange) {
    exchange.attach(std::make_unique<PieceWriter>());
    exchange.write("begin ");
  });
  const std::string all = client.read_to_end();
  const std::string body = all.substr(all.find("begin ") + 6);
  ASSERT_EQ(body.size(), 2'000'000u);
  for (size_t i = 0; i < body.size(); i += 1000) {
    ASSERT_EQ(body[i], static_cast<char>('t' - i / 100'000));
  }
}

TEST_F(ServerTest, StopEndsIdleConnectionsAndAbandonsStreams) {
  start();
  TestClient idle(server_->port());
  TestClient busy(server_->port());
  busy.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  busy.read_until("first");
  server_->stop(50'000);
  EXPECT_TRUE(idle.at_end());
  EXPECT_EQ(gone_, 1);
  TestClient late(server_->port());
  EXPECT_FALSE(late.connected());
}

TEST_F(ServerTest, TakenPortIsAClearError) {
  start();
  ServerOptions options;
  options.port = server_->port();
  auto second = Server::start(options, Router(routes()));
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Code::kUnavailable);
  EXPECT_NE(second.error().message.find("is taken"), std::string::npos);
  EXPECT_NE(second.error().hint.find("--port"), std::string::npos);
}

/// A masked text frame of less than 126 bytes.
std::string text_frame(std::string_view text) {
  std::string frame = "\x81";
  frame.push_back(static_cast<char>(0x80 | text.size()));
  frame += std::string("\x01\x02\x03\x04", 4);
  for (size_t i = 0; i < text.size(); ++i)
    frame.push_back(static_cast<char>(text[i] ^ (i % 4 + 1)));
  return frame;
}

constexpr std::string_view kUpgradeRequest =
    "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

TEST_F(ServerTest, WebSocketTalksAndCloses) {
  start();
  TestClient client(server_->port());
  client.send(kUpgradeRequest);
  const std::string head = client.read_until("\r\n\r\n");
  EXPECT_TRUE(head.starts_with("HTTP/1.1 101")) << head;
  EXPECT_NE(head.find("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), std::string::npos);  // RFC 6455's example
  client.send(text_frame("one") + text_frame("two"));
  EXPECT_EQ(client.read_until("echo one"),
            "\x81\x08"
            "echo one");
  EXPECT_EQ(client.read_until("echo two"),
            "\x81\x08"
            "echo two");
  client.send(text_frame("bye"));
  EXPECT_EQ(client.read_until("\x88\x02\x03\xe8"), "\x88\x02\x03\xe8");
  EXPECT_EQ(gone_, 1);
}

TEST_F(ServerTest, WebSocketHangUpIsNoticed) {
  start();
  TestClient client(server_->port());
  client.send(kUpgradeRequest);
  client.read_until("\r\n\r\n");
  client.hang_up();
  EXPECT_TRUE(eventually([&] { return gone_ == 1 && server_->stats().open == 0; }));
}

// Goal: who does not read is dropped, and not before the call that wrote too much has returned.
TEST_F(ServerTest, WebSocketDropsASlowReader) {
  start();
  TestClient client(server_->port());
  client.send(kUpgradeRequest);
  client.read_until("\r\n\r\n");
  client.send(text_frame("flood"));
  EXPECT_TRUE(eventually([&] { return gone_ == 1 && server_->stats().open == 0; }));
}

TEST_F(ServerTest, WebSocketRefusesUnmaskedAndHugeFrames) {
  start();
  TestClient unmasked(server_->port());
  unmasked.send(kUpgradeRequest);
  unmasked.read_until("\r\n\r\n");
  unmasked.send("\x81\x02hi");
  EXPECT_EQ(unmasked.read_to_end().find("echo"), std::string::npos);
  unmasked.hang_up();
  TestClient huge(server_->port());
  huge.send(kUpgradeRequest);
  huge.read_until("\r\n\r\n");
  huge.send(std::string("\x81\xff\x00\x00\x00\x00\x7f\xff\xff\xff\x01\x02\x03\x04", 14));
  EXPECT_EQ(huge.read_to_end().find("echo"), std::string::npos);
  huge.hang_up();
  EXPECT_TRUE(eventually([&] { return gone_ == 2; }));
}

TEST_F(ServerTest, WebSocketPingFloodIsEnded) {
  start();
  TestClient client(server_->port());
  client.send(kUpgradeRequest);
  client.read_until("\r\n\r\n");
  const std::string ping("\x89\x80\x01\x02\x03\x04", 6);
  for (int i = 0; i < 1000 && client.send(ping); ++i) {
  }
  EXPECT_TRUE(eventually([&] { return gone_ == 1; }));
}

// Goal: a message in thousands of crumbs ends the socket with "policy", a binary one with
// "unsupported data".
TEST_F(ServerTest, WebSocketRefusesCrumbsAndBytes) {
  start();
  TestClient crumbs(server_->port());
  crumbs.send(kUpgradeRequest);
  crumbs.read_until("\r\n\r\n");
  crumbs.send(std::string("\x01\x81\x01\x02\x03\x04x", 7));
  const std::string crumb("\x00\x81\x01\x02\x03\x04x", 7);
  for (int i = 0; i < 500 && crumbs.send(crumb); ++i) {
  }
  EXPECT_EQ(crumbs.read_until("\x88\x02\x03\xf0"), "\x88\x02\x03\xf0");
  crumbs.hang_up();
  TestClient bytes(server_->port());
  bytes.send(kUpgradeRequest);
  bytes.read_until("\r\n\r\n");
  bytes.send(std::string("\x82\x81\x01\x02\x03\x04x", 7));
  EXPECT_EQ(bytes.read_until("\x88\x02\x03\xeb"), "\x88\x02\x03\xeb");
}

TEST_F(ServerTest, PlainRequestToASocketPath) {
  start();
  EXPECT_TRUE(ask("GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n").starts_with("HTTP/1.1 426"));
}

}  // namespace
}  // namespace hadal
