// Goal: Anthropic's Messages over real sockets: the events in their order, blocks for reasoning,
// text and calls, errors in the dialect's shape, counted tokens that are the prompt's.
#include "serve/dialects/anthropic.h"

#include "serve/testing/service_fixture.h"

namespace hadal {
namespace {

const std::string kV4Call =
    "Hm.\n</think>\nLet me see.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"get_weather\">\n"
    "<｜DSML｜parameter name=\"city\" string=\"true\">杭州</｜DSML｜parameter>\n</｜DSML｜invoke>\n"
    "<｜DSML｜invoke name=\"get_weather\">\n"
    "<｜DSML｜parameter name=\"city\" "
    "string=\"true\">Paris</｜DSML｜parameter>\n</｜DSML｜invoke>\n"
    "</｜DSML｜tool_calls>";
constexpr const char* kTools =
    R"("tools":[{"name":"get_weather","description":"d","input_schema":{"type":"object",)"
    R"("properties":{"city":{"type":"string"}}}},)"
    R"({"type":"web_search_20250305","name":"web_search"}])";

class AnthropicTest : public ServiceTest {
 protected:
  static std::string body(const std::string& more) {
    return R"({"max_tokens":2000,"messages":[{"role":"user","content":"hi"}])" +
           (more.empty() ? "" : "," + more) + "}";
  }
  static json::value parsed(const Event& event) {
    auto value = parse_json(event.data);
    EXPECT_TRUE(value.ok()) << event.data;
    if (!value.ok()) return nullptr;
    EXPECT_EQ(std::string_view(value.value().at("type").get_string()), event.name);
    return std::move(value).value();
  }
};

// Goal: a whole message.
TEST_F(AnthropicTest, Whole) {
  backend_->set_cached(12);
  const Reply reply = ask("/v1/messages", body(""));
  ASSERT_EQ(reply.status, 200) << reply.raw;
  EXPECT_EQ(reply.body.at("type").get_string(), "message");
  EXPECT_EQ(reply.body.at("role").get_string(), "assistant");
  EXPECT_EQ(reply.body.at("model").get_string(), "test-model");
  EXPECT_TRUE(reply.body.at("id").get_string().starts_with("msg_"));
  EXPECT_EQ(to_json(reply.body.at("content")),
            R"([{"type":"text","text":"Hello","citations":null}])");
  EXPECT_EQ(reply.body.at("stop_reason").get_string(), "end_turn");
  EXPECT_TRUE(reply.body.at("stop_sequence").is_null());
  const json::value& usage = reply.body.at("usage");
  EXPECT_EQ(usage.at("input_tokens").get_int64(), 7);  // 19, of which 12 were cached
  EXPECT_EQ(usage.at("cache_read_input_tokens").get_int64(), 12);
  EXPECT_EQ(usage.at("output_tokens").get_int64(), 6);
  EXPECT_NE(reply.raw.find("\r\nrequest-id: req_"), std::string::npos);
}

// Goal: why an answer ended.
TEST_F(AnthropicTest, StopReasons) {
  const auto reason = [&](const std::string& more) {
    const Reply reply = ask("/v1/messages", body(more));
    return to_json(reply.body.at("stop_reason")) + to_json(reply.body.at("stop_sequence"));
  };
  EXPECT_EQ(reason(R"("stop_sequences":["x","ll"])"), R"("stop_sequence""ll")");
  EXPECT_EQ(reason(R"("stop_sequences":["x"])"), R"("end_turn"null)");
  const Reply cut =
      ask("/v1/messages", R"({"max_tokens":2,"messages":[{"role":"user","content":"hi"}]})");
  EXPECT_EQ(cut.body.at("stop_reason").get_string(), "max_tokens");
}

// Goal: the stream's order, its indices, a signature that fits the reasoning, arguments as text.
TEST_F(AnthropicTest, Stream) {
  use("deepseek-v4");
  answer_ = kV4Call;
  backend_->set_cached(3);
  const auto events = named_stream("/v1/messages", body(std::string(kTools) + R"(,"stream":true)"));
  EXPECT_EQ(names_of(events),
            "message_start ping content_block_start content_block_delta content_block_stop "
            "content_block_start content_block_delta content_block_stop "
            "content_block_start content_block_delta content_block_stop "
            "content_block_start content_block_delta content_block_stop "
            "message_delta message_stop");
  std::string reasoning, text, signature;
  std::vector<std::string> inputs;
  int64_t open = -1;
  int64_t last = -1;
  for (const Event& event : events) {
    const json::value data = parsed(event);
    if (event.name == "content_block_start") {
      open = data.at("index").get_int64();
      EXPECT_EQ(open, ++last);
      const json::value& block = data.at("content_block");
      if (block.at("type").get_string() == "tool_use") {
        inputs.emplace_back();
        EXPECT_EQ(block.at("name").get_string(), "get_weather");
        EXPECT_EQ(to_json(block.at("input")), "{}");
      }
    } else if (event.name == "content_block_delta") {
      EXPECT_EQ(data.at("index").get_int64(), open);
      const json::object& delta = data.at("delta").get_object();
      const std::string_view type = delta.at("type").get_string();
      if (type == "thinking_delta") reasoning += delta.at("thinking").get_string();
      if (type == "text_delta") text += delta.at("text").get_string();
      if (type == "signature_delta") signature = delta.at("signature").get_string();
      if (type == "input_json_delta") inputs.back() += delta.at("partial_json").get_string();
    }
  }
  EXPECT_EQ(reasoning, "Hm.");
  EXPECT_EQ(text, "Let me see.");
  ThinkingSignature expected;
  expected.add("H");
  expected.add("m.");
  EXPECT_EQ(signature, expected.text());
  EXPECT_EQ(inputs, (std::vector<std::string>{R"({"city": "杭州"})", R"({"city": "Paris"})"}));
  const json::value start = parsed(events.front());
  EXPECT_EQ(start.at("message").at("usage").at("cache_read_input_tokens").get_int64(), 3);
  EXPECT_TRUE(start.at("message").at("content").get_array().empty());
  const json::value delta = parsed(events[events.size() - 2]);
  EXPECT_EQ(delta.at("delta").at("stop_reason").get_string(), "tool_use");
  EXPECT_GT(delta.at("usage").at("output_tokens").get_int64(), 100);
  EXPECT_GT(delta.at("usage").at("output_tokens_details").at("thinking_tokens").get_int64(), 2);
}

// Goal: at most one call when the client wants no parallel ones.
TEST_F(AnthropicTest, OneCall) {
  use("deepseek-v4");
  answer_ = kV4Call;
  const Reply reply =
      ask("/v1/messages", body(std::string(kTools) + R"(,"tool_choice":{"type":"auto",)"
                                                     R"("disable_parallel_tool_use":true})"));
  const json::array& content = reply.body.at("content").get_array();
  ASSERT_EQ(content.size(), 3u) << reply.raw;
  EXPECT_EQ(content[0].at("type").get_string(), "thinking");
  EXPECT_EQ(to_json(content[2].at("input")), R"({"city":"杭州"})");
  EXPECT_EQ(reply.body.at("stop_reason").get_string(), "tool_use");
}

// Goal: system texts, results of tools before the user's words, images refused; blocks of others
// and the attribution line left out.
TEST_F(AnthropicTest, Blocks) {
  const auto prompt = [&](const std::string& whole) {
    const Reply reply = ask("/v1/messages", whole);
    EXPECT_EQ(reply.status, 200) << reply.raw;
    return last_prompt();
  };
  EXPECT_EQ(prompt(R"({"max_tokens":5,"system":"S","messages":[{"role":"user","content":[)"
                   R"({"type":"text","text":"a","cache_control":{"type":"ephemeral"}},)"
                   R"({"type":"text","text":"b"}]}]})"),
            "[system]S[user]ab[assistant]");
  EXPECT_EQ(prompt(R"({"max_tokens":5,"system":[)"
                   R"({"type":"text","text":"x-anthropic-billing-header: cc_version=1;"},)"
                   R"({"type":"text","text":"T"}],"messages":[)"
                   R"({"role":"user","content":"q"},{"role":"assistant","content":[)"
                   R"({"type":"thinking","thinking":"hm","signature":"other"},)"
                   R"({"type":"redacted_thinking","data":"x"},)"
                   R"({"type":"server_tool_use","id":"s","name":"web_search","input":{}},)"
                   R"({"type":"text","text":"w"},)"
                   R"({"type":"tool_use","id":"t1","name":"f","input":{"x":1}}]},)"
                   R"({"role":"user","content":[{"type":"text","text":"now"},)"
                   R"({"type":"tool_result","tool_use_id":"t1","is_error":false,)"
                   R"("content":[{"type":"text","text":"r"}]}]},)"
                   R"({"role":"user","content":[{"type":"tool_result","tool_use_id":"t2"}]}]})"),
            "[system]T[user]q[assistant]w[tool]r[user]now[tool][assistant]");
  const Reply image =
      ask("/v1/messages", R"({"max_tokens":5,"messages":[{"role":"user","content":[)"
                          R"({"type":"image","source":{}}]}]})");
  EXPECT_EQ(image.status, 400);
  EXPECT_NE(error_field(image, "message").find("messages.0.content.0: blocks of type 'image'"),
            std::string::npos);
}

// Goal: a last message of the assistant is gone on with.
TEST_F(AnthropicTest, Prefill) {
  ask("/v1/messages", R"({"max_tokens":5,"messages":[{"role":"user","content":"q"},)"
                      R"({"role":"assistant","content":"It is "}]})");
  EXPECT_EQ(last_prompt(), "[user]q[assistant]It is");
}

// Goal: thinking and effort reach the prompt, and a user's prefixes are kept apart.
TEST_F(AnthropicTest, ThinkingEffortAndUser) {
  use("deepseek-v4");
  const auto ends = [&](const std::string& more) {
    EXPECT_EQ(ask("/v1/messages", body(more)).status, 200) << more;
    const std::string prompt = last_prompt();
    return prompt.ends_with("<think>");
  };
  EXPECT_TRUE(ends(R"("thinking":{"type":"enabled","budget_tokens":1024})"));
  EXPECT_TRUE(ends(R"("thinking":{"type":"adaptive"})"));
  EXPECT_FALSE(ends(R"("thinking":{"type":"disabled"})"));
  ends(R"("output_config":{"effort":"max"})");
  const std::string max = last_prompt();
  ends(R"("output_config":{"effort":"high"})");
  EXPECT_NE(max, last_prompt());
  EXPECT_EQ(backend_->last_request().tenant, "");
  ends(R"("metadata":{"user_id":"{\"session_id\":\"7\"}"})");
  EXPECT_EQ(backend_->last_request().tenant, "\n{\"session_id\":\"7\"}");
}

// Goal: the count is the prompt's length, with tools, and also beyond the context.
TEST_F(AnthropicTest, CountTokens) {
  use("deepseek-v4");
  const std::string asked = body(kTools);
  const Reply counted = ask("/v1/messages/count_tokens", asked);
  ask("/v1/messages", asked);
  EXPECT_EQ(counted.body.at("input_tokens").get_int64(),
            static_cast<int64_t>(backend_->last_request().prompt.size()));
  const Reply beyond =
      ask("/v1/messages/count_tokens",
          R"({"messages":[{"role":"user","content":")" + std::string(40'000, 'a') + R"("}]})");
  EXPECT_GT(beyond.body.at("input_tokens").get_int64(), 40'000);
}

// Goal: each mistake is a 400 in Anthropic's shape whose text names the field.
TEST_F(AnthropicTest, Mistakes) {
  struct Case {
    const char* body;
    const char* field;
  };
  constexpr const char* kUser = R"("max_tokens":5,"messages":[{"role":"user","content":"hi"}])";
  const Case cases[] = {
      {R"({"messages":[{"role":"user","content":"hi"}]})", "max_tokens"},
      {R"({"max_tokens":5})", "messages"},
      {R"({"max_tokens":5,"messages":{}})", "messages"},
      {R"({"max_tokens":5,"messages":[]})", "messages"},
      {R"({"max_tokens":5,"messages":[7]})", "messages.0"},
      {R"({"max_tokens":5,"messages":[{"content":"a"}]})", "messages.0.role"},
      {R"({"max_tokens":5,"messages":[{"role":"robot","content":"a"}]})", "messages.0.role"},
      {R"({"max_tokens":5,"messages":[{"role":"user"}]})", "messages.0.content"},
      {R"({"max_tokens":5,"messages":[{"role":"user","content":7}]})", "messages.0.content"},
      {R"({"max_tokens":5,"messages":[{"role":"user","content":[7]}]})", "messages.0.content.0"},
      {R"({"max_tokens":5,"messages":[{"role":"user","content":[{"type":"text"}]}]})",
       "messages.0.content.0.text"},
      {R"({"max_tokens":5,"messages":[{"role":"user","content":[{"type":"tool_result"}]}]})",
       "messages.0.content.0.tool_use_id"},
      {R"({"max_tokens":5,"messages":[{"role":"assistant","content":[{"type":"tool_use",)"
       R"("id":"a","name":"b","input":[]}]}]})",
       "messages.0.content.0.input"},
      {R"({"max_tokens":5,"messages":[{"role":"assistant","content":[{"type":"thinking"}]}]})",
       "messages.0.content.0.thinking"},
      {R"({"system":7,$})", "system"},
      {R"({"system":[{"type":"image"}],$})", "system.0"},
      {R"({"tools":{},$})", "tools"},
      {R"({"tools":[7],$})", "tools.0"},
      {R"({"tools":[{"input_schema":{}}],$})", "tools.0.name"},
      {R"({"tools":[{"name":"a","input_schema":7}],$})", "tools.0.input_schema"},
      {R"({"tool_choice":"auto",$})", "tool_choice"},
      {R"({"tool_choice":{"type":"maybe"},$})", "tool_choice"},
      {R"({"tool_choice":{"type":"tool","name":"nobody"},$})", "tool_choice"},
      {R"({"tool_choice":{"type":"auto","disable_parallel_tool_use":7},$})", "parallel"},
      {R"({"thinking":true,$})", "thinking"},
      {R"({"thinking":{"type":"often"},$})", "thinking"},
      {R"({"output_config":7,$})", "output_config"},
      {R"({"output_config":{"effort":"huge"},$})", "output_config.effort"},
      {R"({"output_config":{"format":{"type":"json_schema"}},$})", "output_config.format"},
      {R"({"output_format":{"type":"json_schema"},$})", "output_format"},
      {R"({"metadata":7,$})", "metadata"},
      {R"({"metadata":{"user_id":7},$})", "metadata.user_id"},
      {R"({"stop_sequences":"a",$})", "stop_sequences"},
      {R"({"stop_sequences":[7],$})", "stop_sequences"},
      {R"({"temperature":"hot",$})", "temperature"},
      {R"({"temperature":3,$})", "temperature"},
      {R"({"top_p":2,$})", "top_p"},
      {R"({"top_k":0.5,$})", "top_k"},
      {R"({"stream":"yes",$})", "stream"},
      {R"({"model":7,$})", "model"},
      {R"({"max_tokens":0,"messages":[{"role":"user","content":"hi"}]})", "max_tokens"},
      {"{", "JSON"},
      {"[]", "JSON"},
      {"{\"a\":\"\xff\"}", "JSON"},
  };
  for (const Case& c : cases) {
    std::string body = c.body;
    if (const size_t at = body.find('$'); at != std::string::npos) body.replace(at, 1, kUser);
    const Reply reply = ask("/v1/messages", body);
    EXPECT_EQ(reply.status, 400) << body;
    EXPECT_EQ(reply.body.at("type").get_string(), "error") << body;
    EXPECT_EQ(error_field(reply, "type"), "invalid_request_error") << body;
    EXPECT_NE(error_field(reply, "message").find(c.field), std::string::npos) << body << "\n"
                                                                              << reply.raw;
    EXPECT_TRUE(reply.body.at("request_id").get_string().starts_with("req_"));
  }
}

// Goal: errors that are no mistakes of the body: net's own, unknown models, full and vain queues,
// a failure in the middle of a stream.
TEST_F(AnthropicTest, OtherErrors) {
  const auto type = [](const Reply& reply) {
    return std::to_string(reply.status) + " " + error_field(reply, "type");
  };
  EXPECT_EQ(type(get("/v1/messages")), "405 invalid_request_error");
  EXPECT_EQ(type(get("/v1/messages/batches")), "404 not_found_error");
  EXPECT_EQ(type(get("/anthropic/v1/nothing")), "404 not_found_error");
  EXPECT_EQ(get("/v1/messagesx").body.get_object().contains("type"), false);
  EXPECT_EQ(type(ask("/v1/messages", std::string((1 << 20) + 1, ' '))), "413 request_too_large");
  EXPECT_EQ(type(ask("/v1/messages", body(R"("model":"claude-none")"))), "404 not_found_error");
  answer_ = "ab";
  backend_->set_failure("broken inside");
  const auto events = named_stream("/v1/messages", body(R"("stream":true)"));
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().name, "error");
  EXPECT_NE(events.back().data.find("\"api_error\""), std::string::npos);
  EXPECT_EQ(events.back().data.find("inside"), std::string::npos);
  EXPECT_EQ(type(ask("/v1/messages", body(""))), "500 api_error");
  backend_->set_full(true, 3'000'000);
  const Reply full = ask("/v1/messages", body(""));
  EXPECT_EQ(type(full), "429 rate_limit_error");
  EXPECT_NE(full.raw.find("Retry-After: 3\r\n"), std::string::npos);
  backend_->set_full(false);
  backend_->set_expires();
  EXPECT_EQ(type(ask("/v1/messages", body(""))), "529 overloaded_error");
}

/// A server that shows life at once.
class QuietTest : public ServiceTest {
 protected:
  void SetUp() override {
    keep_alive_micros_ = 40'000;
    ServiceTest::SetUp();
    backend_->hold(1);  // before the second token
  }
  std::string until(std::string_view path, std::string_view body, std::string_view mark) {
    TestClient client(server_->port());
    client.send(post_bytes(path, body));
    const std::string early = client.read_until(mark);
    EXPECT_TRUE(early.ends_with(mark)) << early;
    backend_->release();
    return early + client.read_to_end();
  }
};

// Goal: while nothing comes, Anthropic's streams get pings behind their message_start, others a
// comment, and whole replies blank lines that JSON readers skip.
TEST_F(QuietTest, PingsInAStream) {
  const std::string raw =
      until("/v1/messages",
            R"({"max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]})",
            "event: ping\ndata: {\"type\":\"ping\"}\n\n\r\n");
  const auto events = named_events_of(raw);
  EXPECT_TRUE(names_of(events).starts_with("message_start ping content_block_start")) << raw;
  EXPECT_EQ(events.back().name, "message_stop");
  EXPECT_EQ(raw.find(": keep-alive"), std::string::npos);
}

