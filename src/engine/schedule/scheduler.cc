#include "engine/schedule/scheduler.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace hadal {
namespace {

/// Prompt tokens of one request that are scored in one step: each needs a row of logits.
constexpr int64_t kScoredTokens = 32;
/// What one more row costs (StepWorth) before that is known: between 0.08 (Q8_0) and 0.25 (Q4_0)
/// for a model of 1.5e9 weights, by the decode speeds of 1 and 8 rows in docs/PERFORMANCE.md.
constexpr double kRowCost = 0.25;
/// From so many steps on the latency model knows it.
constexpr int64_t kStepsToKnow = 32;

/// A guess costs what a prompt token does: one row more in products that many rows share.
double row_cost(const LatencyModel& model) {
  if (model.observations() < kStepsToKnow) return kRowCost;
  const double row = model.predict({.prompt_tokens = 1}) - model.predict({});
  const double pass = model.predict({.decode_rows = 1}) - row;  // without its row
  constexpr double kLeast = 0.02;
  return std::max(row / std::max({pass, row / 4, 1e-6}), kLeast);
}

/// Rows keep their turn when they are parked.
bool older(const std::unique_ptr<Row>& a, const std::unique_ptr<Row>& b) {
  return std::pair(a->turn, a->id) < std::pair(b->turn, b->id);
}

void insert_by_age(std::vector<std::unique_ptr<Row>>& rows, std::unique_ptr<Row> row) {
  const auto at = std::upper_bound(rows.begin(), rows.end(), row, older);
  rows.insert(at, std::move(row));
}

bool has_nan(std::span<const float> logits) {
  return std::any_of(logits.begin(), logits.end(), [](float x) { return std::isnan(x); });
}

}  // namespace

int64_t kv_pages(const EngineOptions& options, const KvLayout& layout) {
  const int64_t per_context = (options.n_ctx + kKvPageTokens - 1) / kKvPageTokens;
  if (options.kv_bytes == 0) return per_context * options.max_batch;
  const uint64_t page_bytes = layout.bytes_per_token() * kKvPageTokens;
  return static_cast<int64_t>(std::clamp<uint64_t>(options.kv_bytes / page_bytes, 1, INT32_MAX));
}

namespace {

/// At least one, since 0 means no cap.
int64_t tenant_pages(const EngineOptions& options, const KvLayout& layout) {
  const auto pages = static_cast<double>(kv_pages(options, layout));
  return std::max<int64_t>(static_cast<int64_t>(options.tenant_share * pages), 1);
}

}  // namespace

Scheduler::Scheduler(ForwardModel& model, const EngineOptions& options, Env& env, Inbox& inbox,
                     std::unique_ptr<Drafter> drafter)
    : model_(model),
      options_(options),
      env_(env),
      inbox_(inbox),
      kv_(model.kv_layout(), {.n_pages = kv_pages(options, model.kv_layout()),
                              .tenant_pages_max = tenant_pages(options, model.kv_layout()),
                              .fingerprint = options.model_fingerprint,
                              .tier = options.tier}),
      budget_(options),
      speculator_(std::move(drafter)),
      logits_(static_cast<size_t>(options.max_batch * model.n_vocab())) {
  const auto rows = static_cast<size_t>(options.max_batch);
  rows_.reserve(rows);
  parts_.reserve(rows);
  batch_.sequences.reserve(rows);
  batch_.rows.reserve(static_cast<size_t>(options.max_step_tokens));
}

int Scheduler::room() const {
  return waiting_.empty() ? options_.max_batch - static_cast<int>(rows_.size()) : 0;
}

void Scheduler::admit(std::unique_ptr<Row> row) {
  row->tokens.reserve(static_cast<size_t>(row->prompt_tokens() + row->max_output));
  insert_by_age(waiting_, std::move(row));
  blocked_at_ = -1;
}

void Scheduler::cancel(RequestId id) {
  for (const auto* rows : {&rows_, &waiting_}) {
    for (const auto& row : *rows) {
      if (row->id == id) end(*row, FinishReason::kCancelled);
    }
  }
  blocked_at_ = -1;  // who waited first may be gone
  drop_ended();
}

void Scheduler::cancel_all() {
  for (const auto* rows : {&rows_, &waiting_}) {
    for (const auto& row : *rows) end(*row, FinishReason::kCancelled);
  }
  drop_ended();
}

