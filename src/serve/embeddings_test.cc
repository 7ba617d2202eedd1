/// /v1/embeddings and /v1/rerank over real sockets, with a backend that says what it is told to.
#include <cstring>

#include "base/base64.h"
#include "serve/testing/service_fixture.h"

namespace hadal {
namespace {

class EmbeddingsTest : public ServiceTest {
 protected:
  Reply embed(const std::string& fields) { return ask("/v1/embeddings", "{" + fields + "}"); }
  Reply rank(const std::string& fields) { return ask("/v1/rerank", "{" + fields + "}"); }
  std::vector<std::vector<TokenId>> ids() {
    std::vector<std::vector<TokenId>> out;
    for (const EmbeddingText& text : embeddings_.last().texts) out.push_back(text.ids);
    return out;
  }
};

using Lists = std::vector<std::vector<TokenId>>;

// Goal: a text, texts, token ids and lists of them are all inputs; the answer has OpenAI's shape
// and counts tokens.
TEST_F(EmbeddingsTest, EveryFormOfInput) {
  const Reply one = embed(R"("model":"test-model","input":"ab")");
  ASSERT_EQ(one.status, 200) << one.raw;
  EXPECT_EQ(ids(), (Lists{{'a', 'b'}}));
  EXPECT_EQ(
      to_json(one.body),
      R"({"object":"list","data":[{"object":"embedding","index":0,"embedding":[291,388,0,0]}],)"
      R"("model":"test-model","usage":{"prompt_tokens":2,"total_tokens":2}})");
  const Reply many = embed(R"("input":["a","bc"])");
  EXPECT_EQ(ids(), (Lists{{'a'}, {'b', 'c'}}));
  EXPECT_EQ(many.body.at("data").at(1).at("index").as_int64(), 1);
  EXPECT_EQ(many.body.at("usage").at("total_tokens").as_int64(), 3);
  EXPECT_EQ(embed(R"("input":[5,6])").status, 200);
  EXPECT_EQ(ids(), (Lists{{5, 6}}));
  EXPECT_EQ(embed(R"("input":[[5,6],[7]],"user":"u")").status, 200);
  EXPECT_EQ(ids(), (Lists{{5, 6}, {7}}));
}

// Goal: base64 holds the numbers as little-endian floats; fewer dimensions are the first ones, made
// of length 1 again.
TEST_F(EmbeddingsTest, FormatsAndDimensions) {
  const Reply packed = embed(R"("input":[1],"encoding_format":"base64")");
  const std::string bytes =
      base64_decode(std::string(packed.body.at("data").at(0).at("embedding").as_string())).value();
  float numbers[4];
  ASSERT_EQ(bytes.size(), sizeof(numbers));
  std::memcpy(numbers, bytes.data(), sizeof(numbers));
  EXPECT_EQ(numbers[0], 3);
  EXPECT_EQ(numbers[1], 4);
  const Reply two = embed(R"("input":[1],"dimensions":2)");
  EXPECT_EQ(to_json(two.body.at("data").at(0).at("embedding")), "[0.6,0.8]");
  EXPECT_EQ(embed(R"("input":[1],"dimensions":4,"encoding_format":"float")").status, 200);
}

// Goal: every field of the wrong kind or out of range is a 400 that names it.
TEST_F(EmbeddingsTest, WrongFieldsAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("model":"test-model")", "input"},
      {R"("input":"")", "input"},
      {R"("input":[])", "input"},
      {R"("input":[""])", "input"},
      {R"("input":[[]])", "input"},
      {R"("input":7)", "input"},
      {R"("input":{"a":1})", "input"},
      {R"("input":["a",7])", "input"},
      {R"("input":[1,"a"])", "input"},
      {R"("input":[[1],["a"]])", "input"},
      {R"("input":[-1])", "input"},
      {R"("input":[100000])", "input"},
      {R"("input":"a","dimensions":0)", "dimensions"},
      {R"("input":"a","dimensions":5)", "dimensions"},
      {R"("input":"a","dimensions":"2")", "dimensions"},
      {R"("input":"a","encoding_format":"int8")", "encoding_format"},
      {R"("input":"a","encoding_format":1)", "encoding_format"},
      {R"("input":"a","truncate":"END")", "truncate"}};
  for (const auto& [body, param] : cases) {
    const Reply reply = embed(body);
    EXPECT_EQ(reply.status, 400) << body;
    EXPECT_EQ(error_field(reply, "param"), param) << reply.raw;
  }
  EXPECT_EQ(embed(R"("input":"a","model":"nobody")").status, 404);
  std::string many = "\"input\":[\"a\"";
  for (int i = 0; i < 2048; ++i) many += ",\"a\"";
  EXPECT_EQ(error_field(embed(many + "]"), "param"), "input");
}

// Goal: a text beyond the context is refused by name, or cut when asked for.
TEST_F(EmbeddingsTest, LongTexts) {
  const std::string text = "\"input\":[\"a\",\"" + std::string(201, 'b') + "\"]";
  const Reply refused = embed(text);
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(error_field(refused, "code"), "context_length_exceeded");
  EXPECT_NE(error_field(refused, "message").find("Input 1 has 201 tokens"), std::string::npos);
  EXPECT_EQ(embed(text + ",\"truncate\":true").status, 200);
  EXPECT_EQ(ids()[1].size(), 200u);
}

// Goal: documents come back by relevance, the first of equals first, as many as asked for, with
// their texts when asked for.
TEST_F(EmbeddingsTest, RanksDocuments) {
  const Reply reply = rank(R"("query":"q","documents":["a",{"text":"bbb"},"cc","ddd"],"top_n":3,)"
                           R"("return_documents":true)");
  ASSERT_EQ(reply.status, 200) << reply.raw;
  EXPECT_EQ(to_json(reply.body.at("results")),
            R"([{"index":1,"relevance_score":0.03,"document":{"text":"bbb"}},)"
            R"({"index":3,"relevance_score":0.03,"document":{"text":"ddd"}},)"
            R"({"index":2,"relevance_score":0.02,"document":{"text":"cc"}}])");
  EXPECT_EQ(reply.body.at("usage").at("total_tokens").as_int64(), 4 * 4 + 9);
  const Reply all = rank(R"("query":"q","texts":["a","b"])");
  EXPECT_EQ(all.body.at("results").as_array().size(), 2u);
  EXPECT_FALSE(all.body.at("results").at(0).as_object().contains("document"));
  EXPECT_EQ(embeddings_.last().texts[0].second, 3u);  // begin, q, separator
}

// Goal: every field of the wrong kind is a 400 that names it; long documents are cut, unless that
// is forbidden; a query that leaves no room is refused.
TEST_F(EmbeddingsTest, RerankLimits) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("documents":["a"])", "query"},
      {R"("query":"","documents":["a"])", "query"},
      {R"("query":7,"documents":["a"])", "query"},
      {R"("query":"q")", "documents"},
      {R"("query":"q","documents":[])", "documents"},
      {R"("query":"q","documents":"a")", "documents"},
      {R"("query":"q","documents":[7])", "documents"},
      {R"("query":"q","documents":[{"body":"a"}])", "documents"},
      {R"("query":"q","documents":["a"],"top_n":0)", "top_n"},
      {R"("query":"q","documents":["a"],"top_n":"1")", "top_n"},
      {R"("query":"q","documents":["a"],"return_documents":1)", "return_documents"},
      {R"("query":"q","documents":["a"],"instruction":1)", "instruction"}};
  for (const auto& [body, param] : cases) {
    const Reply reply = rank(body);
    EXPECT_EQ(reply.status, 400) << body;
    EXPECT_EQ(error_field(reply, "param"), param) << reply.raw;
  }
  const std::string body = "\"query\":\"q\",\"documents\":[\"" + std::string(300, 'b') + "\"]";
  EXPECT_EQ(rank(body).status, 200);
  EXPECT_EQ(embeddings_.last().texts[0].ids.size(), 200u);
  EXPECT_EQ(error_field(rank(body + ",\"truncate\":false"), "code"), "context_length_exceeded");
  const Reply query = rank("\"documents\":[\"a\"],\"query\":\"" + std::string(300, 'q') + "\"");
  EXPECT_EQ(error_field(query, "code"), "context_length_exceeded");
  EXPECT_EQ(error_field(query, "param"), "query");
}

