#include "serve/generation.h"

#include <algorithm>
#include <limits>

#include "base/limits.h"
#include "base/log.h"
#include "serve/manners.h"

namespace hadal {
namespace {

/// Hands the engine's events over to the network thread.
class PeerSink final : public TokenSink {
 public:
  PeerSink(const PeerRef& peer, uint64_t number, int choice)
      : peer_(peer), number_(number), choice_(choice) {}

  void on_begin() override {
    peer_.post([number = number_](Exchange& exchange) {
      auto* host = static_cast<GenerationHost*>(exchange.state());
      if (host != nullptr) host->on_begin(exchange, number);
    });
  }

  void on_prompt_token(const TokenEvent& event) override { scores_.push_back(event); }

  void on_token(const TokenEvent& event) override {
    hand_scores_over();
    peer_.post([number = number_, choice = choice_, event](Exchange& exchange) {
      auto* host = static_cast<GenerationHost*>(exchange.state());
      if (host != nullptr) host->on_token(exchange, number, choice, event);
    });
  }

  void on_finish(const FinishEvent& event) override {
    hand_scores_over();
    peer_.post([number = number_, choice = choice_, event](Exchange& exchange) {
      auto* host = static_cast<GenerationHost*>(exchange.state());
      if (host != nullptr) host->on_finish(exchange, number, choice, event);
    });
  }

 private:
  void hand_scores_over() {
    if (scores_.empty()) return;
    peer_.post([choice = choice_, scores = std::move(scores_)](Exchange& exchange) mutable {
      auto* host = static_cast<GenerationHost*>(exchange.state());
      if (host != nullptr) host->on_prompt_scores(choice, std::move(scores));
    });
    scores_.clear();
  }

  PeerRef peer_;
  uint64_t number_;
  int choice_;
  std::vector<TokenEvent> scores_;
};

/// The state of an HTTP exchange that generates. Calls that end the exchange destroy this object,
/// so they come last.
class HttpGeneration final : public GenerationHost {
 public:
  HttpGeneration(const ServedRef& served, GenerationPlan plan,
                 HttpReply (*refuse)(const ApiError& error))
      : served_(served),
        generation_(*served->model, *served->backend, std::move(plan)),
        refuse_(refuse) {}

  void start(Exchange& exchange, const PeerRef& peer) {
    if (Checked error = generation_.start(peer, 0)) fail(exchange, std::move(*error));
  }

  /// A stream starts when the first of its choices has its turn, so that a wait in vain can still
  /// be told by a status.
  void on_begin(Exchange& exchange, uint64_t) override {
    if (begun_ || !generation_.plan().params.stream) return;
    begun_ = true;
    exchange.start_stream({.content_type = generation_.plan().content_type, .headers = headers()});
    exchange.write(generation_.begin());
  }

  /// A wait that lasts is told of, in a stream as its dialect does and before a whole reply by
  /// blank lines. From then on the status is 200, and a failure cuts the answer off.
  bool on_quiet(Exchange& exchange) override {
    if (generation_.plan().params.stream) {
      on_begin(exchange, 0);
      exchange.write(generation_.keep_alive());
      return true;
    }
    if (generation_.plan().whole_type != "application/json") return true;  // blanks would spoil it
    if (!begun_) {
      begun_ = true;
      exchange.start_stream({.content_type = generation_.plan().whole_type, .headers = headers()});
    }
    exchange.write("\n");
    return true;
  }

  void on_token(Exchange& exchange, uint64_t, int choice, const TokenEvent& event) override {
    on_begin(exchange, 0);
    advance(exchange, generation_.on_token(choice, event));
  }

  void on_prompt_scores(int choice, std::vector<TokenEvent> scores) override {
    generation_.on_prompt_scores(choice, std::move(scores));
  }

  void on_finish(Exchange& exchange, uint64_t, int choice, const FinishEvent& event) override {
    advance(exchange, generation_.on_finish(choice, event));
  }

 private:
  void advance(Exchange& exchange, const std::string& bytes) {
    exchange.note_tokens(generation_.prompt_tokens(), generation_.completion_tokens());
    if (generation_.failure()) {
      fail(exchange, *generation_.failure());
      return;
    }
    on_begin(exchange, 0);
    if (generation_.plan().params.stream) {
      exchange.write(bytes);
      if (exchange.unsent_bytes() > limits::kStreamUnsentBytes) {
        log_event(LogLevel::kWarn, "slow_client_cancelled");
        exchange.abort_stream();
        return;
      }
    }
    if (!generation_.done()) return;
    if (generation_.plan().params.stream) {
      exchange.write(generation_.end());
      exchange.finish();
    } else if (begun_) {
      exchange.write(generation_.whole());
      exchange.finish();
    } else {
      exchange.reply({.content_type = generation_.plan().whole_type,
                      .body = generation_.whole(),
                      .headers = headers()});
    }
  }

