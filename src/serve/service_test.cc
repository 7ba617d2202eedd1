// Goal: requests over real sockets become the wire shapes that clients rely on, with a scripted
// model: characters and stop strings never split, reasoning apart, errors named, slots freed.
#include "serve/service.h"

#include <atomic>

#include <gtest/gtest.h>

#include "serve/testing/service_fixture.h"

namespace hadal {
namespace {

constexpr const char* kHi = R"({"messages":[{"role":"user","content":"hi"}]})";
constexpr const char* kHiStream = R"({"messages":[{"role":"user","content":"hi"}],"stream":true})";

TEST_F(ServiceTest, ChatAnswers) {
  const Reply reply = ask("/v1/chat/completions", kHi);
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body.at("object").get_string(), "chat.completion");
  const json::value& choice = reply.body.at("choices").get_array()[0];
  EXPECT_EQ(choice.at("message").at("role").get_string(), "assistant");
  EXPECT_EQ(choice.at("message").at("content").get_string(), "Hello");
  EXPECT_EQ(choice.at("finish_reason").get_string(), "stop");
  EXPECT_TRUE(choice.at("logprobs").is_null());
  EXPECT_EQ(tokenizer_->decode(backend_->last_request().prompt, true), "[user]hi[assistant]");
  const json::value& usage = reply.body.at("usage");
  EXPECT_EQ(usage.at("prompt_tokens").get_int64(), 19);
  EXPECT_EQ(usage.at("completion_tokens").get_int64(), 6);  // the end token counts
  EXPECT_EQ(usage.at("total_tokens").get_int64(), 25);
  EXPECT_EQ(usage.at("prompt_tokens_details").at("cached_tokens").get_int64(), 0);
}

// Goal: what the prefix cache held is in the usage, also where a stop string ends the answer before
// the engine does, and each prompt of a request counts once.
TEST_F(ServiceTest, CachedTokensAreReportedAndTheSaltReachesTheEngine) {
  backend_->set_cached(12);
  const auto cached = [](const Reply& reply) {
    const json::value& usage = reply.body.at("usage");
    EXPECT_EQ(usage.at("prompt_cache_hit_tokens").get_int64() +
                  usage.at("prompt_cache_miss_tokens").get_int64(),
              usage.at("prompt_tokens").get_int64());
    EXPECT_EQ(usage.at("prompt_cache_hit_tokens").get_int64(),
              usage.at("prompt_tokens_details").at("cached_tokens").get_int64());
    return usage.at("prompt_cache_hit_tokens").get_int64();
  };
  EXPECT_EQ(cached(ask("/v1/chat/completions", kHi)), 12);
  EXPECT_EQ(backend_->last_request().tenant, "");
  EXPECT_EQ(cached(ask("/v1/chat/completions",
                       R"({"messages":[{"role":"user","content":"hi"}],"n":3,"stop":"ll",)"
                       R"("cache_salt":"team 7"})")),
            12);
  EXPECT_EQ(backend_->last_request().tenant, "team 7");
  EXPECT_EQ(cached(ask("/v1/completions", R"({"prompt":["abcdefghijklmno","bcdefghijklmnop"]})")),
            24);
  EXPECT_EQ(cached(ask("/generate", R"({"prompt":"abcdefghijklmno"})")), 12);
  EXPECT_EQ(ask("/generate", R"({"prompt":"a","cache_salt":7})").status, 400);
}

TEST_F(ServiceTest, StreamHasTheGoldenShape) {
  answer_ = "Hi";
  std::vector<std::string> events =
      stream("/v1/chat/completions", R"({"messages":[{"role":"user","content":"x"}],"stream":true,)"
                                     R"("stream_options":{"include_usage":true}})");
  ASSERT_EQ(events.size(), 6u);
  auto first = parse_json(events[0]);
  ASSERT_TRUE(first.ok());
  const std::string head =
      "{\"id\":" + to_json(first.value().at("id")) +
      ",\"object\":\"chat.completion.chunk\",\"created\":" + to_json(first.value().at("created")) +
      ",\"model\":\"test-model\",\"system_fingerprint\":\"hadal-" HADAL_VERSION "\"";
  const auto chunk = [&](const std::string& delta, const std::string& reason) {
    return head + ",\"choices\":[{\"index\":0,\"delta\":{" + delta +
           "},\"logprobs\":null,\"finish_reason\":" + reason + "}],\"usage\":null}";
  };
  EXPECT_EQ(events[0], chunk(R"("role":"assistant","content":"")", "null"));
  EXPECT_EQ(events[1], chunk(R"("content":"H")", "null"));
  EXPECT_EQ(events[2], chunk(R"("content":"i")", "null"));
  EXPECT_EQ(events[3], chunk("", "\"stop\""));
  EXPECT_EQ(
      events[4],
      head + R"(,"choices":[],"usage":{"prompt_tokens":18,"completion_tokens":3,"total_tokens":21,)"
             R"("prompt_tokens_details":{"cached_tokens":0},)"
             R"("prompt_cache_hit_tokens":0,"prompt_cache_miss_tokens":18,)"
             R"("completion_tokens_details":{"reasoning_tokens":0}}})");
  EXPECT_EQ(events[5], "[DONE]");
}

TEST_F(ServiceTest, UsageOnlyWhenAsked) {
  for (const std::string& event : stream("/v1/chat/completions", kHiStream)) {
    EXPECT_EQ(event.find("usage"), std::string::npos) << event;
  }
}

TEST_F(ServiceTest, CharactersAreNeverSplit) {
  answer_ = "深海里的鲸鱼 🐋 ﷽ e\xcc\x81!";
  const auto events = stream("/v1/chat/completions", kHiStream);
  EXPECT_EQ(joined(events, "content"), answer_);
  EXPECT_EQ(events.back(), "[DONE]");
}

TEST_F(ServiceTest, CutOffCharacterBecomesReplacement) {
  answer_ = "深";
  const Reply reply = ask("/v1/chat/completions",
                          R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":2})");
  EXPECT_EQ(reply.body.at("choices").get_array()[0].at("finish_reason").get_string(), "length");
  EXPECT_EQ(reply.body.at("choices").get_array()[0].at("message").at("content").get_string(),
            "\xef\xbf\xbd");
}

TEST_F(ServiceTest, ReasoningComesApart) {
  answer_ = "<think>\nHm, 想一想.\n</think>\n\nYes";
  const auto events = stream("/v1/chat/completions", kHiStream);
  const std::string reasoning = joined(events, "reasoning_content");
  EXPECT_NE(reasoning.find("Hm, 想一想."), std::string::npos);
  EXPECT_EQ(reasoning.find("think>"), std::string::npos);
  EXPECT_EQ(joined(events, "content"), "Yes");
  const Reply whole = ask("/v1/chat/completions", kHi);
  const json::value& message = whole.body.at("choices").get_array()[0].at("message");
  EXPECT_EQ(message.at("content").get_string(), "Yes");
  EXPECT_EQ(std::string(message.at("reasoning_content").get_string()), reasoning);
  EXPECT_GT(
      whole.body.at("usage").at("completion_tokens_details").at("reasoning_tokens").get_int64(), 5);
}

TEST_F(ServiceTest, TemplateMayOpenTheReasoning) {
  answer_ = "hm</think>ok";
  const Reply reply =
      ask("/v1/chat/completions", R"({"messages":[{"role":"user","content":"hi"}],)"
                                  R"("chat_template_kwargs":{"opening":"<think>\n"}})");
  const json::value& message = reply.body.at("choices").get_array()[0].at("message");
  EXPECT_EQ(message.at("reasoning_content").get_string(), "hm");
  EXPECT_EQ(message.at("content").get_string(), "ok");
}

TEST_F(ServiceTest, StopStringEndsAndNeverShows) {
  answer_ = "one STOP two";
  const auto events =
      stream("/v1/chat/completions",
             R"({"messages":[{"role":"user","content":"hi"}],"stream":true,"stop":"STOP"})");
  EXPECT_EQ(joined(events, "content"), "one ");
  EXPECT_EQ(events.back(), "[DONE]");
  EXPECT_EQ(backend_->cancelled(), 1u);
}

TEST_F(ServiceTest, BeginningOfAStopStringIsGivenBackWhenItIsNone) {
  answer_ = "a STO b";
  const auto events =
      stream("/v1/chat/completions",
             R"({"messages":[{"role":"user","content":"hi"}],"stream":true,"stop":["STOP"]})");
  EXPECT_EQ(joined(events, "content"), "a STO b");
}

TEST_F(ServiceTest, StopStringInsideReasoningDoesNotEnd) {
  answer_ = "<think>STOP</think>go";
  const Reply reply =
      ask("/v1/chat/completions", R"({"messages":[{"role":"user","content":"hi"}],"stop":"STOP"})");
  EXPECT_EQ(reply.body.at("choices").get_array()[0].at("message").at("content").get_string(), "go");
}

TEST_F(ServiceTest, SeveralChoicesKeepTheirIndex) {
  const Reply reply = ask("/v1/chat/completions",
                          R"({"messages":[{"role":"user","content":"hi"}],"n":3,"seed":5})");
  const json::array& choices = reply.body.at("choices").get_array();
  ASSERT_EQ(choices.size(), 3u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(choices[size_t(i)].at("index").get_int64(), i);
  EXPECT_EQ(reply.body.at("usage").at("prompt_tokens").get_int64(), 19);
  EXPECT_EQ(reply.body.at("usage").at("completion_tokens").get_int64(), 18);
}

TEST_F(ServiceTest, LogprobsHaveTheirShape) {
  const Reply reply =
      ask("/v1/chat/completions",
          R"({"messages":[{"role":"user","content":"hi"}],"logprobs":true,"top_logprobs":2})");
  const json::array& content =
      reply.body.at("choices").get_array()[0].at("logprobs").at("content").get_array();
  ASSERT_EQ(content.size(), 5u);
  EXPECT_EQ(content[0].at("token").get_string(), "H");
  EXPECT_EQ(content[0].at("bytes").get_array()[0].get_int64(), 'H');
  EXPECT_EQ(content[0].at("top_logprobs").get_array().size(), 2u);
}

TEST_F(ServiceTest, PartsAndDeveloperRole) {
  ask("/v1/chat/completions",
      R"({"messages":[{"role":"developer","content":"d"},{"role":"user","content":[)"
      R"({"type":"text","text":"a"},{"type":"text","text":"b"}]}]})");
  EXPECT_EQ(tokenizer_->decode(backend_->last_request().prompt, true),
            "[system]d[user]ab[assistant]");
}

TEST_F(ServiceTest, ContinuesTheFinalMessage) {
  ask("/v1/chat/completions",
      R"({"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"It is "}],)"
      R"("continue_final_message":true})");
  EXPECT_EQ(tokenizer_->decode(backend_->last_request().prompt, true), "[user]q[assistant]It is");
}