// Goal: vLLM's score: one text beside many, or as many; scores in the order of the pairs.
TEST_F(EmbeddingsTest, ScoresPairs) {
  const Reply one = ask("/v1/score", R"({"text_1":"q","text_2":"abc"})");
  ASSERT_EQ(one.status, 200) << one.raw;
  EXPECT_EQ(to_json(one.body.at("data")), R"([{"index":0,"object":"score","score":0.03}])");
  EXPECT_TRUE(std::string(one.body.at("id").get_string()).starts_with("score-"));
  EXPECT_EQ(one.body.at("object").get_string(), "list");
  EXPECT_EQ(one.body.at("usage").at("prompt_tokens").as_int64(), 7);  // begin, q, 2 separators
  const Reply many = ask("/v1/score", R"({"text_1":["q"],"text_2":["a","bb"]})");
  EXPECT_EQ(to_json(many.body.at("data").at(1)), R"({"index":1,"object":"score","score":0.02})");
  const Reply pairs = ask("/v1/score", R"({"text_1":["q","long"],"text_2":["a","bb"]})");
  ASSERT_EQ(pairs.status, 200) << pairs.raw;
  EXPECT_EQ(embeddings_.last().texts[0].second, 3u);
  EXPECT_EQ(embeddings_.last().texts[1].second, 6u);
  const std::pair<const char*, const char*> cases[] = {
      {R"({"text_2":"a"})", "text_1"},
      {R"({"text_1":"a"})", "text_2"},
      {R"({"text_1":7,"text_2":"a"})", "text_1"},
      {R"({"text_1":"a","text_2":[7]})", "text_2"},
      {R"({"text_1":"a","text_2":[]})", "text_2"},
      {R"({"text_1":["a","b"],"text_2":"c"})", "text_1"},
      {R"({"text_1":["a","b"],"text_2":["c","d","e"]})", "text_1"},
      {R"({"text_1":"a","text_2":"b","truncate_prompt_tokens":0})", "truncate_prompt_tokens"},
      {R"({"text_1":"a","text_2":"b","truncate_prompt_tokens":2})", "text_1"},
      {R"({"text_1":"a","text_2":"b","truncate_prompt_tokens":true})", "truncate_prompt_tokens"}};
  for (const auto& [body, param] : cases) {
    const Reply reply = ask("/v1/score", body);
    EXPECT_EQ(reply.status, 400) << body;
    EXPECT_EQ(error_field(reply, "param"), param) << reply.raw;
  }
  const std::string text = R"({"text_1":"q","text_2":")" + std::string(300, 'b') + "\"";
  EXPECT_EQ(error_field(ask("/v1/score", text + "}"), "code"), "context_length_exceeded");
  EXPECT_EQ(ask("/v1/score", text + R"(,"truncate_prompt_tokens":-1})").status, 200);
  EXPECT_EQ(embeddings_.last().texts[0].ids.size(), 200u);
  EXPECT_EQ(ask("/v1/score", text + R"(,"truncate_prompt_tokens":9})").status, 200);
  EXPECT_EQ(embeddings_.last().texts[0].ids.size(), 9u);
}

