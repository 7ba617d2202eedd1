// Goal: Sampler chooses what a naive twin with full sorts chooses, draws from the right
// distribution, and survives every row a broken model or an odd request can make.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "engine/sample/weights.h"
#include "engine/sampling.h"

namespace hadal {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

/// The documented stream: splitmix64 from a mixed seed.
class Stream {
 public:
  explicit Stream(uint64_t seed) : state_(mix(seed + 0x9E3779B97F4A7C15u)) {}
  uint64_t bits() { return mix(state_ += 0x9E3779B97F4A7C15u); }
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  float normal() {
    const double radius = std::sqrt(-2 * std::log(1 - uniform()));
    return static_cast<float>(radius * std::cos(6.283185307179586 * uniform()));
  }
  int below(int n) { return static_cast<int>(uniform() * n); }

 private:
  uint64_t state_;
};

std::vector<float> random_row(Stream& random, int n, float spread) {
  std::vector<float> row;
  for (int i = 0; i < n; ++i) row.push_back(random.normal() * spread);
  return row;
}

/// Sampling as one would write it on a whiteboard: probabilities in double, a full sort per filter.
class Twin {
 public:
  Twin(SamplingParams params, std::vector<TokenId> prompt)
      : params_(std::move(params)),
        prompt_(std::move(prompt)),
        stream_(*params_.seed),
        surprise_bound_(2 * double{params_.mirostat_tau}) {}

  struct Entry {
    TokenId id;
    double logit;
    double p;
  };

  std::vector<Entry> kept(const std::vector<float>& logits, const std::vector<TokenId>& masked) {
    std::vector<double> x = adjusted(logits, masked);
    std::vector<Entry> entries;
    for (size_t i = 0; i < x.size(); ++i) {
      if (x[i] > -kInf) entries.push_back({static_cast<TokenId>(i), x[i], 0});
    }
    std::stable_sort(entries.begin(), entries.end(),
                     [](const Entry& a, const Entry& b) { return a.logit > b.logit; });
    if (entries.empty()) return entries;
    if (params_.temperature == 0) {
      entries.resize(1);
      entries[0].p = 1;
      return entries;
    }
    for (Entry& e : entries) e.p = std::exp((e.logit - entries[0].logit) / params_.temperature);
    if (params_.mirostat == 2) {
      normalise(entries);
      size_t n = 1;
      while (n < entries.size() && -std::log2(entries[n].p) <= surprise_bound_) ++n;
      before_cut_ = entries;
      entries.resize(n);
      normalise(entries);
      return entries;
    }
    if (params_.top_k > 0 && entries.size() > static_cast<size_t>(params_.top_k)) {
      entries.resize(static_cast<size_t>(params_.top_k));
    }
    normalise(entries);
    if (params_.typical_p < 1) keep_typical(entries);
    if (params_.top_p < 1) {
      double sum = 0;
      size_t n = 0;
      while (n < entries.size() && sum < params_.top_p) sum += entries[n++].p;
      entries.resize(n);
      normalise(entries);
    }
    const double lowest = params_.min_p * entries[0].p;
    std::erase_if(entries, [&](const Entry& e) { return e.p < lowest; });
    normalise(entries);
    return entries;
  }

  TokenId sample(const std::vector<float>& logits, const std::vector<TokenId>& masked) {
    std::vector<Entry> entries = kept(logits, masked);
    std::sort(entries.begin(), entries.end(),
              [](const Entry& a, const Entry& b) { return a.id < b.id; });
    TokenId chosen = kNoToken;
    double left = params_.temperature == 0 ? 0 : stream_.uniform();
    for (const Entry& e : entries) {
      chosen = e.id;
      if (left < e.p) break;
      left -= e.p;
    }
    ++counts_[chosen];
    if (params_.mirostat == 2 && params_.temperature > 0) {
      for (const Entry& e : before_cut_) {
        if (e.id != chosen) continue;
        surprise_bound_ -= params_.mirostat_eta * (-std::log2(e.p) - params_.mirostat_tau);
      }
    }
    return chosen;
  }