TEST_F(ServiceTest, SpecialTokensInUserTextStayText) {
  ask("/v1/chat/completions", R"({"messages":[{"role":"user","content":"<|end|>"}]})");
  for (const TokenId id : backend_->last_request().prompt) EXPECT_LT(id, 256);
}

struct BadRequest {
  const char* path;
  const char* body;
  int status;
  const char* param;
};

TEST_F(ServiceTest, MistakesAreNamed) {
  const BadRequest cases[] = {
      {"/v1/chat/completions", "", 400, "null"},
      {"/v1/chat/completions", "{", 400, "null"},
      {"/v1/chat/completions", "[]", 400, "null"},
      {"/v1/chat/completions", "{}", 400, "messages"},
      {"/v1/chat/completions", R"({"messages":[]})", 400, "messages"},
      {"/v1/chat/completions", R"({"messages":"hi"})", 400, "messages"},
      {"/v1/chat/completions", R"({"messages":[1]})", 400, "messages[0]"},
      {"/v1/chat/completions", R"({"messages":[{"role":"x","content":""}]})", 400,
       "messages[0].role"},
      {"/v1/chat/completions", R"({"messages":[{"role":"user"}]})", 400, "messages[0].content"},
      {"/v1/chat/completions", R"({"messages":[{"role":"user","content":5}]})", 400,
       "messages[0].content"},
      {"/v1/chat/completions",
       R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]})",
       400, "messages[0].content"},
      {"/v1/chat/completions", R"({"model":"gpt-9","messages":[{"role":"user","content":"a"}]})",
       404, "model"},
      {"/v1/chat/completions", R"({"messages":[{"role":"user","content":"a"}],"temperature":-1})",
       400, "temperature"},
      {"/v1/chat/completions",
       R"({"messages":[{"role":"user","content":"a"}],"response_format":{"type":"yaml"}})", 400,
       "response_format.type"},
      {"/v1/chat/completions", R"({"messages":[{"role":"user","content":"a"}],"top_logprobs":1})",
       400, "top_logprobs"},
      {"/v1/completions", "{}", 400, "prompt"},
      {"/v1/completions", R"({"prompt":""})", 400, "prompt"},
      {"/v1/completions", R"({"prompt":[]})", 400, "prompt"},
      {"/v1/completions", R"({"prompt":[1,"a"]})", 400, "prompt"},
      {"/v1/completions", R"({"prompt":[999999]})", 400, "prompt"},
      {"/v1/completions", R"({"prompt":"a","n":1000000000})", 400, "n"},
      {"/v1/completions", R"({"prompt":"a","n":2,"best_of":1})", 400, "best_of"},
      {"/v1/completions", R"({"prompt":"a","best_of":2,"stream":true})", 400, "best_of"},
      {"/v1/completions", R"({"prompt":"a","best_of":17})", 400, "best_of"},
      {"/v1/completions", R"({"prompt":"a","max_tokens":1000000000000})", 400, "max_tokens"},
      {"/v1/completions", R"({"prompt":"a","typical_p":1.5})", 400, "typical_p"},
      {"/generate", R"({"prompt":"a","mirostat":3})", 400, "mirostat"},
      {"/generate", R"({"prompt":"a","mirostat":1})", 400, "mirostat"},
      {"/v1/completions", R"({"prompt":"a","suffix":"b"})", 400, "suffix"},
      {"/generate", R"({"prompt":5})", 400, "prompt"},
      {"/tokenize", "{}", 400, "prompt"},
      {"/detokenize", "{}", 400, "tokens"},
      {"/detokenize", R"({"tokens":[-1]})", 400, "tokens"},
  };
  for (const BadRequest& bad : cases) {
    const Reply reply = ask(bad.path, bad.body);
    EXPECT_EQ(reply.status, bad.status) << bad.body;
    EXPECT_EQ(error_field(reply, "param"), bad.param) << bad.body;
    EXPECT_EQ(reply.raw.find("/work"), std::string::npos);
    EXPECT_EQ(reply.raw.find("0x"), std::string::npos);
  }
  EXPECT_EQ(error_field(ask("/v1/chat/completions", R"({"model":"gpt-9","messages":[]})"), "code"),
            "model_not_found");
}

