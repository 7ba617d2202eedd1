#pragma once
/// engine: ids in, ids out. One thread owns the model, the KV pages and the running batch; other
/// threads submit and cancel through a bounded inbox. Requests join and leave the batch at every
/// step (continuous batching).
///
///   Engine engine(model, {.n_ctx = 4096, .max_batch = 8}, Env::real());
///   TRY(RequestId id, engine.submit(std::move(request), std::move(sink)));
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "engine/drafter.h"
#include "engine/kv/tiers/counters.h"
#include "engine/sampling.h"
#include "model/model.h"

namespace hadal {

class PageTier;

/// How urgent a request is. A waiting request rises one class for every age_micros that it waits.
enum class Priority : uint8_t { kInteractive, kNormal, kBatch };
inline constexpr size_t kPriorities = 3;

struct EngineOptions {
  int64_t n_ctx = 4096;  ///< positions per sequence (prompt + output)
  int max_batch = 8;     ///< sequences that run at once
  /// Rows per forward pass; long prompts are cut into chunks. Raised to max_batch when below.
  int max_step_tokens = 512;
  int max_queue = 256;  ///< requests waiting; beyond: kExhausted
  /// Memory for keys and values, in whole pages; 0: what max_batch full contexts take. Less than
  /// one context makes n_ctx smaller.
  uint64_t kv_bytes = 0;
  /// Share of the pages that one tenant's prefixes may keep; requests without a tenant have no cap.
  double tenant_share = 0.5;
  std::string model_fingerprint = {};  ///< part of the names under which `tier` keeps pages
  PageTier* tier = nullptr;  ///< where pages go that leave memory; must outlive the engine
  /// A request that waited so long for its turn ends with kExpired; 0: it waits for ever.
  int64_t max_queue_micros = 120'000'000;
  int64_t age_micros = 10'000'000;  ///< see Priority
  /// While someone waits for the next token of an answer, a step takes in so many prompt tokens
  /// that it should last no longer than this (schedule/budget.h); 0: max_step_tokens.
  int64_t step_target_micros = 50'000;
};

/// kExpired: the request waited longer in the queue than it may; nothing was computed.
enum class FinishReason : uint8_t { kStop, kLength, kCancelled, kError, kExpired };

/// One sampled token. Log-probabilities as in Sampled: the model's own, before bias, penalties and
/// temperature.
struct TokenEvent {
  TokenId id = kNoToken;
  float logprob = 0;                   ///< natural log; set when sampling.top_logprobs >= 0
  std::vector<TokenLogprob> top = {};  ///< most likely first; filled when asked for
  int64_t cached_tokens = 0;           ///< of the prompt, as in FinishEvent
};

struct FinishEvent {
  FinishReason reason = FinishReason::kStop;
  std::string error;               ///< for kError and kExpired: one sentence
  int64_t retry_after_micros = 0;  ///< for kExpired: the wait that a new request would have
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;      ///< of the prompt: keys and values were found, not computed
  int64_t completion_tokens = 0;  ///< tokens sampled, the one that ended generation included
  int64_t queue_micros = 0;    ///< submit to first forward pass (or to the end, if there was none)
  int64_t prefill_micros = 0;  ///< first forward pass to first token (or to the end)
  int64_t decode_micros = 0;   ///< first token to last token
};

/// Receives a request's output on the engine's thread, in order. Must return at once: hand over
/// to your own thread. After on_finish nothing more comes and the engine drops the sink. A sink may
/// call the engine's submit, cancel and stats; its destructor it may not.
class TokenSink {
 public:
  virtual ~TokenSink() = default;
  /// The wait is over: the request's first forward pass begins. Comes before everything else, and
  /// not at all for a request that ends in the queue.
  virtual void on_begin() {}
  /// Not called for the token that ends generation (an end-of-generation or stop id).
  virtual void on_token(const TokenEvent& event) = 0;
  /// For requests with prompt_logprobs: each token of the prompt but the first, in order, before
  /// on_token.
  virtual void on_prompt_token(const TokenEvent& event) { (void)event; }
  virtual void on_finish(const FinishEvent& event) = 0;
};

struct GenerateRequest {
  std::vector<TokenId> prompt;  ///< not empty, within the context
  SamplingParams sampling;
  int64_t max_tokens = 0;   ///< 0: as many as fit
  int64_t min_tokens = 0;   ///< stop_ids are masked until then
  bool ignore_eos = false;  ///< stop_ids are delivered like any other token
  /// End-of-generation ids of the vocabulary and the caller's own; unknown ids never match.
  std::vector<TokenId> stop_ids;
  bool prompt_logprobs = false;  ///< needs sampling.top_logprobs >= 0; costs a head per token
  /// Who asks: shares are fair among tenants, and requests share keys and values with those of the
  /// same tenant only. Empty: public.
  std::string tenant = {};
  Priority priority = Priority::kNormal;
  int64_t max_queue_micros = 0;  ///< as EngineOptions::max_queue_micros; 0: that one
  /// Which tokens may be sampled (structured output); none: all. With one min_tokens is ignored.
  FilterSlot filter = {};
};

/// Pages of keys and values. Totals since start where unsigned.
struct KvStats {
  int64_t pages = 0;
  int64_t pages_free = 0;
  int64_t pages_cached = 0;  ///< full ones that later requests can find, in use or not
  int64_t page_tokens = 0;
  uint64_t lookups = 0;
  uint64_t lookup_tokens = 0;  ///< in whole pages
  uint64_t hit_tokens = 0;
  uint64_t evictions = 0;    ///< pages
  uint64_t preemptions = 0;  ///< rows that were parked for want of pages
};

/// Counters for /health and metrics; all totals since start.
struct EngineStats {
  int running = 0;
  int waiting = 0;
  int rows_max = 0;                                    ///< requests that run at once, at most
  int queue_max = 0;                                   ///< requests that wait, at most
  std::array<int, kPriorities> waiting_by_class = {};  ///< as asked for, whatever they rose to
  int64_t queue_wait_micros = 0;  ///< what a request submitted now would wait (estimate)
  uint64_t requests = 0;          ///< accepted by submit
  uint64_t refused = 0;           ///< because the queue was full
  uint64_t expired = 0;           ///< waited longer than they may
  int64_t step_budget = 0;        ///< prompt tokens that the last step might take
  int64_t step_tokens = 0;        ///< rows of the last step
  int64_t step_micros = 0;        ///< what it took
  /// Microseconds: a step, a prompt token, a decoding row, 1,000 positions read by a decoding row,
  /// 1,000 by a prompt token (schedule/latency_model.h).
  std::array<double, 5> step_cost = {};
  uint64_t prompt_tokens = 0;      ///< computed
  uint64_t completion_tokens = 0;  ///< sampled
  uint64_t steps = 0;              ///< forward passes
  uint64_t drafted_tokens = 0;     ///< guesses that were checked
  uint64_t accepted_tokens = 0;    ///< guesses that came true
  KvStats kv = {};
  TierStats ram_tier = {};  ///< as disk_tier filled in by who owns the tiers; bytes_max 0: none
  TierStats disk_tier = {};
};

/// Starts its thread in the constructor; the destructor cancels what runs and joins. Borrows
/// `model`, which must outlive it. All public functions may be called from any thread.
class Engine {
 public:
  /// `drafter` (null: none) makes the engine speculate: fewer passes for the same tokens.
  Engine(ForwardModel& model, const EngineOptions& options, Env& env,
         std::unique_ptr<Drafter> drafter = nullptr);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// kInvalidArgument for an empty prompt, ids out of range, bad sampling parameters or a prompt
  /// beyond the context; kExhausted when the queue is full; kUnavailable after drain(). Events may
  /// reach the sink before this returns.
  Result<RequestId> submit(GenerateRequest request, std::unique_ptr<TokenSink> sink);
  /// The row leaves the batch at the next step; its sink gets kCancelled. Unknown ids are ignored.
  void cancel(RequestId id);
  /// Runs `task` on the engine's thread between two steps, one task per step: for other work with
  /// the model, which nobody else may use meanwhile. What was accepted runs, also when the engine
  /// stops. kUnavailable after drain() or stop().
  Status between_steps(std::function<void()> task);
  /// Refuses new requests from now on and waits until accepted ones are done or `timeout_micros`
  /// passed. Then what still waits for its turn ends with kExpired, and what runs goes on. Called
  /// by a sink it does not wait.
  void drain(int64_t timeout_micros);

  /// What runs and waits ends with kCancelled, new requests are refused. Does not wait.
  void stop();

  EngineStats stats() const;
  const EngineOptions& options() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hadal
