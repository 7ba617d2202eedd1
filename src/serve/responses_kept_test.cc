// Goal: answers outlive those who asked for them: made in the background and read by whoever comes,
// from any event on; found again by the next program; with the odds of their tokens.
#include <filesystem>

#include <unistd.h>

#include "base/limits.h"
#include "serve/event_log.h"
#include "serve/response_archive.h"
#include "serve/testing/responses_fixture.h"

namespace hadal {
namespace {

const std::string kInBackground = R"({"input":"hi","background":true,"stream":true})";

class KeptResponses : public ResponsesTest {
 protected:
  /// A client that asks for an answer in the background and reads until `text`.
  std::unique_ptr<TestClient> begin(std::string_view text, std::string& id) {
    auto client = std::make_unique<TestClient>(server_->port());
    client->send(post_bytes("/v1/responses", kInBackground));
    const std::string head = client->read_until(text);
    const size_t at = head.find("\"id\":\"resp_");
    EXPECT_NE(at, std::string::npos) << head;
    id = head.substr(at + 6, head.find('"', at + 6) - at - 6);
    return client;
  }
  std::vector<Event> again(const std::string& id, const std::string& more = "") {
    return named_stream_again("/v1/responses/" + id + "?stream=true" + more);
  }
  static int64_t number_of(const Event& event) {
    return parsed(event.data).at("sequence_number").get_int64();
  }
  static std::string deltas(const std::vector<Event>& events) {
    std::string text;
    for (const Event& event : events) {
      if (event.name == "response.output_text.delta") {
        text += parsed(event.data).at("delta").get_string();
      }
    }
    return text;
  }
};

TEST_F(KeptResponses, StreamsInTheBackground) {
  const auto events = named_stream("/v1/responses", kInBackground);
  EXPECT_EQ(names_of(events),
            "response.created response.queued response.in_progress response.output_item.added "
            "response.content_part.added response.output_text.delta response.output_text.done "
            "response.content_part.done response.output_item.done response.completed");
  for (size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(number_of(events[i]), static_cast<int64_t>(i));
  }
  EXPECT_EQ(parsed(events[0].data).at("response").at("status").get_string(), "queued");
  EXPECT_EQ(deltas(events), "Hello");
  const json::value last = parsed(events.back().data).at("response");
  EXPECT_EQ(get("/v1/responses/" + std::string(last.at("id").get_string())).body, last);
}

// Goal: the client leaves, the answer goes on; who comes later gets what is missing, then the rest
// as it is made, and after its end all of it again.
TEST_F(KeptResponses, GoesOnWithoutItsClient) {
  backend_->hold(2);
  std::string id;
  begin("\"delta\":\"e\"", id)->hang_up();
  TestClient second(server_->port());
  second.send("GET /v1/responses/" + id +
              "?stream=true&starting_after=4 HTTP/1.1\r\n"
              "Host: localhost\r\nConnection: close\r\n\r\n");
  std::string raw = second.read_until("\"delta\":\"e\"");
  EXPECT_EQ(status_of(get("/v1/responses/" + id)), "in_progress");
  EXPECT_EQ(backend_->cancelled(), 0u);
  backend_->release();
  raw += second.read_to_end();
  const auto rest = named_events_of(raw);
  EXPECT_EQ(number_of(rest.front()), 5);
  EXPECT_EQ(rest.back().name, "response.completed");
  const auto all = again(id);
  ASSERT_EQ(all.size(), rest.size() + 5);
  for (size_t i = 0; i < rest.size(); ++i) EXPECT_EQ(all[i + 5].data, rest[i].data);
  EXPECT_EQ(deltas(all), "Hello");
  EXPECT_EQ(again(id, "&starting_after=" + std::to_string(all.size() - 2)).size(), 1u);
  EXPECT_TRUE(again(id, "&starting_after=1000").empty());
}

TEST_F(KeptResponses, CancelEndsTheStream) {
  backend_->hold(2);
  std::string id;
  const auto client = begin("\"delta\":\"e\"", id);
  EXPECT_EQ(status_of(bare("POST", "/v1/responses/" + id + "/cancel")), "cancelled");
  EXPECT_NE(client->read_to_end().find("event: response.cancelled"), std::string::npos);
  const json::value last = parsed(again(id).back().data).at("response");
  EXPECT_EQ(last.at("status").get_string(), "cancelled");
  EXPECT_EQ(last.at("output").get_array()[0].at("status").get_string(), "incomplete");
  EXPECT_EQ(backend_->cancelled(), 1u);
  std::string other;
  const auto reader = begin("\"delta\":\"e\"", other);
  EXPECT_EQ(bare("DELETE", "/v1/responses/" + other).status, 200);
  EXPECT_NE(reader->read_to_end().find("event: response.cancelled"), std::string::npos);
  EXPECT_EQ(get("/v1/responses/" + other + "?stream=true").status, 404);
}

TEST_F(KeptResponses, FailureEndsTheStream) {
  backend_->set_failure("broken inside");
  const auto events = named_stream("/v1/responses", kInBackground);
  EXPECT_EQ(events.back().name, "response.failed");
  EXPECT_EQ(events.back().data.find("inside"), std::string::npos);
  backend_->set_full(true);
  EXPECT_EQ(ask("/v1/responses", kInBackground).status, 429);
}

TEST_F(KeptResponses, WhatCannotBeStreamedAgain) {
  const std::string plain = id_of(ask("/v1/responses", R"({"input":"hi"})"));
  EXPECT_EQ(error_field(get("/v1/responses/" + plain + "?stream=true"), "param"), "stream");
  EXPECT_EQ(get("/v1/responses/" + plain + "?stream=false").status, 200);
  const auto events = named_stream("/v1/responses", kInBackground);
  const std::string id(parsed(events[0].data).at("response").at("id").get_string());
  for (const char* bad : {"x", "-1", "1.5", "9223372036854775807", "99999999999999999999"}) {
    const Reply reply = get("/v1/responses/" + id + "?stream=true&starting_after=" + bad);
    EXPECT_EQ(reply.status, 400) << bad;
    EXPECT_EQ(error_field(reply, "param"), "starting_after") << bad;
  }
}

// Goal: more events than a client takes at once reach it all the same.
TEST_F(KeptResponses, LongStreamAgain) {
  use("deepseek-v4");
  answer_ = "</think>" + std::string(5000, 'x');
  const auto first = named_stream("/v1/responses", kInBackground);
  EXPECT_EQ(deltas(first), std::string(5000, 'x'));
  const std::string id(parsed(first[0].data).at("response").at("id").get_string());
  const auto second = again(id);
  ASSERT_EQ(second.size(), first.size());
  size_t bytes = 0;
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(second[i].data, first[i].data);
    bytes += first[i].data.size();
  }
  EXPECT_GT(bytes, 3 * limits::kFollowerUnsentBytes);
}

TEST(EventLog, KeepsTheLast) {
  EventLog log;
  const std::string event(limits::kResponseEventBytes / 4, 'x');
  for (int i = 0; i < 6; ++i) log.append(event);
  EXPECT_EQ(log.first(), 2);
  EXPECT_EQ(log.bytes(), limits::kResponseEventBytes);
  EXPECT_TRUE(log.read(1, 1).lost);
  const EventLog::Part part = log.read(2, 1);
  EXPECT_EQ(part.next, 3);
  EXPECT_FALSE(part.ended);
  EXPECT_EQ(log.read(2, SIZE_MAX).next, 6);
  EXPECT_FALSE(log.read(6, SIZE_MAX).ended);
  log.close();
  EXPECT_TRUE(log.read(2, SIZE_MAX).ended);
  EXPECT_FALSE(log.read(2, 1).ended);
}

// Goal: the odds of the tokens that the text is made of, and of no others, whole and streamed.
TEST_F(KeptResponses, Logprobs) {
  use("deepseek-v4");
  answer_ = "Hm.</think>Ok 杭";
  const std::string body =
      R"({"input":"hi","include":["message.output_text.logprobs"],"top_logprobs":2)";
  const auto text_of_tokens = [](const json::value& entries) {
    std::string text;
    for (const json::value& entry : entries.get_array()) {
      EXPECT_EQ(entry.at("logprob").to_number<double>(), -0.5);
      EXPECT_TRUE(entry.at("token").is_string());
      EXPECT_TRUE(entry.at("top_logprobs").is_array());
      for (const json::value& byte : entry.at("bytes").get_array()) {
        text.push_back(static_cast<char>(byte.get_int64()));
      }
    }
    return text;
  };
  const Reply whole = ask("/v1/responses", body + "}");
  ASSERT_EQ(whole.status, 200) << whole.raw;
  EXPECT_EQ(backend_->last_request().sampling.top_logprobs, 2);
  EXPECT_EQ(whole.body.at("top_logprobs").get_int64(), 2);
  const json::value& part = whole.body.at("output").get_array()[1].at("content").get_array()[0];
  EXPECT_EQ(text_of_tokens(part.at("logprobs")), "Ok 杭");
  std::string streamed;
  for (const Event& event : named_stream("/v1/responses", body + R"(,"stream":true})")) {
    const json::value data = parsed(event.data);
    if (event.name == "response.output_text.delta") streamed += text_of_tokens(data.at("logprobs"));
    if (event.name == "response.output_text.done") {
      EXPECT_EQ(text_of_tokens(data.at("logprobs")), "Ok 杭");
    }
    if (event.name == "response.completed") {
      EXPECT_EQ(data.at("response").at("output").get_array()[1].at("content"),
                whole.body.at("output").get_array()[1].at("content"));
    }
  }
  EXPECT_EQ(streamed, "Ok 杭");
  const Reply without = ask("/v1/responses", R"({"input":"hi","top_logprobs":2})");
  EXPECT_EQ(
      to_json(without.body.at("output").get_array()[1].at("content").get_array()[0].at("logprobs")),
      "[]");
}

class ArchivedResponses : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "hadal-archive-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
    restart();
  }
  void TearDown() override {
    store_.reset();
    std::filesystem::remove_all(directory_);
  }
  /// Another program over the same files.
  void restart() {
    store_.reset();
    auto records = AnswerRecords::open({.directory = directory_ / "responses",
                                        .bytes_max = 1 << 20,
                                        .age_micros_max = 3'600'000'000},
                                       Env::real().unix_micros());
    ASSERT_TRUE(records.ok()) << records.error().text();
    store_ = std::make_unique<ResponseStore>();
    store_->keep_in(std::make_unique<ResponseArchive>(std::move(records).value(), Env::real()));
  }
  StoredResponse answer(const std::string& id, const std::string& status,
                        ResponseTurnRef previous = {}) {
    const json::array output{json::object{{"id", "msg_" + id}, {"type", "message"}}};
    auto turn = std::make_shared<ResponseTurn>();
    turn->id = id;
    turn->input = {json::object{{"id", "in_" + id}}};
    turn->output = output;
    turn->length = previous ? previous->length + 1 : 1;
    turn->previous = std::move(previous);
    StoredResponse out{.status = status, .background = true, .turn = std::move(turn)};
    out.body = to_json(
        json::object{{"id", id}, {"status", status}, {"background", true}, {"output", output}});
    return out;
  }
  std::optional<StoredResponse> find(const std::string& id, const std::string& owner = "o") {
    return store_->find(owner, id, 0);
  }

  std::filesystem::path directory_;
  std::unique_ptr<ResponseStore> store_;
};

