#include "app/benchmark.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "app/sequence_runner.h"
#include "base/env.h"
#include "kernels/bandwidth.h"
#include "kernels/ceiling.h"

namespace hadal {
namespace {

constexpr int64_t kPageTokens = 64;
constexpr int64_t kWarmUpTokens = 64;
constexpr int64_t kFirstPromptTokens = 16;

double seconds_since(int64_t start_micros) {
  return static_cast<double>(std::max<int64_t>(Env::real().now_micros() - start_micros, 1)) * 1e-6;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// The same id on every run, neighbours far apart so that embedding rows are not shared.
TokenId spread_id(int64_t index, int64_t n_vocab) {
  return static_cast<TokenId>((1000 + index * 7919) % n_vocab);
}

TokenId likeliest(std::span<const float> logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// Times of passes of one kind.
class Stopwatch {
 public:
  Stopwatch(Model& model, Phase& phase) : model_(model), phase_(phase) {}

  /// Calls pass(), which computes `tokens` tokens.
  template <typename Pass>
  Status time(int64_t tokens, Pass&& pass) {
    model_.set_profile(&phase_.profile);
    const int64_t start = Env::real().now_micros();
    const Status status = pass();
    const double seconds = seconds_since(start);
    model_.set_profile(nullptr);
    speeds_.push_back(static_cast<double>(tokens) / seconds);
    tokens_ += tokens;
    return status;
  }

  void finish(const MachineBounds& bounds) {
    OpWork all;
    for (size_t op = 0; op < kOps; ++op) {
      const OpWork& work = phase_.profile.totals(static_cast<Op>(op)).work;
      all.bytes += work.bytes;
      all.macs += work.macs;
    }
    phase_.tps = median(speeds_);
    phase_.bytes_per_token = static_cast<double>(all.bytes) / static_cast<double>(tokens_);
    phase_.macs_per_token = static_cast<double>(all.macs) / static_cast<double>(tokens_);
    phase_.rates = rates_of(all, static_cast<double>(tokens_) / phase_.tps, bounds);
  }

 private:
  Model& model_;
  Phase& phase_;
  std::vector<double> speeds_;
  int64_t tokens_ = 0;
};

/// Sequence 0 owns the prompt. The others share its full pages and own one tail each: what a full
/// batch costs per step, without prefilling the prompt for each.
class Sequences {
 public:
  Sequences(Model& model, const BenchmarkOptions& options)
      : model_(model),
        options_(options),
        prompt_end_(options.depth + options.prompt_tokens),
        shared_pages_(prompt_end_ / kPageTokens),
        tail_pages_((kPageTokens + options.decode_tokens + kPageTokens) / kPageTokens),
        kv_(model.kv_layout(), kPageTokens, shared_pages_ + options.batch * tail_pages_),
        logits_(static_cast<size_t>(options.batch * model.n_vocab())),
        pages_(static_cast<size_t>(options.batch)) {
    for (int64_t s = 0; s < options.batch; ++s) {
      auto& pages = pages_[static_cast<size_t>(s)];
      pages.resize(static_cast<size_t>(shared_pages_ + tail_pages_));
      std::iota(pages.begin(), pages.begin() + shared_pages_, 0);
      std::iota(pages.begin() + shared_pages_, pages.end(),
                static_cast<PageId>(shared_pages_ + s * tail_pages_));
    }
  }

  /// Positions [begin, end) of sequence 0 in one pass; the last one gets logits.
  Status prefill(int64_t begin, int64_t end) {
    Batch batch;
    batch.sequences.push_back(KvSequence{pages_.front()});
    for (int64_t position = begin; position < end; ++position) {
      batch.rows.push_back({.token = spread_id(position, model_.n_vocab()),
                            .position = static_cast<int32_t>(position)});
    }
    batch.rows.back().wants_logits = true;
    TRY_STATUS(model_.forward(batch, kv_, logits_));
    return check_numbers(first_logits());
  }

  Status fill_depth() { return options_.depth > 0 ? prefill(0, options_.depth) : Status{}; }
  Status prefill_prompt() { return prefill(options_.depth, prompt_end_); }

  /// decode_tokens steps of the first `rows` sequences.
  Status decode(int64_t rows) {
    // Alone, a sequence goes on after its whole prompt; together, after what they share.
    const int64_t first = rows == 1 ? prompt_end_ : shared_pages_ * kPageTokens;
    for (int64_t step = 0; step < options_.decode_tokens; ++step) {
      TRY_STATUS(decode_step(rows, first + step));
    }
    return {};
  }

  Status decode_step(int64_t rows, int64_t position) {
    Batch batch;
    for (int64_t s = 0; s < rows; ++s) {
      batch.sequences.push_back(KvSequence{pages_[static_cast<size_t>(s)]});
      batch.rows.push_back({.token = spread_id(last_ + s, model_.n_vocab()),
                            .position = static_cast<int32_t>(position),
                            .sequence = static_cast<int32_t>(s),
                            .wants_logits = true});
    }
    TRY_STATUS(model_.forward(batch, kv_, logits_));
    last_ = likeliest(first_logits());
    return {};
  }

  int64_t prompt_end() const { return prompt_end_; }

 private:
  std::span<const float> first_logits() const {
    return std::span<const float>(logits_).first(static_cast<size_t>(model_.n_vocab()));
  }

  Model& model_;
  const BenchmarkOptions& options_;
  int64_t prompt_end_;
  int64_t shared_pages_;
  int64_t tail_pages_;
  KvPool kv_;
  std::vector<float> logits_;
  std::vector<std::vector<PageId>> pages_;
  TokenId last_ = 0;  ///< each step's ids follow from the last one's logits, as in earnest
};

Status measure(Sequences& sequences, LoadedModel& loaded, const BenchmarkOptions& options,
               Benchmark& out) {
  Model& model = *loaded.model;
  TRY_STATUS(sequences.prefill(0, std::min(kWarmUpTokens, sequences.prompt_end())));
  TRY_STATUS(sequences.fill_depth());
  Stopwatch prefill(model, out.prefill);
  Stopwatch decode(model, out.decode);
  Stopwatch batch_decode(model, out.batch_decode);
  for (int i = 0; i < options.repeats; ++i) {
    TRY_STATUS(prefill.time(options.prompt_tokens, [&] { return sequences.prefill_prompt(); }));
  }
  TRY_STATUS(sequences.decode_step(options.batch, sequences.prompt_end()));  // warms up
  TRY_STATUS(batch_decode.time(options.batch * options.decode_tokens,
                               [&] { return sequences.decode(options.batch); }));
  TRY_STATUS(sequences.decode_step(1, sequences.prompt_end()));
  out.memory = process_memory();  // reading half a gigabyte for the bound is not the model's
  // A shared machine's bandwidth moves from second to second: decoding, which it bounds, is set
  // beside what it was before and after.
  double read_gbps = measure_read_gbps(*loaded.pool);
  for (int i = 0; i < options.repeats; ++i) {
    TRY_STATUS(decode.time(options.decode_tokens, [&] { return sequences.decode(1); }));
    read_gbps += measure_read_gbps(*loaded.pool);
  }
  out.bounds = {.read_gbps = read_gbps / (options.repeats + 1),
                .mac_gps = measure_mac_gps(*loaded.pool),
                .clock_ghz = measure_clock_ghz(),
                .threads = loaded.pool->size()};
  prefill.finish(out.bounds);
  decode.finish(out.bounds);
  batch_decode.finish(out.bounds);
  return {};
}

}  // namespace

Rates rates_of(const OpWork& work, double seconds, const MachineBounds& bounds) {
  Rates out;
  if (seconds <= 0) return out;
  out.gbps = static_cast<double>(work.bytes) / seconds * 1e-9;
  out.mac_gps = static_cast<double>(work.macs) / seconds * 1e-9;
  out.mac_per_cycle = out.mac_gps / (bounds.clock_ghz * bounds.threads);
  out.bandwidth_fraction = bounds.read_gbps > 0 ? out.gbps / bounds.read_gbps : 0;
  out.arithmetic_fraction = bounds.mac_gps > 0 ? out.mac_gps / bounds.mac_gps : 0;
  return out;
}

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

Status compute_first_token(LoadedModel& loaded) {
  Model& model = *loaded.model;
  SequenceRunner runner(model, kFirstPromptTokens);
  std::vector<TokenId> ids;
  for (int64_t i = 0; i < kFirstPromptTokens; ++i) ids.push_back(spread_id(i, model.n_vocab()));
  std::vector<float> logits(static_cast<size_t>(model.n_vocab()));
  TRY_STATUS(runner.append(ids, logits));
  likeliest(logits);
  return {};
}

Result<Benchmark> run_benchmark(LoadedModel& loaded, const BenchmarkOptions& options) {
  Benchmark out;
  Sequences sequences(*loaded.model, options);
  TRY_STATUS(measure(sequences, loaded, options, out));
  return out;
}

}  // namespace hadal
