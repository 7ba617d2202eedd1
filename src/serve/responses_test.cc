// Goal: the Responses API over real sockets: items and events in their order, numbered, stored
// answers that can be fetched, built on, cancelled and forgotten by their owner only.
#include "serve/dialects/responses.h"

#include "base/limits.h"
#include "serve/testing/responses_fixture.h"

namespace hadal {
namespace {

const std::string kV4Calls =
    "Hm.\n</think>\nLet me see.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"get_weather\">\n"
    "<｜DSML｜parameter name=\"city\" string=\"true\">杭州</｜DSML｜parameter>\n</｜DSML｜invoke>\n"
    "<｜DSML｜invoke name=\"patch\">\n"
    "<｜DSML｜parameter name=\"input\" string=\"true\">*** a\n\"b\"</｜DSML｜parameter>\n"
    "</｜DSML｜invoke>\n</｜DSML｜tool_calls>";
const std::string kTools =
    R"("tools":[{"type":"function","name":"get_weather","description":"d","parameters":)"
    R"({"type":"object","properties":{"city":{"type":"string"}}},"strict":false},)"
    R"({"type":"custom","name":"patch","description":"p","format":{"type":"grammar",)"
    R"("syntax":"lark","definition":"start: /.+/"}},{"type":"web_search"},)"
    R"({"type":"namespace","name":"n","tools":[]}])";

// Goal: a whole answer has every member that the SDKs' types ask for.
TEST_F(ResponsesTest, Whole) {
  backend_->set_cached(12);
  const Reply reply =
      ask("/v1/responses", R"({"input":"hi","metadata":{"a":"b"},"max_output_tokens":50,)"
                           R"("user":"u","prompt_cache_key":"k","truncation":"auto"})");
  ASSERT_EQ(reply.status, 200) << reply.raw;
  EXPECT_EQ(reply.body.at("object").get_string(), "response");
  EXPECT_TRUE(id_of(reply).starts_with("resp_"));
  EXPECT_EQ(status_of(reply), "completed");
  EXPECT_EQ(reply.body.at("model").get_string(), "test-model");
  const json::value& item = reply.body.at("output").get_array()[0];
  EXPECT_TRUE(item.at("id").get_string().starts_with("msg_"));
  EXPECT_EQ(item.at("status").get_string(), "completed");
  EXPECT_EQ(to_json(item.at("content")),
            R"([{"type":"output_text","text":"Hello","annotations":[],"logprobs":[]}])");
  EXPECT_EQ(to_json(reply.body.at("usage")),
            R"({"input_tokens":19,"input_tokens_details":{"cached_tokens":12},"output_tokens":6,)"
            R"("output_tokens_details":{"reasoning_tokens":0},"total_tokens":25})");
  EXPECT_EQ(to_json(reply.body.at("metadata")), R"({"a":"b"})");
  EXPECT_EQ(to_json(reply.body.at("reasoning")), R"({"effort":null,"summary":null})");
  for (const char* name :
       {"created_at", "completed_at", "error", "incomplete_details", "instructions", "store",
        "parallel_tool_calls", "previous_response_id", "temperature", "text", "tool_choice",
        "tools", "top_p", "truncation", "user", "prompt_cache_key", "background"}) {
    EXPECT_TRUE(reply.body.get_object().contains(name)) << name;
  }
  EXPECT_EQ(last_prompt(), "[user]hi[assistant]");
}

// Goal: items of all kinds become the conversation; what runs at a provider is left out.
TEST_F(ResponsesTest, Items) {
  const Reply reply =
      ask("/v1/responses",
          R"({"instructions":"I","input":[{"role":"developer","content":"D"},)"
          R"({"type":"message","role":"user","content":[{"type":"input_text","text":"a"},)"
          R"({"type":"input_text","text":"b"}]},)"
          R"({"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"t"}]},)"
          R"({"type":"message","role":"assistant","content":[{"type":"output_text","text":"w"}]},)"
          R"({"type":"function_call","call_id":"c1","name":"f","arguments":"{}"},)"
          R"({"type":"web_search_call","id":"ws_1"},)"
          R"({"type":"function_call_output","call_id":"c1","output":"r"},)"
          R"({"type":"custom_tool_call","call_id":"c2","name":"p","input":"x"},)"
          R"({"type":"custom_tool_call_output","call_id":"c2","output":[)"
          R"({"type":"input_text","text":"s"}]}]})");
  ASSERT_EQ(reply.status, 200) << reply.raw;
  EXPECT_EQ(last_prompt(),
            "[system]I[system]D[user]ab[assistant]w[tool]r[assistant]None[tool]s[assistant]");
}