TEST_F(ArchivedResponses, OutliveTheProgram) {
  const StoredResponse first = answer("resp_a", "completed");
  EXPECT_TRUE(store_->put("o", "resp_a", first, 0));
  EXPECT_TRUE(store_->put("o", "resp_b", answer("resp_b", "completed", first.turn), 0));
  restart();
  const auto found = find("resp_b");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->status, "completed");
  EXPECT_TRUE(found->background);
  EXPECT_EQ(found->turn->length, 2);
  EXPECT_EQ(to_json(found->turn->input), R"([{"id":"in_resp_b"}])");
  ASSERT_TRUE(found->turn->previous);
  EXPECT_EQ(found->turn->previous->id, "resp_a");
  EXPECT_EQ(found->turn->previous->output, first.turn->output);
  EXPECT_EQ(find("resp_a")->body, first.body);
  EXPECT_FALSE(find("resp_a", "p"));
  EXPECT_FALSE(store_->erase("p", "resp_a"));
  EXPECT_TRUE(store_->erase("o", "resp_a"));
  EXPECT_FALSE(find("resp_a"));
  restart();
  EXPECT_FALSE(find("resp_a"));
  EXPECT_EQ(find("resp_b")->turn->previous->id, "resp_a");
}

TEST_F(ArchivedResponses, UnfinishedOnesHaveFailed) {
  EXPECT_TRUE(store_->put("o", "resp_a", answer("resp_a", "queued"), 0));
  EXPECT_EQ(find("resp_a")->status, "queued");
  EXPECT_TRUE(store_->put("o", "resp_b", answer("resp_b", "queued"), 0));
  store_->update("o", "resp_b", answer("resp_b", "completed"), 0);
  restart();
  const auto found = find("resp_a");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->status, "failed");
  EXPECT_NE(found->body.find("\"failed\""), std::string::npos);
  EXPECT_NE(found->body.find("server_error"), std::string::npos);
  EXPECT_EQ(find("resp_b")->status, "completed");
}

// Goal: what memory has no room for is found on the disk; what was deleted nowhere.
TEST_F(ArchivedResponses, MoreThanMemoryHolds) {
  EXPECT_TRUE(store_->put("o", "resp_a", answer("resp_a", "completed"), 0));
  EXPECT_TRUE(store_->find("o", "resp_a", limits::kStoredResponseMicros + 1));
  store_->update("o", "resp_a", answer("resp_a", "failed"), limits::kStoredResponseMicros + 1);
  EXPECT_EQ(find("resp_a")->status, "completed");
  EXPECT_TRUE(store_->erase("o", "resp_a"));
  EXPECT_FALSE(store_->erase("o", "resp_a"));
}

}  // namespace
}  // namespace hadal