TEST_F(QuietTest, CommentsInOtherStreams) {
  const std::string raw = until("/v1/chat/completions",
                                R"({"stream":true,"messages":[{"role":"user","content":"hi"}]})",
                                ": keep-alive\n\n\r\n");
  EXPECT_EQ(joined(events_of(raw), "content"), "Hello");
}

TEST_F(QuietTest, BlankLinesBeforeAWholeReply) {
  const std::string raw =
      until("/v1/chat/completions", R"({"messages":[{"role":"user","content":"hi"}]})",
            "\r\n\r\n1\r\n\n\r\n");
  const auto reply = parse_json(body_of(raw));
  ASSERT_TRUE(reply.ok()) << raw;
  EXPECT_EQ(reply.value().at("object").get_string(), "chat.completion");
  EXPECT_TRUE(raw.ends_with("0\r\n\r\n"));
}

// Goal: a failure behind a sign of life is told and cut off, never a whole answer.
TEST_F(QuietTest, FailureBehindBlankLinesIsCutOff) {
  backend_->set_failure("broken");
  const std::string raw =
      until("/v1/chat/completions", R"({"messages":[{"role":"user","content":"hi"}]})",
            "\r\n\r\n1\r\n\n\r\n");
  EXPECT_NE(raw.find("generation_failed"), std::string::npos);
  EXPECT_FALSE(raw.ends_with("0\r\n\r\n"));
}

}  // namespace
}  // namespace hadal