// Goal: the stream's order, numbers without a gap, deltas that add up to what is done, no [DONE].
TEST_F(ResponsesTest, Stream) {
  use("deepseek-v4");
  answer_ = kV4Calls;
  const auto events = named_stream(
      "/v1/responses",
      R"({"input":"hi","stream":true,"include":["reasoning.encrypted_content"],)" + kTools + "}");
  EXPECT_EQ(names_of(events),
            "response.created response.in_progress response.output_item.added "
            "response.content_part.added response.reasoning_text.delta "
            "response.reasoning_text.done response.content_part.done response.output_item.done "
            "response.output_item.added response.content_part.added response.output_text.delta "
            "response.output_text.done response.content_part.done response.output_item.done "
            "response.output_item.added response.function_call_arguments.delta "
            "response.function_call_arguments.done response.output_item.done "
            "response.output_item.added response.custom_tool_call_input.delta "
            "response.custom_tool_call_input.done response.output_item.done "
            "response.completed");
  std::map<std::string, std::string> deltas;
  json::array done;
  for (size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i].data.find("DSML"), std::string::npos);
    const json::value data = parsed(events[i].data);
    EXPECT_EQ(std::string_view(data.at("type").get_string()), events[i].name);
    EXPECT_EQ(data.at("sequence_number").get_int64(), static_cast<int64_t>(i));
    const json::object& object = data.get_object();
    if (events[i].name.ends_with(".delta")) {
      deltas[std::string(object.at("item_id").get_string())] += object.at("delta").get_string();
    }
    if (events[i].name == "response.output_item.done") {
      EXPECT_EQ(object.at("output_index").to_number<size_t>(), done.size());
      done.push_back(object.at("item"));
    }
  }
  const json::value last = parsed(events.back().data);
  EXPECT_EQ(last.at("response").at("output"), json::value(done));
  ASSERT_EQ(done.size(), 4u);
  const auto delta_of = [&](size_t i) {
    return deltas[std::string(done[i].at("id").get_string())];
  };
  EXPECT_EQ(done[0].at("type").get_string(), "reasoning");
  EXPECT_EQ(delta_of(0), "Hm.");
  EXPECT_EQ(unseal_reasoning(done[0].at("encrypted_content").get_string()), "Hm.");
  EXPECT_EQ(delta_of(1), "Let me see.");
  EXPECT_EQ(done[2].at("type").get_string(), "function_call");
  EXPECT_EQ(done[2].at("arguments").get_string(), "{\"city\": \"杭州\"}");
  EXPECT_EQ(delta_of(2), "{\"city\": \"杭州\"}");
  EXPECT_TRUE(done[2].at("call_id").get_string().starts_with("call_"));
  EXPECT_EQ(done[3].at("type").get_string(), "custom_tool_call");
  EXPECT_EQ(done[3].at("input").get_string(), "*** a\n\"b\"");
  EXPECT_EQ(delta_of(3), "*** a\n\"b\"");
  EXPECT_NE(last_prompt().find("start: /.+/"), std::string::npos);  // the tool's grammar
  EXPECT_EQ(last_prompt().find("web_search"), std::string::npos);
}

// Goal: an answer that was cut says so, in its object and in the last event.
TEST_F(ResponsesTest, Incomplete) {
  const Reply reply = ask("/v1/responses", R"({"input":"hi","max_output_tokens":2})");
  EXPECT_EQ(status_of(reply), "incomplete");
  EXPECT_EQ(to_json(reply.body.at("incomplete_details")), R"({"reason":"max_output_tokens"})");
  const auto events =
      named_stream("/v1/responses", R"({"input":"hi","max_output_tokens":2,"stream":true})");
  EXPECT_EQ(events.back().name, "response.incomplete");
}

// Goal: a failure in the middle of a stream is the last event, and no end.
TEST_F(ResponsesTest, Failure) {
  backend_->set_failure("broken inside");
  const auto events = named_stream("/v1/responses", R"({"input":"hi","stream":true})");
  EXPECT_EQ(events.back().name, "response.failed");
  const json::value last = parsed(events.back().data);
  EXPECT_EQ(last.at("response").at("error").at("code").get_string(), "server_error");
  EXPECT_EQ(events.back().data.find("inside"), std::string::npos);
  EXPECT_EQ(ask("/v1/responses", R"({"input":"hi"})").status, 500);
}

