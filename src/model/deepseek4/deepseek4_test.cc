#include "model/deepseek4/deepseek4.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "kernels/testing/scoped_isa.h"
#include "model/test_model.h"
#include "model/testing/changed_file.h"

namespace hadal {
namespace {

using testing_model::Changed;
using testing_model::LoadedModel;
using testing_model::Runner;

const std::string kDirectory = std::string(HADAL_SOURCE_DIR) + "/tests/golden/tiny/";

/// Logits of some positions of a sequence, written by tools/make_tiny_deepseek4.py (its head
/// describes the format).
struct Reference {
  std::vector<TokenId> tokens;
  std::vector<int32_t> rows;
  std::vector<float> logits;
  int64_t n_vocab = 0;
};

Reference read_reference(const std::string& name) {
  std::ifstream in(kDirectory + name + ".rows", std::ios::binary);
  int32_t head[3] = {};
  const auto read = [&](auto& out, int64_t count) {
    out.resize(static_cast<size_t>(count));
    in.read(reinterpret_cast<char*>(out.data()), static_cast<std::streamsize>(count * 4));
  };
  in.read(reinterpret_cast<char*>(head), sizeof(head));
  Reference out;
  read(out.tokens, head[0]);
  read(out.rows, head[2]);
  read(out.logits, int64_t{head[2]} * head[1]);
  out.n_vocab = head[1];
  EXPECT_TRUE(in.good()) << name;
  return out;
}

LoadedModel load(const std::string& name, KvType type = KvType::kF32, int threads = 2) {
  LoadedModel out;
  out.file = std::make_unique<GgufFile>(GgufFile::open(kDirectory + name + ".gguf").value());
  out.pool = std::make_unique<ThreadPool>(threads);
  auto model =
      Model::load(*out.file, {.kv_type = type, .activations = Activations::kInt16}, *out.pool);
  if (!model.ok()) std::fprintf(stderr, "%s\n", model.error().text().c_str());
  out.model = std::move(model).value();
  return out;
}

/// Largest |difference| of a logit at the reference's rows; NaN fails.
double max_difference(const Reference& reference, const std::vector<float>& logits) {
  const auto vocab = static_cast<size_t>(reference.n_vocab);
  double worst = 0;
  for (size_t i = 0; i < reference.logits.size(); ++i) {
    const auto row = static_cast<size_t>(reference.rows[i / vocab]);
    const double difference = std::abs(logits[row * vocab + i % vocab] - reference.logits[i]);
    if (std::isnan(difference)) return difference;
    worst = std::max(worst, difference);
  }
  return worst;
}

double max_difference(const std::string& name, KvType type) {
  const Reference reference = read_reference(name);
  LoadedModel m = load(name, type);
  const auto n = static_cast<int64_t>(reference.tokens.size());
  return max_difference(reference, Runner(*m.model, 1, n, type).append({{0, reference.tokens}}));
}

// Goal: with float weights and keys, logits over 300 tokens (windows, both kinds of compressed
// rows, fewer rows chosen than visible, hash routing, clamps) are those of the float64 reference,
// on every instruction set. float32 has 6e-8 relative error per operation; logits range over -8 to
// 8 and the streams are mixed 8 times.
TEST(Deepseek4, FloatWeightsMatchReference) {
  for (const Isa isa : available_isas()) {
    const IsaScope scope(isa);
    const double difference = max_difference("deepseek4", KvType::kF32);
    std::printf("%-10s max difference %.1e\n", std::string(isa_name(isa)).c_str(), difference);
    EXPECT_LE(difference, 1e-4) << isa_name(isa);
  }
}

// Goal: the file as published (MXFP4 experts, 8-bit and BF16 matrices) and one whose small float
// matrices were quantised too match the reference on the decoded weights; what remains is the
// rounding of activations to 16 bits per 32 columns. Nothing hangs on a choice in these two.
TEST(Deepseek4, QuantisedWeightsMatchReference) {
  for (const Isa isa : available_isas()) {
    const IsaScope scope(isa);
    for (const char* name : {"deepseek4_mxfp4", "deepseek4_q8_0"}) {
      const double difference = max_difference(name, KvType::kF32);
      std::printf("%-16s %-10s max difference %.1e\n", name, std::string(isa_name(isa)).c_str(),
                  difference);
      EXPECT_LE(difference, 3e-3) << name << " on " << isa_name(isa);
    }
  }
}

// Goal: half-precision keys, rows and inputs of rows cost no more than their rounding (2^-11
// relative each), where no choice hangs on it.
TEST(Deepseek4, HalfPrecisionKeysStayClose) {
  for (const char* name : {"deepseek4_mxfp4", "deepseek4_q8_0"}) {
    EXPECT_LE(max_difference(name, KvType::kF16), 3e-2) << name;
  }
}

/// All logits of `tokens`, taken in by pieces of these sizes, the last one again and again.
std::vector<float> in_pieces(Model& model, KvType type, const std::vector<TokenId>& tokens,
                             const std::vector<size_t>& sizes) {
  Runner runner(model, 1, static_cast<int64_t>(tokens.size()), type);
  std::vector<float> out;
  size_t piece = 0;
  for (size_t done = 0; done < tokens.size();) {
    const size_t count = std::min(sizes[std::min(piece++, sizes.size() - 1)], tokens.size() - done);
    const auto first = tokens.begin() + static_cast<std::ptrdiff_t>(done);
    const std::vector<float> part =
        runner.append({{0, {first, first + static_cast<std::ptrdiff_t>(count)}}});
    out.insert(out.end(), part.begin(), part.end());
    done += count;
  }
  return out;
}

// Goal: a prompt as a whole, in chunks that end before, at and behind the boundaries of both kinds
// of windows, and token by token gives the same bits; with float and half-precision keys.
TEST(Deepseek4, ChunksAndStepsGiveTheSameBits) {
  const std::vector<TokenId> tokens = read_reference("deepseek4").tokens;
  for (const KvType type : {KvType::kF32, KvType::kF16}) {
    LoadedModel m = load("deepseek4", type);
    const std::vector<float> whole = in_pieces(*m.model, type, tokens, {tokens.size()});
    EXPECT_EQ(in_pieces(*m.model, type, tokens, {1}), whole);
    EXPECT_EQ(in_pieces(*m.model, type, tokens, {127, 1, 1, 127, 3}), whole);
    EXPECT_EQ(in_pieces(*m.model, type, tokens, {129, 3, 7}), whole);
    EXPECT_EQ(in_pieces(*m.model, type, tokens, {128, 64, 5}), whole);
  }
}

// Goal: a row gets the same bits alone, beside other sequences, and on one or three threads.
TEST(Deepseek4, BatchAndThreadsDoNotChangeARow) {
  std::vector<TokenId> tokens = read_reference("deepseek4").tokens;
  tokens.resize(150);
  const std::vector<TokenId> other(tokens.rbegin(), tokens.rend());
  LoadedModel m = load("deepseek4", KvType::kF16);
  const std::vector<float> alone = in_pieces(*m.model, KvType::kF16, tokens, {150});
  const std::vector<float> beside = in_pieces(*m.model, KvType::kF16, other, {150});
  Runner runner(*m.model, 2, 160, KvType::kF16);
  std::vector<float> first;
  std::vector<float> second;
  const auto vocab = static_cast<std::ptrdiff_t>(m.model->n_vocab());
  for (std::ptrdiff_t done = 0; done < 150; done += 30) {
    // The sequences take in different amounts: 30 tokens of one, 30 of the other in two pieces.
    const auto piece = [&](const std::vector<TokenId>& of, std::ptrdiff_t from, std::ptrdiff_t n) {
      return std::vector<TokenId>(of.begin() + from, of.begin() + from + n);
    };
    const std::vector<float> a =
        runner.append({{1, piece(other, done, 11)}, {0, piece(tokens, done, 30)}});
    const std::vector<float> b = runner.append({{1, piece(other, done + 11, 19)}});
    second.insert(second.end(), a.begin(), a.begin() + 11 * vocab);
    first.insert(first.end(), a.begin() + 11 * vocab, a.end());
    second.insert(second.end(), b.begin(), b.end());
  }
  EXPECT_EQ(first, alone);
  EXPECT_EQ(second, beside);
  for (const int threads : {1, 3}) {
    LoadedModel again = load("deepseek4", KvType::kF16, threads);
    EXPECT_EQ(in_pieces(*again.model, KvType::kF16, tokens, {150}), alone) << threads;
  }
}

// Goal: only the rows that want logits are followed to the end, and they get the same bits.
TEST(Deepseek4, RowsWithoutLogitsChangeNothing) {
  std::vector<TokenId> tokens = read_reference("deepseek4").tokens;
  tokens.resize(140);
  LoadedModel m = load("deepseek4");
  const std::vector<float> all = in_pieces(*m.model, KvType::kF32, tokens, {140});
  KvPool kv(m.model->kv_layout(), 32, 5);
  const std::vector<PageId> pages = {3, 1, 4, 0, 2};
  Batch batch{{}, {{pages}}};
  for (int32_t p = 0; p < 140; ++p) {
    batch.rows.push_back({tokens[static_cast<size_t>(p)], p, 0, p == 5 || p == 127 || p == 139});
  }
  std::vector<float> some(3 * static_cast<size_t>(m.model->n_vocab()));
  ASSERT_TRUE(m.model->forward(batch, kv, some).ok());
  const auto n = static_cast<std::ptrdiff_t>(m.model->n_vocab());
  std::ptrdiff_t at = 0;
  for (const std::ptrdiff_t row : {5, 127, 139}) {
    EXPECT_TRUE(std::equal(some.begin() + at, some.begin() + at + n, all.begin() + row * n)) << row;
    at += n;
  }
}

// Goal: guesses that are dropped leave nothing behind: after wrong tokens were computed beyond the
// end, the true ones get the bits that they have without. Behind a boundary of both windows too.
TEST(Deepseek4, DroppedRowsLeaveNothingBehind) {
  std::vector<TokenId> tokens = read_reference("deepseek4").tokens;
  tokens.resize(136);
  LoadedModel m = load("deepseek4");
  const auto vocab = static_cast<size_t>(m.model->n_vocab());
  const std::vector<float> whole = in_pieces(*m.model, KvType::kF32, tokens, {136});
  KvPool kv(m.model->kv_layout(), 32, 5);
  const std::vector<PageId> pages = {4, 2, 0, 1, 3};
  const auto step = [&](int32_t first, const std::vector<TokenId>& ids) {
    Batch batch{{}, {{pages}}};
    for (size_t i = 0; i < ids.size(); ++i) {
      batch.rows.push_back({ids[i], first + static_cast<int32_t>(i), 0, true});
    }
    std::vector<float> logits(ids.size() * vocab);
    EXPECT_TRUE(m.model->forward(batch, kv, logits).ok());
    return logits;
  };
  step(0, {tokens.begin(), tokens.begin() + 124});
  for (int32_t p = 124; p < 136; ++p) {
    const TokenId truth = tokens[static_cast<size_t>(p)];
    const auto wrong = static_cast<TokenId>((truth + 7) % 64);
    const std::vector<float> got = step(p, {truth, wrong, wrong, wrong, wrong});
    EXPECT_TRUE(
        std::equal(got.begin(), got.begin() + static_cast<std::ptrdiff_t>(vocab),
                   whole.begin() + static_cast<std::ptrdiff_t>(p * static_cast<int32_t>(vocab))))
        << p;
  }
}

// Goal: pages may have any multiple of 16 tokens.
TEST(Deepseek4, PageSizesDoNotMatter) {
  const std::vector<TokenId> tokens = read_reference("deepseek4").tokens;
  LoadedModel m = load("deepseek4");
  std::vector<std::vector<float>> results;
  for (const int64_t page_tokens : {16, 32, 48, 128, 512}) {
    Runner runner(*m.model, 1, 300, KvType::kF32, page_tokens);
    results.push_back(runner.append({{0, tokens}}));
    EXPECT_EQ(results.back(), results.front()) << page_tokens;
  }
}

// Goal: the prediction block's logits match the reference at every position: its keys and the
// streams it joins come from forward(), in pieces of any size; and forward() gives the same bits
// with it.
TEST(Deepseek4, PredictionBlockMatchesReference) {
  const Reference reference = read_reference("deepseek4_mtp");
  const std::vector<TokenId> tokens = read_reference("deepseek4").tokens;
  LoadedModel m = load("deepseek4");
  const std::vector<float> without = in_pieces(*m.model, KvType::kF32, tokens, {300});
  const GgufFile block = GgufFile::open(kDirectory + "deepseek4_mtp.block").value();
  m.model = Model::load(*m.file,
                        {.kv_type = KvType::kF32,
                         .predict = true,
                         .prediction_file = &block,
                         .activations = Activations::kInt16},
                        *m.pool)
                .value();
  ASSERT_TRUE(m.model->predicts());
  for (const std::vector<size_t>& sizes : {std::vector<size_t>{300}, {7, 130, 16}}) {
    Runner runner(*m.model, 1, 300, KvType::kF32);
    std::vector<float> logits;
    for (size_t begin = 0, piece = 0; begin < tokens.size(); ++piece) {
      const size_t end = std::min(begin + sizes[std::min(piece, sizes.size() - 1)], tokens.size());
      const std::vector<float> part =
          runner.append({{0,
                          {tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                           tokens.begin() + static_cast<std::ptrdiff_t>(end)}}});
      logits.insert(logits.end(), part.begin(), part.end());
      begin = end;
    }
    EXPECT_EQ(logits, without);
    Batch batch;
    batch.sequences.push_back({runner.pages(0)});
    for (const int32_t row : reference.rows) {  // of the state; its row is the token behind it
      batch.rows.push_back({tokens[static_cast<size_t>(row) + 1], row + 1, 0, true});
    }
    double worst = 0;
    for (size_t r = 0; r < batch.rows.size(); ++r) {  // one by one: each overwrites a state
      std::vector<float> got(static_cast<size_t>(reference.n_vocab));
      Batch one{{batch.rows[batch.rows.size() - 1 - r]}, batch.sequences};
      ASSERT_TRUE(m.model->predict(one, runner.kv(), got).ok());
      const float* want = reference.logits.data() + (batch.rows.size() - 1 - r) * got.size();
      for (size_t i = 0; i < got.size(); ++i) {
        worst = std::max<double>(worst, std::abs(got[i] - want[i]));
      }
    }
    std::printf("prediction block: max difference %.1e\n", worst);
    EXPECT_LE(worst, 1e-4);
  }
}

// Goal: configs that contradict themselves give one clear error naming the key.
TEST(Deepseek4, HostileConfigsAreRefused) {
  ASSERT_EQ(Changed("deepseek4").error(), "");
  const auto expect = [](Changed changed, const std::string& part) {
    const std::string error = changed.error();
    EXPECT_NE(error.find(part), std::string::npos) << error << " lacks " << part;
  };
  const auto number = [&](const std::string& key, uint32_t value) {
    expect(Changed("deepseek4").set("deepseek4." + key, value), key);
  };
  number("attention.sliding_window", 0);
  number("attention.output_group_count", 0);
  number("attention.output_group_count", 3);
  number("attention.head_count", 0);
  number("attention.head_count_kv", 2);
  expect(Changed("deepseek4").set("deepseek4.attention.key_length", 40u), "value_length is 32");
  number("attention.value_length", 64);
  number("attention.indexer.top_k", 0);
  number("attention.indexer.key_length", 20);
  number("attention.indexer.key_length", 1u << 31);
  number("rope.dimension_count", 33);
  number("rope.dimension_count", 64);
  number("hyper_connection.count", 9);
  number("hyper_connection.sinkhorn_iterations", 1u << 30);
  number("expert_used_count", 9);
  number("expert_gating_func", 2);
  number("hash_layer_count", 100000);
  // An array is its element type, its length and its elements: the second layer's ratio.
  expect(Changed("deepseek4").set("deepseek4.attention.compress_ratios", 5, 4 + 4 + 8 + 4),
         "holds 5");
  expect(Changed("deepseek4").rename("attention.compress_ratios", "attention.compress_ratioz"),
         "compress_ratios is missing");
  expect(Changed("deepseek4").set("deepseek4.block_count", 6u), "has 5 entries for 6 layers");
  expect(Changed("deepseek4").set("deepseek4.hyper_connection.epsilon", NAN),
         "hyper_connection.epsilon");
  expect(Changed("deepseek4").rename("blk.2.attn_compressor_ape", "blk.2.attn_compressor_apx"),
         "blk.2.attn_compressor_ape.weight is missing");
  expect(Changed("deepseek4").rename("blk.3.exp_probs_b", "blk.3.exp_probs_c"),
         "blk.3.exp_probs_b.bias is missing");
}

// Goal: a table that sends a token to an expert that does not exist is refused when it is read.
TEST(Deepseek4, HashTableIdsAreChecked) {
  Changed changed("deepseek4");
  const GgufFile file = GgufFile::from_memory(changed.bytes()).value();
  const TensorView* table = file.find_tensor("blk.1.ffn_gate_tid2eid.weight");
  ASSERT_NE(table, nullptr);
  const int32_t bad = 8;
  std::memcpy(const_cast<std::byte*>(table->data) + 5 * 3 * 4 + 4, &bad, sizeof(bad));
  EXPECT_NE(changed.error().find("sends token 5 to expert 8, but there are 8"), std::string::npos)
      << changed.error();
}

// Goal: 8-bit keys are refused with a reason, not computed wrongly.
TEST(Deepseek4, EightBitKeysAreRefused) {
  const GgufFile file = GgufFile::open(kDirectory + "deepseek4.gguf").value();
  ThreadPool pool(1);
  const auto model = Model::load(file, {.kv_type = KvType::kQ8_0}, pool);
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(model.error().code, Code::kUnsupported);
}

// Goal: the prediction block alone is not taken for a model.
TEST(Deepseek4, PredictionBlockAloneIsRefused) {
  const GgufFile file = GgufFile::open(kDirectory + "deepseek4_mtp.block").value();
  ThreadPool pool(1);
  const auto model = Model::load(file, {}, pool);
  ASSERT_FALSE(model.ok());
  EXPECT_NE(model.error().text().find("first block"), std::string::npos) << model.error().text();
}

}  // namespace
}  // namespace hadal
