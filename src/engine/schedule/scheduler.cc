#include "engine/schedule/scheduler.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace hadal {
namespace {

/// Prompt tokens of one request that are scored in one step: each needs a row of logits.
constexpr int64_t kScoredTokens = 32;

}  // namespace

std::vector<int64_t> share_budget(std::span<const int64_t> pending, int64_t budget) {
  std::vector<int64_t> shares;
  if (pending.empty()) return shares;
  const int64_t equal = budget / static_cast<int64_t>(pending.size());
  for (int64_t tokens : pending) {
    shares.push_back(std::min(tokens, equal));
    budget -= shares.back();
  }
  for (size_t i = 0; i < shares.size() && budget > 0; ++i) {
    const int64_t more = std::min(pending[i] - shares[i], budget);
    shares[i] += more;
    budget -= more;
  }
  return shares;
}

Scheduler::Scheduler(ForwardModel& model, const EngineOptions& options, Env& env, Inbox& inbox)
    : model_(model),
      options_(options),
      env_(env),
      inbox_(inbox),
      kv_(model.kv_layout(), options.n_ctx, options.max_batch),
      slots_(options.max_batch),
      logits_(static_cast<size_t>(options.max_batch * model.n_vocab())) {}

void Scheduler::admit(std::unique_ptr<Row> row) {
  const std::optional<int> slot = slots_.acquire(row->id);
  CHECK(slot.has_value());
  row->slot = *slot;
  rows_.push_back(std::move(row));
}

void Scheduler::cancel(RequestId id) {
  for (const auto& row : rows_) {
    if (row->id == id) end(*row, FinishReason::kCancelled);
  }
  drop_ended();
}

void Scheduler::cancel_all() {
  for (const auto& row : rows_) end(*row, FinishReason::kCancelled);
  drop_ended();
}

void Scheduler::step() {
  CHECK(busy());
  const std::vector<Part> parts = plan();
  fill_batch(parts);
  const int64_t now = env_.now_micros();
  for (const Part& part : parts) part.row->begin(now);

  int64_t wanting = 0;
  for (const Part& part : parts) wanting += part.logits;
  const size_t n_vocab = static_cast<size_t>(model_.n_vocab());
  if (static_cast<size_t>(wanting) * n_vocab > logits_.size()) {
    logits_.resize(static_cast<size_t>(wanting) * n_vocab);
  }
  const std::span<float> logits(logits_.data(), static_cast<size_t>(wanting) * n_vocab);
  const Status status = model_.forward(batch_, kv_, logits);
  if (!status.ok()) {
    log_event(LogLevel::kError, "forward_failed",
              {{"rows", batch_.rows.size()}, {"error", status.error().message}});
  }

  counts_.steps += 1;
  size_t next_logits = 0;
  for (const Part& part : parts) {
    if (!status.ok()) {
      end(*part.row, FinishReason::kError, status.error().message);
      continue;
    }
    if (!part.row->decoding()) counts_.prompt_tokens += static_cast<uint64_t>(part.tokens);
    part.row->fed += part.tokens;
    const auto rows = static_cast<size_t>(part.logits);
    deliver_all(part, logits.subspan(next_logits * n_vocab, rows * n_vocab));
    next_logits += rows;
  }
  report();
  drop_ended();
}

std::vector<Scheduler::Part> Scheduler::plan() const {
  std::vector<Part> parts;
  std::vector<int64_t> pending;
  for (const auto& row : rows_) {
    if (row->decoding()) parts.push_back({row.get(), 1, 1});
    if (!row->decoding()) {
      const bool scored = row->request.prompt_logprobs;
      pending.push_back(scored ? std::min(row->pending(), kScoredTokens) : row->pending());
    }
  }
  const int64_t budget = options_.max_step_tokens - static_cast<int64_t>(parts.size());
  const std::vector<int64_t> shares = share_budget(pending, budget);
  size_t prefill = 0;
  for (const auto& row : rows_) {
    if (row->decoding()) continue;
    const int64_t tokens = shares[prefill];
    const bool whole = tokens == row->pending();
    ++prefill;
    const int64_t logits = row->request.prompt_logprobs ? tokens : int64_t{whole};
    if (tokens > 0) parts.push_back({row.get(), tokens, logits});
  }
  CHECK(!parts.empty());
  return parts;
}

void Scheduler::fill_batch(std::span<const Part> parts) {
  batch_.rows.clear();
  batch_.sequences.clear();
  for (const Part& part : parts) {
    const auto sequence = static_cast<int32_t>(batch_.sequences.size());
    batch_.sequences.push_back(slots_.sequence(part.row->slot));
    const int64_t end = part.row->fed + part.tokens;
    CHECK(end <= options_.n_ctx);
    for (int64_t position = part.row->fed; position < end; ++position) {
      batch_.rows.push_back({.token = part.row->token_at(position),
                             .position = static_cast<int32_t>(position),
                             .sequence = sequence,
                             .wants_logits = position >= end - part.logits});
    }
  }
}

/// Tokens of a scored prompt, and what comes behind it.
void Scheduler::deliver_all(const Part& part, std::span<float> logits) {
  Row& row = *part.row;
  const size_t n_vocab = static_cast<size_t>(model_.n_vocab());
  const auto prompt_tokens = static_cast<int64_t>(row.request.prompt.size());
  for (int64_t i = 0; i < part.logits && row.slot >= 0; ++i) {
    const std::span<float> one = logits.subspan(static_cast<size_t>(i) * n_vocab, n_vocab);
    const int64_t next = row.fed - part.logits + i + 1;
    if (next >= prompt_tokens) {
      deliver(row, one);
      return;
    }
    const TokenId id = row.request.prompt[static_cast<size_t>(next)];
    Result<Sampled> scored = row.sampler.score(one, id);
    if (!scored.ok()) return end(row, FinishReason::kError, scored.error().message);
    row.sink->on_prompt_token({id, scored.value().logprob, std::move(scored.value().top)});
  }
}

void Scheduler::deliver(Row& row, std::span<float> logits) {
  Result<Sampled> sampled = row.sampler.sample(logits, row.masked());
  if (!sampled.ok()) return end(row, FinishReason::kError, sampled.error().message);
  Sampled& choice = sampled.value();
  row.sampled(choice.id, env_.now_micros());
  ++counts_.completion_tokens;
  if (row.ends_with(choice.id)) return end(row, FinishReason::kStop);
  row.sink->on_token({choice.id, choice.logprob, std::move(choice.top)});
  if (row.completion_tokens >= row.max_output) end(row, FinishReason::kLength);
}

/// The slot is free and the statistics are right before the sink hears of it: on_finish may submit.
void Scheduler::end(Row& row, FinishReason reason, std::string error) {
  slots_.release(row.slot, row.id);
  row.slot = -1;
  report();
  inbox_.retire(row.id, /*was_waiting=*/false);
  row.finish(reason, std::move(error), env_.now_micros());
  inbox_.close();
}

void Scheduler::report() {
  inbox_.report(std::exchange(counts_, {}));
}

void Scheduler::drop_ended() {
  std::erase_if(rows_, [](const auto& row) { return row->slot < 0; });
}

void Scheduler::check_integrity() const {
  slots_.check_integrity();
  CHECK(slots_.used_count() == static_cast<int>(rows_.size()));
}

}  // namespace hadal