// Goal: what is stored can be fetched, built on, listed and forgotten.
TEST_F(ResponsesTest, Stored) {
  const Reply first = ask("/v1/responses", R"({"input":"one","instructions":"I"})");
  const std::string id = id_of(first);
  EXPECT_EQ(get("/v1/responses/" + id).body, first.body);
  const Reply second = ask("/v1/responses", R"({"input":[{"role":"user","content":"two"}],)"
                                            R"("previous_response_id":")" +
                                                id + "\"}");
  ASSERT_EQ(second.status, 200) << second.raw;
  EXPECT_EQ(last_prompt(), "[user]one[assistant]Hello[user]two[assistant]");
  EXPECT_EQ(std::string(second.body.at("previous_response_id").get_string()), id);
  const Reply gone = bare("DELETE", "/v1/responses/" + id);
  EXPECT_EQ(to_json(gone.body), "{\"id\":\"" + id + R"(","object":"response","deleted":true})");
  EXPECT_EQ(get("/v1/responses/" + id).status, 404);
  EXPECT_EQ(bare("DELETE", "/v1/responses/" + id).status, 404);
  const Reply lost = ask("/v1/responses", R"({"input":"x","previous_response_id":")" + id + "\"}");
  EXPECT_EQ(lost.status, 400);
  EXPECT_EQ(error_field(lost, "code"), "previous_response_not_found");
  // Its followers still know it.
  ask("/v1/responses", R"({"input":"three","previous_response_id":")" + id_of(second) + "\"}");
  EXPECT_EQ(last_prompt(),
            "[user]one[assistant]Hello[user]two[assistant]Hello[user]three[assistant]");
  // One item of a stored answer by its name.
  const std::string item =
      std::string(second.body.at("output").get_array()[0].at("id").get_string());
  ask("/v1/responses", R"({"input":[{"type":"item_reference","id":")" + item +
                           R"("},{"role":"user","content":"q"}]})");
  EXPECT_EQ(last_prompt(), "[assistant]Hello[user]q[assistant]");
  const Reply kept = ask("/v1/responses", R"({"input":"x","store":false})");
  EXPECT_EQ(get("/v1/responses/" + id_of(kept)).status, 404);
}

// Goal: calls and their results over two stored answers give the prompt that a client which sends
// everything itself gives.
TEST_F(ResponsesTest, ToolLoopOverStoredAnswers) {
  use("deepseek-v4");
  answer_ = kV4Calls;
  const Reply first = ask("/v1/responses", R"({"input":"hi",)" + kTools + "}");
  json::array items = first.body.at("output").get_array();
  std::string outputs;
  for (const size_t i : {2u, 3u}) {
    outputs += (outputs.empty() ? "" : ",") + std::string(R"({"type":")") +
               (i == 2 ? "function_call_output" : "custom_tool_call_output") + R"(","call_id":")" +
               std::string(items[i].at("call_id").get_string()) + R"(","output":"r"})";
  }
  answer_ = "</think>ok";
  const Reply second = ask("/v1/responses", R"({"previous_response_id":")" + id_of(first) +
                                                R"(","input":[)" + outputs + "]," + kTools + "}");
  ASSERT_EQ(second.status, 200) << second.raw;
  const std::string stored_prompt = last_prompt();
  EXPECT_EQ(text_of(second), "ok");
  std::string all = R"({"role":"user","content":"hi"})";
  for (const json::value& item : items) all += "," + to_json(item);
  ask("/v1/responses", R"({"store":false,"input":[)" + all + "," + outputs + "]," + kTools + "}");
  EXPECT_EQ(last_prompt(), stored_prompt);
  EXPECT_NE(stored_prompt.find("Let me see."), std::string::npos);
  EXPECT_NE(stored_prompt.find("*** a\n\"b\""), std::string::npos);
}

// Goal: answers are seen with the credential and the salt they were made with, and no other.
TEST_F(ResponsesTest, OwnersAreApart) {
  const std::string id =
      id_of(ask("/v1/responses", R"({"input":"hi","cache_salt":"team 7","user_id":"ann"})"));
  EXPECT_EQ(get("/v1/responses/" + id).status, 404);
  EXPECT_EQ(get("/v1/responses/" + id + "?cache_salt=team%207").status, 404);
  EXPECT_EQ(get("/v1/responses/" + id + "?cache_salt=team%207&user_id=ann").status, 200);
  TestClient client(server_->port());
  client.send("GET /v1/responses/" + id +
              "?cache_salt=team%207&user_id=ann HTTP/1.1\r\nHost: localhost\r\n"
              "Authorization: Bearer other\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(parse(client.read_to_end()).status, 404);
  EXPECT_EQ(ask("/v1/responses", R"({"input":"x","previous_response_id":")" + id + "\"}").status,
            400);
}

