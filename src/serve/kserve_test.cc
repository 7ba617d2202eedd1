// Goal: KServe's tensors in and out, as JSON and as bytes, and no way to crash them.
#include "serve/testing/service_fixture.h"

namespace hadal {
namespace {

constexpr const char* kInfer = "/v2/models/test-model/infer";

std::string little(uint32_t value) {
  std::string out;
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(value >> shift));
  return out;
}

class KserveTest : public ServiceTest {
 protected:
  /// A request whose JSON is `head` and whose tensors follow; gives the raw reply.
  std::string infer_binary(const std::string& head, const std::string& tensors,
                           const std::string& length) {
    TestClient client(server_->port());
    client.send("POST " + std::string(kInfer) +
                " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                "Inference-Header-Content-Length: " +
                length + "\r\nContent-Length: " + std::to_string(head.size() + tensors.size()) +
                "\r\n\r\n" + head + tensors);
    return client.read_to_end();
  }
  static std::string input(const std::string& fields) {
    return "{\"inputs\":[{\"name\":\"text_input\"," + fields + "}]}";
  }
};

TEST_F(KserveTest, TextsInJson) {
  // Goal: a batch of texts gives as many, in their order; parameters reach the sampler.
  const Reply reply = ask(
      kInfer, R"({"id":"x","inputs":[{"name":"text_input","shape":[2,1],"datatype":"BYTES",)"
              R"("data":[["echo a"],["echo b"]]},{"name":"top_k","shape":[2],"datatype":"INT32",)"
              R"("data":[3,3]}],"parameters":{"max_tokens":20,"unknown":1}})");
  ASSERT_EQ(reply.status, 200) << reply.raw;
  EXPECT_EQ(reply.body.at("id").get_string(), "x");
  const json::value& output = reply.body.at("outputs").get_array()[0];
  EXPECT_EQ(output.at("data").get_array()[0].get_string(), "echo a");
  EXPECT_EQ(output.at("data").get_array()[1].get_string(), "echo b");
  EXPECT_EQ(output.at("shape").get_array()[0].get_int64(), 2);
  EXPECT_EQ(backend_->last_request().sampling.top_k, 3);
}

TEST_F(KserveTest, TextsAsBytes) {
  // Goal: binary tensors say the same: lengths, then bytes, behind as much JSON as the header says.
  answer_ = "你好";
  const std::string head =
      R"({"inputs":[{"name":"text_input","shape":[1,1],"datatype":"BYTES",)"
      R"("parameters":{"binary_data_size":7}},{"name":"max_tokens","shape":[1],"datatype":)"
      R"("INT32","parameters":{"binary_data_size":4}}],"parameters":{"binary_data_output":true}})";
  const std::string raw =
      infer_binary(head, little(3) + "abc" + little(50), std::to_string(head.size()));
  EXPECT_EQ(backend_->last_request().max_tokens, 50);
  const std::string body = raw.substr(raw.find("\r\n\r\n") + 4);
  const std::string name = "Inference-Header-Content-Length: ";
  const size_t at = raw.find(name);
  ASSERT_NE(at, std::string::npos) << raw;
  const size_t length = std::strtoul(raw.c_str() + at + name.size(), nullptr, 10);
  ASSERT_LE(length, body.size());
  auto parsed = parse_json(body.substr(0, length));
  ASSERT_TRUE(parsed.ok()) << body;
  const json::value& output = parsed.value().at("outputs").get_array()[0];
  EXPECT_EQ(output.at("parameters").at("binary_data_size").get_int64(), 10);
  EXPECT_EQ(body.substr(length), little(6) + "你好");
}

TEST_F(KserveTest, HostileTensors) {
  // Goal: lengths, sizes and shapes that lie are 400 in the protocol's shape.
  const std::string kBodies[] = {
      "{}",
      "[]",
      R"({"inputs":7})",
      R"({"inputs":[7]})",
      input(R"("shape":[1],"datatype":"BYTES")"),
      input(R"("shape":[2],"datatype":"BYTES","data":["a"])"),
      input(R"("shape":[-1],"datatype":"BYTES","data":["a"])"),
      input(R"("shape":[4294967296,4294967296],"datatype":"BYTES","data":["a"])"),
      input(R"("shape":"a","datatype":"BYTES","data":["a"])"),
      input(R"("shape":[1],"datatype":"INT32","data":[1])"),
      input(R"("shape":[1],"datatype":"BYTES","data":[1])"),
      input(R"("shape":[1],"datatype":"BYTES","data":"a")"),
      input(R"("shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":5})"),
      input(R"("shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":-5})"),
      input(R"("shape":[0],"datatype":"BYTES","data":[])"),
      R"({"inputs":[{"name":"text_input","shape":[1],"datatype":"BYTES","data":["a"]}],)"
      R"("parameters":{"temperature":"hot"}})",
      R"({"inputs":[{"name":"text_input","shape":[1],"datatype":"BYTES","data":["a"]}],)"
      R"("parameters":{"sampling_parameters":"{"}})"};
  for (const std::string& sent : kBodies) {
    const Reply reply = ask(kInfer, sent);
    EXPECT_EQ(reply.status, 400) << sent << reply.raw;
    EXPECT_TRUE(reply.body.is_object() && reply.body.at("error").is_string()) << reply.raw;
  }
  const std::string head =
      input(R"("shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":7})");
  const std::string length = std::to_string(head.size());
  EXPECT_NE(infer_binary(head, little(999) + "abc", length).find(" 400 "), std::string::npos);
  EXPECT_NE(infer_binary(head, "abc", length).find(" 400 "), std::string::npos);
  EXPECT_NE(infer_binary(head, "", "99999").find(" 400 "), std::string::npos);
  EXPECT_NE(infer_binary(head, "", "-1").find(" 400 "), std::string::npos);
  EXPECT_NE(infer_binary(head, little(3) + "\xff\xfe\xfd", length).find(" 200 "),
            std::string::npos);
}

TEST_F(KserveTest, ManyTextsAreBounded) {
  // Goal: a batch beyond the model's limit is refused before anything runs.
  std::string data = "\"a\"";
  for (int i = 1; i < 9; ++i) data += ",\"a\"";
  const Reply reply = ask(kInfer, input(R"("shape":[9],"datatype":"BYTES","data":[)" + data + "]"));
  EXPECT_EQ(reply.status, 400) << reply.raw;
}

TEST_F(KserveTest, GenerateStream) {
  // Goal: pieces in order, the prompt before the first when that is asked for.
  const auto events =
      stream("/v2/models/test-model/generate_stream",
             R"({"text_input":"say","parameters":{"exclude_input_in_output":false}})");
  std::string text;
  for (const std::string& event : events) {
    auto parsed = parse_json(event);
    ASSERT_TRUE(parsed.ok()) << event;
    text += std::string(parsed.value().at("text_output").get_string());
  }
  EXPECT_EQ(text, "sayHello");
}

TEST_F(KserveTest, VectorsAsNumbers) {
  // Goal: the output `embedding` is FP32, a row per text, in JSON and as bytes; `score` judges.
  const std::string texts =
      R"("inputs":[{"name":"text_input","shape":[2,1],"datatype":"BYTES","data":["a","b"]}])";
  const Reply reply =
      ask(kInfer, "{\"id\":\"7\"," + texts + R"(,"outputs":[{"name":"embedding"}]})");
  ASSERT_EQ(reply.status, 200) << reply.raw;
  EXPECT_EQ(to_json(reply.body),
            R"({"model_name":"test-model","model_version":"1","id":"7","outputs":[{"name":)"
            R"("embedding","datatype":"FP32","shape":[2,4],"data":[291,388,0,0,294,392,0,0]}]})");
  const std::string head =
      "{" + texts + R"(,"outputs":[{"name":"embedding","parameters":{"binary_data":true}}],)" +
      R"("parameters":{"dimensions":1}})";
  const std::string raw = infer_binary(head, "", std::to_string(head.size()));
  const float ones[] = {1, 1};
  EXPECT_TRUE(raw.ends_with("\"shape\":[2,1],\"parameters\":{\"binary_data_size\":8}}]}" +
                            std::string(reinterpret_cast<const char*>(ones), sizeof(ones))))
      << raw;
  const Reply scores =
      ask(kInfer, R"({"inputs":[{"name":"query","shape":[1],"datatype":"BYTES","data":["q"]},)"
                  R"({"name":"text_input","shape":[2,1],"datatype":"BYTES","data":["abc","a"]}],)"
                  R"("outputs":[{"name":"score"}]})");
  EXPECT_EQ(to_json(scores.body.at("outputs").at(0)),
            R"({"name":"score","datatype":"FP32","shape":[2,1],"data":[0.03,0.01]})");
  EXPECT_EQ(ask(kInfer, "{" + texts + R"(,"outputs":[{"name":"score"}]})").status, 400);
  EXPECT_EQ(ask(kInfer,
                "{" + texts + R"(,"outputs":[{"name":"embedding"}],"parameters":{"dimensions":9}})")
                .status,
            400);
}

TEST_F(KserveTest, EncodersSayWhatTheyGive) {
  // Goal: of an encoder, metadata, the whole list of counters and texts without asked outputs.
  auto model = std::make_unique<ServedModel>();
  model->id = "other";
  model->tokenizer = tokenizer_.get();
  model->n_ctx = 200;
  model->generates = false;
  model->embeddings = {.width = 4};
  model->facts = {{"task", "embedding"}, {"d_model", 4}};
  models_.set(std::move(model), *backend_, &embeddings_);
  EXPECT_EQ(to_json(get("/v2/models/other").body.at("outputs")),
            R"([{"name":"embedding","datatype":"FP32","shape":[-1,4]}])");
  const std::string infer = "/v2/models/other/infer";
  const Reply reply = ask(infer, input(R"("shape":[1],"datatype":"BYTES","data":["a"])"));
  EXPECT_EQ(to_json(reply.body.at("outputs").at(0).at("data")), "[291,388,0,0]") << reply.raw;
  EXPECT_EQ(ask("/v2/models/other/generate_stream", R"({"text_input":"a"})").status, 400);
  EXPECT_EQ(get("/v2/models/stats").body.at("model_stats").at(0).at("name").get_string(), "other");
}

TEST_F(KserveTest, UnknownModel) {
  // Goal: 404 in the protocol's shape.
  const Reply reply = ask("/v2/models/nobody/infer", R"({"inputs":[]})");
  EXPECT_EQ(reply.status, 404);
  EXPECT_TRUE(reply.body.at("error").is_string());
}

}  // namespace
}  // namespace hadal
