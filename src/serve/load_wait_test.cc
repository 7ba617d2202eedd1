// Goal: a client whose model is still being loaded hears of it while it waits, and whatever comes
// of the load reaches it: in a stream that has begun as in an answer that has not.
#include <optional>

#include "base/mutex.h"
#include "serve/testing/service_fixture.h"

namespace hadal {
namespace {

/// Has its model when the test says so.
class LateModel final : public ModelDirectory {
 public:
  std::vector<ServedRef> loaded() const override { return {}; }
  bool acquire(std::string_view, Then then) override {
    const MutexLock lock(mu_);
    then_ = std::move(then);
    changed_.notify_all();
    return false;
  }
  /// From this thread, as a hub would from its own.
  void come(ServedRef served, Checked problem) {
    Then then;
    {
      const MutexLock lock(mu_);
      while (!then_) changed_.wait(mu_);
      then = std::move(*then_);
      then_.reset();
    }
    then(std::move(served), std::move(problem));
  }

 private:
  Mutex mu_;
  CondVar changed_;
  std::optional<Then> then_ GUARDED_BY(mu_);
};

class LoadWaitTest : public ServiceTest {
 protected:
  void SetUp() override {
    ServiceTest::SetUp();
    std::vector<Route> routes;
    const std::pair<const char*, Handler> rows[] = {
        {"/v1/chat/completions", handlers::chat_completions}, {"/api/chat", handlers::ollama_chat}};
    for (const auto& row : rows) {
      Route route{.method = "POST", .path = row.first, .body_bytes_max = 1 << 20};
      route.handle = [this, handle = row.second](HttpRequest&& request, PeerRef peer) {
        handle(late_service_, std::move(request), peer);
      };
      routes.push_back(std::move(route));
    }
    ServerOptions options;
    options.port = 0;
    options.tick_micros = 10'000;
    options.keep_alive_micros = 20'000;
    auto started = Server::start(options, Router(std::move(routes)));
    ASSERT_TRUE(started.ok());
    late_server_ = std::move(started).value();
  }
  void TearDown() override {
    late_server_->stop(0);
    ServiceTest::TearDown();
  }

  ServedRef model() { return models_.loaded().front(); }
  static ApiError failure() {
    return {.status = 500, .code = "model_load_failed", .message = "It is damaged."};
  }

  LateModel late_;
  Service late_service_{Env::real(), late_};
  std::unique_ptr<Server> late_server_;
};

constexpr const char* kChat = "/v1/chat/completions";
constexpr const char* kStream =
    R"({"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]})";
constexpr const char* kWhole = R"({"model":"m","messages":[{"role":"user","content":"hi"}]})";

TEST_F(LoadWaitTest, AStreamHasCommentsAndThenItsAnswer) {
  // Goal: the wait shows, and the answer behind it is whole.
  TestClient client(late_server_->port());
  client.send(post_bytes(kChat, kStream));
  const std::string head = client.read_until(": the model is being loaded\n\n");
  EXPECT_NE(head.find(" 200 "), std::string::npos) << head;
  EXPECT_NE(head.find("text/event-stream"), std::string::npos) << head;
  late_.come(model(), std::nullopt);
  const std::string rest = client.read_to_end();
  EXPECT_NE(rest.find("\"role\":\"assistant\""), std::string::npos) << rest;
  EXPECT_NE(rest.find("data: [DONE]"), std::string::npos) << rest;
}

TEST_F(LoadWaitTest, AFailureBehindCommentsIsAnEvent) {
  // Goal: an error and no closing mark; the connection is cut instead of left open.
  TestClient client(late_server_->port());
  client.send(post_bytes(kChat, kStream));
  client.read_until(": the model is being loaded\n\n");
  late_.come(nullptr, failure());
  const std::string rest = client.read_to_end();
  EXPECT_NE(rest.find("data: {\"error\":"), std::string::npos) << rest;
  EXPECT_EQ(rest.find("[DONE]"), std::string::npos) << rest;
  EXPECT_FALSE(rest.ends_with("0\r\n\r\n")) << rest;
}

TEST_F(LoadWaitTest, ABadRequestBehindCommentsIsAnEvent) {
  // Goal: the same for what only the loaded model can tell: a prompt that does not fit.
  TestClient client(late_server_->port());
  client.send(
      post_bytes(kChat, R"({"model":"m","stream":true,"messages":[{"role":"user","content":")" +
                            std::string(500, 'a') + "\"}]}"));
  client.read_until(": the model is being loaded\n\n");
  late_.come(model(), std::nullopt);
  EXPECT_NE(client.read_to_end().find("context_length_exceeded"), std::string::npos);
}

TEST_F(LoadWaitTest, OllamasStreamHasEmptyPieces) {
  // Goal: every line is a piece that its clients can read.
  TestClient client(late_server_->port());
  client.send(
      post_bytes("/api/chat", R"({"model":"m","messages":[{"role":"user","content":"hi"}]})"));
  const std::string head = client.read_until("\"done\":false}\n");
  EXPECT_NE(head.find("application/x-ndjson"), std::string::npos) << head;
  EXPECT_NE(head.find("\"content\":\"\""), std::string::npos) << head;
  late_.come(model(), std::nullopt);
  EXPECT_NE(client.read_to_end().find("\"done\":true"), std::string::npos);
}

TEST_F(LoadWaitTest, AWholeAnswerKeepsItsStatus) {
  // Goal: without a stream nothing is sent before the end is known.
  TestClient client(late_server_->port());
  client.send(post_bytes(kChat, kWhole));
  late_.come(nullptr, failure());
  EXPECT_NE(client.read_to_end().find(" 500 "), std::string::npos);
}

TEST_F(LoadWaitTest, WhoLeftIsForgotten) {
  // Goal: a model that comes for a client that went away harms nobody.
  {
    TestClient client(late_server_->port());
    client.send(post_bytes(kChat, kStream));
    client.read_until(": the model is being loaded\n\n");
  }
  late_.come(model(), std::nullopt);
  TestClient client(late_server_->port());
  client.send(post_bytes(kChat, kWhole));
  late_.come(model(), std::nullopt);
  EXPECT_NE(client.read_to_end().find(" 200 "), std::string::npos);
}

}  // namespace
}  // namespace hadal
