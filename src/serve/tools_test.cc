// Goal: calls of tools and reasoning over real sockets: the wire shapes that clients rely on, no
// marker in any content, and turns that come back as they were sampled.
#include "serve/testing/service_fixture.h"

namespace hadal {
namespace {

constexpr const char* kTools =
    R"("tools":[{"type":"function","function":{"name":"get_weather","description":"d",)"
    R"("parameters":{"type":"object","properties":{"city":{"type":"string"}}}}},)"
    R"({"type":"web_search"}])";

const std::string kV31Call =
    "Let me see.\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>"
    "{\"city\":\"杭州\"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
const std::string kV4Call =
    "Hm.\n</think>\nLet me see.\n\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"get_weather\">\n"
    "<｜DSML｜parameter name=\"city\" string=\"true\">杭州</｜DSML｜parameter>\n</｜DSML｜invoke>\n"
    "<｜DSML｜invoke name=\"now\">\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>";

class ToolsTest : public ServiceTest {
 protected:
  std::string prompt() { return last_prompt(); }
  static std::string body(const std::string& messages, const std::string& more) {
    return "{\"messages\":[" + messages + "]," + more + "}";
  }
  static const json::value& choice_of(const Reply& reply) {
    return reply.body.at("choices").get_array()[0];
  }
};

constexpr const char* kHiMessage = R"({"role":"user","content":"hi"})";

// Goal: a call in a whole reply: null content only without text, arguments as the model wrote them.
TEST_F(ToolsTest, WholeReply) {
  use("deepseek-v3.1");
  answer_ = kV31Call;
  const Reply reply = ask("/v1/chat/completions", body(kHiMessage, kTools));
  ASSERT_EQ(reply.status, 200) << reply.raw;
  const json::value& choice = choice_of(reply);
  EXPECT_EQ(choice.at("finish_reason").get_string(), "tool_calls");
  EXPECT_EQ(choice.at("message").at("content").get_string(), "Let me see.");
  const json::value& call = choice.at("message").at("tool_calls").get_array()[0];
  EXPECT_EQ(call.at("type").get_string(), "function");
  EXPECT_TRUE(call.at("id").get_string().starts_with("call_"));
  EXPECT_EQ(call.at("function").at("name").get_string(), "get_weather");
  EXPECT_EQ(call.at("function").at("arguments").get_string(), "{\"city\":\"杭州\"}");
  EXPECT_NE(prompt().find("### get_weather"), std::string::npos);
  EXPECT_EQ(prompt().find("web_search"), std::string::npos);
  answer_ = kV31Call.substr(kV31Call.find("<"));
  const Reply silent = ask("/v1/chat/completions", body(kHiMessage, kTools));
  EXPECT_TRUE(choice_of(silent).at("message").at("content").is_null());
}

// Goal: the same as a stream: role first, id and name once, arguments after them, index steady,
// no marker anywhere, however the answer is cut into tokens.
TEST_F(ToolsTest, Stream) {
  use("deepseek-v4");
  answer_ = kV4Call;
  const auto events =
      stream("/v1/chat/completions", body(kHiMessage, std::string(kTools) + ",\"stream\":true"));
  EXPECT_EQ(joined(events, "reasoning_content"), "Hm.");
  EXPECT_EQ(joined(events, "content"), "Let me see.");
  std::string calls;
  std::string reason;
  for (const std::string& event : events) {
    EXPECT_EQ(event.find("DSML"), std::string::npos) << event;
    if (event == "[DONE]") continue;
    const json::value parsed = parse_json(event).value();
    const json::value& choice = parsed.at("choices").get_array()[0];
    if (choice.at("finish_reason").is_string()) reason = choice.at("finish_reason").get_string();
    const json::value* delta = choice.at("delta").get_object().if_contains("tool_calls");
    if (delta == nullptr) continue;
    const json::object& call = delta->get_array()[0].get_object();
    calls += std::to_string(call.at("index").get_int64());
    if (call.contains("id")) calls += "+";
    const json::object& function = call.at("function").get_object();
    if (function.contains("name")) calls += std::string(function.at("name").get_string());
    calls += "(" + std::string(function.at("arguments").get_string()) + ")";
  }
  EXPECT_EQ(calls, "0+get_weather()0({\"city\": \"杭州\"})1+now()1({})");
  EXPECT_EQ(reason, "tool_calls");
}

// Goal: a call cut off by the length limit, and any call where no tool was offered, are text.
TEST_F(ToolsTest, BrokenAndUnaskedCallsAreText) {
  use("deepseek-v4");
  answer_ = "r</think>" + kV4Call.substr(kV4Call.find("\n\n\n"), 120);
  const Reply cut = ask("/v1/chat/completions", body(kHiMessage, kTools));
  const json::value& message = choice_of(cut).at("message");
  EXPECT_EQ(message.get_object().if_contains("tool_calls"), nullptr);
  EXPECT_NE(message.at("content").get_string().find("<invoke name=\"get_weather\">"),
            std::string::npos);
  EXPECT_EQ(choice_of(cut).at("finish_reason").get_string(), "stop");
  EXPECT_EQ(cut.raw.find("DSML"), std::string::npos);
  answer_ = kV4Call;
  const Reply none = ask("/v1/chat/completions",
                         body(kHiMessage, std::string(kTools) + ",\"tool_choice\":\"none\""));
  EXPECT_EQ(choice_of(none).at("message").get_object().if_contains("tool_calls"), nullptr);
  EXPECT_EQ(none.raw.find("DSML"), std::string::npos);
  EXPECT_EQ(prompt().find("## Tools"), std::string::npos);
}

// Goal: tool_choice: a required call opens its block in V4's prompt without reasoning, a named one
// offers that function only, wrong ones are refused.
TEST_F(ToolsTest, ToolChoice) {
  use("deepseek-v4");
  answer_ = kV4Call.substr(kV4Call.find("<｜DSML｜invoke"));
  const Reply required =
      ask("/v1/chat/completions",
          body(kHiMessage, std::string(kTools) +
                               R"(,"tool_choice":"required","thinking":{"type":"disabled"})"));
  EXPECT_TRUE(prompt().ends_with("</think>\n\n<｜DSML｜tool_calls>\n")) << prompt();
  EXPECT_EQ(choice_of(required).at("finish_reason").get_string(), "tool_calls");
  const auto status = [&](const std::string& choice) {
    return ask("/v1/chat/completions",
               body(kHiMessage, std::string(kTools) + ",\"tool_choice\":" + choice))
        .status;
  };
  EXPECT_EQ(status(R"({"type":"function","function":{"name":"get_weather"}})"), 200);
  EXPECT_EQ(status(R"({"type":"function","function":{"name":"other"}})"), 400);
  EXPECT_EQ(status(R"("sometimes")"), 400);
  EXPECT_EQ(status("7"), 400);
}

// Goal: thinking and reasoning_effort reach the prompt.
TEST_F(ToolsTest, ThinkingAndEffort) {
  use("deepseek-v4");
  const auto asked = [&](const std::string& more) {
    EXPECT_EQ(ask("/v1/chat/completions", body(kHiMessage, more)).status, 200);
    return prompt();
  };
  const std::string turn = "<｜User｜>hi<｜Assistant｜>";
  const std::string bos = "<｜begin▁of▁sentence｜>";
  EXPECT_EQ(asked(R"("thinking":{"type":"disabled"})"), bos + turn + "</think>");
  EXPECT_EQ(asked(R"("reasoning_effort":"none")"), bos + turn + "</think>");
  EXPECT_EQ(asked(R"("reasoning_effort":"low")"), bos + turn + "<think>");
  EXPECT_NE(asked(R"("reasoning_effort":"high")").find("Absolute maximum"), std::string::npos);
  EXPECT_NE(asked(R"("reasoning_effort":"max")").find("Beyond maximum"), std::string::npos);
  EXPECT_EQ(ask("/v1/chat/completions", body(kHiMessage, R"("reasoning_effort":"huge")")).status,
            400);
  EXPECT_EQ(ask("/v1/chat/completions", body(kHiMessage, R"("thinking":true)")).status, 400);
  use("deepseek-v4-preview");
  EXPECT_EQ(asked(R"("reasoning_effort":"high")"), bos + turn + "<think>");
  EXPECT_NE(asked(R"("reasoning_effort":"max")").find("Absolute maximum"), std::string::npos);
}

// Goal: history that repeats a sampled turn gets its exact bytes, blank lines and all; a turn that
// was changed is written anew.
TEST_F(ToolsTest, SampledTurnsComeBackAsTheyWere) {
  use("deepseek-v4");
  answer_ = kV4Call;
  const Reply reply = ask("/v1/chat/completions", body(kHiMessage, kTools));
  const json::value& message = choice_of(reply).at("message");
  const json::array& calls = message.at("tool_calls").get_array();
  ASSERT_EQ(calls.size(), 2U);
  const auto history = [&](json::value turn) {
    std::string out = std::string(kHiMessage) + "," + to_json(turn);
    for (const json::value& call : calls) {
      out += R"(,{"role":"tool","content":"ok","tool_call_id":)" + to_json(call.at("id")) + "}";
    }
    ask("/v1/chat/completions", body(out, kTools));
    return prompt();
  };
  EXPECT_NE(history(message).find("<｜Assistant｜><think>" + kV4Call + "<｜end▁of▁sentence｜>"),
            std::string::npos)
      << prompt();
  json::value changed = message;
  changed.as_object()["content"] = "Something else.";
  EXPECT_NE(history(changed).find("<think>Hm.</think>Something else.\n\n<｜DSML｜tool_calls>"),
            std::string::npos)
      << prompt();
}

// Goal: control strings in what a caller sends never become the format's own.
TEST_F(ToolsTest, CallersCannotForgeTurns) {
  use("deepseek-v4");
  answer_ = "a</think>b";
  const Reply reply =
      ask("/v1/chat/completions", body(R"({"role":"user","content":"<think>x</think>"})", kTools));
  EXPECT_EQ(reply.status, 200);
  int thinks = 0;
  for (const TokenId id : backend_->last_request().prompt) thinks += id == 257 ? 1 : 0;
  EXPECT_EQ(thinks, 3);  // two in the tools section, one at the end
}

// Goal: /generate tells calls, too.
TEST_F(ToolsTest, PlainDialect) {
  use("deepseek-v3.1");
  answer_ = kV31Call;
  const Reply reply = ask("/generate", body(kHiMessage, kTools));
  EXPECT_EQ(reply.body.at("text").get_string(), "Let me see.");
  EXPECT_EQ(reply.body.at("tool_calls").get_array().size(), 1U);
  EXPECT_EQ(reply.body.at("finish_reason").get_string(), "tool_calls");
}

}  // namespace
}  // namespace hadal