 private:
  /// Leaves the entries best first, as the other filters want them.
  void keep_typical(std::vector<Entry>& entries) const {
    double entropy = 0;
    for (const Entry& e : entries) entropy -= e.p > 0 ? e.p * std::log(e.p) : 0;
    std::stable_sort(entries.begin(), entries.end(), [&](const Entry& a, const Entry& b) {
      return std::abs(-std::log(a.p) - entropy) < std::abs(-std::log(b.p) - entropy);
    });
    double sum = 0;
    size_t n = 0;
    while (n < entries.size() && sum < params_.typical_p) sum += entries[n++].p;
    entries.resize(n);
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
      return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
    });
    normalise(entries);
  }

  static void normalise(std::vector<Entry>& entries) {
    double total = 0;
    for (const Entry& e : entries) total += e.p;
    for (Entry& e : entries) e.p /= total;
  }

  std::vector<double> adjusted(const std::vector<float>& logits,
                               const std::vector<TokenId>& masked) {
    std::vector<double> x(logits.begin(), logits.end());
    for (TokenId id : masked) x[static_cast<size_t>(id)] = -kInf;
    std::vector<bool> forced(x.size(), false);
    bool any_forced = false;
    for (auto [id, bias] : params_.logit_bias) {
      double& logit = x[static_cast<size_t>(id)];
      logit = bias == -100 ? -kInf : logit + bias;
      if (bias == 100 && logit > -kInf) any_forced = forced[static_cast<size_t>(id)] = true;
    }
    for (size_t i = 0; i < x.size(); ++i) {
      const auto id = static_cast<TokenId>(i);
      if (any_forced && !forced[i]) x[i] = -kInf;
      const bool in_prompt = std::find(prompt_.begin(), prompt_.end(), id) != prompt_.end();
      const int times = counts_.contains(id) ? counts_[id] : 0;
      if (in_prompt || times > 0) {
        x[i] = x[i] > 0 ? x[i] / params_.repetition_penalty : x[i] * params_.repetition_penalty;
      }
      if (times > 0) x[i] -= params_.presence_penalty + params_.frequency_penalty * times;
    }
    return x;
  }

  SamplingParams params_;
  std::vector<TokenId> prompt_;
  std::map<TokenId, int> counts_;
  Stream stream_;
  double surprise_bound_;
  std::vector<Entry> before_cut_;
};

TokenId choose(const SamplingParams& params, std::vector<float> row,
               std::vector<TokenId> masked = {}) {
  Sampler sampler(params, {}, 1);
  Result<Sampled> out = sampler.sample(row, masked);
  return out.ok() ? out.value().id : kNoToken;
}

SamplingParams random_params(Stream& random, int n) {
  SamplingParams p;
  p.seed = random.bits();
  constexpr float kTemperatures[] = {0, 0.1f, 0.7f, 1, 1.5f, 5};
  constexpr float kTopP[] = {1, 1, 0.01f, 0.5f, 0.9f, 0.999f};
  constexpr float kMinP[] = {0, 0, 0.001f, 0.05f, 0.3f, 1};
  p.temperature = kTemperatures[random.below(6)];
  p.top_p = kTopP[random.below(6)];
  p.min_p = kMinP[random.below(6)];
  if (random.below(2) == 0) p.top_k = 1 + random.below(random.below(2) == 0 ? 10 : n + 5);
  if (random.below(4) == 0) p.typical_p = kTopP[2 + random.below(4)];
  if (random.below(6) == 0) {
    p.mirostat = 2;
    p.mirostat_tau = static_cast<float>(random.uniform()) * 6;
  }
  if (random.below(2) == 0) p.repetition_penalty = 0.5f + static_cast<float>(random.uniform()) * 2;
  if (random.below(2) == 0) p.presence_penalty = static_cast<float>(random.uniform()) * 4 - 2;
  if (random.below(2) == 0) p.frequency_penalty = static_cast<float>(random.uniform()) * 4 - 2;
  if (random.below(2) == 0) {
    p.logit_bias = {{0, -100.0f}, {1, 3.0f}, {n - 1, -5.0f}};
    if (random.below(4) == 0) p.logit_bias.insert(p.logit_bias.end(), {{2, 100.0f}, {4, 100.0f}});
  }
  return p;
}