// Goal: Ollama's two forms: texts as lists of vectors with times, a text as one vector.
TEST_F(EmbeddingsTest, OllamaVectors) {
  const Reply one = ask("/api/embed", R"({"model":"other-name","input":"ab","dimensions":2})");
  ASSERT_EQ(one.status, 200) << one.raw;
  EXPECT_EQ(one.body.at("model").get_string(), "other-name");
  EXPECT_EQ(to_json(one.body.at("embeddings")), "[[0.6,0.8]]");
  EXPECT_EQ(one.body.at("prompt_eval_count").as_int64(), 2);
  EXPECT_GE(one.body.at("total_duration").as_int64(), one.body.at("load_duration").as_int64());
  const Reply many =
      ask("/api/embed", R"({"model":"test-model","input":["a","b"],"keep_alive":"5m"})");
  EXPECT_EQ(to_json(many.body.at("embeddings")), "[[291,388,0,0],[294,392,0,0]]");
  const std::string text = R"({"model":"test-model","input":")" + std::string(300, 'b') + "\"";
  EXPECT_EQ(ask("/api/embed", text + "}").status, 200);
  EXPECT_EQ(ids()[0].size(), 200u);
  EXPECT_EQ(ask("/api/embed", text + ",\"truncate\":false}").status, 400);
  EXPECT_EQ(to_json(ask("/api/embed", R"({"model":"test-model","input":[],"dimensions":0})").body),
            R"({"model":"test-model","embeddings":[]})");
  const Reply old = ask("/api/embeddings", R"({"model":"test-model","prompt":"a"})");
  EXPECT_EQ(to_json(old.body), R"({"embedding":[291,388,0,0]})");
  EXPECT_EQ(to_json(ask("/api/embeddings", R"({"model":"test-model"})").body),
            R"({"embedding":[]})");
}

