#pragma once
/// Row: one request's life in the engine, from the queue to its last event.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace hadal {

/// Owned by the inbox while it waits, by the scheduler while it runs. Tokens to compute are those
/// of the prompt, then each sampled token; `fed` counts the ones whose keys and values are in the
/// pool.
struct Row {
  Row(RequestId id_in, GenerateRequest request_in, std::unique_ptr<TokenSink> sink_in,
      uint64_t fallback_seed, int64_t max_output_in, int64_t now_micros);

  /// Tokens that wait to be computed: the rest of the prompt, or the last sampled token.
  int64_t pending() const;
  bool decoding() const { return completion_tokens > 0; }
  /// The token at `position`: prompt, or the last sampled one right behind what was fed.
  TokenId token_at(int64_t position) const;

  /// Ids that may not be chosen now.
  std::span<const TokenId> masked() const;
  bool ends_with(TokenId id) const;

  void begin(int64_t now_micros);
  void sampled(TokenId id, int64_t now_micros);
  /// The last event; the sink is gone afterwards. `error` for kError only.
  void finish(FinishReason reason, std::string error, int64_t now_micros);

  RequestId id;
  GenerateRequest request;
  std::unique_ptr<TokenSink> sink;
  Sampler sampler;
  int64_t max_output;  ///< tokens that may be sampled: max_tokens or what the context holds
  int slot = -1;       ///< -1 while waiting
  int64_t fed = 0;
  TokenId last = kNoToken;  ///< last sampled token
  int64_t completion_tokens = 0;

 private:
  int64_t submitted_at_;
  int64_t began_at_ = -1;  ///< first forward pass
  int64_t first_token_at_ = -1;
  int64_t last_token_at_ = -1;
};

}  // namespace hadal
