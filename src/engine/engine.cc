#include "engine/engine.h"

#include <algorithm>
#include <thread>

#include "base/check.h"
#include "engine/schedule/loop.h"

namespace hadal {
namespace {

/// How long to wait for the tier when there is nothing else to do.
constexpr std::chrono::microseconds kTierPause(200);

}  // namespace

struct Engine::State {
  State(ForwardModel& model, const EngineOptions& options, Env& env_in,
        std::unique_ptr<Drafter> drafter)
      : env(env_in), loop(model, options, env, std::move(drafter)), thread([this] { run(); }) {}

  void run() {
    do {
      if (loop.idle()) loop.inbox().wait();
      if (loop.stalled()) loop.inbox().pause(kTierPause);
    } while (loop.turn());
  }

  Env& env;
  EngineLoop loop;
  std::thread thread;
};

Engine::Engine(ForwardModel& model, const EngineOptions& options, Env& env,
               std::unique_ptr<Drafter> drafter)
    : state_(std::make_unique<State>(model, options, env, std::move(drafter))) {}

Engine::~Engine() {
  CHECK(std::this_thread::get_id() != state_->thread.get_id());  // not from inside a sink
  stop();
  state_->thread.join();
}

Result<RequestId> Engine::submit(GenerateRequest request, std::unique_ptr<TokenSink> sink) {
  return state_->loop.submit(std::move(request), std::move(sink));
}

Status Engine::between_steps(std::function<void()> task) {
  return state_->loop.inbox().push_task(std::move(task));
}

void Engine::cancel(RequestId id) {
  state_->loop.inbox().cancel(id);
}

void Engine::drain(int64_t timeout_micros) {
  const int64_t begin = state_->env.now_micros();
  state_->loop.inbox().close_door(begin + timeout_micros);
  if (std::this_thread::get_id() == state_->thread.get_id())
    return;  // a sink cannot wait for itself
  // Short waits, so that a virtual clock that jumps is noticed too.
  constexpr int64_t kSliceMicros = 20'000;
  for (;;) {
    const int64_t left = begin + timeout_micros - state_->env.now_micros();
    const std::chrono::microseconds slice(std::clamp<int64_t>(left, 0, kSliceMicros));
    if (state_->loop.inbox().wait_until_idle(slice) || left <= 0) return;
  }
}

void Engine::stop() {
  state_->loop.inbox().stop();
}

EngineStats Engine::stats() const {
  EngineStats out = state_->loop.inbox().stats(state_->env.now_micros());
  out.rows_max = options().max_batch;
  out.queue_max = options().max_queue;
  return out;
}

const EngineOptions& Engine::options() const {
  return state_->loop.options();
}

}  // namespace hadal
