// The endpoints of `hadal serve` over a model that says what a script tells it to: clients that run
// tools can be led through a whole loop.
//
//   scripted_server PORT SCRIPT     SCRIPT: [{"when": "text in the prompt", "say": "answer"}, ...]
//
// The first entry whose `when` is in the prompt (empty: always) is said; nothing fits: "no rule".
// The codec is DeepSeek V4's. Prompts go to standard error. Ends when standard input does.
#include <cstdio>
#include <fstream>
#include <iterator>

#include "app/endpoints.h"
#include "base/json.h"
#include "base/parse.h"
#include "net/server.h"
#include "serve/testing/scripted.h"

namespace hadal {
namespace {

struct Rule {
  std::string when;
  std::string say;
};

Result<std::vector<Rule>> read_rules(const char* path) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  TRY(const json::value parsed, parse_json(text));
  std::vector<Rule> rules;
  const json::array* entries = parsed.if_array();
  if (entries == nullptr) return Error{Code::kInvalidArgument, "the script is no list"};
  for (const json::value& entry : *entries) {
    const json::object* rule = entry.if_object();
    const json::value* when = rule != nullptr ? rule->if_contains("when") : nullptr;
    const json::value* say = rule != nullptr ? rule->if_contains("say") : nullptr;
    if (when == nullptr || say == nullptr || !when->is_string() || !say->is_string()) {
      return Error{Code::kInvalidArgument, "an entry of the script needs 'when' and 'say'"};
    }
    rules.push_back({std::string(when->get_string()), std::string(say->get_string())});
  }
  return rules;
}

Status run(uint16_t port, const char* script) {
  TRY(const std::vector<Rule> rules, read_rules(script));
  const std::unique_ptr<Tokenizer> tokenizer = byte_tokenizer();
  SingleModel models;
  Service service(Env::real(), models);
  const WebPack pack;
  ServerOptions options;
  options.port = port;
  options.error_body = net_error_body;
  TRY(auto server, Server::start(options, Router(make_routes(service, pack))));
  ScriptedBackend backend([&](const GenerateRequest& request) {
    const std::string prompt = tokenizer->decode(request.prompt, true);
    std::fprintf(stderr, "PROMPT %s\n", prompt.c_str());
    for (const Rule& rule : rules) {
      if (prompt.find(rule.when) != std::string::npos) return say(rule.say);
    }
    return say("</think>no rule");
  });
  auto model = std::make_unique<ServedModel>();
  model->id = "scripted";
  model->tokenizer = tokenizer.get();
  TRY(model->chosen_codec, Codec::named("deepseek-v4", {.tokenizer = tokenizer.get()}));
  model->n_ctx = 4 << 20;
  models.set(std::move(model), backend);
  std::printf("ready\n");
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  server->stop(0);
  return {};
}

}  // namespace
}  // namespace hadal

int main(int argc, char** argv) {
  const auto port = hadal::parse_int<uint16_t>(argc == 3 ? argv[1] : "");
  if (!port) {
    std::fprintf(stderr, "usage: scripted_server PORT SCRIPT\n");
    return 2;
  }
  const hadal::Status status = hadal::run(*port, argv[2]);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.error().text().c_str());
  return 1;
}