bool Scheduler::step() {
  CHECK(busy());
  const int64_t now = env_.now_micros();
  start_waiting();
  continue_loading();
  plan(now);
  if (parts_.empty()) {
    report();
    return false;
  }
  fill_batch();
  for (const Part& part : parts_) part.row->begin(now);

  int64_t wanting = 0;
  for (const Part& part : parts_) wanting += part.logits;
  const size_t n_vocab = static_cast<size_t>(model_.n_vocab());
  if (static_cast<size_t>(wanting) * n_vocab > logits_.size()) {
    logits_.resize(static_cast<size_t>(wanting) * n_vocab);
  }
  const std::span<float> logits(logits_.data(), static_cast<size_t>(wanting) * n_vocab);
  const Status status = model_.forward(batch_, kv_.pool(), logits);
  if (!status.ok()) {
    log_event(LogLevel::kError, "forward_failed",
              {{"rows", batch_.rows.size()}, {"error", status.error().message}});
  }

  counts_.steps += 1;
  computed_at_ = env_.now_micros();
  size_t next_logits = 0;
  for (const Part& part : parts_) {
    if (!status.ok()) {
      end(*part.row, FinishReason::kError, status.error().message);
      continue;
    }
    Row& row = *part.row;
    const auto rows = static_cast<size_t>(part.logits);
    const std::span<float> own = logits.subspan(next_logits * n_vocab, rows * n_vocab);
    next_logits += rows;
    if (row.decoding()) {
      deliver_drafted(part, own);
      continue;
    }
    counts_.prompt_tokens += static_cast<uint64_t>(part.tokens);
    row.feed(part.tokens);
    kv_.share(row.kv, row.tokens, row.fed);
    deliver_all(part, own);
  }
  if (status.ok()) learn(env_.now_micros() - now);
  report();
  drop_ended();
  return true;
}

/// Oldest first, and none past one that must wait: who needs many pages gets them in the end.
void Scheduler::start_waiting() {
  while (!waiting_.empty() && rows_.size() < static_cast<size_t>(options_.max_batch)) {
    if (!start(*waiting_.front())) return;
    std::unique_ptr<Row> row = std::move(waiting_.front());
    waiting_.erase(waiting_.begin());
    insert_by_age(rows_, std::move(row));
  }
}

/// Pages that the rows will ask for soon: of the rest of their prompts, and one each to go on.
int64_t Scheduler::owed_pages() const {
  int64_t owed = 0;
  for (const auto& row : rows_) {
    const auto held = static_cast<int64_t>(row->kv.pages.size());
    owed += std::max<int64_t>(kv_.pages_for(row->total()) - held, 0) + 1;
  }
  return owed;
}

/// Begins if there are pages for all its tokens and one more.
bool Scheduler::start(Row& row) {
  const int64_t whole = kv_.pages_for(row.total()) + 1 + owed_pages();
  const bool certain = rows_.empty() || kv_.available() >= whole;
  if (!certain && blocked_at_ == kv_.available()) return false;
  kv_.open(row.kv, row.request.tenant, row.prompt_tokens() + row.max_output);
  const int64_t found = kv_.match(row.kv, row.tokens, row.wants_from());
  if (!certain && kv_.available() < whole - row.kv.shared) {
    kv_.close(row.kv);
    blocked_at_ = kv_.available();
    return false;
  }
  blocked_at_ = -1;
  row.skip_to(found);
  const bool loads = kv_.begin_load(row.kv, row.tokens, row.wants_from());
  row.phase = loads ? RowPhase::kLoading : RowPhase::kRunning;
  return true;
}

void Scheduler::continue_loading() {
  for (const auto& row : rows_) {
    if (row->phase != RowPhase::kLoading || !kv_.load(row->kv, row->tokens)) continue;
    row->phase = RowPhase::kRunning;
    row->skip_to(row->kv.shared * kv_.page_tokens());
  }
}

/// Decoding rows first, then prompts, each as far as its share of the step and the pages go.
void Scheduler::plan(int64_t now_micros) {
  parts_.clear();
  prefills_.clear();
  asks_.clear();
  claims_.clear();
  load_ = {};
  DecodeLoad decode;
  for (const auto& row : rows_) {
    row->planned = 0;
    if (row->phase != RowPhase::kRunning) continue;
    if (row->decoding()) {
      row->planned = 1;
      ++decode.rows;
      decode.reads += row->total();
      decode.someone_waits = decode.someone_waits || row->request.priority != Priority::kBatch;
    } else if (const int64_t tokens = plan_prefill(*row); tokens > 0) {
      prefills_.push_back(row.get());
      asks_.push_back({tokens, row->fed, row->urgency(now_micros, options_.age_micros)});
    }
  }
  gauges_.budget = budget_.prompt_tokens(asks_, decode);
  shares_.resize(asks_.size());
  share_budget(asks_, gauges_.budget, shares_);
  for (size_t i = 0; i < prefills_.size(); ++i) prefills_[i]->planned = shares_[i];
  speculate();
  reserve_pages();
  for (const auto& row : rows_) {
    if (row->decoding()) add_part(*row);
  }
  for (const auto& row : rows_) {
    if (!row->decoding()) add_part(*row);
  }
}

