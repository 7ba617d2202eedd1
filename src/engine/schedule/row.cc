#include "engine/schedule/row.h"

#include <algorithm>

#include "base/check.h"

namespace hadal {

Row::Row(RequestId id_in, GenerateRequest request_in, std::unique_ptr<TokenSink> sink_in,
         uint64_t fallback_seed, int64_t max_output_in, int64_t now_micros)
    : id(id_in),
      request(std::move(request_in)),
      sink(std::move(sink_in)),
      sampler(request.sampling, request.prompt, fallback_seed, std::move(request.filter)),
      max_output(max_output_in),
      tokens(request.prompt),
      submitted_at_(now_micros) {
  CHECK(!request.prompt.empty());
  CHECK(max_output > 0);
}

int64_t Row::wants_from() const {
  return request.prompt_logprobs && completion_tokens == 0 ? scored : total() - 1;
}

TokenId Row::token_at(int64_t position) const {
  if (position < total()) return tokens[static_cast<size_t>(position)];
  return draft.planned()[static_cast<size_t>(position - total())];
}

void Row::skip_to(int64_t position) {
  CHECK(position >= fed && position <= wants_from());
  cached_tokens_ += std::max<int64_t>(std::min(position, prompt_tokens()) - reached_, 0);
  fed = position;
  reached_ = std::max(reached_, fed);
}

void Row::feed(int64_t count) {
  fed += count;
  CHECK(fed <= total());
  reached_ = std::max(reached_, fed);
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

Priority Row::urgency(int64_t now_micros, int64_t age_micros) const {
  const auto asked = static_cast<int64_t>(request.priority);
  return static_cast<Priority>(std::max<int64_t>(asked - waited(now_micros) / age_micros, 0));
}

void Row::begin(int64_t now_micros) {
  if (began_at_ >= 0) return;
  began_at_ = now_micros;
  sink->on_begin();
}

void Row::sampled(TokenId token, int64_t now_micros) {
  tokens.push_back(token);
  ++completion_tokens;
  if (first_token_at_ < 0) first_token_at_ = now_micros;
  last_token_at_ = now_micros;
}

void Row::finish(FinishReason reason, std::string error, int64_t now_micros,
                 int64_t retry_after_micros) {
  FinishEvent event;
  event.retry_after_micros = retry_after_micros;
  event.reason = reason;
  event.error = std::move(error);
  event.prompt_tokens = prompt_tokens();
  event.cached_tokens = cached_tokens_;
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
