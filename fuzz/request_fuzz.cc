// Goal: no bytes sent as a request body crash the reading of requests; what is accepted keeps the
// declared ranges.
#include <cstdint>
#include <iterator>
#include <memory>
#include <string_view>

#include "base/limits.h"
#include "serve/dialects/anthropic.h"
#include "serve/dialects/openai_chat.h"
#include "serve/dialects/openai_completions.h"
#include "serve/dialects/plain.h"
#include "serve/dialects/responses.h"
#include "serve/dialects/tokens.h"
#include "serve/service.h"
#include "serve/testing/scripted.h"

namespace hadal {
namespace {

struct Fixture {
  Fixture() : tokenizer(byte_tokenizer()) {
    model.id = "m";
    model.tokenizer = tokenizer.get();
    model.n_ctx = 4096;
  }
  std::unique_ptr<Tokenizer> tokenizer;
  ServedModel model;
};

void check_plan(const Checked& error, const GenerationPlan& plan, const ServedModel& model) {
  if (error) {
    CHECK(error->status >= 400);
    CHECK(!error->message.empty());
    return;
  }
  CHECK(plan.writer != nullptr);
  CHECK(!plan.prompts.empty());
  CHECK(plan.params.n >= 1 && plan.params.n <= limits::kChoices);
  CHECK(validate(plan.params.sampling, model.tokenizer->size()).ok());
  for (const auto& prompt : plan.prompts) {
    CHECK(!prompt.empty() && static_cast<int64_t>(prompt.size()) < model.n_ctx);
    for (const TokenId id : prompt) CHECK(id >= 0 && id < model.tokenizer->size());
  }
}

void read_response(const ServedModel& model, const json::object& body) {
  ResponseStore store;
  PlannedResponse planned;
  const ResponseShelf shelf{.store = &store, .env = &Env::real(), .owner = "me"};
  check_plan(plan_responses(model, body, shelf, planned), planned.plan, model);
}

}  // namespace
}  // namespace hadal

// The first byte chooses the endpoint, the rest is the body.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hadal;  // NOLINT(google-build-using-namespace)
  static const Fixture fixture;
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  json::object body;
  if (parse_body(bytes, body)) return 0;
  Env& env = Env::real();
  const ServedModel& model = fixture.model;
  GenerationPlan plan;
  std::string out;
  constexpr Planner kPlanners[] = {plan_openai_chat, plan_openai_completions, plan_generate,
                                   plan_socket_message, plan_anthropic};
  constexpr size_t kTokens = std::size(kPlanners);
  const size_t endpoint = data[0] % (kTokens + 3);
  if (endpoint < kTokens) {
    check_plan(kPlanners[endpoint](model, body, env, plan), plan, model);
  } else if (endpoint == kTokens) {
    (void)tokenize_body(model, body, env, out);
  } else if (endpoint == kTokens + 1) {
    read_response(model, body);
  } else {
    (void)detokenize_body(model, body, out);
  }
  return 0;
}