TEST_F(ServiceTest, ContextOverflowIsNamed) {
  const Reply reply = ask("/v1/completions", "{\"prompt\":\"" + std::string(200, 'a') + "\"}");
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(error_field(reply, "code"), "context_length_exceeded");
  // Too many tokens asked for: as many as fit.
  EXPECT_EQ(
      ask("/v1/completions", "{\"prompt\":\"" + std::string(190, 'a') + "\",\"max_tokens\":1000}")
          .status,
      200);
  EXPECT_EQ(backend_->last_request().max_tokens, 10);
}

TEST_F(ServiceTest, FullQueueSaysWhenToComeBack) {
  backend_->set_full(true);
  for (const char* body : {kHi, kHiStream}) {
    const Reply reply = ask("/v1/chat/completions", body);
    EXPECT_EQ(reply.status, 429);
    EXPECT_EQ(error_field(reply, "code"), "overloaded");
    EXPECT_EQ(error_field(reply, "type"), "rate_limit_error");
    EXPECT_NE(reply.raw.find("Retry-After: 1\r\n"), std::string::npos);
  }
  backend_->set_full(true, 12'300'000);
  const Reply later = ask("/v1/chat/completions", kHi);
  EXPECT_NE(later.raw.find("Retry-After: 13\r\n"), std::string::npos) << later.raw;
  EXPECT_NE(later.raw.find("retry-after-ms: 12300\r\n"), std::string::npos);
  backend_->set_full(true, 9'000'000'000'000);
  EXPECT_NE(ask("/generate", R"({"prompt":"a"})").raw.find("Retry-After: 600\r\n"),
            std::string::npos);
}

