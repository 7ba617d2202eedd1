#pragma once
/// A model for tests of serve: a byte-level vocabulary and a backend that says what it is told to.
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/utf8.h"
#include "serve/backend.h"

namespace hadal {

/// Byte-level BPE without merges: one token per byte (ids 0..255), <|end|>, <think>, </think>, then
/// `control`.
inline std::unique_ptr<Tokenizer> byte_tokenizer(const std::vector<std::string>& control = {}) {
  VocabSpec spec;
  spec.model = "gpt2";
  spec.pre = "gpt-2";
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    // GPT-2 writes bytes that are not printable as code points from 256 on.
    const bool printable =
        (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    std::string text;
    utf8_append(text, static_cast<char32_t>(printable ? byte : next++));
    spec.tokens.push_back(text);
    spec.kinds.push_back(static_cast<uint8_t>(TokenKind::kNormal));
  }
  for (const char* special : {"<|end|>", "<think>", "</think>"}) {
    spec.tokens.emplace_back(special);
    spec.kinds.push_back(
        static_cast<uint8_t>(special[1] == '|' ? TokenKind::kControl : TokenKind::kUserDefined));
  }
  for (const std::string& text : control) {
    spec.tokens.push_back(text);
    spec.kinds.push_back(static_cast<uint8_t>(TokenKind::kControl));
  }
  spec.eos = 256;
  auto created = Tokenizer::create(std::move(spec));
  CHECK(created.ok());
  return std::move(created).value();
}

inline constexpr TokenId kEndToken = 256;

/// Says `answer` (ids) to every request from its own thread, then ends. `hold()` stops it before
/// the n-th token until release() or a cancel.
class ScriptedBackend final : public TokenBackend {
 public:
  using Script = std::function<std::vector<TokenId>(const GenerateRequest&)>;
  explicit ScriptedBackend(Script script) : script_(std::move(script)) {
    thread_ = std::thread([this] { run(); });
  }
  ~ScriptedBackend() override {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  Result<RequestId> submit(GenerateRequest request, std::unique_ptr<TokenSink> sink) override {
    const std::lock_guard lock(mutex_);
    if (full_) return Error{Code::kExhausted, "the queue is full"};
    last_ = request;
    jobs_.push_back({++next_id_, std::move(request), std::move(sink)});
    changed_.notify_all();
    return next_id_;
  }
  void cancel(RequestId id) override {
    const std::lock_guard lock(mutex_);
    cancelled_.push_back(id);
    changed_.notify_all();
  }
  EngineStats stats() const override { return {.queue_wait_micros = queue_wait_micros_}; }

  /// The queue is full from now on, its wait is this.
  void set_full(bool full, int64_t queue_wait_micros = 0) {
    const std::lock_guard lock(mutex_);
    full_ = full;
    queue_wait_micros_ = queue_wait_micros;
  }
  /// Requests wait in vain from now on.
  void set_expires() {
    const std::lock_guard lock(mutex_);
    expires_ = true;
  }
  /// Stop before token number `tokens` of each answer.
  void hold(size_t tokens) {
    const std::lock_guard lock(mutex_);
    hold_ = tokens;
  }
  void release() {
    const std::lock_guard lock(mutex_);
    hold_ = SIZE_MAX;
    changed_.notify_all();
  }
  void set_failure(std::string error) {
    const std::lock_guard lock(mutex_);
    failure_ = std::move(error);
  }
  /// So many tokens of each prompt are reported as cached from now on.
  void set_cached(int64_t tokens) {
    const std::lock_guard lock(mutex_);
    cached_ = tokens;
  }
  /// Of every token of the answer to a request; -0.5 if never called.
  void set_logprob(std::function<float(const GenerateRequest&)> logprob) {
    const std::lock_guard lock(mutex_);
    logprob_ = std::move(logprob);
  }
  GenerateRequest last_request() {
    const std::lock_guard lock(mutex_);
    return last_;
  }
  size_t cancelled() {
    const std::lock_guard lock(mutex_);
    return cancelled_.size();
  }

 private:
  struct Job {
    RequestId id;
    GenerateRequest request;
    std::unique_ptr<TokenSink> sink;
  };

  bool is_cancelled(RequestId id) const {
    for (const RequestId gone : cancelled_) {
      if (gone == id) return true;
    }
    return false;
  }

  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return ending_ || !jobs_.empty(); });
      if (ending_) return;
      Job job = std::move(jobs_.front());
      jobs_.pop_front();
      if (expires_) {
        expire(job);
      } else {
        answer(lock, job);
      }
    }
  }

  void answer(std::unique_lock<std::mutex>& lock, Job& job) {
    FinishEvent end;
    end.prompt_tokens = static_cast<int64_t>(job.request.prompt.size());
    end.cached_tokens = cached_;
    const std::vector<TokenId> ids = script_(job.request);
    job.sink->on_begin();
    for (size_t i = 1; job.request.prompt_logprobs && i < job.request.prompt.size(); ++i) {
      job.sink->on_prompt_token({job.request.prompt[i], -0.25f, {{'a', -0.25f}}});
    }
    for (size_t i = 0; i < ids.size(); ++i) {
      changed_.wait(lock, [&] { return ending_ || i < hold_ || is_cancelled(job.id); });
      if (ending_) return;
      if (is_cancelled(job.id)) end.reason = FinishReason::kCancelled;
      if (end.completion_tokens == job.request.max_tokens) end.reason = FinishReason::kLength;
      if (end.reason != FinishReason::kStop) break;
      ++end.completion_tokens;
      if (ids[i] == kEndToken) break;
      TokenEvent event{.id = ids[i], .logprob = logprob_(job.request), .cached_tokens = cached_};
      for (int k = 0; k < job.request.sampling.top_logprobs; ++k) {
        event.top.push_back({static_cast<TokenId>('a' + k), -0.5f * static_cast<float>(k + 1)});
      }
      job.sink->on_token(event);
    }
    if (!failure_.empty()) {
      end.reason = FinishReason::kError;
      end.error = failure_;
    }
    job.sink->on_finish(end);
  }

  static void expire(Job& job) {
    job.sink->on_finish({.reason = FinishReason::kExpired,
                         .error = "the request waited 5.0 s for its turn, longer than it may",
                         .retry_after_micros = 7'400'000});
  }

  Script script_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  std::vector<RequestId> cancelled_;
  GenerateRequest last_;
  RequestId next_id_ = 0;
  size_t hold_ = SIZE_MAX;
  int64_t cached_ = 0;
  bool full_ = false;
  bool expires_ = false;
  std::atomic<int64_t> queue_wait_micros_{0};
  bool ending_ = false;
  std::string failure_;
  std::function<float(const GenerateRequest&)> logprob_ = [](const GenerateRequest&) {
    return -0.5f;
  };
  std::thread thread_;
};

/// The bytes of `text` as ids of byte_tokenizer(), and the end token.
inline std::vector<TokenId> say(std::string_view text) {
  std::vector<TokenId> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  ids.push_back(kEndToken);
  return ids;
}

}  // namespace hadal
