// Goal: Ollama's endpoints that change what is on the disk: closed without a store, told line by
// line with one, and ended by a client that leaves.
#include <thread>

#include "serve/testing/scripted_store.h"
#include "serve/testing/service_fixture.h"

namespace hadal {
namespace {

class OllamaStoreTest : public ServiceTest {
 protected:
  Reply remove(const std::string& body) {
    TestClient client(server_->port());
    client.send(post_bytes("/api/delete", body, "DELETE"));
    const std::string raw = client.read_to_end();
    return {.status = std::atoi(raw.c_str() + 9), .raw = raw};
  }

  ScriptedStore store_;
};

TEST_F(OllamaStoreTest, ClosedWithoutAStore) {
  // Goal: 403 in Ollama's shape that says what would open it; mistakes are told before.
  for (const auto& [path, body] : {std::pair("/api/pull", R"({"model":"new"})"),
                                   std::pair("/api/copy", R"({"source":"a","destination":"b"})")}) {
    const Reply reply = ask(path, body);
    EXPECT_EQ(reply.status, 403) << path;
    EXPECT_NE(reply.raw.find("--allow-pull"), std::string::npos);
  }
  EXPECT_EQ(remove(R"({"model":"a"})").status, 403);
  EXPECT_EQ(ask("/api/pull", "{}").status, 400);
  EXPECT_EQ(ask("/api/pull", R"({"model":"a","stream":1})").status, 400);
  EXPECT_EQ(ask("/api/copy", R"({"source":"a"})").status, 400);
  EXPECT_EQ(ask("/api/copy", R"({"source":7,"destination":"b"})").status, 400);
  EXPECT_EQ(remove("{}").status, 400);
  EXPECT_EQ(remove("").status, 400);
  const Reply push = ask("/api/push", "{}");
  EXPECT_EQ(push.status, 501);
  EXPECT_TRUE(push.body.at("error").is_string());
}

TEST_F(OllamaStoreTest, WhatIsServedNeedsNoPull) {
  // Goal: clients that pull before they ask get along with a closed server.
  const auto got = lines("/api/pull", R"({"model":"other-name"})");
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[1].at("status").get_string(), "success");
  EXPECT_EQ(ask("/api/pull", R"({"name":"test-model","stream":false})").body.at("status"),
            "success");
}

TEST_F(OllamaStoreTest, PullTellsHowItGoes) {
  // Goal: a line per step in Ollama's words, then success.
  service_.set_store(store_);
  std::thread teller([this] {
    const std::string digest = "sha256:" + std::string(64, 'a');
    store_.progress({PullStage::kFetching, 5, 10, digest});
    store_.progress({PullStage::kVerifying, 10, 10, digest});
    store_.end(std::nullopt);
  });
  const auto got = lines("/api/pull", R"({"model":"new"})");
  teller.join();
  ASSERT_EQ(got.size(), 4u);
  EXPECT_EQ(got[0].at("status").get_string(), "pulling manifest");
  EXPECT_EQ(got[1].at("status").get_string(), "pulling aaaaaaaaaaaa");
  EXPECT_EQ(got[1].at("completed").get_int64(), 5);
  EXPECT_EQ(got[1].at("total").get_int64(), 10);
  EXPECT_EQ(got[1].at("digest").get_string().size(), 71u);
  EXPECT_EQ(got[2].at("status").get_string(), "verifying sha256 digest");
  EXPECT_EQ(got[3].at("status").get_string(), "success");
}

TEST_F(OllamaStoreTest, PullThatFails) {
  // Goal: at once: a status; in a stream: its last line; without one: a status.
  service_.set_store(store_);
  EXPECT_EQ(ask("/api/pull", R"({"model":"refused"})").status, 404);
  const ApiError full{.status = 507, .message = "no room"};
  std::thread teller([&] { store_.end(full); });
  const auto got = lines("/api/pull", R"({"model":"new"})");
  teller.join();
  EXPECT_EQ(got.back().at("error").get_string(), "no room");
  teller = std::thread([&] { store_.end(full); });
  const Reply whole = ask("/api/pull", R"({"model":"new","stream":false})");
  teller.join();
  EXPECT_EQ(whole.status, 507);
  EXPECT_EQ(whole.body.at("error").get_string(), "no room");
  teller = std::thread([&] { store_.end(std::nullopt); });
  EXPECT_EQ(to_json(ask("/api/pull", R"({"model":"new","stream":false})").body),
            R"({"status":"success","model":"new"})");
  teller.join();
}

TEST_F(OllamaStoreTest, LeavingEndsThePull) {
  // Goal: whoever hangs up, streamed or not, takes the pull back.
  service_.set_store(store_);
  TestClient client(server_->port());
  client.send(post_bytes("/api/pull", R"({"model":"new"})"));
  client.read_until("pulling manifest");
  client.hang_up();
  store_.wait_cancelled();
}

TEST_F(OllamaStoreTest, CopyAndDelete) {
  // Goal: both reach the store with the names, an empty 200 says yes, its no is told.
  service_.set_store(store_);
  TestClient client(server_->port());
  client.send(post_bytes("/api/copy", R"({"source":"a","destination":"b"})"));
  EXPECT_NE(client.read_to_end().find("Content-Length: 0"), std::string::npos);
  EXPECT_EQ(remove(R"({"name":"a"})").status, 200);
  EXPECT_EQ(remove(R"({"model":"kept"})").status, 403);
  EXPECT_EQ(store_.calls(), "copy a b;remove a;remove kept;");
}

class QuietPull : public OllamaStoreTest {
 protected:
  QuietPull() { keep_alive_micros_ = 50'000; }
};

TEST_F(QuietPull, ShowsLife) {
  // Goal: while nothing comes, streams repeat their first line and whole replies begin with blanks.
  service_.set_store(store_);
  TestClient client(server_->port());
  client.send(post_bytes("/api/pull", R"({"model":"new"})"));
  client.read_until("pulling manifest");
  client.read_until("pulling manifest");
  store_.end(std::nullopt);
  EXPECT_NE(client.read_to_end().find("success"), std::string::npos);
  TestClient whole(server_->port());
  whole.send(post_bytes("/api/pull", R"({"model":"new","stream":false})"));
  whole.read_until("\r\n\r\n1\r\n\n");
  store_.end(std::nullopt);
  EXPECT_NE(whole.read_to_end().find("success"), std::string::npos);
}

}  // namespace
}  // namespace hadal
