// Speed of a mixture of experts, one layer of DeepSeek-V2-Lite's shape: d_model 2048, 64 experts of
// 1408 of which 6 are used, a shared one of 2816. From 1 row (decode, against the read bandwidth)
// to 512 (prefill, against the peak of multiply-adds), beside the same work expert after expert.
// Usage: moe_bench [GATE_FORMAT DOWN_FORMAT] [THREADS] [ISA] [ROWS]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "kernels/bandwidth.h"
#include "kernels/ceiling.h"
#include "kernels/kernels.h"
#include "kernels/testing/weight_types.h"
#include "timing.h"

namespace hadal {
namespace {

constexpr int64_t kModel = 2048;
constexpr int64_t kFf = 1408;
constexpr int64_t kShared = 2816;
constexpr int64_t kExperts = 64;
constexpr int64_t kUsed = 6;

std::vector<std::byte> random_weights(DType type, int64_t rows, int64_t cols) {
  const WeightType& c = weight_type(type);
  std::vector<std::byte> bytes(static_cast<size_t>(rows) * dtype_row_bytes(type, cols));
  uint64_t random = 1;
  for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    random = random * 6364136223846793005U + 1442695040888963407U;
    const uint64_t bits = (random >> 8) & 0x003F3F3F3F3F3F3FULL;  // no NaN in float formats
    std::memcpy(&bytes[i], &bits, 8);
  }
  const uint16_t factor = f32_to_f16(0.001f);
  const auto block = static_cast<size_t>(dtype_info(type).block_bytes);
  for (size_t at = 0; at < bytes.size(); at += block) {
    for (const size_t offset : c.f16_at) std::memcpy(&bytes[at + offset], &factor, 2);
  }
  return bytes;
}

/// Random weights, packed apart for each expert.
struct Layer {
  std::vector<Weight> weights;
  std::vector<ExpertWeights> experts;
  ExpertWeights shared;

  Layer(DType gate, DType down, ThreadPool& pool) {
    weights.reserve(3 * (kExperts + 1));
    for (int64_t e = 0; e < kExperts; ++e) experts.push_back(add(gate, down, kFf, pool));
    shared = add(gate, down, kShared, pool);
  }
  MoeLayer view() const { return {.experts = experts, .shared = &shared}; }

 private:
  ExpertWeights add(DType gate, DType down, int64_t d_ff, ThreadPool& pool) {
    const Weight* first = weights.data() + weights.size();
    for (int i = 0; i < 3; ++i) {
      const DType type = i < 2 ? gate : down;
      const int64_t rows = i < 2 ? d_ff : kModel;
      const int64_t cols = i < 2 ? kModel : d_ff;
      const std::vector<std::byte> bytes = random_weights(type, rows, cols);
      weights.push_back(
          Weight::prepare(matrix_view(type, rows, cols, bytes), Activations::kInt8, pool).value());
    }
    return {first, first + 1, first + 2};
  }
};

/// n rows and where a router of random logits sends them.
struct Batch {
  std::vector<float> x;
  std::vector<int32_t> experts;
  std::vector<float> weights;
  int64_t n;

  Batch(int64_t rows, std::mt19937& random, ThreadPool& pool) : n(rows) {
    std::normal_distribution<float> normal;
    x.resize(static_cast<size_t>(n * kModel));
    for (float& v : x) v = normal(random);
    std::vector<float> logits(static_cast<size_t>(n * kExperts));
    for (float& v : logits) v = normal(random);
    experts.resize(static_cast<size_t>(n * kUsed));
    weights.resize(experts.size());
    route(logits.data(), n, {.n_experts = kExperts, .n_used = kUsed}, nullptr, experts.data(),
          weights.data(), pool);
  }
};

/// The same by single ops: a gated unit and a product per expert, each with its own wait.
class OneByOne {
 public:
  explicit OneByOne(ThreadPool& pool) : pool_(pool) {}

  void run(const MatmulRows& x, const Layer& layer, const Batch& batch, std::vector<float>& out) {
    for (int64_t e = 0; e < kExperts; ++e) {
      rows_.clear();
      weights_.clear();
      for (size_t i = 0; i < batch.experts.size(); ++i) {
        if (batch.experts[i] != e) continue;
        rows_.push_back(static_cast<int32_t>(i) / static_cast<int32_t>(kUsed));
        weights_.push_back(batch.weights[i]);
      }
      if (rows_.empty()) continue;
      picked_.gather(x, rows_, pool_);
      apply(picked_, layer.experts[static_cast<size_t>(e)]);
      for (size_t i = 0; i < rows_.size(); ++i) {
        float* to = out.data() + rows_[i] * kModel;
        const float* from = product_.data() + i * kModel;
        for (int64_t c = 0; c < kModel; ++c) to[c] += weights_[i] * from[c];
      }
    }
    apply(x, layer.shared);
    for (size_t i = 0; i < out.size(); ++i) out[i] += product_[i];
  }

 private:
  void apply(const MatmulRows& x, const ExpertWeights& expert) {
    hidden_.reset(x.n(), {&expert.down, 1});
    matmul_silu_mul(x, {.weight = expert.gate}, {.weight = expert.up}, hidden_, pool_, workspace_);
    product_.resize(static_cast<size_t>(x.n() * kModel));
    const MatmulTask task{expert.down, nullptr, product_.data(), kModel};
    matmul(hidden_, {&task, 1}, pool_, workspace_);
  }

