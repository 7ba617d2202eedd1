// Goal: a profile accounts for every weight, key and value that a pass touched, op by op, and a
// model without one behaves the same.
#include "model/profile.h"

#include <gtest/gtest.h>

#include "model/test_model.h"

namespace hadal {
namespace {

using testing_model::load_from;
using testing_model::LoadedModel;
using testing_model::Runner;

OpWork all_work(const Profile& profile) {
  OpWork out;
  for (size_t op = 0; op < kOps; ++op) {
    out.bytes += profile.totals(static_cast<Op>(op)).work.bytes;
    out.macs += profile.totals(static_cast<Op>(op)).work.macs;
  }
  return out;
}

TEST(Profile, CountsTheWorkOfAPass) {
  LoadedModel m = load_built(testing_model::tiny_model());
  Runner runner(*m.model, 1, 32);
  Profile profile;
  m.model->set_profile(&profile);
  const std::vector<float> with = runner.append({{0, {3}}});
  m.model->set_profile(nullptr);

  const ModelConfig& config = m.model->config();
  const OpWork attention = profile.totals(Op::kAttention).work;
  const auto heads = static_cast<uint64_t>(config.n_layers * config.n_heads * config.d_head);
  EXPECT_EQ(attention.macs, 2 * heads);  // one position: a product with its key, one with its value
  EXPECT_EQ(all_work(profile).macs - attention.macs, m.model->macs_per_token());
  // Of the embedding only a row is read, which no op counts.
  EXPECT_LE(all_work(profile).bytes - attention.bytes, m.model->weight_bytes_per_token());
  EXPECT_GE(all_work(profile).bytes - attention.bytes, 4 * m.model->macs_per_token());
  EXPECT_EQ(profile.totals(Op::kAttention).calls, config.n_layers);
  EXPECT_EQ(profile.totals(Op::kHead).calls, 1);
  EXPECT_GT(profile.nanos(), 0);

  Runner again(*m.model, 1, 32);
  EXPECT_EQ(again.append({{0, {3}}}), with);
}

// Goal: with latent attention, too, where each head has matrices of its own, no weight is missing.
TEST(Profile, CountsTheMatricesOfHeads) {
  const std::string path = std::string(HADAL_SOURCE_DIR) + "/tests/golden/tiny/deepseek_v3.gguf";
  LoadedModel m = load_from(GgufFile::open(path).value(), 1, {});
  Runner runner(*m.model, 1, 32, m.model->kv_layout().type);
  Profile profile;
  m.model->set_profile(&profile);
  runner.append({{0, {3}}});
  m.model->set_profile(nullptr);
  const OpWork heads = profile.totals(Op::kLatentUp).work;
  EXPECT_GT(heads.bytes, 0u);
  const OpWork attention = profile.totals(Op::kAttention).work;
  EXPECT_EQ(all_work(profile).macs - attention.macs, m.model->macs_per_token());
}

// Goal: keys and values are counted once per sequence, multiply-adds once per row.
TEST(Profile, CountsAttentionByRowAndSequence) {
  LoadedModel m = load_built(testing_model::tiny_model());
  const ModelConfig& config = m.model->config();
  Runner runner(*m.model, 2, 32, m.model->kv_layout().type);
  Profile profile;
  m.model->set_profile(&profile);
  runner.append({{0, {1, 2, 3}}, {1, {4, 5}}});
  m.model->set_profile(nullptr);
  const OpWork work = profile.totals(Op::kAttention).work;
  const auto heads = static_cast<uint64_t>(config.n_layers * config.n_heads * config.d_head);
  EXPECT_EQ(work.macs, 2 * heads * (1 + 2 + 3 + 1 + 2));
  EXPECT_EQ(work.bytes, (3 + 2) * m.model->kv_layout().bytes_per_token());
}

TEST(Profile, NamesEveryOp) {
  for (size_t a = 0; a < kOps; ++a) {
    for (size_t b = 0; b < a; ++b) {
      EXPECT_NE(op_name(static_cast<Op>(a)), op_name(static_cast<Op>(b)));
    }
    EXPECT_FALSE(op_name(static_cast<Op>(a)).empty());
  }
}

}  // namespace
}  // namespace hadal