// Goal: a wait in vain is a status, not a broken stream.
TEST_F(ServiceTest, AWaitInVainSaysWhenToComeBack) {
  backend_->set_expires();
  for (const char* body : {kHi, kHiStream}) {
    const Reply reply = ask("/v1/chat/completions", body);
    EXPECT_EQ(reply.status, 503);
    EXPECT_EQ(error_field(reply, "code"), "queue_timeout");
    EXPECT_NE(error_field(reply, "message").find("waited 5.0 s"), std::string::npos);
    EXPECT_NE(reply.raw.find("Retry-After: 8\r\n"), std::string::npos);
  }
}

TEST_F(ServiceTest, UrgencyReachesTheEngine) {
  const auto priority = [&](const std::string& field) {
    const Reply reply = ask("/generate", R"({"prompt":"a")" + field + "}");
    EXPECT_EQ(reply.status, 200) << reply.raw;
    return backend_->last_request().priority;
  };
  EXPECT_EQ(priority(""), Priority::kNormal);
  EXPECT_EQ(priority(R"(,"priority":0)"), Priority::kNormal);
  EXPECT_EQ(priority(R"(,"priority":-3)"), Priority::kInteractive);
  EXPECT_EQ(priority(R"(,"priority":100)"), Priority::kBatch);
  EXPECT_EQ(priority(R"(,"service_tier":"flex")"), Priority::kBatch);
  EXPECT_EQ(priority(R"(,"service_tier":"priority")"), Priority::kInteractive);
  EXPECT_EQ(priority(R"(,"service_tier":"auto")"), Priority::kNormal);
  EXPECT_EQ(priority(R"(,"service_tier":"default")"), Priority::kNormal);
  EXPECT_EQ(priority(R"(,"service_tier":"flex","priority":-1)"), Priority::kInteractive);
  priority(R"(,"queue_timeout_ms":1500)");
  EXPECT_EQ(backend_->last_request().max_queue_micros, 1'500'000);
  for (const char* bad : {R"("service_tier":"fast")", R"("service_tier":3)", R"("priority":1e10)",
                          R"("priority":"high")", R"("queue_timeout_ms":0)"}) {
    EXPECT_EQ(ask("/generate", R"({"prompt":"a",)" + std::string(bad) + "}").status, 400) << bad;
  }
}

