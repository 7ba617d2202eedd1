// Goal of this file: SmolLM2-135M-Instruct (the real file, HADAL_TEST_MODEL) computes what
// transformers computes on its decoded weights. tests/golden/smollm2_reference.bin holds the
// reference; tools/compare_logits.py makes it, describes its format and prints the full table.
#include "model/model.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/kernels.h"
#include "kernels/testing/scoped_isa.h"

namespace hadal {
namespace {

constexpr const char* kNoModel =
    "SKIPPED: HADAL_TEST_MODEL does not name SmolLM2-135M-Instruct.Q4_1.gguf, so agreement with "
    "the "
    "reference is not checked; `python3 tools/fetch_test_data.py` brings the file, ./test names it";

constexpr double kLogprobStep = 1.0 / 2048;

/// Two tokens whose reference logits are closer than this are a tie: what separates them is the
/// rounding of activations, keys and values (logits of this model move by up to about 0.01).
constexpr float kTieGap = 0.02f;

struct ReferenceText {
  std::string name;
  std::vector<TokenId> ids;
  std::vector<uint16_t> top_ids;       ///< n_top per position, likeliest first
  std::vector<uint16_t> top_logprobs;  ///< in steps of -kLogprobStep
  std::vector<float> next_logprob;
};

struct ReferenceContinuation {
  std::vector<TokenId> prompt;
  std::vector<TokenId> ids;
  std::vector<float> gap;
};

struct Reference {
  size_t n_top = 0;
  std::vector<ReferenceText> texts;
  std::vector<ReferenceContinuation> continuations;
};

/// Reads our own committed file; a broken one fails the test.
class Bytes {
 public:
  explicit Bytes(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    data_.assign(std::istreambuf_iterator<char>(in), {});
  }
  template <typename T>
  std::vector<T> take(size_t count) {
    std::vector<T> out(count);
    CHECK(at_ + count * sizeof(T) <= data_.size());
    std::memcpy(out.data(), data_.data() + at_, count * sizeof(T));
    at_ += count * sizeof(T);
    return out;
  }
  std::vector<TokenId> ids(size_t count) {
    const std::vector<uint16_t> raw = take<uint16_t>(count);
    return {raw.begin(), raw.end()};
  }
  bool at_end() const { return at_ == data_.size(); }

 private:
  std::vector<char> data_;
  size_t at_ = 0;
};

Reference read_reference() {
  Bytes bytes(std::string(HADAL_SOURCE_DIR) + "/tests/golden/smollm2_reference.bin");
  const std::vector<char> magic = bytes.take<char>(8);
  CHECK(std::string(magic.begin(), magic.end()) == "HADALREF");
  const std::vector<uint32_t> counts = bytes.take<uint32_t>(4);
  Reference out;
  out.n_top = counts[1];
  for (uint32_t t = 0; t < counts[0]; ++t) {
    ReferenceText text;
    text.name = bytes.take<char>(16).data();
    const size_t n = bytes.take<uint32_t>(1)[0];
    text.ids = bytes.ids(n);
    text.top_ids = bytes.take<uint16_t>(n * out.n_top);
    text.top_logprobs = bytes.take<uint16_t>(n * out.n_top);
    text.next_logprob = bytes.take<float>(n);
    out.texts.push_back(std::move(text));
  }
  for (uint32_t p = 0; p < counts[2]; ++p) {
    ReferenceContinuation continuation;
    continuation.prompt = bytes.ids(bytes.take<uint32_t>(1)[0]);
    continuation.ids = bytes.ids(counts[3]);
    continuation.gap = bytes.take<float>(counts[3]);
    out.continuations.push_back(std::move(continuation));
  }
  CHECK(bytes.at_end());
  return out;
}

/// The real model, or null when the machine has none.
struct RealModel {
  std::unique_ptr<GgufFile> file;
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<Model> model;
};

/// The instruction sets to prove: the best one here and, where that is wider, AVX2 too.
std::vector<Isa> isas_to_prove() {
  const Isa best = current_isa();
  if (best == Isa::kAmx) return {best, Isa::kAvx512, Isa::kAvx2};
  if (best == Isa::kAvx512) return {best, Isa::kAvx2};
  return {best};
}

/// `activations`: none for what the program itself takes for a model of this size.
RealModel load_real_model(std::optional<Activations> activations = {}) {
  const char* path = std::getenv("HADAL_TEST_MODEL");
  if (path == nullptr || *path == '\0') {
    return {};
  }
  auto file = GgufFile::open(path);
  if (!file.ok()) std::printf("%s\n", file.error().text().c_str());
  RealModel out;
  out.file = std::make_unique<GgufFile>(std::move(file).value());
  out.pool = std::make_unique<ThreadPool>(ThreadPool::default_threads());
  out.model = std::move(Model::load(*out.file, {.activations = activations}, *out.pool)).value();
  return out;
}

/// Pages of `n_sequences` sequences of up to `tokens_max` positions, dealt out in turns.
struct Cache {
  Cache(const Model& model, size_t n_sequences, size_t tokens_max)
      : kv(model.kv_layout(), kPageTokens,
           static_cast<int64_t>(n_sequences * ((tokens_max + kPageTokens - 1) / kPageTokens))),
        pages(n_sequences) {
    for (PageId page = 0; page < kv.n_pages(); ++page) {
      pages[static_cast<size_t>(page) % n_sequences].push_back(page);
    }
  }
  Batch empty_batch() const {
    Batch batch;
    for (const auto& own : pages) batch.sequences.push_back({own});
    return batch;
  }

