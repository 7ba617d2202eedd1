// Goal: structured output through the whole program: a model of the DeepSeek-V3 architecture, its
// prediction layer guessing, several requests at once over HTTP, temperature 1.5, thinking on and
// off, generated schemas. Every answer that ends is valid, as a validator says that knows nothing
// of grammars; every one that max_tokens cuts off is the beginning of a valid one.
// HADAL_SCHEMAS=1000 asks for so many schemas, HADAL_ANSWERS=FILE keeps the answers, one JSON
// object a line, for tests/clients/judge_answers.py.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "app/embedded_model.h"
#include "app/endpoints.h"
#include "app/served_engine.h"
#include "base/log.h"
#include "net/server.h"
#include "net/testing/test_client.h"
#include "serve/service.h"
#include "text/grammar/testing/schema_maker.h"
#include "text/grammar/testing/schema_validator.h"
#include "text/grammar_matcher.h"

namespace hadal {
namespace {

constexpr int kAtOnce = 8;
constexpr int kMostTokens = 1200;

/// `hadal serve nano --speculate MODE`, in this process.
class NanoServer {
 public:
  explicit NanoServer(const std::string& speculation)
      : settings_(without_cache()), loader_(settings_, std::nullopt) {
    ModelSettings how;
    how.threads = 2;
    how.parallel = kAtOnce;
    how.speculation.mode = speculation;
    auto listed = loader_.list({std::string(kEmbeddedModel), how});
    EXPECT_TRUE(listed.ok()) << listed.error().text();
    auto pack = WebPack::parse(WebPack::embedded());
    EXPECT_TRUE(pack.ok());
    pack_ = std::make_unique<WebPack>(std::move(pack).value());
    HubModel model = std::move(listed).value();
    model.preload = true;
    hub_ = std::make_unique<ModelHub>(Env::real(), loader_, std::vector<HubModel>{model},
                                      std::vector<ModelAlias>(), HubOptions());
    service_ = std::make_unique<Service>(Env::real(), *hub_);
    const Status loaded = hub_->preload();
    EXPECT_TRUE(loaded.ok()) << loaded.error().text();
    ServerOptions options;
    options.port = 0;
    auto started = Server::start(options, Router(make_routes(*service_, *pack_)));
    EXPECT_TRUE(started.ok()) << started.error().text();
    server_ = std::move(started).value();
  }
  ~NanoServer() {
    server_->stop(0);
    hub_->shutdown();
  }
  NanoServer(const NanoServer&) = delete;

  uint16_t port() const { return server_->port(); }
  EngineStats stats() const { return hub_->loaded().front()->backend->stats(); }
  const Tokenizer& tokenizer() const { return *hub_->loaded().front()->model->tokenizer; }

 private:
  static Settings without_cache() {
    Settings settings;
    settings.packed_cache = PackedCacheUse::kOff;
    return settings;
  }

  Settings settings_;
  EngineLoader loader_;
  std::unique_ptr<WebPack> pack_;
  std::unique_ptr<ModelHub> hub_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<Server> server_;
};

struct Answer {
  json::value schema;
  bool thinking = false;
  bool cut = false;                        ///< asked for so few tokens that it can hardly end
  std::string content, reasoning, finish;  ///< finish is empty when there was no answer
  int64_t tokens = 0;
};

std::string text_of(const json::object& object, const char* name) {
  const auto it = object.find(name);
  return it != object.end() && it->value().is_string() ? std::string(it->value().get_string()) : "";
}

Answer ask(const NanoServer& server, uint64_t seed) {
  Answer answer;
  testing::SchemaMaker maker(seed, true);
  answer.schema = json::object{
      {"type", "object"},
      {"properties", json::object{{"first", maker.make(3)}, {"second", maker.make(3)}}},
      {"required", json::array{"first", "second"}}};
  answer.thinking = seed % 2 == 1;
  answer.cut = seed % 10 >= 8;
  const std::string end = std::to_string(*server.tokenizer().find("</think>"));
  const json::object body{
      {"model", kEmbeddedModel},
      {"messages",
       json::array{json::object{{"role", "user"},
                                {"content", "Write JSON, number " + std::to_string(seed)}}}},
      {"temperature", 1.5},
      {"seed", seed},
      {"max_tokens", answer.cut ? 20 : kMostTokens},
      {"thinking", json::object{{"type", answer.thinking ? "enabled" : "disabled"}}},
      // At this temperature the model would hardly ever end its reasoning by itself.
      {"logit_bias", json::object{{end, 4}}},
      {"response_format",
       json::object{{"type", "json_schema"},
                    {"json_schema", json::object{{"name", "x"}, {"schema", answer.schema}}}}}};
  const std::string text = to_json(body);
  TestClient client(server.port());
  client.send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: " +
              std::to_string(text.size()) + "\r\nConnection: close\r\n\r\n" + text);
  const std::string raw = client.read_to_end();
  auto parsed = parse_json(raw.substr(std::min(raw.size(), raw.find("\r\n\r\n") + 4)));
  const bool good = raw.starts_with("HTTP/1.1 200") && parsed.ok();
  EXPECT_TRUE(good) << to_json(answer.schema) << "\n" << raw;
  if (!good) return answer;
  const json::object& choice = parsed.value().as_object()["choices"].as_array().front().as_object();
  const json::object& message = choice.find("message")->value().as_object();
  answer.content = text_of(message, "content");
  answer.reasoning = text_of(message, "reasoning_content");
  answer.finish = text_of(choice, "finish_reason");
  answer.tokens = parsed.value().as_object()["usage"].as_object()["completion_tokens"].as_int64();
  return answer;
}

std::vector<Answer> ask_all(const NanoServer& server, size_t count) {
  std::vector<Answer> answers(count);
  std::atomic<size_t> next = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < kAtOnce; ++i) {
    clients.emplace_back([&] {
      for (size_t at = next++; at < count; at = next++) answers[at] = ask(server, at);
    });
  }
  for (std::thread& client : clients) client.join();
  return answers;
}