TEST_F(ServiceTest, FailureInMidStreamHasNoDone) {
  backend_->set_failure("NaN in row 3 at 0x7fffdeadbeef of /secret/path");
  TestClient client(server_->port());
  client.send(post_bytes("/v1/chat/completions", kHiStream));
  const std::string raw = client.read_to_end();
  EXPECT_NE(raw.find("data: {\"error\":{"), std::string::npos) << raw;
  EXPECT_EQ(raw.find("[DONE]"), std::string::npos);
  EXPECT_FALSE(raw.ends_with("0\r\n\r\n"));
  EXPECT_EQ(raw.find("0x7f"), std::string::npos);
  EXPECT_EQ(raw.find("secret"), std::string::npos);
  EXPECT_EQ(ask("/v1/chat/completions", kHi).status, 500);
}

TEST_F(ServiceTest, HangUpCancelsTheRow) {
  backend_->hold(2);
  TestClient client(server_->port());
  client.send(post_bytes("/v1/chat/completions", kHiStream));
  client.read_until("\"content\":\"e\"");
  EXPECT_EQ(backend_->cancelled(), 0u);
  client.hang_up();
  for (int i = 0; i < 2000 && backend_->cancelled() == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(backend_->cancelled(), 1u);
  backend_->release();
  EXPECT_EQ(ask("/v1/chat/completions", kHi).status, 200);
}

TEST_F(ServiceTest, HangUpCancelsBufferedRequestsToo) {
  backend_->hold(0);
  TestClient client(server_->port());
  client.send(
      post_bytes("/v1/chat/completions", R"({"messages":[{"role":"user","content":"hi"}],"n":2})"));
  for (int i = 0; i < 2000 && backend_->last_request().prompt.empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  client.hang_up();
  for (int i = 0; i < 2000 && backend_->cancelled() < 2; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(backend_->cancelled(), 2u);
}

TEST_F(ServiceTest, SlowReaderIsCancelled) {
  // 20,000 events of about 230 bytes are more than the cap of unsent bytes.
  answer_ = std::string(20'000, 'x');
  auto model = std::make_unique<ServedModel>();
  model->id = "long";
  model->tokenizer = tokenizer_.get();
  model->chat_template = template_.get();
  model->n_ctx = 30'000;
  models_.set(std::move(model), *backend_);
  TestClient client(server_->port(), 4096);
  client.send(post_bytes("/v1/chat/completions", kHiStream));
  for (int i = 0; i < 2000 && backend_->cancelled() == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(backend_->cancelled(), 1u);
  EXPECT_EQ(client.read_to_end().find("[DONE]"), std::string::npos);
}

TEST_F(ServiceTest, CompletionsTakeTextsAndIds) {
  const Reply one = ask("/v1/completions", R"({"prompt":"ab","echo":true})");
  EXPECT_EQ(one.body.at("object").get_string(), "text_completion");
  EXPECT_EQ(one.body.at("choices").get_array()[0].at("text").get_string(), "abHello");
  const Reply many = ask("/v1/completions", R"({"prompt":["a","echo b"]})");
  const json::array& choices = many.body.at("choices").get_array();
  ASSERT_EQ(choices.size(), 2u);
  EXPECT_EQ(choices[0].at("text").get_string(), "Hello");
  EXPECT_EQ(choices[1].at("text").get_string(), "echo b");
  EXPECT_EQ(ask("/v1/completions", R"({"prompt":[104,105]})").status, 200);
  EXPECT_EQ(backend_->last_request().prompt, (std::vector<TokenId>{104, 105}));
  const Reply scored = ask("/v1/completions", R"({"prompt":"a","logprobs":2})");
  const json::value& logprobs = scored.body.at("choices").get_array()[0].at("logprobs");
  EXPECT_EQ(logprobs.at("tokens").get_array().size(), 5u);
  EXPECT_EQ(logprobs.at("top_logprobs").get_array()[0].get_object().size(), 2u);
}

// Goal: best_of makes more answers than it gives: those whose tokens were the likeliest on average,
// whatever their length; all are counted.
TEST_F(ServiceTest, BestOfGivesTheLikeliest) {
  constexpr float kLogprobs[] = {-0.4f, -0.9f, -0.1f, -0.5f};
  backend_->set_logprob([&](const GenerateRequest& request) {
    EXPECT_GE(request.sampling.top_logprobs, 0);  // or the engine computes none
    return kLogprobs[*request.sampling.seed - 100];
  });
  const Reply reply =
      ask("/v1/completions", R"({"prompt":"which seed","n":2,"best_of":4,"seed":100})");
  ASSERT_EQ(reply.status, 200) << reply.raw;
  const json::array& choices = reply.body.at("choices").get_array();
  ASSERT_EQ(choices.size(), 2u);
  EXPECT_EQ(choices[0].at("text").get_string(), "seed 102");
  EXPECT_EQ(choices[0].at("index").get_int64(), 0);
  EXPECT_EQ(choices[1].at("text").get_string(), "seed 100");
  EXPECT_EQ(choices[1].at("index").get_int64(), 1);
  EXPECT_EQ(reply.body.at("usage").at("completion_tokens").get_int64(), 4 * 9);
}

// Goal: what scoring tools send - the prompt back, each token with its log-probability.
TEST_F(ServiceTest, EchoWithLogprobsScoresThePrompt) {
  const Reply reply =
      ask("/v1/completions", R"({"prompt":"abc","echo":true,"logprobs":1,"max_tokens":0})");
  ASSERT_EQ(reply.status, 200) << reply.raw;
  const json::value& choice = reply.body.at("choices").get_array()[0];
  EXPECT_EQ(choice.at("text").get_string(), "abc");
  EXPECT_EQ(choice.at("finish_reason").get_string(), "length");
  EXPECT_EQ(to_json(choice.at("logprobs")),
            R"({"tokens":["a","b","c"],"token_logprobs":[null,-0.25,-0.25],)"
            R"("top_logprobs":[null,{"a":-0.25},{"a":-0.25}],"text_offset":[0,1,2]})");
  EXPECT_EQ(reply.body.at("usage").at("completion_tokens").get_int64(), 0);
  EXPECT_EQ(ask("/v1/completions", R"({"prompt":"abc","max_tokens":0})").status, 400);
}

// Goal: templates that add up texts take an assistant message that has tool calls and no content.
TEST_F(ServiceTest, NullContentFitsEveryTemplate) {
  auto parsed =
      ChatTemplate::parse("{% for m in messages %}{{ '<' + m.content + '>' }}{% endfor %}");
  ASSERT_TRUE(parsed.ok());
  *template_ = std::move(parsed).value();
  const Reply reply = ask("/v1/chat/completions",
                          R"({"messages":[{"role":"user","content":"q"},{"role":"assistant",)"
                          R"("content":null,"tool_calls":[{"id":"c","function":{"name":"f"}}]},)"
                          R"({"role":"tool","tool_call_id":"c","content":"42"}]})");
  EXPECT_EQ(reply.status, 200) << reply.raw;
  EXPECT_EQ(tokenizer_->decode(backend_->last_request().prompt, true), "<q><><42>");
}

TEST_F(ServiceTest, CompletionStream) {
  const auto events = stream("/v1/completions", R"({"prompt":"a","stream":true,"echo":true})");
  std::string text;
  for (const std::string& event : events) {
    if (event == "[DONE]") continue;
    auto parsed = parse_json(event);
    ASSERT_TRUE(parsed.ok());
    text += std::string_view(parsed.value().at("choices").get_array()[0].at("text").get_string());
  }
  EXPECT_EQ(text, "aHello");
  EXPECT_EQ(events.back(), "[DONE]");
}

TEST_F(ServiceTest, GenerateAndTokens) {
  EXPECT_EQ(ask("/generate", R"({"prompt":"a"})").body.at("text").get_string(), "Hello");
  const auto events = stream("/generate", R"({"prompt":"a","stream":true})");
  EXPECT_NE(events.back().find("\"done\":true"), std::string::npos);
  const Reply tokens = ask("/tokenize", R"({"content":"hi"})");
  EXPECT_EQ(to_json(tokens.body), R"({"tokens":[104,105],"count":2,"max_model_len":200})");
  EXPECT_EQ(ask("/tokenize", R"({"messages":[{"role":"user","content":"hi"}]})")
                .body.at("count")
                .get_int64(),
            19);
  EXPECT_EQ(ask("/detokenize", R"({"tokens":[104,105]})").body.at("content").get_string(), "hi");
}

TEST_F(ServiceTest, ModelsAndReadiness) {
  EXPECT_EQ(get("/v1/models").body.at("data").get_array()[0].at("id").get_string(), "test-model");
  EXPECT_EQ(get("/v1/models/other-name").status, 200);
  EXPECT_EQ(get("/v1/models/none").status, 404);
  EXPECT_EQ(get("/ready").status, 200);
  service_.begin_drain();
  EXPECT_EQ(get("/ready").status, 503);
  EXPECT_EQ(ask("/v1/chat/completions", kHi).status, 503);
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

TEST_F(ServiceTest, SocketAnswersOnePromptAfterAnother) {
  TestClient client(server_->port());
  client.send(
      "GET /stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  client.read_until("\r\n\r\n");
  client.send(text_frame("just text"));
  EXPECT_NE(client.read_until("\"timings\"").find("\"done\":true,\"finish_reason\":\"stop\""),
            std::string::npos);
  client.send(text_frame(R"({"messages":[{"role":"user","content":"hi"}]})"));
  EXPECT_NE(client.read_until("\"timings\"").find("\"text\":\"H\""), std::string::npos);
  client.send(text_frame(R"({"prompt":5})"));
  EXPECT_TRUE(client.read_until("\"param\":\"prompt\"").ends_with("\"param\":\"prompt\""));
  backend_->hold(2);
  client.send(text_frame("again"));
  client.read_until("\"text\":\"e\"");
  client.send(text_frame("and more"));
  EXPECT_NE(client.read_until("busy").find("error"), std::string::npos);
  client.send(text_frame("STOP"));
  EXPECT_NE(client.read_until("\"timings\"").find("\"finish_reason\":\"cancelled\""),
            std::string::npos);
  EXPECT_EQ(backend_->cancelled(), 1u);
}

TEST_F(ServiceTest, SocketHangUpCancels) {
  backend_->hold(1);
  TestClient client(server_->port());
  client.send(
      "GET /stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  client.read_until("\r\n\r\n");
  client.send(text_frame("go"));
  client.read_until("\"text\":\"H\"");
  client.hang_up();
  for (int i = 0; i < 2000 && backend_->cancelled() == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(backend_->cancelled(), 1u);
}

}  // namespace
}  // namespace hadal