  static constexpr size_t kPageTokens = 32;
  KvPool kv;
  std::vector<std::vector<PageId>> pages;
};

std::vector<float> logits_of_text(Model& model, const std::vector<TokenId>& ids) {
  Cache cache(model, 1, ids.size());
  Batch batch = cache.empty_batch();
  for (size_t i = 0; i < ids.size(); ++i) {
    batch.rows.push_back({ids[i], static_cast<int32_t>(i), 0, true});
  }
  std::vector<float> logits(ids.size() * static_cast<size_t>(model.n_vocab()));
  const Status status = model.forward(batch, cache.kv, logits);
  EXPECT_TRUE(status.ok());
  return logits;
}

double log_sum_exp(std::span<const float> logits) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - max);
  return max + std::log(sum);
}

/// Sums over positions.
struct Agreement {
  double positions = 0, top1 = 0, kl = 0, predicted = 0, nll_ours = 0, nll_reference = 0;

  void add(const Agreement& other) {
    positions += other.positions;
    top1 += other.top1;
    kl += other.kl;
    predicted += other.predicted;
    nll_ours += other.nll_ours;
    nll_reference += other.nll_reference;
  }
  double perplexity_change() const { return std::exp((nll_ours - nll_reference) / predicted) - 1; }
  void print(const std::string& name) const {
    std::printf(
        "%-8s %5.0f positions, top-1 %.3f %%, mean KL %.2e, perplexity %.4f "
        "(reference %.4f, %+.4f %%)\n",
        name.c_str(), positions, 100 * top1 / positions, kl / positions,
        std::exp(nll_ours / predicted), std::exp(nll_reference / predicted),
        100 * perplexity_change());
  }
};

/// KL(reference || ours) over the reference's top tokens and one class for the rest: the part of
/// the divergence that the committed file can show.
double divergence(const ReferenceText& text, size_t position, size_t n_top,
                  std::span<const float> logits, double normaliser) {
  double kl = 0;
  double rest_reference = 1;
  double rest_ours = 1;
  for (size_t t = position * n_top; t < (position + 1) * n_top; ++t) {
    const double log_reference = -kLogprobStep * text.top_logprobs[t];
    const double log_ours = logits[text.top_ids[t]] - normaliser;
    kl += std::exp(log_reference) * (log_reference - log_ours);
    rest_reference -= std::exp(log_reference);
    rest_ours -= std::exp(log_ours);
  }
  if (rest_reference > 1e-4 && rest_ours > 0)
    kl += rest_reference * std::log(rest_reference / rest_ours);
  return kl;
}

Agreement compare(const ReferenceText& text, size_t n_top, const std::vector<float>& logits) {
  const size_t n_vocab = logits.size() / text.ids.size();
  Agreement out;
  for (size_t i = 0; i < text.ids.size(); ++i) {
    const auto row = std::span(logits).subspan(i * n_vocab, n_vocab);
    const double normaliser = log_sum_exp(row);
    const auto best = arg_max(row.data(), static_cast<int64_t>(n_vocab));
    out.positions += 1;
    out.top1 += best == text.top_ids[i * n_top] ? 1 : 0;
    out.kl += divergence(text, i, n_top, row, normaliser);
    if (i + 1 == text.ids.size()) continue;
    out.predicted += 1;
    out.nll_ours += normaliser - row[static_cast<size_t>(text.ids[i + 1])];
    out.nll_reference -= text.next_logprob[i];
  }
  return out;
}

/// All texts together. `dump_path` (may be null): where every logit goes as float32, for
/// tools/compare_logits.py.
Agreement compare_texts(Model& model, const char* dump_path) {
  const Reference reference = read_reference();
  std::ofstream dump;
  if (dump_path != nullptr) dump.open(dump_path, std::ios::binary);
  Agreement all;
  for (const ReferenceText& text : reference.texts) {
    const std::vector<float> logits = logits_of_text(model, text.ids);
    if (dump_path != nullptr) {
      dump.write(reinterpret_cast<const char*>(logits.data()),
                 static_cast<std::streamsize>(logits.size() * sizeof(float)));
    }
    const Agreement agreement = compare(text, reference.n_top, logits);
    agreement.print(text.name);
    EXPECT_LE(std::abs(agreement.perplexity_change()), 0.005) << text.name;
    all.add(agreement);
  }
  all.print("all");
  return all;
}

