// What the scheduler and the prefix cache cost and save. Usage: prefix_bench [MODEL.gguf] [THREADS]
//
//   step    time outside the model per step with 256 decoding rows on a null model, allocations;
//           with pages that end evenly spread over the steps, and with all at once
//   tree    match, share and close of a long prompt by page size
//   first   time to the first token of a prompt of which 90 % are cached, beside a cold one
//           (needs a model)
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <random>
#include <thread>

#include <fmt/core.h>

#include "base/parse.h"
#include "base/testing/count_allocations.h"
#include "engine/engine.h"
#include "engine/kv/kv_cache.h"
#include "timing.h"

namespace hadal {
namespace {

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// Computes nothing and notes how long the engine was busy between two passes. With two tokens to
/// choose from, the sampler's share is its overhead.
class NullModel final : public ForwardModel {
 public:
  static constexpr size_t kRows = 256;
  static constexpr size_t kWarmSteps = 300;
  static constexpr size_t kSteps = 1500;

  int64_t n_vocab() const override { return 2; }
  int64_t n_ctx_train() const override { return 1 << 20; }
  KvLayout kv_layout() const override { return {.n_layers = 1, .n_kv_heads = 1, .d_head = 32}; }
  Status forward(const Batch& batch, KvPool&, std::span<float> logits) override {
    submitted.wait(false);
    const double begin = now();
    if (batch.rows.size() == kRows) {
      ++steps_;
      if (steps_ == kWarmSteps) allocated_ = testing::allocations.load();
      if (steps_ == kWarmSteps + kSteps) allocated_ = testing::allocations.load() - allocated_;
      if (steps_ > kWarmSteps && steps_ <= kWarmSteps + kSteps) outside_.push_back(begin - end_);
    }
    std::ranges::fill(logits, 0.0f);
    end_ = now();
    return {};
  }
  const std::vector<double>& outside() const { return outside_; }
  uint64_t allocated() const { return allocated_; }

  std::atomic<bool> submitted{false};  ///< no pass before all rows are there

 private:
  size_t steps_ = 0;
  double end_ = 0;
  uint64_t allocated_ = 0;
  std::vector<double> outside_ = [] {
    std::vector<double> room;
    room.reserve(kSteps);
    return room;
  }();
};

/// Notes when the first token came and when all is over.
class ClockSink final : public TokenSink {
 public:
  struct Times {
    std::atomic<double> first{0};
    std::atomic<bool> done{false};
  };
  explicit ClockSink(Times& times) : times_(times) {}
  void on_token(const TokenEvent&) override {
    if (times_.first == 0) times_.first = now();
  }
  void on_finish(const FinishEvent&) override {
    times_.done = true;
    times_.done.notify_all();
  }

 private:
  Times& times_;
};

/// `together`: all rows end their pages in the same step, every 32nd; else a thirty-second of them
/// in each step.
void bench_step(bool together) {
  NullModel model;
  std::vector<ClockSink::Times> times(NullModel::kRows);
  {
    Engine engine(model, {.n_ctx = 2560, .max_batch = NullModel::kRows, .max_step_tokens = 2048},
                  Env::real());
    std::mt19937 random(1);
    for (size_t row = 0; row < times.size(); ++row) {
      const size_t tokens = 100 + (together ? 0 : row % kKvPageTokens);
      GenerateRequest request;
      for (size_t i = 0; i < tokens; ++i)
        request.prompt.push_back(static_cast<TokenId>(random() % 2));
      request.sampling.temperature = 0;
      request.max_tokens = 2400;
      if (!engine.submit(std::move(request), std::make_unique<ClockSink>(times[row])).ok())
        std::abort();
    }
    model.submitted = true;
    model.submitted.notify_all();
    for (ClockSink::Times& one : times) one.done.wait(false);
  }
  std::vector<double> sorted = model.outside();
  std::ranges::sort(sorted);
  double sum = 0;
  for (double seconds : sorted) sum += seconds;
  const auto micros = [&](double share) {
    return sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1))] * 1e6;
  };
  fmt::print(
      "step   {} decoding rows, pages end {}: mean {:.1f} us, median {:.1f}, p99 {:.1f}, "
      "most {:.1f} (bound 50); {} allocations in {} steps (bound 0)\n",
      NullModel::kRows, together ? "together" : "evenly",
      sum / static_cast<double>(sorted.size()) * 1e6, micros(0.5), micros(0.99), micros(1),
      model.allocated(), NullModel::kSteps);
}

