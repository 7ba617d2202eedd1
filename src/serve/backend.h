#pragma once
/// What serve needs from below: a generator of tokens and the facts of the model it runs. The
/// engine is one backend, scripted ones drive the tests.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/engine.h"
#include "serve/embedding_backend.h"
#include "serve/grammar_store.h"
#include "serve/sampled_turns.h"
#include "text/chat_template.h"
#include "text/codec.h"
#include "text/tokenizer.h"

namespace hadal {

/// The engine's calls that serve makes; same contract as Engine. Thread-safe.
class TokenBackend {
 public:
  virtual ~TokenBackend() = default;
  virtual Result<RequestId> submit(GenerateRequest request, std::unique_ptr<TokenSink> sink) = 0;
  virtual void cancel(RequestId id) = 0;
  virtual EngineStats stats() const = 0;
};

/// Fill-in-the-middle ids of a vocabulary.
struct FimTokens {
  TokenId prefix = kNoToken;
  TokenId suffix = kNoToken;
  TokenId middle = kNoToken;
};

/// The model behind the endpoints. Borrows tokenizer and template; immutable while served.
struct ServedModel {
  std::string id;                         ///< what /v1/models says and clients send
  std::vector<std::string> aliases = {};  ///< further names that are accepted
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;  ///< null: the file has none
  std::optional<Codec> chosen_codec = {};       ///< empty: the one that fits the template
  int64_t n_ctx = 0;                            ///< positions per request
  bool generates = true;                        ///< false: an encoder, without a next token
  EmbeddingShape embeddings = {};
  int64_t created = 0;           ///< unix seconds
  SamplingParams defaults = {};  ///< for what a request leaves out
  json::object facts = {};       ///< architecture, parameters, ... for /v1/models
  /// Of structured output; this and what was sampled lately change while the model is served.
  std::unique_ptr<GrammarStore> grammars = std::make_unique<GrammarStore>();
  std::unique_ptr<SampledTurns> sampled_turns = std::make_unique<SampledTurns>();

  Codec codec() const {
    if (chosen_codec) return *chosen_codec;
    return Codec::choose({.chat_template = chat_template, .tokenizer = tokenizer});
  }
};

}  // namespace hadal
