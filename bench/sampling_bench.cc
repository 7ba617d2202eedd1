// Microseconds per sampled token for vocabularies of DeepSeek's and SmolLM2's size, next to the
// bound: one read of the row of logits at the speed this machine reads memory.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <vector>

#include <fmt/format.h>

#include "engine/sampling.h"

namespace hadal {
namespace {

double now_micros() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::micro>(now).count();
}

/// A row as a model gives it: a bulk of unlikely tokens and, when `peaked`, 24 likely ones. A flat
/// row is the worst case for top_p.
std::vector<float> make_row(size_t n_vocab, bool peaked) {
  const float spread = peaked ? 2.0f : 0.5f;
  std::vector<float> row(n_vocab);
  uint64_t state = 1;
  const auto uniform = [&state] {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (static_cast<double>(state >> 40) + 1) * 0x1p-24;
  };
  for (float& x : row) {
    const double radius = std::sqrt(-2 * std::log(uniform()));
    x = static_cast<float>(radius * std::cos(6.283185307179586 * uniform())) * spread;
  }
  for (size_t i = 0; peaked && i < 24; ++i)
    row[i * (n_vocab / 24)] += 14 - 0.25f * static_cast<float>(i);
  return row;
}

/// Gigabytes per second of one thread reading memory far larger than the caches.
double read_bandwidth_gbps() {
  std::vector<uint64_t> data(size_t{32} << 20, 1);  // 256 MiB
  double best = 0;
  volatile uint64_t keep = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const double begin = now_micros();
    uint64_t lanes[8] = {};
    for (size_t i = 0; i < data.size(); i += 8) {
      for (size_t j = 0; j < 8; ++j) lanes[j] += data[i + j];
    }
    for (uint64_t lane : lanes) keep = keep + lane;
    const double micros = now_micros() - begin;
    best = std::max(best, static_cast<double>(data.size() * 8) / micros / 1000);
  }
  return best;
}

/// Median time of one sample() on a fresh copy of the row; the copy is not counted.
double micros_per_token(const SamplingParams& params, const std::vector<float>& row) {
  const std::vector<TokenId> prompt = {1, 2, 3, 4, 5, 6, 7, 8};
  Sampler sampler(params, prompt, 1);
  std::vector<float> logits(row.size());
  std::vector<double> times;
  for (int i = 0; i < 60; ++i) {
    std::memcpy(logits.data(), row.data(), row.size() * sizeof(float));
    const double begin = now_micros();
    const Result<Sampled> out = sampler.sample(logits, {});
    times.push_back(now_micros() - begin);
    CHECK(out.ok());
  }
  std::nth_element(times.begin(), times.begin() + 30, times.end());
  return times[30];
}

struct Case {
  const char* name;
  void (*set)(SamplingParams& params);
};

constexpr Case kCases[] = {
    {"greedy", [](SamplingParams& p) { p.temperature = 0; }},
    {"temperature 1", [](SamplingParams&) {}},
    {"top_k 40", [](SamplingParams& p) { p.top_k = 40; }},
    {"top_k 20000", [](SamplingParams& p) { p.top_k = 20000; }},
    {"top_p 0.95", [](SamplingParams& p) { p.top_p = 0.95f; }},
    {"min_p 0.05", [](SamplingParams& p) { p.min_p = 0.05f; }},
    {"T 0.6 k 40 p 0.95 rep 1.1",
     [](SamplingParams& p) {
       p.temperature = 0.6f;
       p.top_k = 40;
       p.top_p = 0.95f;
       p.repetition_penalty = 1.1f;
     }},
    {"greedy, 20 logprobs",
     [](SamplingParams& p) {
       p.temperature = 0;
       p.top_logprobs = 20;
     }},
};

void report() {
  const double gbps = read_bandwidth_gbps();
  fmt::print("one thread reads {:.1f} GB/s\n\n", gbps);
  fmt::print("{:<28}{:>9}{:>10}{:>12}{:>12}{:>11}\n", "sampling", "n_vocab", "row", "us/token",
             "bound us", "x bound");
  for (const size_t n_vocab : {size_t{49152}, size_t{151936}}) {
    for (const bool peaked : {true, false}) {
      const std::vector<float> row = make_row(n_vocab, peaked);
      const double bound = static_cast<double>(n_vocab * sizeof(float)) / (gbps * 1000);
      for (const Case& c : kCases) {
        SamplingParams params;
        c.set(params);
        const double micros = micros_per_token(params, row);
        fmt::print("{:<28}{:>9}{:>10}{:>12.1f}{:>12.1f}{:>11.1f}\n", c.name, n_vocab,
                   peaked ? "peaked" : "flat", micros, bound, micros / bound);
      }
    }
  }
}

}  // namespace
}  // namespace hadal

int main() {
  hadal::report();
}