/// A prompt of 8,192 tokens: found again by another request, entered, and let go of.
void bench_tree(int64_t page_tokens) {
  constexpr int64_t kTokens = 8192;
  KvCache cache({.n_layers = 1, .n_kv_heads = 1, .d_head = 32},
                {.n_pages = 4 * kTokens / page_tokens, .page_tokens = page_tokens});
  std::mt19937 random(2);
  std::vector<double> match;
  std::vector<double> share;
  std::vector<double> close;
  for (int round = 0; round < 20; ++round) {
    std::vector<TokenId> tokens(kTokens);
    for (TokenId& id : tokens) id = static_cast<TokenId>(random() % 50'000);
    SequenceKv first;
    cache.open(first, "", kTokens);
    cache.grow(first, kTokens);
    double begin = now();
    cache.share(first, tokens, kTokens);
    share.push_back(now() - begin);
    SequenceKv second;
    cache.open(second, "", kTokens);
    begin = now();
    cache.match(second, tokens, kTokens);
    match.push_back(now() - begin);
    cache.close(second);
    begin = now();
    cache.close(first);
    close.push_back(now() - begin);
  }
  fmt::print(
      "tree   pages of {:3} tokens, prompt of {}: match {:6.1f} us, share {:6.1f}, "
      "close {:6.1f}\n",
      page_tokens, kTokens, median(match) * 1e6, median(share) * 1e6, median(close) * 1e6);
}

double seconds_to_first(Engine& engine, const std::vector<TokenId>& prompt) {
  GenerateRequest request;
  request.prompt = prompt;
  request.sampling.temperature = 0;
  request.max_tokens = 1;
  ClockSink::Times times;
  const double begin = now();
  if (!engine.submit(std::move(request), std::make_unique<ClockSink>(times)).ok()) std::abort();
  times.done.wait(false);
  return times.first - begin;
}

int bench_first(const char* path, int threads) {
  constexpr size_t kTokens = 1280;
  constexpr size_t kShared = kTokens / 10 * 9;  // a whole number of pages
  static_assert(kShared % kKvPageTokens == 0);
  ThreadPool pool(threads);
  const auto file = GgufFile::open(path);
  if (!file.ok()) {
    fmt::print(stderr, "{}\n", file.error().text());
    return 1;
  }
  const auto model = Model::load(file.value(), {}, pool);
  if (!model.ok()) {
    fmt::print(stderr, "{}\n", model.error().text());
    return 1;
  }
  Engine engine(*model.value(), {.n_ctx = 2048, .max_batch = 4}, Env::real());
  std::mt19937 random(3);
  const auto fill = [&](std::vector<TokenId>& ids, size_t from) {
    const auto n_vocab = static_cast<uint32_t>(model.value()->n_vocab());
    for (size_t i = from; i < ids.size(); ++i) ids[i] = static_cast<TokenId>(random() % n_vocab);
  };
  std::vector<TokenId> cold(kTokens);
  std::vector<TokenId> warm(kTokens);
  fill(warm, 0);
  seconds_to_first(engine, warm);
  std::vector<double> cold_seconds;
  std::vector<double> warm_seconds;
  for (int round = 0; round < 5; ++round) {
    fill(cold, 0);
    cold_seconds.push_back(seconds_to_first(engine, cold));
    fill(warm, kShared);
    warm_seconds.push_back(seconds_to_first(engine, warm));
  }
  constexpr double kKept = static_cast<double>(kShared) / static_cast<double>(kTokens);
  fmt::print(
      "first  {} tokens, {} cached: cold {:.1f} ms, cached {:.1f} ms, ratio {:.3f} "
      "(required 0.15; left are {:.3f} of the weights' work and {:.3f} of attention's)\n",
      kTokens, kShared, median(cold_seconds) * 1e3, median(warm_seconds) * 1e3,
      median(warm_seconds) / median(cold_seconds), 1 - kKept, 1 - kKept * kKept);
  return 0;
}

}  // namespace
}  // namespace hadal

int main(int argc, char** argv) {
  for (const bool together : {false, true}) hadal::bench_step(together);
  for (const int64_t page_tokens : {16, 32, 64, 128}) hadal::bench_tree(page_tokens);
  if (argc < 2) return 0;
  const int threads =
      argc > 2 ? hadal::parse_int<int>(argv[2]).value_or(1) : hadal::ThreadPool::default_threads();
  return hadal::bench_first(argv[1], std::max(threads, 1));
}