// Goal: items come newest first, in pages.
TEST_F(ResponsesTest, InputItems) {
  const std::string id = id_of(ask(
      "/v1/responses", R"({"input":[{"role":"user","content":"a"},{"role":"assistant","content":)"
                       R"("b"},{"role":"user","content":"c"}]})"));
  const auto page = [&](const std::string& query) {
    return get("/v1/responses/" + id + "/input_items" + query);
  };
  const auto texts = [](const Reply& reply) {
    std::string out;
    for (const json::value& item : reply.body.at("data").get_array()) {
      out += item.at("content").get_array()[0].at("text").get_string();
    }
    return out;
  };
  EXPECT_EQ(texts(page("")), "cba");
  EXPECT_EQ(texts(page("?order=asc")), "abc");
  const Reply two = page("?order=asc&limit=2");
  EXPECT_EQ(texts(two), "ab");
  EXPECT_TRUE(two.body.at("has_more").get_bool());
  const std::string last(two.body.at("last_id").get_string());
  const Reply rest = page("?order=asc&limit=2&after=" + last);
  EXPECT_EQ(texts(rest), "c");
  EXPECT_FALSE(rest.body.at("has_more").get_bool());
  EXPECT_EQ(page("?limit=0").status, 400);
  EXPECT_EQ(page("?limit=many").status, 400);
  EXPECT_EQ(page("?order=up").status, 400);
  EXPECT_EQ(get("/v1/responses/resp_none/input_items").status, 404);
}

// Goal: an answer in the background is queued at once and found complete later.
TEST_F(ResponsesTest, Background) {
  backend_->hold(2);
  const Reply queued = ask("/v1/responses", R"({"input":"hi","background":true})");
  EXPECT_EQ(status_of(queued), "queued");
  const std::string id = id_of(queued);
  EXPECT_EQ(ask("/v1/responses", R"({"input":"x","previous_response_id":")" + id + "\"}").status,
            400);
  backend_->release();
  const Reply done = wait_for_end(id);
  EXPECT_EQ(status_of(done), "completed");
  EXPECT_EQ(text_of(done), "Hello");
  EXPECT_EQ(done.body.at("usage").at("output_tokens").get_int64(), 6);
  EXPECT_EQ(status_of(bare("POST", "/v1/responses/" + id + "/cancel")), "completed");
}

// Goal: cancelling and deleting free the engine; what was said until then is kept when cancelled.
TEST_F(ResponsesTest, BackgroundCancelled) {
  backend_->hold(2);
  const std::string id = id_of(ask("/v1/responses", R"({"input":"hi","background":true})"));
  while (status_of(get("/v1/responses/" + id)) == "queued") std::this_thread::yield();
  const Reply cancelled = bare("POST", "/v1/responses/" + id + "/cancel");
  EXPECT_EQ(status_of(cancelled), "cancelled");
  EXPECT_EQ(status_of(get("/v1/responses/" + id)), "cancelled");
  EXPECT_EQ(backend_->cancelled(), 1u);
  const std::string other = id_of(ask("/v1/responses", R"({"input":"hi","background":true})"));
  EXPECT_EQ(bare("DELETE", "/v1/responses/" + other).status, 200);
  EXPECT_EQ(get("/v1/responses/" + other).status, 404);
  EXPECT_EQ(backend_->cancelled(), 2u);
  const std::string plain =
      id_of(ask("/v1/responses", R"({"input":"echo","max_output_tokens":1})"));
  EXPECT_EQ(bare("POST", "/v1/responses/" + plain + "/cancel").status, 400);
  EXPECT_EQ(bare("POST", "/v1/responses/resp_none/cancel").status, 404);
}

TEST_F(ResponsesTest, BackgroundFailure) {
  backend_->set_failure("broken inside");
  const std::string id = id_of(ask("/v1/responses", R"({"input":"hi","background":true})"));
  const Reply failed = wait_for_end(id);
  EXPECT_EQ(status_of(failed), "failed");
  EXPECT_EQ(failed.raw.find("inside"), std::string::npos);
  backend_->set_full(true);
  EXPECT_EQ(ask("/v1/responses", R"({"input":"hi","background":true})").status, 429);
}