TEST(Sampler, ChoosesWhatTheNaiveTwinChooses) {
  Stream random(7);
  for (int round = 0; round < 400; ++round) {
    const int n = 8 + random.below(round % 10 == 0 ? 3000 : 120);
    const SamplingParams params = random_params(random, n);
    ASSERT_TRUE(validate(params, n).ok());
    std::vector<TokenId> prompt;
    for (int i = 0; i < 6; ++i) prompt.push_back(random.below(n));
    const std::vector<TokenId> masked =
        round % 3 == 0 ? std::vector<TokenId>{3, 5} : std::vector<TokenId>{};
    Sampler sampler(params, prompt, 0);
    Twin twin(params, prompt);
    for (int step = 0; step < 12; ++step) {
      const std::vector<float> row = random_row(random, n, round % 2 == 0 ? 3 : 0.3f);
      std::vector<float> mine = row;
      Result<Sampled> got = sampler.sample(mine, masked);
      ASSERT_TRUE(got.ok()) << got.error().text();
      ASSERT_EQ(got.value().id, twin.sample(row, masked))
          << "round " << round << " step " << step << " n " << n << " t " << params.temperature
          << " k " << params.top_k << " p " << params.top_p << " min_p " << params.min_p;
    }
  }
}

/// Chi-square of `draws` draws against the twin's probabilities; cells expected below 5 are pooled.
/// Returns the statistic and its degrees of freedom.
std::pair<double, int> chi_square(const SamplingParams& params, const std::vector<float>& row,
                                  int draws) {
  std::map<TokenId, int> seen;
  Sampler sampler(params, {}, 0);
  for (int i = 0; i < draws; ++i) {
    std::vector<float> copy = row;
    ++seen[sampler.sample(copy, {}).value().id];
  }
  double statistic = 0;
  double pooled_expected = 0;
  int pooled_seen = draws;
  int cells = 0;
  for (const Twin::Entry& e : Twin(params, {}).kept(row, {})) {
    const double expected = e.p * draws;
    if (expected < 5) {
      pooled_expected += expected;
      continue;
    }
    pooled_seen -= seen[e.id];
    statistic += (seen[e.id] - expected) * (seen[e.id] - expected) / expected;
    ++cells;
  }
  if (pooled_expected >= 1) {
    statistic +=
        (pooled_seen - pooled_expected) * (pooled_seen - pooled_expected) / pooled_expected;
    ++cells;
  } else {
    EXPECT_LE(pooled_seen, 5);  // nothing outside the kept set
  }
  return {statistic, cells - 1};
}

TEST(Sampler, DrawsFollowTheExpectedDistribution) {
  Stream random(11);
  for (int round = 0; round < 24; ++round) {
    SamplingParams params;
    params.seed = static_cast<uint64_t>(round);  // neighbouring seeds must be independent streams
    params.temperature = round % 2 == 0 ? 1.0f : 0.6f;
    if (round % 4 == 1) params.top_k = 9;
    if (round % 4 == 2) params.top_p = 0.8f;
    if (round % 4 == 3) params.min_p = 0.1f;
    const int n = round < 12 ? 40 : 2500;  // several blocks of partial sums
    const auto [statistic, freedom] = chi_square(params, random_row(random, n, 1.5f), 8000);
    // Mean and variance of chi-square are f and 2f: five deviations is below one in a million.
    EXPECT_LT(statistic, freedom + 5 * std::sqrt(2.0 * std::max(freedom, 1))) << "round " << round;
  }
}

TEST(Sampler, FirstDrawsOfNeighbouringSeedsAreUniform) {
  // A request's first token must not depend on its seed in a visible way: seeds 0..7999, one draw.
  constexpr int kSeeds = 8000;
  int seen[16] = {};
  for (int seed = 0; seed < kSeeds; ++seed) {
    SamplingParams params;
    params.seed = static_cast<uint64_t>(seed);
    ++seen[choose(params, std::vector<float>(16, 0.0f))];
  }
  double statistic = 0;
  for (int count : seen) statistic += (count - 500.0) * (count - 500.0) / 500.0;
  EXPECT_LT(statistic, 15 + 5 * std::sqrt(30.0));
}

TEST(Sampler, SameSeedSameTokensAndOtherSeedsOthers) {
  const auto run = [](std::optional<uint64_t> seed, uint64_t fallback) {
    SamplingParams params;
    params.seed = seed;
    Sampler sampler(params, {}, fallback);
    std::vector<TokenId> out;
    for (int i = 0; i < 40; ++i) {
      std::vector<float> row(1000, 0.0f);
      out.push_back(sampler.sample(row, {}).value().id);
    }
    return out;
  };
  EXPECT_EQ(run(5, 1), run(5, 2));
  EXPECT_NE(run(5, 1), run(6, 1));
  EXPECT_EQ(run(std::nullopt, 9), run(9, 1));
  EXPECT_NE(run(std::nullopt, 9), run(std::nullopt, 10));
}