// Goal: what Ollama's two forms cannot read is a 400 in Ollama's shape that names the field.
TEST_F(EmbeddingsTest, OllamaMistakes) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"input":"a"})", "model"},
      {R"({"model":"test-model","input":7})", "input"},
      {R"({"model":"test-model","input":[1,2]})", "input"},
      {R"({"model":"test-model","input":["a",[1]]})", "input"},
      {R"({"model":"test-model","input":["a",""]})", "input"},
      {R"({"model":"test-model","input":"a","dimensions":5})", "dimensions"},
      {R"({"model":"test-model","input":"a","truncate":1})", "truncate"},
      {R"({"model":"test-model","input":"a","keep_alive":"soon"})", "keep_alive"}};
  for (const auto& [body, param] : cases) {
    const Reply reply = ask("/api/embed", body);
    EXPECT_EQ(reply.status, 400) << body;
    EXPECT_NE(std::string(reply.body.at("error").get_string()).find(param), std::string::npos);
  }
  EXPECT_EQ(ask("/api/embeddings", R"({"model":"test-model","prompt":7})").status, 400);
  EXPECT_EQ(ask("/api/embed", R"({"model":"nobody","input":"a"})").status, 404);
  embeddings_.set_full(true);
  const Reply full = ask("/api/embed", R"({"model":"test-model","input":"a"})");
  EXPECT_EQ(full.status, 429);
  EXPECT_TRUE(full.body.at("error").is_string());
}

// Goal: a full queue is a 429 and a failure a 500 in OpenAI's shape.
TEST_F(EmbeddingsTest, FullAndFailing) {
  embeddings_.set_full(true);
  EXPECT_EQ(embed(R"("input":"a")").status, 429);
  embeddings_.set_full(false);
  embeddings_.set_failing(true);
  EXPECT_EQ(rank(R"("query":"q","documents":["a"])").status, 500);
}

// Goal: a client that hangs up takes its request out of the queue.
TEST_F(EmbeddingsTest, HangingUpCancels) {
  embeddings_.hold();
  TestClient client(server_->port());
  client.send(post_bytes("/v1/embeddings", R"({"input":"a"})"));
  embeddings_.wait_submitted(1);
  client.hang_up();
  EXPECT_EQ(embeddings_.wait_cancelled(), (std::vector<EmbeddingId>{1}));
}

/// The same service with models that lack something.
class OtherModels : public EmbeddingsTest {
 protected:
  void serve(bool generates, EmbeddingShape shape, EmbeddingBackend* embeddings) {
    auto model = std::make_unique<ServedModel>();
    model->id = "other";
    model->tokenizer = tokenizer_.get();
    model->n_ctx = 200;
    model->generates = generates;
    model->embeddings = shape;
    models_.set(std::move(model), *backend_, embeddings);
  }
};

// Goal: what a model cannot do is a 400 with a code of its own that says what it can do.
TEST_F(OtherModels, SayWhatTheyCannotDo) {
  serve(false, {.width = 4}, &embeddings_);
  const Reply chat = ask("/v1/chat/completions", R"({"messages":[{"role":"user","content":"a"}]})");
  EXPECT_EQ(chat.status, 400);
  EXPECT_EQ(error_field(chat, "code"), "model_not_generative");
  EXPECT_EQ(error_field(ask("/v1/completions", R"({"prompt":"a"})"), "code"),
            "model_not_generative");
  EXPECT_EQ(error_field(rank(R"("query":"q","documents":["a"])"), "code"), "model_not_reranking");
  EXPECT_EQ(error_field(ask("/v1/score", R"({"text_1":"q","text_2":"a"})"), "code"),
            "model_not_reranking");
  for (const char* path : {"/api/chat", "/api/generate"}) {
    const Reply reply =
        ask(path, R"({"model":"other","prompt":"a","messages":[{"role":"user","content":"a"}]})");
    EXPECT_EQ(reply.status, 400) << path;
    EXPECT_TRUE(reply.body.at("error").is_string());
  }
  EXPECT_EQ(embed(R"("input":"a")").status, 200);
  serve(false, {.pairs = PairForm::kXlmr}, &embeddings_);
  EXPECT_EQ(error_field(embed(R"("input":"a")"), "code"), "model_not_embedding");
  EXPECT_EQ(rank(R"("query":"q","documents":["a"])").status, 200);
  EXPECT_EQ(embeddings_.last().texts[0].second, 4u);  // begin, q, two separators
  serve(true, {.width = 4}, nullptr);
  EXPECT_EQ(error_field(embed(R"("input":"a")"), "code"), "model_not_embedding");
}

}  // namespace
}  // namespace hadal
