#include "engine/schedule/row.h"

#include <algorithm>

#include "base/check.h"

namespace hadal {

Row::Row(RequestId id_in, GenerateRequest request_in, std::unique_ptr<TokenSink> sink_in,
         uint64_t fallback_seed, int64_t max_output_in, int64_t now_micros)
    : id(id_in),
      request(std::move(request_in)),
      sink(std::move(sink_in)),
      sampler(request.sampling, request.prompt, fallback_seed),
      max_output(max_output_in),
      submitted_at_(now_micros) {
  CHECK(!request.prompt.empty());
  CHECK(max_output > 0);
}

int64_t Row::pending() const {
  return static_cast<int64_t>(request.prompt.size()) + completion_tokens - fed;
}

TokenId Row::token_at(int64_t position) const {
  const int64_t prompt_tokens = static_cast<int64_t>(request.prompt.size());
  if (position < prompt_tokens) return request.prompt[static_cast<size_t>(position)];
  CHECK(position == prompt_tokens + completion_tokens - 1);
  return last;
}

std::span<const TokenId> Row::masked() const {
  if (completion_tokens < request.min_tokens) return request.stop_ids;
  return {};
}

bool Row::ends_with(TokenId token) const {
  if (request.ignore_eos) return false;
  return std::find(request.stop_ids.begin(), request.stop_ids.end(), token) !=
         request.stop_ids.end();
}

void Row::begin(int64_t now_micros) {
  if (began_at_ < 0) began_at_ = now_micros;
}

void Row::sampled(TokenId token, int64_t now_micros) {
  last = token;
  ++completion_tokens;
  if (first_token_at_ < 0) first_token_at_ = now_micros;
  last_token_at_ = now_micros;
}

void Row::finish(FinishReason reason, std::string error, int64_t now_micros) {
  FinishEvent event;
  event.reason = reason;
  event.error = std::move(error);
  event.prompt_tokens = static_cast<int64_t>(request.prompt.size());
  event.completion_tokens = completion_tokens;
  event.queue_micros = (began_at_ < 0 ? now_micros : began_at_) - submitted_at_;
  if (began_at_ >= 0) {
    event.prefill_micros = (first_token_at_ < 0 ? now_micros : first_token_at_) - began_at_;
  }
  if (first_token_at_ >= 0) event.decode_micros = last_token_at_ - first_token_at_;
  sink->on_finish(event);
  sink.reset();
}

}  // namespace hadal