TEST(Sampler, GreedyTakesTheLowestIdOfATie) {
  SamplingParams greedy;
  greedy.temperature = 0;
  EXPECT_EQ(choose(greedy, {1, 3, 2, 3, 3}), 1);
  std::vector<float> row(5000, -1.0f);
  row[4999] = row[33] = 2;
  EXPECT_EQ(choose(greedy, row), 33);
  EXPECT_EQ(choose(greedy, {-3}), 0);
}

TEST(Sampler, FiltersKeepTheLowerIdOfATieAtTheirEdge) {
  SamplingParams params;
  std::map<TokenId, int> seen;
  params.top_k = 2;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    params.seed = seed;
    ++seen[choose(params, {0, 1, 1, 1})];
  }
  EXPECT_EQ(seen.size(), 2u);
  EXPECT_TRUE(seen.contains(1) && seen.contains(2));
  params.top_k = 0;
  params.top_p = 0.3f;  // uniform over four: two are needed
  seen.clear();
  for (uint64_t seed = 0; seed < 60; ++seed) {
    params.seed = seed;
    ++seen[choose(params, {1, 1, 1, 1})];
  }
  EXPECT_EQ(seen.size(), 2u);
  EXPECT_TRUE(seen.contains(0) && seen.contains(1));
}

TEST(Sampler, TopPWorksOnWhatTopKLeft) {
  // Probabilities 0.4 0.3 0.2 0.1. top_k 2 leaves 0.571 0.429, so top_p 0.5 leaves the first alone;
  // on the whole row it would have left two.
  const std::vector<float> row = {std::log(0.4f), std::log(0.3f), std::log(0.2f), std::log(0.1f)};
  SamplingParams params;
  params.top_p = 0.5f;
  const auto distinct = [&] {
    std::map<TokenId, int> seen;
    for (uint64_t seed = 0; seed < 100; ++seed) {
      params.seed = seed;
      ++seen[choose(params, row)];
    }
    return seen.size();
  };
  EXPECT_EQ(distinct(), 2u);
  params.top_k = 2;
  EXPECT_EQ(distinct(), 1u);
}

TEST(Sampler, TypicalMayDropTheLikeliest) {
  // One token of 0.4 and twelve of 0.05: surprise 0.9 and 3.0, entropy 2.2. The set of half the
  // probability is made of ten of the twelve, lowest ids first.
  std::vector<float> row = {std::log(0.4f)};
  row.insert(row.end(), 12, std::log(0.05f));
  SamplingParams params;
  params.typical_p = 0.49f;
  params.min_p = 0.9f;  // relative to the best that is left
  std::map<TokenId, int> seen;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    params.seed = seed;
    ++seen[choose(params, row)];
  }
  EXPECT_EQ(seen.size(), 10u);
  EXPECT_EQ(seen.count(0), 0u);
  EXPECT_EQ(seen.count(11), 0u);
}

TEST(Sampler, MirostatAimsAtItsSurprise) {
  // The mean surprise of what is drawn comes near tau. A geometric row with p = 0.26 can have any
  // between 1.95 bits (its likeliest token only) and 3.19 (its entropy).
  std::vector<float> geometric;
  for (int i = 0; i < 200; ++i) geometric.push_back(-0.3f * static_cast<float>(i));
  for (const float tau : {2.2f, 2.7f, 3.1f}) {
    SamplingParams params;
    params.seed = 5;
    params.mirostat = 2;
    params.mirostat_tau = tau;
    params.top_logprobs = 0;
    Sampler sampler(params, {}, 0);
    double surprise = 0;
    constexpr int kDraws = 3000;
    for (int i = 0; i < kDraws; ++i) {
      std::vector<float> row = geometric;
      surprise -= sampler.sample(row, {}).value().logprob / std::log(2.0);
    }
    EXPECT_NEAR(surprise / kDraws, tau, 0.05) << tau;
  }
}

TEST(Sampler, AForkDrawsWhatItsOriginDraws) {
  Stream random(11);
  for (int round = 0; round < 60; ++round) {
    Sampler sampler(random_params(random, 60), std::vector<TokenId>{1, 2, 3}, 9);
    for (int step = 0; step < 8; ++step) {
      Sampler fork = sampler.fork();
      for (int ahead = 0; ahead < 3; ++ahead) {
        std::vector<float> a = random_row(random, 60, 2);
        std::vector<float> b = a;
        const TokenId expected = fork.sample(a, {}).value().id;
        if (ahead > 0) continue;
        EXPECT_EQ(sampler.sample(b, {}).value().id, expected);
      }
    }
  }
}

