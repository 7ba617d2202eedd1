#pragma once
/// What engine tests share: a virtual clock, a sink that remembers, the tokens one should get.
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "engine/engine.h"
#include "engine/testing/fake_model.h"

namespace hadal::testing {

/// Time stands still unless advance() is called; random bytes are a counter.
class VirtualEnv : public Env {
 public:
  int64_t now_micros() override { return now_.load(); }
  int64_t unix_micros() override { return now_.load(); }
  void random_bytes(std::span<std::byte> out) override {
    for (std::byte& b : out) b = static_cast<std::byte>(counter_.fetch_add(1) & 0xFF);
  }
  Result<std::string> read_file(const std::filesystem::path& path, size_t bytes_max) override {
    return real().read_file(path, bytes_max);
  }
  Status write_file(const std::filesystem::path& path, std::string_view bytes) override {
    return real().write_file(path, bytes);
  }
  void advance(int64_t micros) { now_.fetch_add(micros); }

 private:
  std::atomic<int64_t> now_{1'000'000};
  std::atomic<uint32_t> counter_{0};
};

/// What a sink received. Lives in the test, so it outlasts the engine and the sink.
class Received {
 public:
  void token(const TokenEvent& event) {
    MutexLock lock(mu_);
    CHECK(!finish_.has_value());  // nothing comes after the end
    events_.push_back(event);
    changed_.notify_all();
  }
  void finish(const FinishEvent& event) {
    MutexLock lock(mu_);
    CHECK(!finish_.has_value());
    finish_ = event;
    changed_.notify_all();
  }
  FinishEvent wait_finish() {
    MutexLock lock(mu_);
    while (!finish_.has_value()) changed_.wait(mu_);
    return *finish_;
  }
  void wait_tokens(size_t count) {
    MutexLock lock(mu_);
    while (events_.size() < count && !finish_.has_value()) changed_.wait(mu_);
  }
  bool finished() {
    MutexLock lock(mu_);
    return finish_.has_value();
  }
  std::vector<TokenEvent> events() {
    MutexLock lock(mu_);
    return events_;
  }
  std::vector<TokenId> ids() {
    std::vector<TokenId> out;
    for (const TokenEvent& event : events()) out.push_back(event.id);
    return out;
  }

 private:
  Mutex mu_;
  CondVar changed_;
  std::vector<TokenEvent> events_ GUARDED_BY(mu_);
  std::optional<FinishEvent> finish_ GUARDED_BY(mu_);
};

/// Forwards to a Received, and calls the test's own functions on the engine's thread.
class RecordingSink : public TokenSink {
 public:
  using OnToken = std::function<void(const TokenEvent&)>;
  using OnFinish = std::function<void(const FinishEvent&)>;
  explicit RecordingSink(Received& received, OnToken also_token = {}, OnFinish also_finish = {})
      : received_(received), token_(std::move(also_token)), finish_(std::move(also_finish)) {}
  void on_token(const TokenEvent& event) override {
    received_.token(event);
    if (token_) token_(event);
  }
  void on_finish(const FinishEvent& event) override {
    if (finish_) finish_(event);
    received_.finish(event);
  }

 private:
  Received& received_;
  OnToken token_;
  OnFinish finish_;
};

/// Lets forward passes through one permit at a time and tells when one is waiting.
class Gate {
 public:
  /// Called by the model's hook.
  void pass() {
    MutexLock lock(mu_);
    ++arrived_;
    changed_.notify_all();
    while (permits_ == 0) changed_.wait(mu_);
    if (permits_ > 0) --permits_;
  }
  void permit(int count) {
    MutexLock lock(mu_);
    permits_ += count;
    changed_.notify_all();
  }
  void open() {
    MutexLock lock(mu_);
    permits_ = -1;
    changed_.notify_all();
  }
  /// Waits until the `count`-th forward pass has begun.
  void wait_arrived(int count) {
    MutexLock lock(mu_);
    while (arrived_ < count) changed_.wait(mu_);
  }

 private:
  Mutex mu_;
  CondVar changed_;
  int permits_ GUARDED_BY(mu_) = 0;
  int arrived_ GUARDED_BY(mu_) = 0;
};

/// The tokens a request must get from FakeModel, without engine, batch or pages. A stop id is not
/// in the list; `count` bounds it.
inline std::vector<TokenId> expected_ids(const GenerateRequest& request, int64_t count) {
  std::vector<TokenId> sequence = request.prompt;
  std::vector<TokenId> out;
  Sampler sampler(request.sampling, request.prompt, 0);
  while (static_cast<int64_t>(out.size()) < count) {
    std::vector<float> logits = FakeModel::logits_after(sequence);
    const bool mask = static_cast<int64_t>(out.size()) < request.min_tokens;
    const std::vector<TokenId> masked = mask ? request.stop_ids : std::vector<TokenId>{};
    const TokenId id = sampler.sample(logits, masked).value().id;
    const auto stop = std::find(request.stop_ids.begin(), request.stop_ids.end(), id);
    if (!request.ignore_eos && stop != request.stop_ids.end()) break;
    out.push_back(id);
    sequence.push_back(id);
  }
  return out;
}

/// A prompt of `length` ids that depends on `salt`.
inline std::vector<TokenId> make_prompt(int length, int salt) {
  std::vector<TokenId> out;
  for (int i = 0; i < length; ++i) {
    out.push_back(static_cast<TokenId>(hash_step(hash_step(5, i), salt) % FakeModel::kVocab));
  }
  return out;
}

/// Greedy for even salts, seeded sampling with every filter for odd ones.
inline GenerateRequest make_request(int prompt_tokens, int max_tokens, int salt) {
  GenerateRequest request;
  request.prompt = make_prompt(prompt_tokens, salt);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  if (salt % 2 == 1) {
    request.sampling.temperature = 0.9f;
    request.sampling.top_k = 30;
    request.sampling.top_p = 0.95f;
    request.sampling.repetition_penalty = 1.2f;
    request.sampling.frequency_penalty = 0.4f;
    request.sampling.seed = static_cast<uint64_t>(salt);
  }
  return request;
}

}  // namespace hadal::testing