/// Whether the text is the beginning of one of the grammar. The letters that the cut may have left
/// of a character do not count.
bool begins_well(const Answer& answer, const GrammarVocabulary& vocabulary) {
  const auto grammar = Grammar::from_json_schema(answer.schema);
  if (!grammar.ok()) return false;
  const auto compiled = CompiledGrammar::compile(grammar.value(), vocabulary);
  if (!compiled.ok()) return false;
  std::string text = answer.content;
  while (text.ends_with("\xEF\xBF\xBD")) text.resize(text.size() - 3);
  return GrammarMatcher(compiled.value()).accept_text(text);
}

void keep(const std::vector<Answer>& answers) {
  const char* path = std::getenv("HADAL_ANSWERS");
  if (path == nullptr) return;
  std::ofstream out(path);
  for (const Answer& answer : answers) {
    out << to_json(json::object{{"schema", answer.schema},
                                {"thinking", answer.thinking},
                                {"finish", answer.finish},
                                {"content", answer.content}})
        << "\n";
  }
  EXPECT_TRUE(out.good()) << path;
}

TEST(Structured, AnswersOfTheWholeProgramAreValid) {
  const char* asked = std::getenv("HADAL_SCHEMAS");
  const size_t count = asked == nullptr ? 200 : static_cast<size_t>(std::atoi(asked));
  set_log_level(LogLevel::kError);
  const NanoServer server("mtp");
  const std::vector<Answer> answers = ask_all(server, count);
  const auto vocabulary = GrammarVocabulary::create(server.tokenizer());
  size_t finished = 0;
  size_t cut = 0;
  size_t reasoned = 0;
  int64_t tokens = 0;
  for (const Answer& answer : answers) {
    tokens += answer.tokens;
    reasoned += answer.reasoning.empty() ? 0 : 1;
    const std::string context =
        fmt::format("{}\n{}: {}", to_json(answer.schema), answer.finish, answer.content);
    cut += answer.cut ? 1 : 0;
    if (answer.finish == "length") {
      EXPECT_TRUE(begins_well(answer, *vocabulary)) << context;
      continue;
    }
    ASSERT_EQ(answer.finish, "stop") << context;
    ++finished;
    const auto value = parse_json(answer.content);
    ASSERT_TRUE(value.ok()) << context;
    EXPECT_TRUE(testing::SchemaValidator(answer.schema).valid(answer.schema, value.value()))
        << context;
  }
  keep(answers);
  const EngineStats stats = server.stats();
  std::printf(
      "%zu answers (%zu of at most 20 tokens), %zu finished and valid, %zu with reasoning, "
      "%lld tokens, %llu guessed, %llu of them true\n",
      count, cut, finished, reasoned, static_cast<long long>(tokens),
      static_cast<unsigned long long>(stats.drafted_tokens),
      static_cast<unsigned long long>(stats.accepted_tokens));
  EXPECT_GE(finished * 100, (count - cut) * 99);
  EXPECT_LT(finished, count);
  EXPECT_GE(reasoned * 100, count * 40);
  EXPECT_GT(stats.drafted_tokens, stats.accepted_tokens);  // not only what the grammar forces
}

// Goal: guesses change no token, whatever a grammar allows.
TEST(Structured, GuessesChangeNothing) {
  constexpr size_t kCount = 24;
  set_log_level(LogLevel::kError);
  const NanoServer with("mtp");
  const NanoServer without("off");
  const std::vector<Answer> guessed = ask_all(with, kCount);
  const std::vector<Answer> plain = ask_all(without, kCount);
  for (size_t i = 0; i < kCount; ++i) {
    EXPECT_EQ(guessed[i].reasoning, plain[i].reasoning) << i;
    EXPECT_EQ(guessed[i].content, plain[i].content) << i;
  }
}

}  // namespace
}  // namespace hadal