  void fail(Exchange& exchange, ApiError error) {
    const GenerationPlan& plan = generation_.plan();
    error.request_id = plan.request_id;
    if (!begun_) {
      reject(exchange, error);
      return;
    }
    exchange.write(plan.params.stream ? generation_.error_bytes(error) : refuse_(error).body);
    exchange.abort_stream();
  }

  void reject(Exchange& exchange, const ApiError& error) {
    HttpReply reply = refuse_(error);
    for (auto& header : rate_headers(served_->backend->stats())) {
      reply.headers.push_back(std::move(header));
    }
    exchange.reply(std::move(reply));
  }

  HeaderList headers() const {
    HeaderList out = generation_.plan().headers;
    for (auto& header : rate_headers(served_->backend->stats())) out.push_back(std::move(header));
    return out;
  }

  ServedRef served_;  ///< outlives generation_
  Generation generation_;
  HttpReply (*refuse_)(const ApiError& error);
  bool begun_ = false;  ///< the stream's head is out
};

/// The engine takes no more: too many wait already, or it goes down.
ApiError refusal(const Error& error, const TokenBackend& backend) {
  ApiError out = to_api_error(error);
  out.retry_after_micros = backend.stats().queue_wait_micros;
  if (error.code == Code::kExhausted) out.status = 429;
  return out;
}

}  // namespace

void append_usage(std::string& out, const Usage& usage) {
  out += "{\"prompt_tokens\":" + std::to_string(usage.prompt_tokens);
  out += ",\"completion_tokens\":" + std::to_string(usage.completion_tokens);
  out += ",\"total_tokens\":" + std::to_string(usage.prompt_tokens + usage.completion_tokens);
  out +=
      ",\"prompt_tokens_details\":{\"cached_tokens\":" + std::to_string(usage.cached_tokens) + "}";
  out += ",\"prompt_cache_hit_tokens\":" + std::to_string(usage.cached_tokens);
  out +=
      ",\"prompt_cache_miss_tokens\":" + std::to_string(usage.prompt_tokens - usage.cached_tokens);
  out += ",\"completion_tokens_details\":{\"reasoning_tokens\":" +
         std::to_string(usage.reasoning_tokens) + "}}";
}

Generation::Generation(const ServedModel& model, TokenBackend& backend, GenerationPlan plan)
    : model_(model), backend_(backend), plan_(std::move(plan)) {
  for (size_t prompt = 0; prompt < plan_.prompts.size(); ++prompt) {
    for (int64_t i = 0; i < plan_.params.made(); ++i) {
      Choice choice;
      choice.index = static_cast<int>(choices_.size());
      choice.prompt = static_cast<int>(prompt);
      OutputOptions output = plan_.output;
      if (choice.index > 0) output.parser.call_id += "c" + std::to_string(choice.index);
      choice.output = std::make_unique<ChoiceOutput>(*model_.tokenizer, output, plan_.params.stop);
      if (plan_.params.echo && plan_.params.logprobs) {
        // Nothing comes before the first token of a prompt, so it has no probability.
        choice.logprobs.push_back({.id = plan_.prompts[prompt].front(),
                                   .logprob = std::numeric_limits<float>::quiet_NaN()});
      }
      choices_.push_back(std::move(choice));
    }
  }
}

Generation::~Generation() {
  for (const Choice& choice : choices_) {
    if (!choice.done && choice.request != 0) backend_.cancel(choice.request);
  }
}

GenerateRequest Generation::request_for(const Choice& choice) const {
  const RequestParams& params = plan_.params;
  GenerateRequest request;
  request.prompt = plan_.prompts[static_cast<size_t>(choice.prompt)];
  request.sampling = params.sampling;
  // Choices of one seeded request differ from each other, and are the same every time.
  if (request.sampling.seed) *request.sampling.seed += static_cast<uint64_t>(choice.index);
  const int64_t room = model_.n_ctx - static_cast<int64_t>(request.prompt.size());
  request.tenant = params.cache_salt;
  request.priority = params.priority;
  request.max_queue_micros = params.max_queue_micros;
  request.prompt_logprobs = params.echo && params.logprobs;
  request.max_tokens = params.max_tokens == 0 ? room : std::min(params.max_tokens, room);
  request.min_tokens = std::min(params.min_tokens, request.max_tokens);
  request.filter = plan_.filter;
  // A structure that is complete has nothing to go on with.
  request.ignore_eos = params.ignore_eos && !plan_.filter;
  const auto ends = model_.tokenizer->end_of_generation();
  request.stop_ids.assign(ends.begin(), ends.end());
  if (request.ignore_eos) request.stop_ids.clear();
  request.stop_ids.insert(request.stop_ids.end(), params.stop_token_ids.begin(),
                          params.stop_token_ids.end());
  return request;
}

Checked Generation::start(const PeerRef& peer, uint64_t number) {
  return start([&](int choice) { return std::make_unique<PeerSink>(peer, number, choice); });
}

Checked Generation::start(MakeSink make_sink) {
  start_micros_ = now();
  for (Choice& choice : choices_) {
    auto id = backend_.submit(request_for(choice), make_sink(choice.index));
    if (!id.ok()) return refusal(id.error(), backend_);
    choice.request = id.value();
    ++open_;
  }
  return std::nullopt;
}

std::string Generation::begin() {
  std::string out;
  plan_.writer->begin(out, choices_);
  return out;
}

/// Says where the tokens are that nothing had come of.
void Generation::place_tokens(Choice& choice, TokenPlace place) const {
  for (auto entry = choice.logprobs.rbegin();
       entry != choice.logprobs.rend() && entry->place == TokenPlace::kUnknown; ++entry) {
    const TokenKind kind = model_.tokenizer->kind(entry->id);
    const bool mark =
        kind == TokenKind::kControl || model_.tokenizer->is_end_of_generation(entry->id);
    entry->place = mark ? TokenPlace::kElsewhere : place;
  }
}

void Generation::emit(std::string& out, Choice& choice, OutputPiece&& piece) {
  if (!piece.empty()) {
    place_tokens(choice, piece.content.empty() ? TokenPlace::kElsewhere : TokenPlace::kAnswer);
  }
  for (const std::string& warning : piece.warnings) {
    log_event(LogLevel::kWarn, "tool_call_is_text", {{"problem", warning}});
  }
  if (plan_.params.stream) {
    if (!piece.empty()) plan_.writer->delta(out, choice, piece);
    return;
  }
  choice.content += piece.content;
  choice.reasoning += piece.reasoning;
  for (OutputEvent& event : piece.calls) {
    if (event.kind == OutputEvent::Kind::kCallBegin) {
      choice.tool_calls.push_back({std::move(event.id), std::move(event.name), ""});
    } else {
      choice.tool_calls.back().arguments += event.text;
    }
  }
}

void Generation::end_choice(std::string& out, Choice& choice, std::string reason) {
  choice.done = true;
  --open_;
  OutputPiece rest = choice.output->finish();
  choice.finish_reason = std::move(reason);
  if (choice.finish_reason == "stop" && choice.output->has_calls()) {
    choice.finish_reason = "tool_calls";
  }
  emit(out, choice, std::move(rest));
  if (auto turn = choice.output->sampled_turn()) {
    model_.sampled_turns->put(plan_.params.cache_salt, std::move(*turn));
  }
  if (plan_.params.stream) plan_.writer->choice_end(out, choice);
}

void Generation::on_prompt_scores(int index, std::vector<TokenEvent> scores) {
  Choice& choice = choices_[static_cast<size_t>(index)];
  for (TokenEvent& score : scores) {
    choice.logprobs.push_back(
        {.id = score.id, .logprob = score.logprob, .top = std::move(score.top)});
  }
}

const std::string& Generation::on_token(int index, const TokenEvent& event) {
  std::string& out = token_bytes_;
  out.clear();
  Choice& choice = choices_[static_cast<size_t>(index)];
  if (choice.done || plan_.params.prompt_only) return out;
  ++choice.completion_tokens;
  if (choice.completion_tokens == 1) choice.first_micros = now();
  choice.last_token = event.id;
  if (plan_.params.return_tokens) choice.tokens.push_back(event.id);
  choice.cached_tokens = event.cached_tokens;
  choice.logprob_sum += double{event.logprob};
  ++choice.scored_tokens;
  if (plan_.params.logprobs) {
    choice.logprobs.push_back({.id = event.id, .logprob = event.logprob, .top = event.top});
  }
  const bool reasoned = choice.output->inside_reasoning();
  OutputPiece piece = choice.output->push(event.id);
  const bool just_ended = reasoned && !choice.output->inside_reasoning();
  if (just_ended && piece.content.empty()) place_tokens(choice, TokenPlace::kElsewhere);
  emit(out, choice, std::move(piece));
  if (choice.output->stopped()) {
    backend_.cancel(choice.request);
    choice.timing.prefill_micros = choice.first_micros - start_micros_;
    choice.timing.decode_micros = now() - choice.first_micros;
    end_choice(out, choice, "stop");
  }
  return out;
}

std::string Generation::on_finish(int index, const FinishEvent& event) {
  std::string out;
  Choice& choice = choices_[static_cast<size_t>(index)];
  if (choice.done) return out;
  if (event.reason == FinishReason::kError) {
    log_event(LogLevel::kError, "generation_failed", {{"error", event.error}});
    failure_ = ApiError{.status = 500,
                        .code = "generation_failed",
                        .message = "The model could not go on with this answer."};
    return out;
  }
  if (event.reason == FinishReason::kExpired) {
    failure_ = ApiError{.status = 503,
                        .code = "queue_timeout",
                        .message = "The server is busy: " + event.error + ".",
                        .retry_after_micros = event.retry_after_micros};
    return out;
  }
  if (event.reason == FinishReason::kCancelled) {  // by the server: it is going down
    failure_ = ApiError{.status = 503, .code = "cancelled", .message = "The answer was cancelled."};
    return out;
  }
  choice.timing = event;
  choice.cached_tokens = event.cached_tokens;
  const bool nothing_new = plan_.params.prompt_only;
  choice.completion_tokens = nothing_new ? 0 : event.completion_tokens;
  const bool length = nothing_new || event.reason == FinishReason::kLength;
  end_choice(out, choice, length ? "length" : "stop");
  return out;
}

std::string Generation::stop_all() {
  std::string out;
  for (Choice& choice : choices_) {
    if (choice.done) continue;
    backend_.cancel(choice.request);
    end_choice(out, choice, "cancelled");
  }
  return out;
}

int64_t Generation::prompt_tokens() const {
  int64_t tokens = 0;
  for (const auto& prompt : plan_.prompts) tokens += static_cast<int64_t>(prompt.size());
  return tokens;
}

int64_t Generation::completion_tokens() const {
  int64_t tokens = 0;
  for (const Choice& choice : choices_) tokens += choice.completion_tokens;
  return tokens;
}

Usage Generation::usage() const {
  Usage usage{.prompt_tokens = prompt_tokens(), .completion_tokens = completion_tokens()};
  // What one choice computed is cached for the next: the prompt counts once.
  std::vector<int64_t> cached(plan_.prompts.size(), INT64_MAX);
  for (const Choice& choice : choices_) {
    int64_t& least = cached[static_cast<size_t>(choice.prompt)];
    least = std::min(least, choice.cached_tokens);
  }
  for (const int64_t tokens : cached) usage.cached_tokens += tokens;
  for (const Choice& choice : choices_) {
    usage.reasoning_tokens += choice.output->reasoning_tokens();
  }
  return usage;
}

std::string Generation::end() {
  std::string out;
  plan_.writer->end(out, usage());
  return out;
}

/// Leaves the n choices of each prompt whose tokens were the likeliest on average, best first.
void Generation::keep_best() {
  const auto made = static_cast<size_t>(plan_.params.made());
  const auto n = static_cast<size_t>(plan_.params.n);
  if (made == n) return;
  const auto mean = [](const Choice& choice) {
    return choice.logprob_sum / static_cast<double>(std::max<int64_t>(choice.scored_tokens, 1));
  };
  std::vector<Choice> kept;
  for (size_t first = 0; first < choices_.size(); first += made) {
    const auto begin = choices_.begin() + static_cast<std::ptrdiff_t>(first);
    std::stable_sort(begin, begin + static_cast<std::ptrdiff_t>(made),
                     [&](const Choice& a, const Choice& b) { return mean(a) > mean(b); });
    for (size_t i = 0; i < n; ++i) {
      kept.push_back(std::move(choices_[first + i]));
      kept.back().index = static_cast<int>(kept.size()) - 1;
    }
  }
  choices_ = std::move(kept);
}

std::string Generation::whole() {
  const Usage all = usage();
  keep_best();
  return plan_.writer->whole(choices_, all);
}

std::string Generation::keep_alive() {
  std::string out;
  plan_.writer->keep_alive(out);
  return out;
}

std::string Generation::error_bytes(const ApiError& error) {
  std::string out;
  plan_.writer->error(out, error);
  return out;
}

void run_http_generation(const PeerRef& peer, const ServedRef& served, GenerationPlan plan,
                         HttpReply (*refuse)(const ApiError& error)) {
  auto host = std::make_unique<HttpGeneration>(served, std::move(plan), refuse);
  peer.post([peer, owned = std::move(host)](Exchange& exchange) mutable {
    HttpGeneration& generation = *owned;
    exchange.attach(std::move(owned));
    generation.start(exchange, peer);
  });
}

}  // namespace hadal
