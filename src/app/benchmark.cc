#include "app/benchmark.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "app/sequence_runner.h"
#include "base/env.h"
#include "kernels/bandwidth.h"

namespace hadal {
namespace {

constexpr int64_t kPageTokens = 64;

double seconds_since(int64_t start_micros) {
  return static_cast<double>(std::max<int64_t>(Env::real().now_micros() - start_micros, 1)) * 1e-6;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// The same ids on every run, far apart so that embedding rows are not shared.
std::vector<TokenId> spread_ids(int64_t count, int64_t n_vocab) {
  std::vector<TokenId> ids(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    ids[static_cast<size_t>(i)] = static_cast<TokenId>((1000 + i * 7919) % n_vocab);
  return ids;
}

TokenId likeliest(std::span<const float> logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// `batch` sequences that share the pages of one prompt and own one tail each: what a full batch
/// costs per step, without prefilling the prompt `batch` times.
class BatchDecoder {
 public:
  BatchDecoder(Model& model, const BenchmarkOptions& options)
      : model_(model),
        options_(options),
        shared_pages_(options.prompt_tokens / kPageTokens),
        tail_pages_((options.decode_tokens + 1 + kPageTokens - 1) / kPageTokens),
        kv_(model.kv_layout(), kPageTokens, shared_pages_ + options.batch * tail_pages_),
        logits_(static_cast<size_t>(options.batch * model.n_vocab())) {
    pages_.resize(static_cast<size_t>(options.batch));
    for (int64_t s = 0; s < options.batch; ++s) {
      auto& pages = pages_[static_cast<size_t>(s)];
      pages.resize(static_cast<size_t>(shared_pages_ + tail_pages_));
      std::iota(pages.begin(), pages.begin() + shared_pages_, 0);
      std::iota(pages.begin() + shared_pages_, pages.end(),
                static_cast<PageId>(shared_pages_ + s * tail_pages_));
    }
  }

  Status prefill() {
    const auto ids = spread_ids(shared_pages_ * kPageTokens, model_.n_vocab());
    Batch batch;
    batch.sequences.push_back(KvSequence{pages_.front()});
    for (const TokenId id : ids) {
      batch.rows.push_back({.token = id, .position = static_cast<int32_t>(batch.rows.size())});
    }
    return batch.rows.empty() ? Status{} : model_.forward(batch, kv_, {});
  }

  /// Tokens per second of all sequences together.
  Result<double> decode() {
    std::vector<TokenId> last = spread_ids(options_.batch, model_.n_vocab());
    const auto n_vocab = static_cast<size_t>(model_.n_vocab());
    const int64_t first = shared_pages_ * kPageTokens;
    int64_t start = 0;
    for (int64_t step = 0; step <= options_.decode_tokens; ++step) {
      if (step == 1) start = Env::real().now_micros();  // step 0 warms up
      Batch batch;
      for (int64_t s = 0; s < options_.batch; ++s) {
        batch.sequences.push_back(KvSequence{pages_[static_cast<size_t>(s)]});
        batch.rows.push_back({.token = last[static_cast<size_t>(s)],
                              .position = static_cast<int32_t>(first + step),
                              .sequence = static_cast<int32_t>(s),
                              .wants_logits = true});
      }
      TRY_STATUS(model_.forward(batch, kv_, logits_));
      for (size_t s = 0; s < last.size(); ++s) {
        last[s] = likeliest(std::span<const float>(logits_).subspan(s * n_vocab, n_vocab));
      }
    }
    return static_cast<double>(options_.batch * options_.decode_tokens) / seconds_since(start);
  }

 private:
  Model& model_;
  const BenchmarkOptions& options_;
  int64_t shared_pages_;
  int64_t tail_pages_;
  KvPool kv_;
  std::vector<float> logits_;
  std::vector<std::vector<PageId>> pages_;
};

/// One prefill and one decode after it.
Status measure_once(Model& model, SequenceRunner& runner, const BenchmarkOptions& options,
                    std::vector<double>& prefill, std::vector<double>& decode) {
  std::vector<float> logits(static_cast<size_t>(model.n_vocab()));
  runner.clear();
  int64_t start = Env::real().now_micros();
  TRY_STATUS(runner.append(spread_ids(options.prompt_tokens, model.n_vocab()), logits));
  prefill.push_back(static_cast<double>(options.prompt_tokens) / seconds_since(start));
  TokenId token = likeliest(logits);
  start = Env::real().now_micros();
  for (int64_t i = 0; i < options.decode_tokens; ++i) {
    TRY_STATUS(runner.append(std::span(&token, 1), logits));
    token = likeliest(logits);
  }
  decode.push_back(static_cast<double>(options.decode_tokens) / seconds_since(start));
  return {};
}

}  // namespace

double measure_clock_ghz() {
  constexpr int64_t kRounds = 4'000'000;
  constexpr int64_t kChain = 16;
  double best = 0;
  for (int attempt = 0; attempt < 5; ++attempt) {
    uint64_t value = 0;
    const int64_t start = Env::real().now_micros();
    for (int64_t round = 0; round < kRounds; ++round) {
      for (int64_t i = 0; i < kChain; ++i) {
        value += 3;
        asm volatile("" : "+r"(value));  // keeps the additions apart
      }
    }
    best = std::max(best, static_cast<double>(kRounds * kChain) / seconds_since(start) * 1e-9);
  }
  return best;
}

Result<Benchmark> run_benchmark(LoadedModel& loaded, const BenchmarkOptions& options) {
  Model& model = *loaded.model;
  Benchmark out;
  out.read_bandwidth_gbps = measure_read_gbps(*loaded.pool);

  SequenceRunner runner(model, options.prompt_tokens + options.decode_tokens);
  std::vector<float> unused(static_cast<size_t>(model.n_vocab()));
  const auto warm_up = spread_ids(std::min<int64_t>(64, options.prompt_tokens), model.n_vocab());
  TRY_STATUS(runner.append(warm_up, unused));
  std::vector<double> prefill;
  std::vector<double> decode;
  for (int i = 0; i < options.repeats; ++i) {
    TRY_STATUS(measure_once(model, runner, options, prefill, decode));
  }
  out.prefill_tps = median(prefill);
  out.decode_tps = median(decode);
  out.clock_ghz = measure_clock_ghz();

  BatchDecoder decoder(model, options);
  TRY_STATUS(decoder.prefill());
  TRY(out.batch_decode_tps, decoder.decode());

  const double positions =
      static_cast<double>(options.prompt_tokens) + 0.5 * static_cast<double>(options.decode_tokens);
  out.bytes_per_token = static_cast<double>(model.weight_bytes_per_token()) +
                        positions * static_cast<double>(model.kv_layout().bytes_per_token());
  out.decode_bound_fraction =
      out.decode_tps * out.bytes_per_token / (out.read_bandwidth_gbps * 1e9);
  out.prefill_mac_per_cycle = out.prefill_tps * static_cast<double>(model.macs_per_token()) /
                              (out.clock_ghz * 1e9 * loaded.pool->size());
  return out;
}

}  // namespace hadal
