// Goal: the rules that hold for every endpoint, over a real socket: strict parameters, idempotency
// keys, rate and trace headers.
#include "serve/manners.h"

#include <atomic>

#include "serve/shapes.h"
#include "serve/testing/service_fixture.h"

namespace hadal {
namespace {

constexpr FieldRow kMakeFields[] = {{"name", "string"}};
constinit const EndpointShape kMake = {.fields = {kMakeFields}, .creates = true};

std::atomic<int> made = 0;
std::atomic<int> make_status = 200;

void make(Service&, HttpRequest&&, const PeerRef& peer) {
  peer.reply({.status = make_status, .body = "{\"made\":" + std::to_string(++made) + "}"});
}

class Manners : public ServiceTest {
 protected:
  void SetUp() override {
    ServiceTest::SetUp();
    made = 0;
    make_status = 200;
    std::vector<Route> routes;
    add_row(routes, "/make", make, &kMake);
    add_row(routes, "/v1/chat/completions", handlers::chat_completions, &shapes::kChatCompletions);
    ServerOptions options;
    options.port = 0;
    options.error_body = net_error_body;
    auto started = Server::start(options, Router(std::move(routes)));
    ASSERT_TRUE(started.ok());
    plain_ = std::move(server_);
    server_ = std::move(started).value();
  }
  void TearDown() override {
    plain_->stop(0);
    ServiceTest::TearDown();
  }
  void add_row(std::vector<Route>& routes, const char* path, Handler handler,
               const EndpointShape* shape) {
    Route route{.method = "POST", .path = path, .body_bytes_max = 1 << 20};
    route.handle = [this, handler, shape](HttpRequest&& request, PeerRef peer) {
      run_handler(service_, handler, shape, std::move(request), peer);
    };
    routes.push_back(std::move(route));
  }
  Reply ask_with(const std::string& headers, const std::string& path, const std::string& body) {
    TestClient client(server_->port());
    std::string bytes = post_bytes(path, body);
    bytes.insert(bytes.find("\r\n") + 2, headers);
    client.send(bytes);
    return parse(client.read_to_end());
  }

  std::unique_ptr<Server> plain_;
};

constexpr const char* kChat = R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":3)";

TEST_F(Manners, UnknownMembersMatterOnlyWhenStrict) {
  const std::string body = std::string(kChat) + R"(,"metadata":{},"store":true})";
  EXPECT_EQ(ask("/v1/chat/completions", body).status, 200);
  service_.set_strict();
  const Reply refused = ask("/v1/chat/completions", body);
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(error_field(refused, "param"), "metadata");
  EXPECT_EQ(error_field(refused, "code"), "unknown_parameter");
  EXPECT_EQ(ask("/v1/chat/completions", std::string(kChat) + "}").status, 200);
  EXPECT_EQ(error_field(ask("/v1/chat/completions", "{"), "code"), "invalid_json");
}

TEST_F(Manners, AKeyMakesACreationHappenOnce) {
  const std::string key = "Idempotency-Key: k-1\r\n";
  const Reply first = ask_with(key, "/make", "{}");
  EXPECT_EQ(first.body.at("made").get_int64(), 1);
  const Reply again = ask_with(key, "/make", "{}");
  EXPECT_EQ(again.body.at("made").get_int64(), 1);
  EXPECT_NE(again.raw.find("idempotent-replayed: true"), std::string::npos);
  EXPECT_EQ(ask_with(key, "/make", R"({"name":"other"})").status, 422);
  EXPECT_EQ(ask_with("Idempotency-Key: k 1\r\n", "/make", "{}").status, 400);
  EXPECT_EQ(
      ask_with("Authorization: Bearer x\r\n" + key, "/make", "{}").body.at("made").get_int64(), 2);
  EXPECT_EQ(ask("/make", "{}").body.at("made").get_int64(), 3);
  // What failed for the moment is done again.
  make_status = 503;
  EXPECT_EQ(ask_with("Idempotency-Key: k-2\r\n", "/make", "{}").status, 503);
  make_status = 200;
  EXPECT_EQ(ask_with("Idempotency-Key: k-2\r\n", "/make", "{}").body.at("made").get_int64(), 5);
}

TEST_F(Manners, KeysDoNothingWhereNothingIsCreated) {
  const std::string key = "Idempotency-Key: k-1\r\n";
  const Reply first = ask_with(key, "/v1/chat/completions", std::string(kChat) + "}");
  const Reply again = ask_with(key, "/v1/chat/completions", std::string(kChat) + "}");
  EXPECT_NE(first.body.at("id").get_string(), again.body.at("id").get_string());
}

TEST_F(Manners, TracesAreEchoed) {
  const std::string trace =
      "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
  EXPECT_NE(ask_with(trace, "/make", "{}").raw.find(trace), std::string::npos);
  for (const char* bad : {"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                          "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                          "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "x"}) {
    EXPECT_EQ(
        ask_with("traceparent: " + std::string(bad) + "\r\n", "/make", "{}").raw.find("trace"),
        std::string::npos)
        << bad;
  }
}

TEST(RateHeaders, SayWhatTheQueueHasRoomFor) {
  EXPECT_TRUE(rate_headers({}).empty());
  const HeaderList headers = rate_headers(
      {.running = 8, .waiting = 2, .rows_max = 8, .queue_max = 10, .queue_wait_micros = 2'500'000});
  EXPECT_EQ(*find_header(headers, "x-ratelimit-limit-requests"), "18");
  EXPECT_EQ(*find_header(headers, "x-ratelimit-remaining-requests"), "8");
  EXPECT_EQ(*find_header(headers, "x-ratelimit-reset-requests"), "3s");
}

}  // namespace
}  // namespace hadal