/// Tokens that a prompt would like to compute in this step; 0 when an older one computes the same.
int64_t Scheduler::plan_prefill(Row& row) {
  const int64_t limit = row.wants_from();
  const bool at_border = static_cast<int64_t>(row.kv.pages.size()) == row.kv.shared;
  if (at_border && kv_.next_node(row.kv, row.tokens, limit) != kNoNode) {
    row.skip_to(kv_.match(row.kv, row.tokens, limit));
  }
  if (computed_by_older(row)) return 0;
  const bool scored = row.request.prompt_logprobs && row.completion_tokens == 0;
  return scored ? std::min(row.pending(), kScoredTokens) : row.pending();
}

/// Whether an older row is filling the page that this one could use whole. If not, this row does.
bool Scheduler::computed_by_older(const Row& row) {
  const int64_t end = (row.kv.shared + 1) * kv_.page_tokens();
  if (end > row.total() || row.fed >= end) return false;  // not whole; or full, but not shared
  const std::span<const TokenId> page =
      std::span(row.tokens)
          .subspan(static_cast<size_t>(row.kv.shared * kv_.page_tokens()),
                   static_cast<size_t>(kv_.page_tokens()));
  for (const Claim& claim : claims_) {
    if (claim.tail != row.kv.tail || !std::ranges::equal(claim.page, page)) continue;
    return row.fed == row.kv.shared * kv_.page_tokens() && end <= row.wants_from();
  }
  claims_.push_back({row.kv.tail, page});
  return false;
}

/// Guesses behind the tokens of decoding rows. None goes beyond what a row may still sample, hence
/// none beyond its context.
void Scheduler::speculate() {
  speculated_.clear();
  int64_t step_rows = 0;
  for (const auto& row : rows_) {
    step_rows += row->planned;
    if (row->planned == 0 || !row->decoding()) continue;
    if (!speculator_.on() && !row->sampler.filtered()) continue;
    const int64_t most = row->max_output - row->completion_tokens - 1;
    if (speculator_.wants_pages()) {
      kv_.grow(row->kv, row->fed + std::min<int64_t>(most, limits::kDraftTokens));
    }
    speculated_.push_back({.task = {.id = row->id,
                                    .tokens = row->tokens,
                                    .sampler = &row->sampler,
                                    .most = most,
                                    .pages = row->kv.table(),
                                    .pool = &kv_.pool()},
                           .state = &row->draft});
  }
  if (speculated_.empty()) return;
  speculator_.plan(speculated_, step_rows, options_.max_step_tokens - step_rows,
                   row_cost(budget_.model()));
  for (const auto& row : rows_) {
    if (row->planned == 0 || !row->decoding()) continue;
    row->planned += static_cast<int64_t>(row->draft.planned().size());
  }
}

/// Pages for what is planned, the oldest row first. Who gets none parks younger rows, or waits.
void Scheduler::reserve_pages() {
  for (size_t i = 0; i < rows_.size(); ++i) {
    Row& row = *rows_[i];
    if (row.planned == 0) continue;
    int64_t end = kv_.grow(row.kv, row.fed + row.planned);
    while (end == row.fed && i + 1 < rows_.size()) {
      park(rows_.size() - 1);
      end = kv_.grow(row.kv, row.fed + row.planned);
    }
    row.planned = end - row.fed;
    row.draft.limit(std::max<int64_t>(row.planned - 1, 0));
  }
}

void Scheduler::park(size_t index) {
  std::unique_ptr<Row> row = std::move(rows_[index]);
  rows_.erase(rows_.begin() + static_cast<ptrdiff_t>(index));
  kv_.close(row->kv);
  row->phase = RowPhase::kWaiting;
  row->fed = 0;
  row->planned = 0;
  ++counts_.kv.preemptions;
  blocked_at_ = -1;
  insert_by_age(waiting_, std::move(row));
}

void Scheduler::add_part(Row& row) {
  if (row.planned == 0) return;
  if (row.decoding()) {
    ++load_.decode_rows;
    load_.decode_reads += row.total();
    load_.prompt_tokens += row.planned - 1;
    load_.prompt_reads += prompt_reads(row.planned - 1, row.fed + 1);
  } else {
    load_.prompt_tokens += row.planned;
    load_.prompt_reads += prompt_reads(row.planned, row.fed);
  }
  const int64_t first_wanted = std::max(row.fed, row.wants_from());
  parts_.push_back({&row, row.planned, std::max<int64_t>(row.fed + row.planned - first_wanted, 0)});
}