// Goal: over more than 2,000 positions of English, Chinese and code, at least 99.5 % of the
// likeliest tokens are the reference's, the mean KL divergence is at most 1e-3 and the perplexity
// within 0.5 %.
TEST(SmolLm2, AgreesWithReferenceOnText) {
  const Isa best = current_isa();
  for (Isa isa : isas_to_prove()) {
    const IsaScope scope(isa);
    const RealModel real = load_real_model();
    if (real.model == nullptr) GTEST_SKIP() << kNoModel;
    std::printf("%s\n", std::string(isa_name(isa)).c_str());
    const Agreement all =
        compare_texts(*real.model, isa == best ? std::getenv("HADAL_DUMP_LOGITS") : nullptr);
    EXPECT_GE(all.positions, 2000);
    EXPECT_GE(all.top1 / all.positions, 0.995);
    EXPECT_LE(all.kl / all.positions, 1e-3);
    EXPECT_LE(std::abs(all.perplexity_change()), 0.005);
  }
}

// Goal: with activations of 8 bits, as larger models take them, the mean KL divergence stays well
// below llama.cpp's on this file (3e-3, docs/PERFORMANCE.md) and the perplexity within 0.5 %.
TEST(SmolLm2, Int8ActivationsStayCloseToReference) {
  const RealModel real = load_real_model(Activations::kInt8);
  if (real.model == nullptr) GTEST_SKIP() << kNoModel;
  const Agreement all = compare_texts(*real.model, nullptr);
  EXPECT_GE(all.top1 / all.positions, 0.965);
  EXPECT_LE(all.kl / all.positions, 1.5e-3);
}

/// Greedy continuations of all prompts in one batch, `n_new` ids each.
std::vector<std::vector<TokenId>> continue_greedily(
    Model& model, const std::vector<ReferenceContinuation>& wanted, size_t n_new) {
  size_t longest = 0;
  for (const auto& one : wanted) longest = std::max(longest, one.prompt.size());
  Cache cache(model, wanted.size(), longest + n_new);
  Batch batch = cache.empty_batch();
  for (size_t s = 0; s < wanted.size(); ++s) {
    const auto& prompt = wanted[s].prompt;
    for (size_t i = 0; i < prompt.size(); ++i) {
      batch.rows.push_back(
          {prompt[i], static_cast<int32_t>(i), static_cast<int32_t>(s), i + 1 == prompt.size()});
    }
  }
  std::vector<std::vector<TokenId>> out(wanted.size());
  const size_t n_vocab = static_cast<size_t>(model.n_vocab());
  std::vector<float> logits(wanted.size() * n_vocab);
  for (size_t step = 0; step < n_new; ++step) {
    EXPECT_TRUE(model.forward(batch, cache.kv, logits).ok());
    batch.rows.clear();
    for (size_t s = 0; s < wanted.size(); ++s) {
      const auto best = arg_max(logits.data() + s * n_vocab, static_cast<int64_t>(n_vocab));
      out[s].push_back(static_cast<TokenId>(best));
      batch.rows.push_back({out[s].back(), static_cast<int32_t>(wanted[s].prompt.size() + step),
                            static_cast<int32_t>(s), true});
    }
  }
  return out;
}

/// How many continuations equal the reference; one that leaves it where the reference was not tied
/// is a failure.
int count_equal(const std::vector<std::vector<TokenId>>& found,
                const std::vector<ReferenceContinuation>& wanted) {
  int equal = 0;
  for (size_t s = 0; s < found.size(); ++s) {
    const ReferenceContinuation& expected = wanted[s];
    const auto [ours, theirs] =
        std::mismatch(found[s].begin(), found[s].end(), expected.ids.begin());
    if (ours == found[s].end()) {
      ++equal;
      continue;
    }
    const size_t step = static_cast<size_t>(ours - found[s].begin());
    std::printf(
        "continuation %zu leaves the reference at token %zu: %d instead of %d, reference gap "
        "%.5f\n",
        s, step, *ours, *theirs, static_cast<double>(expected.gap[step]));
    EXPECT_LT(expected.gap[step], kTieGap) << "continuation " << s << ", token " << step;
  }
  return equal;
}

// Goal: 20 greedy continuations of 64 tokens equal the reference's; where one leaves it, the
// reference itself was tied (the gap is printed).
TEST(SmolLm2, GreedyContinuationsEqualReference) {
  for (Isa isa : isas_to_prove()) {
    const IsaScope scope(isa);
    const RealModel real = load_real_model();
    if (real.model == nullptr) GTEST_SKIP() << kNoModel;
    const Reference reference = read_reference();
    ASSERT_EQ(reference.continuations.size(), 20u);
    const auto found = continue_greedily(*real.model, reference.continuations, 64);
    const int equal = count_equal(found, reference.continuations);
    std::printf("%s: %d of %zu continuations of 64 tokens equal the reference\n",
                std::string(isa_name(isa)).c_str(), equal, found.size());
    EXPECT_GE(equal, 18);
  }
}

}  // namespace
}  // namespace hadal
