#pragma once
/// Row: one request's life in the engine, from the queue to its last event.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/kv/kv_cache.h"
#include "engine/speculate/speculator.h"

namespace hadal {

enum class RowPhase : uint8_t {
  kWaiting,  ///< holds no pages: new, or parked when others needed them
  kLoading,  ///< the tier is bringing pages of its prefix
  kRunning,
  kEnded,
};

/// Owned by the inbox while it waits, by the scheduler while it runs. Its tokens are those of the
/// prompt, then each sampled one; `fed` counts the first ones whose keys and values are in pages. A
/// parked row starts again with fed = 0 and all else as it was.
struct Row {
  Row(RequestId id_in, GenerateRequest request_in, std::unique_ptr<TokenSink> sink_in,
      uint64_t fallback_seed, int64_t max_output_in, int64_t now_micros);

  int64_t prompt_tokens() const { return static_cast<int64_t>(request.prompt.size()); }
  int64_t total() const { return static_cast<int64_t>(tokens.size()); }
  /// Of the prompt: present without being computed.
  int64_t cached_tokens() const { return cached_tokens_; }
  /// Tokens that wait to be computed.
  int64_t pending() const { return total() - fed; }
  /// Only the last sampled token waits.
  bool decoding() const { return completion_tokens > 0 && pending() == 1; }
  /// Its own token, or a guess of this step.
  TokenId token_at(int64_t position) const;
  /// Logits are wanted from this position on: behind the last token, or where scoring stands.
  int64_t wants_from() const;
  /// Its first so many tokens are present without being computed.
  void skip_to(int64_t position);
  /// The next `count` tokens were computed.
  void feed(int64_t count);

  /// Ids that may not be chosen now.
  std::span<const TokenId> masked() const;
  bool ends_with(TokenId id) const;

  void begin(int64_t now_micros);
  void sampled(TokenId id, int64_t now_micros);
  int64_t waited(int64_t now_micros) const { return now_micros - submitted_at_; }
  /// The class it was asked for in, one higher for every `age_micros` since.
  Priority urgency(int64_t now_micros, int64_t age_micros) const;
  /// The last event; the sink is gone afterwards. `error` for kError and kExpired.
  void finish(FinishReason reason, std::string error, int64_t now_micros,
              int64_t retry_after_micros = 0);

  RequestId id;
  GenerateRequest request;
  std::unique_ptr<TokenSink> sink;
  Sampler sampler;
  int64_t max_output;  ///< tokens that may be sampled: max_tokens or what the context holds
  std::vector<TokenId> tokens;  ///< prompt and sampled ones
  /// Among admitted rows the lower number comes first: arrival, plus age_micros for each class
  /// below the most urgent. It never changes, so whoever goes back comes to be the first in time.
  int64_t turn = 0;
  RowPhase phase = RowPhase::kWaiting;
  SequenceKv kv;
  int64_t fed = 0;
  int64_t planned = 0;  ///< tokens of the coming step, guesses included
  RowDraft draft;       ///< guesses behind the last token
  int64_t scored = 0;   ///< prompt_logprobs: positions whose logits were used
  int64_t completion_tokens = 0;

 private:
  int64_t reached_ = 0;        ///< highest fed
  int64_t cached_tokens_ = 0;  ///< of the prompt: reached without being computed
  int64_t submitted_at_;
  int64_t began_at_ = -1;  ///< first forward pass
  int64_t first_token_at_ = -1;
  int64_t last_token_at_ = -1;
};

}  // namespace hadal
