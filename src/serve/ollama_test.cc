// Goal: Ollama's dialect over real sockets: lines that its clients can read, whatever the model
// says, and the same prompts as through other dialects.
#include "serve/testing/service_fixture.h"

namespace hadal {
namespace {

constexpr const char* kTools =
    R"("tools":[{"type":"function","function":{"name":"get_weather","description":"d",)"
    R"("parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}])";
constexpr const char* kHi = R"("messages":[{"role":"user","content":"hi"}])";

const std::string kV4Call =
    "Hm.\n</think>\nLet me see.\n\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"get_weather\">\n"
    "<｜DSML｜parameter name=\"city\" string=\"true\">杭州</｜DSML｜parameter>\n</｜DSML｜invoke>\n"
    "<｜DSML｜invoke name=\"now\">\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>";

class OllamaTest : public ServiceTest {
 protected:
  void use_v4() {
    auto model = std::make_unique<ServedModel>();
    model->id = "test-model";
    model->tokenizer = tokenizer_.get();
    auto chosen = Codec::named("deepseek-v4", {.tokenizer = tokenizer_.get()});
    ASSERT_TRUE(chosen.ok());
    model->chosen_codec = std::move(chosen).value();
    model->n_ctx = 30'000;
    models_.set(std::move(model), *backend_);
  }

  std::string prompt() { return tokenizer_->decode(backend_->last_request().prompt, true); }

  static std::string body(const std::string& fields) {
    return "{\"model\":\"test-model\"," + fields + "}";
  }
};

TEST_F(OllamaTest, StreamOfReasoningTextAndCalls) {
  // Goal: each piece in its own field, calls whole with their arguments as objects, one end.
  use_v4();
  answer_ = kV4Call;
  const auto got = lines("/api/chat", body(std::string(kHi) + "," + kTools));
  std::string thinking;
  std::string content;
  json::array calls;
  for (const json::object& line : got) {
    EXPECT_EQ(line.at("model").get_string(), "test-model");
    const json::object& message = line.at("message").get_object();
    EXPECT_EQ(message.at("role").get_string(), "assistant");
    content += std::string(message.at("content").get_string());
    if (message.contains("thinking")) thinking += std::string(message.at("thinking").get_string());
    if (!message.contains("tool_calls")) continue;
    for (const json::value& call : message.at("tool_calls").get_array()) calls.push_back(call);
  }
  EXPECT_EQ(thinking, "Hm.");
  EXPECT_EQ(content, "Let me see.");
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[0].at("function").at("name").get_string(), "get_weather");
  EXPECT_EQ(calls[0].at("function").at("arguments").at("city").get_string(), "杭州");
  EXPECT_TRUE(calls[1].at("function").at("arguments").get_object().empty());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].at("done").get_bool(), i + 1 == got.size());
  }
  EXPECT_EQ(got.back().at("done_reason").get_string(), "stop");
  EXPECT_GT(got.back().at("eval_count").get_int64(), 0);
}

TEST_F(OllamaTest, WholeReplySaysTheSame) {
  // Goal: "stream": false gives one object with everything.
  use_v4();
  answer_ = kV4Call;
  const Reply reply = ask("/api/chat", body(std::string(kHi) + "," + kTools + ",\"stream\":false"));
  ASSERT_EQ(reply.status, 200) << reply.raw;
  const json::value& message = reply.body.at("message");
  EXPECT_EQ(message.at("thinking").get_string(), "Hm.");
  EXPECT_EQ(message.at("content").get_string(), "Let me see.");
  EXPECT_EQ(message.at("tool_calls").get_array().size(), 2u);
  EXPECT_TRUE(reply.body.at("done").get_bool());
}

TEST_F(OllamaTest, SamePromptAsOpenAi) {
  // Goal: one conversation gives the same bytes through both dialects.
  use_v4();
  const std::string call = R"({"id":"call_0","type":"function","function":{"name":"get_weather",)"
                           R"("arguments":"{\"city\": \"Paris\"}"}})";
  const std::string system = R"({"role":"system","content":"Be brief."},)";
  const std::string user = R"({"role":"user","content":"Weather?"},)";
  ask("/v1/chat/completions",
      "{\"messages\":[" + system + user +
          R"({"role":"assistant","content":"","reasoning_content":"Hm","tool_calls":[)" + call +
          R"(]},{"role":"tool","tool_call_id":"call_0","content":"Sunny"}],)" + kTools + "}");
  const std::string wanted = prompt();
  ask("/api/chat",
      body("\"stream\":false,\"messages\":[" + system + user +
           R"({"role":"assistant","content":"","thinking":"Hm","tool_calls":[{"function":{"name":)"
           R"("get_weather","arguments":{"city":"Paris"}}}]},)"
           R"({"role":"tool","tool_name":"get_weather","content":"Sunny"}],)" +
           kTools));
  EXPECT_EQ(prompt(), wanted);
  EXPECT_NE(wanted.find("Sunny"), std::string::npos);
}

TEST_F(OllamaTest, ThinkAndOptions) {
  // Goal: think and options reach the codec and the sampler.
  use_v4();
  ask("/api/chat", body(std::string(kHi) +
                        R"(,"stream":false,"think":false,"options":{"temperature":0.5,"top_k":7,)"
                        R"("seed":3,"num_predict":9,"num_ctx":4,"mirostat":2,"unknown":[]})"));
  EXPECT_NE(prompt().find("</think>"), std::string::npos);  // closed at once: no reasoning
  const GenerateRequest request = backend_->last_request();
  EXPECT_EQ(request.sampling.temperature, 0.5f);
  EXPECT_EQ(request.sampling.top_k, 7);
  EXPECT_EQ(request.sampling.seed, 3u);
  EXPECT_EQ(request.sampling.mirostat, 2);
  EXPECT_EQ(request.max_tokens, 9);
}

