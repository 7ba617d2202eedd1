// Goal: no bytes sent as a request body crash the reading of requests; what is accepted keeps the
// declared ranges.
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/limits.h"
#include "serve/dialects/openai_chat.h"
#include "serve/dialects/openai_completions.h"
#include "serve/dialects/plain.h"
#include "serve/dialects/tokens.h"
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

}  // namespace
}  // namespace hadal

// The first byte chooses the endpoint, the rest is the body.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hadal;  // NOLINT(google-build-using-namespace)
  static const Fixture fixture;
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  Env& env = Env::real();
  GenerationPlan plan;
  std::string out;
  switch (data[0] % 6) {
    case 0:
      check_plan(plan_openai_chat(fixture.model, body, env, plan), plan, fixture.model);
      break;
    case 1:
      check_plan(plan_openai_completions(fixture.model, body, env, plan), plan, fixture.model);
      break;
    case 2:
      check_plan(plan_generate(fixture.model, body, env, plan), plan, fixture.model);
      break;
    case 3:
      check_plan(plan_socket_message(fixture.model, body, env, plan), plan, fixture.model);
      break;
    case 4:
      (void)tokenize_body(fixture.model, body, env, out);
      break;
    case 5:
      (void)detokenize_body(fixture.model, body, out);
      break;
  }
  return 0;
}
