#include "engine/schedule/loop.h"

#include <algorithm>
#include <atomic>

#include <fmt/format.h>

#include "base/check.h"
#include "base/limits.h"

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
  options.max_queue_micros = std::max<int64_t>(options.max_queue_micros, 0);
  options.age_micros = std::max<int64_t>(options.age_micros, 1);
  options.step_target_micros = std::max<int64_t>(options.step_target_micros, 0);
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
  if (request.tenant.size() > limits::kTenantBytes) {
    return bad(fmt::format("the tenant's name has {} bytes, at most {} are allowed",
                           request.tenant.size(), limits::kTenantBytes));
  }
  if (request.max_queue_micros < 0) {
    return bad(fmt::format("max_queue_micros must be 0 or more, got {}", request.max_queue_micros));
  }
  return validate(request.sampling, n_vocab);
}

}  // namespace

EngineLoop::EngineLoop(ForwardModel& model, const EngineOptions& options, Env& env,
                       std::unique_ptr<Drafter> drafter)
    : model_(model),
      options_(usable(options, model.kv_layout())),
      env_(env),
      inbox_(options_),
      scheduler_(model, options_, env, inbox_, std::move(drafter)) {}

Result<RequestId> EngineLoop::submit(GenerateRequest request, std::unique_ptr<TokenSink> sink) {
  CHECK(sink != nullptr);
  TRY_STATUS(check(request, model_.n_vocab(), options_.n_ctx));
  const int64_t room = options_.n_ctx - static_cast<int64_t>(request.prompt.size());
  const int64_t max_output = request.max_tokens == 0 ? room : std::min(request.max_tokens, room);
  const uint64_t seed = request.sampling.seed.has_value() ? 0 : env_.random_u64();
  const RequestId id = next_request_id();
  const int64_t now = env_.now_micros();
  const int64_t later = static_cast<int64_t>(request.priority) * options_.age_micros;
  auto row = std::make_unique<Row>(id, std::move(request), std::move(sink), seed, max_output, now);
  row->turn = now + later;
  TRY_STATUS(inbox_.push(std::move(row), now));
  return id;
}

bool EngineLoop::turn() {
  const int64_t now = env_.now_micros();
  InboxWork work = inbox_.take(scheduler_.room(), now);
  for (const auto& row : work.cancelled) end_waiting(*row, FinishReason::kCancelled, 0);
  for (const auto& row : work.expired) {
    end_waiting(*row, FinishReason::kExpired, work.wait_estimate);
  }
  for (const RequestId id : work.cancelled_running) scheduler_.cancel(id);
  for (auto& row : work.admitted) scheduler_.admit(std::move(row));
  for (const std::function<void()>& task : work.tasks) task();
  if (work.stop) {
    scheduler_.cancel_all();
    check_integrity();
    scheduler_.offer_cached();
    return false;
  }
  stalled_ = scheduler_.busy() && !scheduler_.step();
  if (!scheduler_.busy()) check_integrity();
  return true;
}

void EngineLoop::end_waiting(Row& row, FinishReason reason, int64_t wait_estimate) {
  const int64_t now = env_.now_micros();
  inbox_.retire(row, /*was_waiting=*/true);
  std::string error;
  if (reason == FinishReason::kExpired) {
    error = fmt::format("the request waited {:.1f} s for its turn, longer than it may",
                        static_cast<double>(row.waited(now)) / 1e6);
  }
  row.finish(reason, std::move(error), now, wait_estimate);
  inbox_.close();
}

void EngineLoop::check_integrity() const {
  inbox_.check_integrity();
  scheduler_.check_integrity();
}

}  // namespace hadal