TEST(Sampler, TemperatureComesBeforeTopP) {
  // At temperature 4 the row is flat enough that top_p 0.5 keeps two; before it, 0.73 was enough.
  const std::vector<float> row = {2, 1, 0};
  SamplingParams params;
  params.top_p = 0.5f;
  params.temperature = 4;
  std::map<TokenId, int> seen;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    params.seed = seed;
    ++seen[choose(params, row)];
  }
  EXPECT_EQ(seen.size(), 2u);
}

TEST(Sampler, BiasComesBeforeRepetitionPenalty) {
  // Token 0: (-1 + 2) / 2 = 0.5 wins over 0.4. The other order gives -1 * 2 + 2 = 0.
  SamplingParams params;
  params.temperature = 0;
  params.logit_bias = {{0, 2.0f}};
  params.repetition_penalty = 2;
  const std::vector<TokenId> prompt = {0};
  Sampler sampler(params, prompt, 0);
  std::vector<float> row = {-1.0f, 0.4f};
  EXPECT_EQ(sampler.sample(row, {}).value().id, 0);
}

TEST(Sampler, PresenceAndFrequencyCountOutputOnly) {
  SamplingParams params;
  params.temperature = 0;
  params.presence_penalty = 0.5f;
  params.frequency_penalty = 0.3f;
  const std::vector<TokenId> prompt = {0, 0, 0, 0, 0};
  Sampler sampler(params, prompt, 0);
  std::vector<TokenId> out;
  for (int i = 0; i < 4; ++i) {
    std::vector<float> row = {1.0f, 0.1f};
    out.push_back(sampler.sample(row, {}).value().id);
  }
  // 0 costs 0, 0.8 (0.2 > 0.1), 1.1 (-0.1 < 0.1), then 1 has 0.1 - 0.8.
  EXPECT_EQ(out, (std::vector<TokenId>{0, 0, 1, 0}));
}

TEST(Sampler, BiasOfHundredForcesAndMinusHundredBans) {
  SamplingParams params;
  params.temperature = 0;
  params.logit_bias = {{2, 100.0f}};
  EXPECT_EQ(choose(params, {1000, 0, -1000, 5}), 2);
  EXPECT_EQ(choose(params, {1, 0, -kInf, 5}), 3);   // the model's own ban stands
  EXPECT_EQ(choose(params, {1, 0, 0, 5}, {2}), 3);  // a mask beats a bias
  params.logit_bias = {{3, -100.0f}};
  EXPECT_EQ(choose(params, {-1e30f, -2e30f, -kInf, 5}), 0);
  params.temperature = 1;
  EXPECT_EQ(choose(params, {-1e30f, -2e30f, -kInf, 5}), 0);
}

TEST(Sampler, BrokenRowsAreErrorsAndLeaveTheStreamUnchanged) {
  SamplingParams params;
  params.seed = 3;
  Sampler sampler(params, {}, 0);
  Sampler fresh(params, {}, 0);
  std::vector<std::vector<float>> broken = {
      {1, kNan, 2}, std::vector<float>(100, kNan), {-kInf, -kInf}, {kInf, kNan}};
  broken.emplace_back(2000, 0.0f).back() = kNan;
  for (std::vector<float> row : broken) {
    Result<Sampled> out = sampler.sample(row, {});
    ASSERT_FALSE(out.ok());
    EXPECT_EQ(out.error().code, Code::kInternal);
  }
  std::vector<float> row = {1, 2};
  const std::vector<TokenId> all = {0, 1, 7, -4};
  EXPECT_FALSE(sampler.sample(row, all).ok());
  std::vector<float> a(500, 0.0f);
  std::vector<float> b = a;
  EXPECT_EQ(sampler.sample(a, {}).value().id, fresh.sample(b, {}).value().id);
}

