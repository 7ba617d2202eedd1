// Goal: one conversation, whatever dialect it comes in, is one prompt to the byte, so that whoever
// comes second finds the keys and values of the first in the cache.
#include <algorithm>

#include "engine/engine.h"
#include "serve/testing/service_fixture.h"

namespace hadal {
namespace {

struct Spoken {
  const char* path;
  const char* body;
};

// A system text, a question, an answer that reasons, speaks and calls twice, both results, and a
// last question.
constexpr Spoken kDialects[] = {
    {"/v1/chat/completions",
     R"({"max_tokens":4,"messages":[{"role":"system","content":"You are 深海."},)"
     R"({"role":"user","content":[{"type":"text","text":"How is it?"}]},)"
     R"({"role":"assistant","content":"Let me see.","reasoning_content":"Two places.",)"
     R"("tool_calls":[{"id":"c1","type":"function","function":{"name":"look","arguments":)"
     R"("{\"city\": \"杭州\", \"days\": 2}"}},{"id":"c2","type":"function","function":)"
     R"({"name":"look","arguments":"{\"city\": \"Paris\"}"}}]},)"
     R"({"role":"tool","tool_call_id":"c1","content":"sun"},)"
     R"({"role":"tool","tool_call_id":"c2","content":"rain"},{"role":"user","content":"So?"}],)"
     R"("tools":[{"type":"function","function":{"name":"look","description":"Weather",)"
     R"("parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}],)"
     R"("reasoning_effort":"high"})"},
    {"/v1/messages",
     R"({"max_tokens":4,"system":"You are 深海.","messages":[)"
     R"({"role":"user","content":[{"type":"text","text":"How is it?"}]},)"
     R"({"role":"assistant","content":[{"type":"thinking","thinking":"Two places.",)"
     R"("signature":"s"},{"type":"text","text":"Let me see."},)"
     R"({"type":"tool_use","id":"c1","name":"look","input":{"city":"杭州","days":2}},)"
     R"({"type":"tool_use","id":"c2","name":"look","input":{"city":"Paris"}}]},)"
     R"({"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"sun"},)"
     R"({"type":"tool_result","tool_use_id":"c2","content":"rain"},)"
     R"({"type":"text","text":"So?"}]}],)"
     R"("tools":[{"name":"look","description":"Weather","input_schema":{"type":"object",)"
     R"("properties":{"city":{"type":"string"}}}}],"output_config":{"effort":"high"}})"},
    {"/v1/responses",
     R"({"max_output_tokens":4,"instructions":"You are 深海.","input":[)"
     R"({"role":"user","content":[{"type":"input_text","text":"How is it?"}]},)"
     R"({"type":"reasoning","id":"rs_1","summary":[],"content":[{"type":"reasoning_text",)"
     R"("text":"Two places."}]},)"
     R"({"type":"message","role":"assistant","content":[{"type":"output_text",)"
     R"("text":"Let me see."}]},)"
     R"({"type":"function_call","call_id":"c1","name":"look",)"
     R"("arguments":"{\"city\": \"杭州\", \"days\": 2}"},)"
     R"({"type":"function_call","call_id":"c2","name":"look","arguments":"{\"city\": \"Paris\"}"},)"
     R"({"type":"function_call_output","call_id":"c1","output":"sun"},)"
     R"({"type":"function_call_output","call_id":"c2","output":"rain"},)"
     R"({"role":"user","content":"So?"}],)"
     R"("tools":[{"type":"function","name":"look","description":"Weather","parameters":)"
     R"({"type":"object","properties":{"city":{"type":"string"}}},"strict":null}],)"
     R"("reasoning":{"effort":"high"}})"},
    {"/api/chat",
     R"({"model":"test-model","stream":false,"options":{"num_predict":4},"think":"high",)"
     R"("messages":[)"
     R"({"role":"system","content":"You are 深海."},{"role":"user","content":"How is it?"},)"
     R"({"role":"assistant","content":"Let me see.","thinking":"Two places.","tool_calls":[)"
     R"({"id":"c1","function":{"name":"look","arguments":{"city":"杭州","days":2}}},)"
     R"({"id":"c2","function":{"name":"look","arguments":{"city":"Paris"}}}]},)"
     R"({"role":"tool","tool_call_id":"c1","content":"sun"},)"
     R"({"role":"tool","tool_call_id":"c2","content":"rain"},{"role":"user","content":"So?"}],)"
     R"("tools":[{"type":"function","function":{"name":"look","description":"Weather",)"
     R"("parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}]})"},
};