void Scheduler::learn(int64_t micros) {
  budget_.observe(load_, micros);
  gauges_.micros = micros;
  gauges_.tokens = load_.prompt_tokens + load_.decode_rows;
  gauges_.cost = budget_.model().costs();
}

void Scheduler::fill_batch() {
  batch_.rows.clear();
  batch_.sequences.clear();
  for (const Part& part : parts_) {
    const Row& row = *part.row;
    const auto sequence = static_cast<int32_t>(batch_.sequences.size());
    batch_.sequences.push_back(row.kv.table());
    const int64_t end = row.fed + part.tokens;
    CHECK(end <= options_.n_ctx);
    for (int64_t position = row.fed; position < end; ++position) {
      batch_.rows.push_back({.token = row.token_at(position),
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
  for (int64_t i = 0; i < part.logits; ++i) {
    const std::span<float> one = logits.subspan(static_cast<size_t>(i) * n_vocab, n_vocab);
    const int64_t next = row.fed - part.logits + i + 1;
    if (next >= row.total()) return deliver(row, one);
    const TokenId id = row.tokens[static_cast<size_t>(next)];
    Result<Sampled> scored = row.sampler.score(one, id);
    if (!scored.ok()) return fail(row, one, scored.error().message);
    row.scored = next;
    row.sink->on_prompt_token({id, scored.value().logprob, std::move(scored.value().top)});
  }
}

/// Samples behind the row's last token, and behind its guesses as long as they come true. Keys and
/// values of the others are overwritten by the next step.
void Scheduler::deliver_drafted(const Part& part, std::span<float> logits) {
  Row& row = *part.row;
  const size_t n_vocab = static_cast<size_t>(model_.n_vocab());
  counts_.drafted_tokens += static_cast<uint64_t>(part.tokens - 1);
  for (int64_t i = 0; i < part.tokens; ++i) {
    row.feed(1);
    kv_.share(row.kv, row.tokens, row.fed);
    deliver(row, logits.subspan(static_cast<size_t>(i) * n_vocab, n_vocab));
    if (row.phase == RowPhase::kEnded || !row.draft.confirm(row.tokens.back())) return;
    ++counts_.accepted_tokens;
  }
}

void Scheduler::deliver(Row& row, std::span<float> logits) {
  Result<Sampled> sampled = row.sampler.sample(logits, row.masked());
  if (!sampled.ok()) return fail(row, logits, sampled.error().message);
  Sampled& choice = sampled.value();
  row.sampled(choice.id, computed_at_);
  ++counts_.completion_tokens;
  if (row.ends_with(choice.id)) return end(row, FinishReason::kStop);
  row.sink->on_token({choice.id, choice.logprob, std::move(choice.top), row.cached_tokens()});
  if (row.completion_tokens >= row.max_output) end(row, FinishReason::kLength);
}

/// Logits that are no numbers may come from keys and values that are none: nobody else shall use
/// them.
void Scheduler::fail(Row& row, std::span<const float> logits, std::string error) {
  if (has_nan(logits)) kv_.forget(row.kv);
  end(row, FinishReason::kError, std::move(error));
}

/// The pages are free and the statistics are right before the sink hears of it: on_finish may
/// submit.
void Scheduler::end(Row& row, FinishReason reason, std::string error) {
  speculator_.forget(row.id);
  if (row.kv.open()) kv_.close(row.kv);
  row.phase = RowPhase::kEnded;
  report();
  inbox_.retire(row, /*was_waiting=*/false);
  row.finish(reason, std::move(error), env_.now_micros());
  inbox_.close();
}

void Scheduler::report() {
  const TreeCounters& tree = kv_.counters();
  KvStats& kv = counts_.kv;
  kv.pages = kv_.n_pages();
  kv.pages_free = kv_.free_pages();
  kv.pages_cached = kv_.cached_pages();
  kv.page_tokens = kv_.page_tokens();
  kv.lookups = tree.lookups;
  kv.lookup_tokens = tree.lookup_tokens;
  kv.hit_tokens = tree.hit_tokens;
  kv.evictions = tree.pools[0].evictions;
  inbox_.report(counts_, gauges_);
  counts_ = {.kv = kv};
}

void Scheduler::drop_ended() {
  for (auto* rows : {&rows_, &waiting_}) {
    std::erase_if(*rows, [](const auto& row) { return row->phase == RowPhase::kEnded; });
  }
}

void Scheduler::check_integrity() const {
  std::vector<const SequenceKv*> open;
  for (const auto& row : rows_) open.push_back(&row->kv);
  kv_.check_integrity(open);
  for (const auto& row : waiting_) CHECK(!row->kv.open() && row->fed == 0);
}

}  // namespace hadal