TEST(Sampler, ExtremeRowsAndParametersStillChoose) {
  constexpr float kMax = std::numeric_limits<float>::max();
  const std::vector<std::vector<float>> rows = {
      {kInf, 1, 2},          {kMax, -kMax, 0},
      {-kMax, -kMax, -kMax}, {-kInf, -kInf, -kMax},
      {kMax, kMax, 1},       {1e-45f, -1e-45f, 0.0f},
      {kInf, kInf, -kInf},   std::vector<float>(1500, -kMax)};
  for (const std::vector<float>& row : rows) {
    for (float temperature : {0.0f, 1e-45f, 1e-6f, 1.0f, 100.0f}) {
      for (float top_p : {1e-45f, 1e-6f, 0.5f, 0.9999999f, 1.0f}) {
        for (int32_t top_k : {0, 1, 2, std::numeric_limits<int32_t>::max()}) {
          for (float repetition : {1.0f, 10.0f, 1e-3f}) {
            SamplingParams params;
            params.temperature = temperature;
            params.top_p = top_p;
            params.top_k = top_k;
            params.repetition_penalty = repetition;
            params.top_logprobs = 2;
            ASSERT_TRUE(validate(params, static_cast<int64_t>(row.size())).ok());
            const std::vector<TokenId> prompt = {0, 1, 2};
            Sampler sampler(params, prompt, 4);
            std::vector<float> copy = row;
            Result<Sampled> out = sampler.sample(copy, {});
            ASSERT_TRUE(out.ok()) << out.error().text();
            EXPECT_GT(row[static_cast<size_t>(out.value().id)], -kInf);
            EXPECT_TRUE(std::isfinite(out.value().logprob));
          }
        }
      }
    }
  }
}

TEST(Sampler, TinyTemperatureIsGreedyAndInfinityTakesAll) {
  SamplingParams params;
  params.temperature = 1e-6f;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    params.seed = seed;
    EXPECT_EQ(choose(params, {1.0f, 1.1f, 1.05f}), 1);
    params.temperature = 1;
    EXPECT_EQ(choose(params, {50.0f, kInf, 90.0f}), 1);
    params.temperature = 1e-6f;
  }
}

TEST(Sampler, LogprobsAreThoseOfTheUnmodifiedRow) {
  Stream random(19);
  for (int round = 0; round < 50; ++round) {
    const int n = 20 + random.below(3000);
    SamplingParams params = random_params(random, n);
    params.top_logprobs = round % 21;
    const std::vector<float> row = random_row(random, n, 4);
    double total = 0;
    for (float x : row) total += std::exp(static_cast<double>(x));
    const std::vector<TokenId> prompt = {1, 2, 3, 4};
    Sampler sampler(params, prompt, 0);
    for (int step = 0; step < 3; ++step) {
      std::vector<float> copy = row;
      const Sampled out = sampler.sample(copy, {}).value();
      EXPECT_NEAR(out.logprob, row[static_cast<size_t>(out.id)] - std::log(total), 1e-5);
      ASSERT_EQ(out.top.size(), static_cast<size_t>(params.top_logprobs));
      std::vector<float> sorted = row;
      std::sort(sorted.rbegin(), sorted.rend());
      for (size_t i = 0; i < out.top.size(); ++i) {
        EXPECT_EQ(row[static_cast<size_t>(out.top[i].id)], sorted[i]);
        EXPECT_NEAR(out.top[i].logprob, sorted[i] - std::log(total), 1e-5);
      }
    }
  }
}

TEST(Sampler, NoLogprobsUnlessAskedFor) {
  Sampler sampler({}, {}, 0);
  std::vector<float> row = {1, 2, 3};
  const Sampled out = sampler.sample(row, {}).value();
  EXPECT_EQ(out.logprob, 0);
  EXPECT_TRUE(out.top.empty());
}