  ThreadPool& pool_;
  MatmulWorkspace workspace_;
  MatmulRows picked_;
  MatmulRows hidden_;
  std::vector<float> product_;
  std::vector<int32_t> rows_;
  std::vector<float> weights_;
};

/// Fills the caches with something else: another layer's weights would.
void evict(ThreadPool& pool) {
  static std::vector<uint64_t> memory((48 << 20) / 8, 1);
  const int64_t share = static_cast<int64_t>(memory.size()) / pool.size();
  pool.run([&](int worker) {
    for (int64_t i = worker * share; i < (worker + 1) * share; i += 8) {
      memory[static_cast<size_t>(i)] += 1;
    }
  });
}

int64_t expert_bytes(const ExpertWeights& expert) {
  return static_cast<int64_t>(expert.gate->bytes() + expert.up->bytes() + expert.down->bytes());
}

/// Bytes of the weights that the batch touches.
int64_t bytes_of(const Layer& layer, const Batch& batch) {
  std::vector<int32_t> ids = batch.experts;
  std::sort(ids.begin(), ids.end());
  const int64_t count = std::unique(ids.begin(), ids.end()) - ids.begin();
  return count * expert_bytes(layer.experts.front()) + expert_bytes(layer.shared);
}

void measure(const Layer& layer, int64_t n, double mac_gps, ThreadPool& pool) {
  std::mt19937 random(1);
  std::vector<Batch> batches;
  const int count = n >= 128 ? 2 : n >= 16 ? 6 : 24;
  for (int i = 0; i < count; ++i) batches.emplace_back(n, random, pool);
  const std::vector<const Weight*> readers = moe_readers(layer.view());
  MatmulRows x;
  MoeWorkspace workspace;
  OneByOne one_by_one(pool);
  std::vector<float> out(static_cast<size_t>(n * kModel));
  // Seconds of one call over those that its bound allows; the load of a shared machine changes from
  // call to call, so each is set beside its own bytes.
  std::vector<double> calls[2];
  double bytes = 0;
  const double gbps = measure_read_gbps(pool);
  for (int pass = 0; pass < 5; ++pass) {
    for (const Batch& batch : batches) {
      x.reset(n, readers);
      x.set_all(batch.x.data(), kModel, pool);
      bytes = static_cast<double>(bytes_of(layer, batch));
      for (int how = 0; how < 2; ++how) {
        const double start = now();
        if (how == 0) {
          moe_add(x, layer.view(), {kUsed, batch.experts.data(), batch.weights.data()}, out.data(),
                  kModel, pool, workspace);
        } else {
          one_by_one.run(x, layer, batch, out);
        }
        calls[how].push_back((now() - start) / bytes);
        evict(pool);
      }
    }
  }
  const double macs = static_cast<double>(n * 3 * kModel * (kUsed * kFf + kShared));
  for (int how = 0; how < 2; ++how) {
    std::sort(calls[how].begin(), calls[how].end());
    const double best = calls[how].front() * bytes;
    const double median = calls[how][calls[how].size() / 2] * bytes;
    fmt::print("{:5} {:10} {:10.1f} {:10.1f} {:8.1f} {:8.2f} {:8.2f} {:8.2f} {:8.1f} {:8.2f}\n", n,
               how == 0 ? "moe" : "one by one", best * 1e6, median * 1e6, bytes / 1e6,
               bytes / best / 1e9, bytes / best / 1e9 / gbps, bytes / median / 1e9 / gbps,
               macs / best / 1e9, macs / best / 1e9 / mac_gps);
    std::fflush(stdout);
  }
}

DType type_named(const std::string& name) {
  for (const WeightType& c : weight_types()) {
    if (dtype_info(c.type).name == name) return c.type;
  }
  fmt::print("no format {}\n", name);
  std::exit(2);
}

int bench(int argc, char** argv) {
  const DType gate = argc > 2 ? type_named(argv[1]) : DType::kQ4_K;
  const DType down = argc > 2 ? type_named(argv[2]) : DType::kQ5_0;
  const int threads = argc > 3 ? std::atoi(argv[3]) : ThreadPool::default_threads();
  for (const Isa isa : kIsas) {
    if (argc > 4 && isa_name(isa) == argv[4]) force_isa(isa);
  }
  ThreadPool pool(threads);
  const Layer layer(gate, down, pool);
  const double mac_gps = measure_mac_gps(pool);
  fmt::print("{} threads, {}, {} and {}, read {:.1f} GB/s, {:.0f} G multiply-adds/s\n", threads,
             isa_name(current_isa()), dtype_info(gate).name, dtype_info(down).name,
             measure_read_gbps(pool), mac_gps);
  fmt::print("{:>5} {:10} {:>10} {:>10} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}\n", "n", "", "us best",
             "median", "MB", "GB/s", "of read", "median", "GMAC/s", "of peak");
  for (const int64_t n : {1, 2, 4, 8, 32, 128, 512}) {
    if (argc > 5 && n != std::atoll(argv[5])) continue;
    measure(layer, n, mac_gps, pool);
  }
  return 0;
}

}  // namespace
}  // namespace hadal

int main(int argc, char** argv) {
  return hadal::bench(argc, argv);
}
