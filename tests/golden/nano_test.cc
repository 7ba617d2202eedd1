// Goal of this file: the model inside the program is what its makers think it is, and trained
// weights of the DeepSeek-V3 architecture compute what torch computes with them.
// tests/golden/nano.json holds the reference; `tools/train_nano.py vectors` makes it.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "app/app.h"
#include "app/embedded_model.h"
#include "base/json.h"
#include "base/limits.h"
#include "kernels/kv_pool.h"

namespace hadal {
namespace {

/// A lead of a token in the logits that rounding of activations, keys and values does not take
/// away.
constexpr double kClearLead = 0.3;

json::value reference() {
  std::ifstream in(HADAL_SOURCE_DIR "/tests/golden/nano.json");
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  auto parsed = parse_json(text);
  EXPECT_TRUE(parsed.ok()) << "nano.json: run tools/train_nano.py vectors";
  return parsed.ok() ? std::move(parsed).value() : json::value();
}

/// Of our own file: what is missing there fails the test.
const json::value& member(const json::value& of, const char* name) {
  const json::value* found = of.as_object().if_contains(name);
  CHECK(found != nullptr);
  return *found;
}

std::string text_of(const json::value& value) {
  return {value.as_string().data(), value.as_string().size()};
}

std::vector<TokenId> ids_of(const json::value& value) {
  std::vector<TokenId> ids;
  for (const json::value& id : value.as_array()) ids.push_back(static_cast<TokenId>(id.as_int64()));
  return ids;
}

/// The embedded model, loaded once.
const LoadedModel& nano() {
  static const LoadedModel model = [] {
    Settings settings;
    settings.packed_cache = PackedCacheUse::kOff;
    auto loaded = load_model(embedded_model_path(), {.predict = true}, 2, settings);
    EXPECT_TRUE(loaded.ok()) << loaded.error().text();
    return std::move(loaded).value();
  }();
  return model;
}

struct Outputs {
  std::vector<float> logits;  ///< of every id
  std::vector<float>
      guesses;  ///< of every id but the first, by the layer for multi-token prediction
};

Outputs compute(const std::vector<TokenId>& ids) {
  constexpr size_t kPageTokens = 32;
  const size_t n_pages = (ids.size() + kPageTokens - 1) / kPageTokens;
  KvPool kv(nano().model->kv_layout(), kPageTokens, n_pages);
  std::vector<PageId> pages;
  for (size_t i = 0; i < n_pages; ++i) pages.push_back(static_cast<PageId>(i));
  Batch batch;
  batch.sequences.push_back({pages});
  for (size_t i = 0; i < ids.size(); ++i)
    batch.rows.push_back({ids[i], static_cast<int32_t>(i), 0, true});
  const auto n_vocab = static_cast<size_t>(nano().model->n_vocab());
  Outputs out{std::vector<float>(ids.size() * n_vocab), {}};
  EXPECT_TRUE(nano().model->forward(batch, kv, out.logits).ok());
  batch.rows.erase(batch.rows.begin());
  out.guesses.resize(batch.rows.size() * n_vocab);
  EXPECT_TRUE(nano().model->predict(batch, kv, out.guesses).ok());
  return out;
}

TokenId best_of(const std::vector<float>& logits, size_t row) {
  const auto n_vocab = static_cast<std::ptrdiff_t>(nano().model->n_vocab());
  const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(row) * n_vocab;
  return static_cast<TokenId>(std::max_element(begin, begin + n_vocab) - begin);
}

TEST(Nano, IsASmallModelOfTheV3Shape) {
  EXPECT_GT(embedded_model().size(), 1u << 20);
  EXPECT_LE(embedded_model().size(), 6u * 1000 * 1000);
  const GgufFile& file = *nano().file;
  EXPECT_EQ(file.string("general.architecture").value(), "deepseek2");
  EXPECT_EQ(file.string("general.license").value(), kEmbeddedLicence);
  EXPECT_EQ(file.integer("deepseek2.nextn_predict_layers").value(), 1);
  EXPECT_EQ(file.integer("deepseek2.expert_gating_func").value(), 2);  // sigmoid
  EXPECT_GT(file.integer("deepseek2.expert_group_count").value(), 1);
  EXPECT_NE(file.find_tensor("blk.4.nextn.eh_proj.weight"), nullptr);
  EXPECT_EQ(nano().name, kEmbeddedModel);
  EXPECT_TRUE(nano().template_problem.empty()) << nano().template_problem;
}

TEST(Nano, TokenizerIsTheOneItWasTrainedWith) {
  const json::value all = reference();
  for (const json::value& chat : member(all, "chats").as_array()) {
    const std::string prompt =
        "<｜begin▁of▁sentence｜><｜User｜>" + text_of(member(chat, "prompt")) + "<｜Assistant｜>";
    EXPECT_EQ(nano().tokenizer->encode(prompt, Specials::kParse),
              ids_of(member(chat, "prompt_ids")))
        << prompt;
  }
  for (const json::value& text : member(all, "texts").as_array()) {
    EXPECT_EQ(nano().tokenizer->encode(text_of(member(text, "text")), Specials::kParse),
              ids_of(member(text, "ids")));
  }
}

TEST(Nano, TrainedWeightsGiveTheReferencesLikelihoods) {
  const json::value all = reference();
  double ours = 0;
  double theirs = 0;
  for (const json::value& text : member(all, "texts").as_array()) {
    const std::vector<TokenId> ids = ids_of(member(text, "ids"));
    const json::array& expected = member(text, "nll").as_array();
    const std::vector<float> logits = compute(ids).logits;
    const size_t n_vocab = logits.size() / ids.size();
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto row = std::span(logits).subspan(i * n_vocab, n_vocab);
      const double max = *std::max_element(row.begin(), row.end());
      double sum = 0;
      for (const float logit : row) sum += std::exp(logit - max);
      const double nll = max + std::log(sum) - row[static_cast<size_t>(ids[i + 1])];
      const double reference_nll = expected[i].to_number<double>();
      EXPECT_NEAR(nll, reference_nll, 0.02 + 0.05 * reference_nll) << "position " << i;
      ours += nll;
      theirs += reference_nll;
    }
  }
  EXPECT_NEAR(ours, theirs, 0.01 * theirs);
}

TEST(Nano, SaysWhatTheReferenceSays) {
  const json::value all = reference();
  size_t compared = 0;
  for (const json::value& chat : member(all, "chats").as_array()) {
    std::vector<TokenId> ids = ids_of(member(chat, "prompt_ids"));
    const std::vector<TokenId> said = ids_of(member(chat, "ids"));
    const json::array& leads = member(chat, "leads").as_array();
    const size_t start = ids.size();
    ids.insert(ids.end(), said.begin(), said.end());
    const std::vector<float> logits = compute(ids).logits;
    for (size_t i = 0; i < said.size(); ++i) {
      if (leads[i].to_number<double>() < kClearLead) continue;
      EXPECT_EQ(best_of(logits, start + i - 1), said[i])
          << text_of(member(chat, "prompt")) << " token " << i;
      ++compared;
    }
  }
  EXPECT_GT(compared, 60u);
}

TEST(Nano, PredictionLayerGuessesWhatTheReferenceGuesses) {
  const json::value all = reference();
  size_t rows = 0;
  size_t same = 0;
  size_t accepted = 0;
  int64_t accepted_there = 0;
  for (const json::value& text : member(all, "texts").as_array()) {
    const std::vector<TokenId> ids = ids_of(member(text, "ids"));
    const std::vector<TokenId> expected = ids_of(member(text, "mtp"));
    const Outputs out = compute(ids);
    accepted_there += member(text, "mtp_agrees").as_int64();
    for (size_t i = 0; i < expected.size(); ++i) {  // a guess at the row of token i + 1
      const TokenId guess = best_of(out.guesses, i);
      ++rows;
      same += guess == expected[i] ? 1 : 0;
      accepted += guess == best_of(out.logits, i + 1) ? 1 : 0;
    }
  }
  EXPECT_GE(static_cast<double>(same), 0.97 * static_cast<double>(rows)) << rows;
  EXPECT_NEAR(static_cast<double>(accepted), static_cast<double>(accepted_there),
              0.02 * static_cast<double>(rows));
}

}  // namespace
}  // namespace hadal