TEST(ValidateSampling, NamesTheParameterOutOfRange) {
  const auto message = [](auto change) {
    SamplingParams params;
    change(params);
    const Status status = validate(params, 100);
    return status.ok() ? std::string() : status.error().message;
  };
  using P = SamplingParams;
  EXPECT_EQ(message([](P&) {}), "");
  EXPECT_EQ(message([](P& p) { p.logit_bias = {{99, -100.0f}, {0, 100.0f}}; }), "");
  for (float bad : {-0.1f, 100.1f, kNan, kInf}) {
    EXPECT_TRUE(message([&](P& p) { p.temperature = bad; }).starts_with("temperature ")) << bad;
    EXPECT_TRUE(message([&](P& p) { p.repetition_penalty = bad; }).starts_with("repetition_p"));
    EXPECT_TRUE(message([&](P& p) { p.top_p = bad; }).starts_with("top_p "));
    EXPECT_TRUE(message([&](P& p) { p.min_p = bad; }).starts_with("min_p "));
    EXPECT_TRUE(message([&](P& p) {
                  p.logit_bias = {{1, bad - 100.1f}};
                }).starts_with("logit_b") ||
                bad == 100.1f);
  }
  for (float bad : {-2.1f, 2.1f, kNan}) {
    EXPECT_TRUE(message([&](P& p) { p.presence_penalty = bad; }).starts_with("presence_penalty "));
    EXPECT_TRUE(message([&](P& p) { p.frequency_penalty = bad; }).starts_with("frequency_pen"));
  }
  EXPECT_TRUE(message([](P& p) { p.top_p = 0; }).starts_with("top_p "));
  EXPECT_TRUE(message([](P& p) { p.typical_p = 0; }).starts_with("typical_p "));
  EXPECT_TRUE(message([](P& p) { p.typical_p = kNan; }).starts_with("typical_p "));
  EXPECT_TRUE(message([](P& p) { p.mirostat = 1; }).starts_with("mirostat must be 0 or 2"));
  EXPECT_TRUE(message([](P& p) { p.mirostat_tau = -1; }).starts_with("mirostat_tau "));
  EXPECT_TRUE(message([](P& p) { p.mirostat_eta = kInf; }).starts_with("mirostat_eta "));
  EXPECT_TRUE(message([](P& p) { p.repetition_penalty = 0; }).starts_with("repetition_"));
  EXPECT_TRUE(message([](P& p) { p.top_k = -1; }).starts_with("top_k "));
  EXPECT_TRUE(message([](P& p) { p.top_logprobs = 21; }).starts_with("top_logprobs "));
  EXPECT_TRUE(message([](P& p) { p.top_logprobs = -2; }).starts_with("top_logprobs "));
  EXPECT_TRUE(message([](P& p) { p.logit_bias = {{100, 1.0f}}; }).starts_with("logit_bias "));
  EXPECT_TRUE(message([](P& p) { p.logit_bias = {{-1, 1.0f}}; }).starts_with("logit_bias "));
  EXPECT_TRUE(message([](P& p) { p.logit_bias = {{4, 1.0f}, {4, 2.0f}}; }).ends_with("twice"));
  EXPECT_TRUE(message([](P& p) { p.logit_bias.resize(1025); }).starts_with("logit_bias has"));
}

TEST(Weights, ExponentialIsAccurateOverItsWholeRange) {
  for (float z = 0; z > -86.9f; z -= 0.00137f) {
    const double exact = std::exp(static_cast<double>(z));
    ASSERT_NEAR(exp_weight(z, 0, 1) / exact, 1.0, 1e-6) << z;
  }
  EXPECT_EQ(exp_weight(0, 0, 1), 1.0f);
  EXPECT_EQ(exp_weight(-88, 0, 1), 0.0f);
  EXPECT_EQ(exp_weight(-kInf, 0, 1), 0.0f);
  EXPECT_EQ(exp_weight(-kInf, 0, 1e6f), 0.0f);
}

TEST(Weights, RowPassesAgreeWithPlainLoopsAtEveryLength) {
  Stream random(23);
  for (int n = 1; n < 70; ++n) {
    const std::vector<float> row = random_row(random, n + (n % 3) * 1024, 2);
    const RowScan scan = scan_row(row);
    EXPECT_EQ(scan.max, *std::max_element(row.begin(), row.end()));
    EXPECT_FALSE(scan.has_nan);
    std::vector<float> weights(row.size());
    std::vector<double> sums;
    const double total = exp_weights(row, scan.max, 0.5f, weights, sums);
    double exact = 0;
    for (size_t i = 0; i < row.size(); ++i) {
      exact += std::exp((static_cast<double>(row[i]) - scan.max) * 0.5);
      EXPECT_EQ(weights[i], exp_weight(row[i], scan.max, 0.5f));
    }
    EXPECT_NEAR(total / exact, 1, 1e-6);
    EXPECT_EQ(sums.size(), (row.size() + kWeightBlock - 1) / kWeightBlock);
    for (size_t at = 0; at < row.size(); at += 13) {
      std::vector<float> broken = row;
      broken[at] = kNan;
      EXPECT_TRUE(scan_row(broken).has_nan);
    }
  }
}

}  // namespace
}  // namespace hadal
