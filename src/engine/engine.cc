#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include <fmt/format.h>

#include "base/check.h"
#include "base/limits.h"
#include "engine/schedule/inbox.h"
#include "engine/schedule/scheduler.h"

namespace hadal {
namespace {

/// Options that cannot work are raised to the least that can: every running row needs one token of
/// a step, or decoding rows could keep a prompt out for ever; every sequence fits the pages alone.
EngineOptions usable(EngineOptions options, const KvLayout& layout) {
  options.n_ctx = std::max<int64_t>(options.n_ctx, 2);
  options.max_batch = std::max(options.max_batch, 1);
  options.max_queue = std::max(options.max_queue, 1);
  options.max_step_tokens = std::max(options.max_step_tokens, options.max_batch);
  options.n_ctx = std::min(options.n_ctx, kv_pages(options, layout) * kKvPageTokens);
  return options;
}

RequestId next_request_id() {
  static std::atomic<RequestId> last{0};  // ids are unique for the process, not for one engine
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

Error bad(std::string message) {
  return {Code::kInvalidArgument, std::move(message)};
}

Status check(const GenerateRequest& request, int64_t n_vocab, int64_t n_ctx) {
  if (request.prompt.empty()) return bad("the prompt is empty");
  const auto prompt_tokens = static_cast<int64_t>(request.prompt.size());
  if (prompt_tokens >= n_ctx) {
    return Error{Code::kInvalidArgument,
                 fmt::format("the prompt has {} tokens, the context holds {} with the answer",
                             prompt_tokens, n_ctx),
                 "shorten the prompt or start with a larger context"};
  }
  for (TokenId id : request.prompt) {
    if (id < 0 || id >= n_vocab) {
      return bad(
          fmt::format("the prompt has token {}, the vocabulary has 0 to {}", id, n_vocab - 1));
    }
  }
  if (request.max_tokens < 0) {
    return bad(fmt::format("max_tokens must be 0 or more, got {}", request.max_tokens));
  }
  if (request.min_tokens < 0) {
    return bad(fmt::format("min_tokens must be 0 or more, got {}", request.min_tokens));
  }
  if (request.stop_ids.size() > limits::kStopIds) {
    return bad(fmt::format("{} stop ids, at most {} are allowed", request.stop_ids.size(),
                           limits::kStopIds));
  }
  if (request.prompt_logprobs && request.sampling.top_logprobs < 0) {
    return bad("prompt_logprobs needs top_logprobs");
  }
  return validate(request.sampling, n_vocab);
}

}  // namespace

struct Engine::State {
  State(ForwardModel& model_in, const EngineOptions& options_in, Env& env_in)
      : model(model_in),
        options(usable(options_in, model.kv_layout())),
        env(env_in),
        inbox(options.max_queue),
        scheduler(model, options, env, inbox),
        thread([this] { loop(); }) {}

  void loop();
  void end_waiting(std::unique_ptr<Row> row);

  ForwardModel& model;
  const EngineOptions options;
  Env& env;
  Inbox inbox;
  Scheduler scheduler;  // the thread's alone
  std::thread thread;
};

void Engine::State::loop() {
  for (;;) {
    if (!scheduler.busy()) scheduler.check_integrity();
    InboxWork work = inbox.take(scheduler.busy(), scheduler.room());
    for (auto& row : work.cancelled) end_waiting(std::move(row));
    for (RequestId id : work.cancelled_running) scheduler.cancel(id);
    for (auto& row : work.admitted) scheduler.admit(std::move(row));
    if (work.stop) break;
    if (scheduler.busy()) scheduler.step();
  }
  scheduler.cancel_all();
  scheduler.check_integrity();
  scheduler.offer_cached();
}

void Engine::State::end_waiting(std::unique_ptr<Row> row) {
  inbox.retire(row->id, /*was_waiting=*/true);
  row->finish(FinishReason::kCancelled, {}, env.now_micros());
  inbox.close();
}

Engine::Engine(ForwardModel& model, const EngineOptions& options, Env& env)
    : state_(std::make_unique<State>(model, options, env)) {}

Engine::~Engine() {
  CHECK(std::this_thread::get_id() != state_->thread.get_id());  // not from inside a sink
  state_->inbox.stop();
  state_->thread.join();
}

Result<RequestId> Engine::submit(GenerateRequest request, std::unique_ptr<TokenSink> sink) {
  CHECK(sink != nullptr);
  TRY_STATUS(check(request, state_->model.n_vocab(), state_->options.n_ctx));
  const int64_t room = state_->options.n_ctx - static_cast<int64_t>(request.prompt.size());
  const int64_t max_output = request.max_tokens == 0 ? room : std::min(request.max_tokens, room);
  const uint64_t seed = request.sampling.seed.has_value() ? 0 : state_->env.random_u64();
  const RequestId id = next_request_id();
  TRY_STATUS(state_->inbox.push(std::make_unique<Row>(id, std::move(request), std::move(sink), seed,
                                                      max_output, state_->env.now_micros())));
  return id;
}

void Engine::cancel(RequestId id) {
  state_->inbox.cancel(id);
}

void Engine::drain(int64_t timeout_micros) {
  state_->inbox.close_door();
  if (std::this_thread::get_id() == state_->thread.get_id())
    return;  // a sink cannot wait for itself
  // Short waits, so that a virtual clock that jumps is noticed too.
  constexpr int64_t kSliceMicros = 20'000;
  const int64_t begin = state_->env.now_micros();
  for (;;) {
    const int64_t left = begin + timeout_micros - state_->env.now_micros();
    const std::chrono::microseconds slice(std::clamp<int64_t>(left, 0, kSliceMicros));
    if (state_->inbox.wait_until_idle(slice) || left <= 0) return;
  }
}

EngineStats Engine::stats() const {
  return state_->inbox.stats();
}

const EngineOptions& Engine::options() const {
  return state_->options;
}

}  // namespace hadal
