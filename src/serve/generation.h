#pragma once
/// Generation: one request's choices, from submitted prompts to written bytes. The engine's thread
/// posts its events to the network thread, where everything here runs:
///
///   engine thread: PeerSink::on_token --post--> GenerationHost --> Generation --> ReplyWriter
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/env.h"
#include "net/exchange.h"
#include "serve/directory.h"
#include "serve/output.h"
#include "serve/params.h"

namespace hadal {

/// What the text of a token became a part of.
enum class TokenPlace : uint8_t {
  kUnknown,  ///< nothing has come of it yet
  kAnswer,
  kElsewhere  ///< reasoning, calls, marks around them, the end
};

/// One sampled token as logprobs want it.
struct TokenLogEntry {
  TokenId id = kNoToken;
  TokenPlace place = TokenPlace::kUnknown;
  float logprob = 0;  ///< NaN: none, for the first token of a prompt
  std::vector<TokenLogprob> top = {};
};

/// One answer being made.
struct Choice {
  int index = 0;
  int prompt = 0;  ///< index into GenerationPlan::prompts
  std::unique_ptr<ChoiceOutput> output = {};
  std::string content = {};  ///< complete texts, for buffered replies
  std::string reasoning = {};
  std::vector<ToolCall> tool_calls = {};
  std::vector<TokenLogEntry> logprobs = {};  ///< streams: those not written yet
  RequestId request = 0;
  TokenId last_token = kNoToken;     ///< the one that the newest text ends with
  std::vector<TokenId> tokens = {};  ///< if asked for; streams: those not written yet
  bool done = false;
  std::string finish_reason = {};  ///< "stop", "length", "tool_calls", "cancelled"
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;  ///< of the prompt
  double logprob_sum = 0;     ///< of `scored_tokens` tokens; for best_of
  int64_t scored_tokens = 0;
  int64_t text_offset = 0;   ///< streams: code points of the tokens whose logprobs were written
  FinishEvent timing = {};   ///< the engine's figures; ours if a stop string ended it
  int64_t first_micros = 0;  ///< when the first token came
};

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  ///< of the prompt: not computed for this request
  int64_t completion_tokens = 0;
  int64_t reasoning_tokens = 0;
};

/// {"prompt_tokens":...,...} in OpenAI's shape, with DeepSeek's names for what the cache held.
void append_usage(std::string& out, const Usage& usage);

/// How a dialect writes results. Stream functions append what is to be sent; none may block.
class ReplyWriter {
 public:
  virtual ~ReplyWriter() = default;
  virtual void begin(std::string& out, const std::vector<Choice>& choices) = 0;
  virtual void delta(std::string& out, Choice& choice, const OutputPiece& piece) = 0;
  virtual void choice_end(std::string& out, Choice& choice) = 0;
  virtual void end(std::string& out, const Usage& usage) = 0;
  virtual void error(std::string& out, const ApiError& error) = 0;
  /// Streams: a sign of life while there is nothing to say.
  virtual void keep_alive(std::string& out) { out += ": keep-alive\n\n"; }
  /// The buffered reply.
  virtual std::string whole(const std::vector<Choice>& choices, const Usage& usage) = 0;
};

/// A checked request, ready to run.
struct GenerationPlan {
  std::vector<std::vector<TokenId>> prompts = {};
  RequestParams params = {};
  OutputOptions output = {};
  FilterSlot filter = {};  ///< of each choice; set by constrain_answer()
  std::unique_ptr<ReplyWriter> writer = {};
  std::string content_type = "text/event-stream";
  std::string whole_type = "application/json";  ///< of an answer that does not stream
  std::string request_id = {};                  ///< set before planning
  HeaderList headers = {};                      ///< of the answer
  Env* env = nullptr;  ///< clock for answers that a stop string ends; null: they have no timings
};

/// Not thread-safe; network thread. Cancels what still runs when destroyed.
class Generation {
 public:
  Generation(const ServedModel& model, TokenBackend& backend, GenerationPlan plan);
  ~Generation();
  Generation(const Generation&) = delete;

  /// Submits every choice; sinks name (`peer`, `number`). On an error nothing is left running.
  Checked start(const PeerRef& peer, uint64_t number);
  /// The same with sinks of the caller's; called once per choice.
  using MakeSink = UniqueFunction<std::unique_ptr<TokenSink>(int choice)>;
  Checked start(MakeSink make_sink);
  /// The first bytes of a stream.
  std::string begin();
  /// These give the bytes to send now (streams only). Those of a token are valid until the next.
  const std::string& on_token(int choice, const TokenEvent& event);
  std::string on_finish(int choice, const FinishEvent& event);
  /// What the prompt's tokens but the first are worth; comes before any token.
  void on_prompt_scores(int choice, std::vector<TokenEvent> scores);
  /// Ends every choice as the client wished.
  std::string stop_all();
  bool done() const { return open_ == 0; }
  /// Set when the engine failed; the stream must end without its closing mark.
  const Checked& failure() const { return failure_; }
  std::string end();
  std::string whole();
  std::string keep_alive();
  std::string error_bytes(const ApiError& error);
  const GenerationPlan& plan() const { return plan_; }
  Usage usage() const;
  int64_t prompt_tokens() const;
  int64_t completion_tokens() const;

 private:
  GenerateRequest request_for(const Choice& choice) const;
  void emit(std::string& out, Choice& choice, OutputPiece&& piece);
  void place_tokens(Choice& choice, TokenPlace place) const;
  void end_choice(std::string& out, Choice& choice, std::string reason);
  void keep_best();
  int64_t now() const { return plan_.env == nullptr ? 0 : plan_.env->now_micros(); }

  const ServedModel& model_;
  TokenBackend& backend_;
  GenerationPlan plan_;
  std::vector<Choice> choices_;
  std::string token_bytes_;  ///< what on_token() gives; its memory is used again
  size_t open_ = 0;
  int64_t start_micros_ = 0;
  Checked failure_;
};

/// A PeerState that receives engine events. `number` tells one generation of a WebSocket from the
/// next.
class GenerationHost : public PeerState {
 public:
  /// The wait in the engine's queue is over for one of the choices.
  virtual void on_begin(Exchange& exchange, uint64_t number) {
    (void)exchange;
    (void)number;
  }
  virtual void on_token(Exchange& exchange, uint64_t number, int choice,
                        const TokenEvent& event) = 0;
  virtual void on_finish(Exchange& exchange, uint64_t number, int choice,
                         const FinishEvent& event) = 0;
  virtual void on_prompt_scores(int choice, std::vector<TokenEvent> scores) {
    (void)choice;
    (void)scores;
  }
};

/// Runs a plan as the answer to an HTTP request: a stream, or one reply at the end. `refuse` says
/// no as long as nothing was sent. Any thread.
void run_http_generation(const PeerRef& peer, const ServedRef& served, GenerationPlan plan,
                         HttpReply (*refuse)(const ApiError& error));

}  // namespace hadal
