#include <cmath>

#include <gtest/gtest.h>

#include "kernels/testing/scoped_isa.h"
#include "model/test_model.h"

namespace hadal {
namespace {

using testing_model::GgufBuilder;
using testing_model::load_built;
using testing_model::load_from;
using testing_model::LoadedModel;
using testing_model::Runner;
using testing_model::tiny_model;

std::vector<TokenId> some_tokens(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<TokenId> out(count);
  for (TokenId& token : out) token = static_cast<TokenId>(random() % 40);
  return out;
}

LoadedModel load_tiny(const std::string& name, int threads = 1) {
  const std::string path = std::string(HADAL_SOURCE_DIR) + "/tests/golden/tiny/" + name + ".gguf";
  return load_from(GgufFile::open(path).value(), threads);
}

/// One file per kind of arithmetic: float, each activation rounding, mixed blocks.
const char* const kFiles[] = {"llama_gqa_tied", "llama_f16",   "llama_q8_0",   "llama_q4_1",
                              "qwen2_mixed_k",  "deepseek_v2", "deepseek_v32", "deepseek_v3_q8_0"};

// Goal: a row's logits are bitwise the same alone and in a batch with seven other sequences, on
// every instruction set.
TEST(Decoder, RowAloneEqualsRowInBatch) {
  for (Isa isa : available_isas()) {
    IsaScope scope(isa);
    for (const char* name : kFiles) {
      LoadedModel m = load_tiny(name, 2);
      std::vector<Runner::Piece> prompts;
      std::vector<Runner::Piece> steps;
      for (int32_t s = 0; s < 8; ++s) {
        prompts.push_back(
            {s, some_tokens(static_cast<size_t>(3 + 5 * s), static_cast<uint32_t>(s))});
        steps.push_back({s, some_tokens(1, static_cast<uint32_t>(100 + s))});
      }
      Runner together(*m.model, 8, 64);
      const std::vector<float> batch_prompts = together.append(prompts);
      const std::vector<float> batch_steps = together.append(steps);
      size_t row = 0;
      for (size_t s = 0; s < 8; ++s) {
        Runner alone(*m.model, 8, 64);
        const std::vector<float> prompt = alone.append({prompts[s]});
        const std::vector<float> step = alone.append({steps[s]});
        const size_t vocab = static_cast<size_t>(m.model->n_vocab());
        EXPECT_TRUE(std::equal(prompt.begin(), prompt.end(),
                               batch_prompts.begin() + static_cast<ptrdiff_t>(row * vocab)))
            << name << " prompt " << s << " on " << isa_name(isa);
        EXPECT_TRUE(std::equal(step.begin(), step.end(),
                               batch_steps.begin() + static_cast<ptrdiff_t>(s * vocab)))
            << name << " step " << s << " on " << isa_name(isa);
        row += prompts[s].tokens.size();
      }
    }
  }
}

// Goal: a prompt in pieces of any size gives bitwise the logits of the whole prompt.
TEST(Decoder, ChunkedPrefillEqualsWhole) {
  for (Isa isa : available_isas()) {
    IsaScope scope(isa);
    for (const char* name : kFiles) {
      LoadedModel m = load_tiny(name);
      const std::vector<TokenId> tokens = some_tokens(60, 5);
      const std::vector<float> whole = Runner(*m.model, 1, 64, KvType::kF16).append({{0, tokens}});
      for (size_t chunk : {1u, 7u, 16u, 33u}) {
        Runner pieces(*m.model, 1, 64, KvType::kF16);
        std::vector<float> joined;
        for (size_t begin = 0; begin < tokens.size(); begin += chunk) {
          const auto first = tokens.begin() + static_cast<ptrdiff_t>(begin);
          const auto last =
              tokens.begin() + static_cast<ptrdiff_t>(std::min(begin + chunk, tokens.size()));
          const auto part = pieces.append({{0, {first, last}}});
          joined.insert(joined.end(), part.begin(), part.end());
        }
        EXPECT_EQ(joined, whole) << name << " in pieces of " << chunk << " on " << isa_name(isa);
      }
    }
  }
}

// Goal: a batch longer than the internal slice, and the thread count, change no bit.
TEST(Decoder, SlicesAndThreadsChangeNothing) {
  const std::vector<TokenId> tokens = some_tokens(1100, 9);
  LoadedModel one = load_built(tiny_model("qwen3"), 1);
  LoadedModel three = load_built(tiny_model("qwen3"), 3);
  const std::vector<float> whole = Runner(*one.model, 1, 1100).append({{0, tokens}});
  EXPECT_EQ(Runner(*three.model, 1, 1100).append({{0, tokens}}), whole);
  Runner pieces(*one.model, 1, 1100);
  const std::vector<float> head = pieces.append({{0, {tokens.begin(), tokens.begin() + 300}}});
  const std::vector<float> tail = pieces.append({{0, {tokens.begin() + 300, tokens.end()}}});
  EXPECT_TRUE(std::equal(head.begin(), head.end(), whole.begin()));
  EXPECT_TRUE(
      std::equal(tail.begin(), tail.end(), whole.begin() + static_cast<ptrdiff_t>(head.size())));
}

// Goal: only the rows that ask get logits, packed in row order, and later rows still see the
// others.
TEST(Decoder, LogitsOnlyWhereWanted) {
  LoadedModel m = load_built(tiny_model());
  const std::vector<TokenId> tokens = some_tokens(20, 3);
  Runner all(*m.model, 1, 32);
  const std::vector<float> expected = all.append({{0, tokens}});
  Runner some(*m.model, 1, 32);
  Batch batch;
  batch.sequences.push_back({some.pages(0)});
  for (int32_t p = 0; p < 20; ++p) {
    batch.rows.push_back({tokens[static_cast<size_t>(p)], p, 0, p == 4 || p == 19});
  }
  std::vector<float> logits(2 * 40);
  ASSERT_TRUE(m.model->forward(batch, some.kv(), logits).ok());
  EXPECT_TRUE(std::equal(logits.begin(), logits.begin() + 40, expected.begin() + 4 * 40));
  EXPECT_TRUE(std::equal(logits.begin() + 40, logits.end(), expected.begin() + 19 * 40));
  for (BatchRow& row : batch.rows) row.wants_logits = false;
  EXPECT_TRUE(m.model->forward(batch, some.kv(), {}).ok());
  batch.rows.clear();
  EXPECT_TRUE(m.model->forward(batch, some.kv(), {}).ok());
}

// Goal: a fused attn_qkv (with bias) equals the three tensors it joins.
TEST(Decoder, FusedQkvEqualsSeparate) {
  GgufBuilder separate = tiny_model("qwen2");
  GgufBuilder fused = separate;
  for (const std::string block : {"blk.0.", "blk.1."}) {
    GgufBuilder::Tensor joined{{16, 32}, {}};
    GgufBuilder::Tensor bias{{32}, {}};
    for (const char* part : {"attn_q", "attn_k", "attn_v"}) {
      const auto& tensor = separate.tensors[block + part + ".weight"];
      joined.data.insert(joined.data.end(), tensor.data.begin(), tensor.data.end());
      std::vector<float> values(tensor.ne[1], 0.25f);
      bias.data.insert(bias.data.end(), values.begin(), values.end());
      separate.tensors[block + part + ".bias"] = {{tensor.ne[1]}, values};
      fused.tensors.erase(block + part + ".weight");
    }
    fused.tensors[block + "attn_qkv.weight"] = joined;
    fused.tensors[block + "attn_qkv.bias"] = bias;
  }
  LoadedModel a = load_built(separate);
  LoadedModel b = load_built(fused);
  const std::vector<TokenId> tokens = some_tokens(12, 1);
  EXPECT_EQ(Runner(*a.model, 1, 16).append({{0, tokens}}),
            Runner(*b.model, 1, 16).append({{0, tokens}}));
}

// Goal: a batch that contradicts itself or the model is an error naming the row, never a crash.
TEST(Decoder, RefusesBadBatches) {
  LoadedModel m = load_built(tiny_model());
  KvPool kv(m.model->kv_layout(), 16, 2);
  const std::vector<PageId> pages = {0, 1};
  const std::vector<PageId> wild_pages = {0, 2};
  std::vector<float> logits(3 * 40);
  auto error = [&](std::vector<BatchRow> rows, std::span<const PageId> used) {
    Batch batch{std::move(rows), {{used}, {used}}};
    const Status status = m.model->forward(batch, kv, logits);
    return status.ok() ? "" : status.error().message;
  };
  EXPECT_EQ(error({{1, 0, 0, true}}, pages), "");
  EXPECT_EQ(error({{-1, 0, 0, true}}, pages), "row 0: token -1 is not in [0, 40)");
  EXPECT_EQ(error({{40, 0, 0, true}}, pages), "row 0: token 40 is not in [0, 40)");
  EXPECT_EQ(error({{1, 0, 2, true}}, pages), "row 0: sequence 2 is not in [0, 2)");
  EXPECT_EQ(error({{1, 0, -1, true}}, pages), "row 0: sequence -1 is not in [0, 2)");
  EXPECT_NE(error({{1, 32, 0, true}}, pages).find("position 32 is not in [0, 32)"),
            std::string::npos);
  EXPECT_NE(error({{1, -1, 0, true}}, pages).find("position -1"), std::string::npos);
  EXPECT_NE(error({{1, 0, 0, true}}, wild_pages).find("page 2 of 2"), std::string::npos);
  EXPECT_NE(
      error({{1, 3, 0, false}, {1, 3, 0, true}}, pages).find("row 1: position 3 does not follow 3"),
      std::string::npos);
  EXPECT_NE(error({{1, 0, 0, false}, {1, 0, 1, false}, {1, 1, 0, true}}, pages)
                .find("sequence 0 are not consecutive"),
            std::string::npos);
  EXPECT_NE(error({{1, 0, 0, true}, {1, 1, 0, true}, {1, 2, 0, true}, {1, 3, 0, true}}, pages)
                .find("room for 120 logits"),
            std::string::npos);
  KvLayout other = m.model->kv_layout();
  other.n_layers = 1;
  KvPool foreign(other, 16, 2);
  Batch batch{{{1, 0, 0, true}}, {{pages}}};
  EXPECT_FALSE(m.model->forward(batch, foreign, logits).ok());
}

// Goal: what the speed bounds are computed from.
TEST(Decoder, CountsBytesAndMultiplyAdds) {
  LoadedModel m = load_built(tiny_model());
  const uint64_t layer = 16 * 16 * 2 + 16 * 8 * 2 + 3 * 16 * 24;
  EXPECT_EQ(m.model->macs_per_token(), 2 * layer + 16 * 40);
  EXPECT_GE(m.model->weight_bytes_per_token(), 4 * (2 * layer + 16 * 40));
  EXPECT_EQ(m.model->kv_layout().bytes_per_token(), 2u * 2 * 32 * 2 * 2);  // d_head 4 as stored
}

// Goal: loading reports rising fractions that end at 1.
TEST(Decoder, ReportsProgress) {
  const std::vector<std::byte> bytes = tiny_model().build();
  auto file = GgufFile::from_memory(bytes);
  ThreadPool pool(1);
  std::vector<double> seen;
  LoadOptions options;
  options.progress_context = &seen;
  options.progress = [](double fraction, void* context) {
    static_cast<std::vector<double>*>(context)->push_back(fraction);
  };
  ASSERT_TRUE(Model::load(file.value(), options, pool).ok());
  ASSERT_GT(seen.size(), 10u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_LE(seen[seen.size() - 2], 1.0);
  EXPECT_EQ(seen.back(), 1.0);
}

}  // namespace
}  // namespace hadal