// Goal: counted tokens are the prompt's.
TEST_F(ResponsesTest, InputTokens) {
  use("deepseek-v4");
  const std::string body = R"({"input":"hi","instructions":"I",)" + kTools + "}";
  const Reply counted = ask("/v1/responses/input_tokens", body);
  ask("/v1/responses", body);
  EXPECT_EQ(counted.body.at("object").get_string(), "response.input_tokens");
  EXPECT_EQ(counted.body.at("input_tokens").get_int64(),
            static_cast<int64_t>(backend_->last_request().prompt.size()));
}

// Goal: which tools are offered.
TEST_F(ResponsesTest, ToolChoice) {
  use("deepseek-v4");
  const auto offered = [&](const std::string& choice) {
    const Reply reply =
        ask("/v1/responses", R"({"input":"hi","tool_choice":)" + choice + "," + kTools + "}");
    EXPECT_EQ(reply.status, 200) << reply.raw;
    const std::string prompt = last_prompt();
    return std::string(prompt.find("\"get_weather\"") != std::string::npos ? "w" : "") +
           (prompt.find("\"patch\"") != std::string::npos ? "p" : "");
  };
  EXPECT_EQ(offered("\"auto\""), "wp");
  EXPECT_EQ(offered("\"none\""), "");
  EXPECT_EQ(offered(R"({"type":"function","name":"get_weather"})"), "w");
  EXPECT_EQ(offered(R"({"type":"custom","name":"patch"})"), "p");
  EXPECT_EQ(offered(R"({"type":"allowed_tools","mode":"auto","tools":[{"type":"function",)"
                    R"("name":"get_weather"}]})"),
            "w");
}

// Goal: each mistake is a 400 that names its field.
TEST_F(ResponsesTest, Mistakes) {
  struct Case {
    const char* body;
    const char* param;
  };
  const Case cases[] = {
      {R"({})", "input"},
      {R"({"input":7})", "input"},
      {R"({"input":[]})", "input"},
      {R"({"input":[7]})", "input[0]"},
      {R"({"input":[{}]})", "input[0].type"},
      {R"({"input":[{"type":"telepathy"}]})", "input[0].type"},
      {R"({"input":[{"role":"robot","content":"a"}]})", "input[0].role"},
      {R"({"input":[{"role":"user"}]})", "input[0].content"},
      {R"({"input":[{"role":"user","content":7}]})", "input[0].content"},
      {R"({"input":[{"role":"user","content":[7]}]})", "input[0].content"},
      {R"({"input":[{"role":"user","content":[{"type":"input_text"}]}]})", "input[0].content.text"},
      {R"({"input":[{"role":"user","content":[{"type":"input_image"}]}]})", "input[0].content"},
      {R"({"input":[{"type":"function_call","name":"a","arguments":"{}"}]})", "input[0].call_id"},
      {R"({"input":[{"type":"function_call","call_id":"a","arguments":"{}"}]})", "input[0].name"},
      {R"({"input":[{"type":"function_call","call_id":"a","name":"b","arguments":{}}]})",
       "input[0].arguments"},
      {R"({"input":[{"type":"function_call_output","call_id":"a"}]})", "input[0].output"},
      {R"({"input":[{"type":"reasoning","content":7}]})", "input[0].content"},
      {R"({"input":[{"type":"item_reference","id":"msg_none_0"}]})", "input[0].id"},
      {R"({"input":"a","instructions":7})", "instructions"},
      {R"({"input":"a","previous_response_id":7})", "previous_response_id"},
      {R"({"input":"a","previous_response_id":"resp_none"})", "previous_response_id"},
      {R"({"input":"a","tools":{}})", "tools"},
      {R"({"input":"a","tools":[7]})", "tools[0]"},
      {R"({"input":"a","tools":[{"type":"function"}]})", "tools[0].name"},
      {R"({"input":"a","tools":[{"type":"function","name":"f","parameters":7}]})",
       "tools[0].parameters"},
      {R"({"input":"a","tool_choice":"maybe"})", "tool_choice"},
      {R"({"input":"a","tool_choice":{"type":"function","name":"nobody"}})", "tool_choice"},
      {R"({"input":"a","tool_choice":{"type":"allowed_tools"}})", "tool_choice"},
      {R"({"input":"a","parallel_tool_calls":"no"})", "parallel_tool_calls"},
      {R"({"input":"a","reasoning":"high"})", "reasoning"},
      {R"({"input":"a","reasoning":{"effort":"huge"}})", "reasoning.effort"},
      {R"({"input":"a","reasoning":{"summary":7}})", "reasoning.summary"},
      {R"({"input":"a","text":7})", "text"},
      {R"({"input":"a","text":{"format":"json"}})", "text.format"},
      {R"({"input":"a","max_output_tokens":0})", "max_output_tokens"},
      {R"({"input":"a","temperature":"hot"})", "temperature"},
      {R"({"input":"a","top_p":2})", "top_p"},
      {R"({"input":"a","top_logprobs":21})", "top_logprobs"},
      {R"({"input":"a","top_logprobs":"many"})", "top_logprobs"},
      {R"({"input":"a","stream":"yes"})", "stream"},
      {R"({"input":"a","store":7})", "store"},
      {R"({"input":"a","background":7})", "background"},
      {R"({"input":"a","background":true,"store":false})", "background"},
      {R"({"input":"a","metadata":[]})", "metadata"},
      {R"({"input":"a","include":"all"})", "include"},
      {R"({"input":"a","include":[7]})", "include"},
      {R"({"input":"a","conversation":"conv_1"})", "conversation"},
      {R"({"input":"a","user_id":"a b"})", "user_id"},
      {R"({"input":"a","model":7})", "model"},
  };
  for (const Case& c : cases) {
    const Reply reply = ask("/v1/responses", c.body);
    EXPECT_EQ(reply.status, 400) << c.body;
    EXPECT_EQ(error_field(reply, "param"), c.param) << c.body << "\n" << reply.raw;
  }
  EXPECT_EQ(ask("/v1/responses", "{\"input\":\"\xff\"}").status, 400);
  EXPECT_EQ(ask("/v1/responses", R"({"input":"a","model":"gpt-none"})").status, 404);
}