TEST_F(OllamaTest, GenerateRawAndWithSystem) {
  // Goal: raw text goes in as it is, other text as a user's message behind the system's.
  answer_ = "Hello";
  ask("/api/generate", body(R"("prompt":"say","raw":true,"stream":false)"));
  EXPECT_EQ(prompt(), "say");
  const Reply reply =
      ask("/api/generate", body(R"("prompt":"say","system":"be","context":[1],"stream":false)"));
  EXPECT_EQ(prompt(), "[system]be[user]say[assistant]");
  EXPECT_EQ(reply.body.at("response").get_string(), "Hello");
}

TEST_F(OllamaTest, NothingToSayLoads) {
  // Goal: a request without a prompt generates nothing.
  const Reply loaded = ask("/api/generate", body(R"("keep_alive":"5m")"));
  EXPECT_EQ(loaded.body.at("done_reason").get_string(), "load");
  EXPECT_EQ(loaded.body.at("response").get_string(), "");
  const Reply chat = ask("/api/chat", body(R"("messages":[])"));
  EXPECT_EQ(chat.body.at("message").at("content").get_string(), "");
  EXPECT_TRUE(backend_->last_request().prompt.empty());
}

TEST_F(OllamaTest, ErrorsHaveItsShape) {
  // Goal: every no is {"error": text} with the right status, also in mid-stream.
  const std::pair<const char*, int> kCases[] = {
      {R"({"model":"nobody","messages":[{"role":"user","content":"a"}]})", 404},
      {R"({"messages":[{"role":"user","content":"a"}]})", 400},
      {R"({"model":7,"messages":[]})", 400},
      {R"({"model":"test-model","messages":{}})", 400},
      {R"({"model":"test-model","messages":[7]})", 400},
      {R"({"model":"test-model","messages":[{"role":"user","content":"a","images":["x"]}]})", 400},
      {R"({"model":"test-model","messages":[{"role":"user","content":"a"}],"think":"x"})", 400},
      {R"({"model":"test-model","messages":[{"role":"user","content":"a"}],"format":"xml"})", 400},
      {R"({"model":"test-model","messages":[{"role":"user","content":"a"}],"options":[]})", 400},
      {R"({"model":"test-model","messages":[{"role":"user","content":"a"}],"stream":1})", 400},
      {R"({"model":"test-model","messages":[],"keep_alive":"soon"})", 400},
      {R"({"model":"test-model","messages":[{"role":"assistant","tool_calls":[7]}]})", 400},
      {"[]", 400},
  };
  for (const auto& [sent, status] : kCases) {
    const Reply reply = ask("/api/chat", sent);
    EXPECT_EQ(reply.status, status) << sent << reply.raw;
    EXPECT_TRUE(reply.body.at("error").is_string()) << reply.raw;
  }
  backend_->set_failure("boom");
  const auto got = lines("/api/chat", body(kHi));
  EXPECT_TRUE(got.back().contains("error"));
}

/// All tokens of an answer's log-probabilities, in their order.
std::string logged(const json::value& entries) {
  std::string out;
  for (const json::value& entry : entries.get_array()) {
    out += std::string(entry.at("token").get_string());
  }
  return out;
}

TEST_F(OllamaTest, LogprobsOfEveryToken) {
  // Goal: each token's log-probability once, whole and streamed, in chat, with a template and raw.
  const std::string wanted = R"(,"logprobs":true,"top_logprobs":2)";
  const std::pair<const char*, std::string> kAsked[] = {
      {"/api/chat", body(kHi + wanted)},
      {"/api/generate", body(R"("prompt":"a")" + wanted)},
      {"/api/generate", body(R"("prompt":"a","raw":true)" + wanted)}};
  for (const auto& [path, sent] : kAsked) {
    const std::string whole = sent.substr(0, sent.size() - 1) + ",\"stream\":false}";
    const Reply reply = ask(path, whole);
    ASSERT_EQ(reply.status, 200) << reply.raw;
    const json::value& entries = reply.body.at("logprobs");
    EXPECT_EQ(logged(entries), "Hello") << sent;
    EXPECT_EQ(entries.at(0).at("logprob").get_double(), -0.5);
    EXPECT_EQ(entries.at(0).at("bytes").at(0).get_int64(), 'H');
    EXPECT_EQ(entries.at(0).at("top_logprobs").get_array().size(), 2u);
    std::string streamed;
    for (const json::object& line : lines(path, sent)) {
      if (line.contains("logprobs")) streamed += logged(line.at("logprobs"));
    }
    EXPECT_EQ(streamed, "Hello") << sent;
  }
  EXPECT_FALSE(ask("/api/chat", body(std::string(kHi) + R"(,"top_logprobs":2,"stream":false)"))
                   .body.get_object()
                   .contains("logprobs"));
  for (const char* bad : {R"(,"logprobs":1)", R"(,"top_logprobs":21)", R"(,"top_logprobs":-1)",
                          R"(,"top_logprobs":"2")"}) {
    EXPECT_EQ(ask("/api/chat", body(kHi + std::string(bad))).status, 400) << bad;
  }
}

TEST_F(OllamaTest, Show) {
  // Goal: a model is described under each of its names, an unknown one is 404.
  const Reply reply = ask("/api/show", R"({"name":"other-name"})");
  ASSERT_EQ(reply.status, 200) << reply.raw;
  EXPECT_EQ(reply.body.at("template").get_string(), kTemplate);
  EXPECT_EQ(ask("/api/show", R"({"model":"nobody"})").status, 404);
  EXPECT_EQ(ask("/api/show", "{}").status, 400);
}

}  // namespace
}  // namespace hadal