/// Always as sure of every token; what it knows of the past does not matter.
class FlatModel final : public ForwardModel {
 public:
  int64_t n_vocab() const override { return 259; }
  int64_t n_ctx_train() const override { return 1 << 20; }
  KvLayout kv_layout() const override {
    return {.n_layers = 1, .n_kv_heads = 1, .d_head = 2, .type = KvType::kF32};
  }
  Status forward(const Batch&, KvPool&, std::span<float> logits) override {
    std::ranges::fill(logits, 0.0f);
    return {};
  }
};

class EngineBackend final : public TokenBackend {
 public:
  explicit EngineBackend(Engine& engine) : engine_(engine) {}
  Result<RequestId> submit(GenerateRequest request, std::unique_ptr<TokenSink> sink) override {
    prompts.push_back(request.prompt);
    return engine_.submit(std::move(request), std::move(sink));
  }
  void cancel(RequestId id) override { engine_.cancel(id); }
  EngineStats stats() const override { return engine_.stats(); }

  std::vector<std::vector<TokenId>> prompts;  ///< one request at a time

 private:
  Engine& engine_;
};

class DialectsTest : public ServiceTest {
 protected:
  void TearDown() override {
    engine_.stop();
    ServiceTest::TearDown();
  }
  void serve(std::string_view codec) {
    auto model = std::make_unique<ServedModel>();
    model->id = "test-model";
    model->tokenizer = tokenizer_.get();
    model->chosen_codec = Codec::named(codec, {.tokenizer = tokenizer_.get()}).value();
    model->n_ctx = 8192;
    const std::vector<ServedRef> before = models_.loaded();
    earlier_.insert(earlier_.end(), before.begin(), before.end());
    models_.set(std::move(model), engine_backend_);
  }
  /// -1: the dialect does not say.
  static int64_t cached_of(const Reply& reply) {
    if (!reply.body.get_object().contains("usage")) return -1;
    const json::object& usage = reply.body.at("usage").get_object();
    if (usage.contains("cache_read_input_tokens")) {
      return usage.at("cache_read_input_tokens").get_int64();
    }
    const char* details =
        usage.contains("input_tokens_details") ? "input_tokens_details" : "prompt_tokens_details";
    return usage.at(details).at("cached_tokens").get_int64();
  }

  std::vector<ServedRef> earlier_;  // a row uses its model's grammars a little longer than its peer
  FlatModel flat_;
  Engine engine_{flat_, {.n_ctx = 8192, .max_batch = 2}, Env::real()};
  EngineBackend engine_backend_{engine_};
};

TEST_F(DialectsTest, OnePromptAndOnePrefix) {
  for (const char* codec : {"deepseek-v4", "deepseek-v3.2", "deepseek-v3.1", "deepseek-v3"}) {
    serve(codec);
    engine_backend_.prompts.clear();
    uint64_t hits = 0;
    for (const Spoken& spoken : kDialects) {
      const Reply reply = ask(spoken.path, spoken.body);
      ASSERT_EQ(reply.status, 200) << reply.raw;
      const auto& prompts = engine_backend_.prompts;
      EXPECT_EQ(tokenizer_->decode(prompts.back(), true), tokenizer_->decode(prompts.front(), true))
          << codec << " " << spoken.path;
      EXPECT_EQ(prompts.back(), prompts.front()) << codec << " " << spoken.path;
      const auto size = static_cast<int64_t>(prompts.front().size());
      EXPECT_GT(size, 64);
      // Whole pages of 32 tokens, but never the last token.
      const int64_t whole_pages = (size - 1) / 32 * 32;
      if (prompts.size() > 1 && cached_of(reply) >= 0) {
        EXPECT_EQ(cached_of(reply), whole_pages) << codec << " " << spoken.path;
      }
      // The first of a codec may share its beginning with the codec before.
      if (prompts.size() == 1) hits = engine_.stats().kv.hit_tokens;
      EXPECT_EQ(engine_.stats().kv.hit_tokens,
                hits + static_cast<uint64_t>(whole_pages) * (prompts.size() - 1));
    }
  }
}

}  // namespace
}  // namespace hadal