StoredResponse sized(size_t bytes) {
  return {.body = std::string(bytes, 'x'), .status = "completed"};
}

// Goal: the store is bounded in number, bytes and time, and keeps what was put last.
TEST(ResponseStore, Bounds) {
  ResponseStore store;
  for (size_t i = 0; i < limits::kStoredResponses + 3; ++i) {
    EXPECT_TRUE(store.put("o", std::to_string(i), sized(10), 0));
  }
  EXPECT_FALSE(store.find("o", "2", 0));
  EXPECT_TRUE(store.find("o", "3", 0));
  EXPECT_FALSE(store.find("p", "3", 0));
  const size_t quarter = limits::kStoredResponseBytes / 4;
  EXPECT_FALSE(store.put("o", "huge", sized(quarter), 0));
  for (const char* id : {"a", "b", "c", "d"}) {
    EXPECT_TRUE(store.put("o", id, sized(quarter - 1000), 1));
  }
  EXPECT_FALSE(store.find("o", "3", 1));
  EXPECT_TRUE(store.find("o", "a", limits::kStoredResponseMicros + 1));
  EXPECT_FALSE(store.find("o", "a", limits::kStoredResponseMicros + 2));
}

// Goal: an answer that was deleted while it was made does not come back.
TEST(ResponseStore, UpdateNeedsAnEntry) {
  ResponseStore store;
  store.update("o", "a", sized(1), 0);
  EXPECT_FALSE(store.find("o", "a", 0));
  bool ended = false;
  StoredResponse running = sized(1);
  running.cancel = [&] { ended = true; };
  EXPECT_TRUE(store.put("o", "a", running, 0));
  StoredResponse begun = sized(2);
  begun.status = "in_progress";
  store.update("o", "a", begun, 0);
  store.find("o", "a", 0)->cancel();
  EXPECT_TRUE(ended);
  store.update("o", "a", sized(3), 0);
  EXPECT_FALSE(static_cast<bool>(store.find("o", "a", 0)->cancel));
  EXPECT_TRUE(store.erase("o", "a"));
  EXPECT_FALSE(store.erase("o", "a"));
}

// Goal: sealed reasoning is read by us only, and garbage is nothing.
TEST(SealedReasoning, RoundTrip) {
  EXPECT_EQ(unseal_reasoning(seal_reasoning("想 a\n")), "想 a\n");
  EXPECT_EQ(unseal_reasoning("gAAAAABo"), "");
  EXPECT_EQ(unseal_reasoning("hadal1.!"), "");
  EXPECT_EQ(unseal_reasoning("hadal1./w=="), "");  // no UTF-8
}

}  // namespace
}  // namespace hadal
