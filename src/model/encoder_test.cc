/// Tiny encoders with random weights against transformers in float64. tools/make_tiny_encoders.py
/// wrote both.
#include "model/encoder.h"

#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/json.h"
#include "kernels/testing/scoped_isa.h"
#include "model/test_model.h"

namespace hadal {
namespace {

const std::string kGolden = std::string(HADAL_SOURCE_DIR) + "/tests/golden/encoders/";

struct Loaded {
  explicit Loaded(const std::string& name, const EncoderOptions& options = {}, int threads = 2)
      : pool(threads) {
    Result<GgufFile> opened = GgufFile::open(kGolden + name);
    EXPECT_TRUE(opened.ok()) << opened.error().text();
    file = std::make_unique<GgufFile>(std::move(opened).value());
    EXPECT_TRUE(Encoder::is_encoder(*file));
    auto made = Encoder::load(*file, options, pool);
    EXPECT_TRUE(made.ok()) << made.error().text();
    if (made.ok()) encoder = std::move(made).value();
  }
  ThreadPool pool;
  std::unique_ptr<GgufFile> file;
  std::unique_ptr<Encoder> encoder;
};

/// NAME.json.
struct Reference {
  explicit Reference(const std::string& name) {
    std::ifstream in(kGolden + name + ".json", std::ios::binary);
    std::ostringstream all;
    all << in.rdbuf();
    const json::value root = parse_json(all.str()).value();
    const json::object& object = root.as_object();
    for (const json::value& one : object.at("texts").as_array()) {
      std::vector<TokenId> ids;
      for (const json::value& id : one.as_array())
        ids.push_back(static_cast<TokenId>(id.as_int64()));
      ids_of.push_back(std::move(ids));
    }
    for (const json::value& one : object.at("second").as_array()) {
      seconds.push_back(static_cast<size_t>(one.as_int64()));
    }
    for (const char* key : {"vectors", "scores"}) {
      for (const json::value& one : object.at(key).as_array()) {
        for (const json::value& x : one.as_array())
          numbers.push_back(static_cast<float>(x.as_double()));
      }
    }
  }
  std::vector<EncoderText> texts(bool pairs) const {
    std::vector<EncoderText> out;
    for (size_t i = 0; i < ids_of.size(); ++i) {
      out.push_back({ids_of[i], pairs ? seconds[i] : SIZE_MAX});
    }
    return out;
  }
  std::vector<std::vector<TokenId>> ids_of;
  std::vector<size_t> seconds;
  std::vector<float> numbers;  ///< of all texts, one after the other
};

std::vector<float> embedded(Encoder& encoder, std::span<const EncoderText> texts) {
  std::vector<float> out(texts.size() * static_cast<size_t>(encoder.config().d_model));
  const Status done = encoder.embed(texts, out);
  EXPECT_TRUE(done.ok()) << done.error().text();
  return out;
}

double largest_difference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return INFINITY;
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i])) return INFINITY;
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return worst;
}

// Goal: mean and CLS pooling, BERT's and XLM-R's positions and token types, and q, k, v in one
// matrix give the vectors of transformers, on every instruction set.
TEST(Encoder, VectorsEqualTransformers) {
  for (const auto& [model, reference_name] : {std::pair{"bert_mean", "bert_mean"},
                                              {"bert_cls", "bert_cls"},
                                              {"xlmr_mean", "xlmr_mean"},
                                              {"bert_fused.gguf", "bert_mean"}}) {
    const Reference reference(reference_name);
    on_each_isa([&, name = model] {
      const Loaded loaded(name);
      const auto found = embedded(*loaded.encoder, reference.texts(false));
      EXPECT_LE(largest_difference(found, reference.numbers), 3e-6) << name;
    });
  }
}

// Goal: a classifier's scores of pairs, whose second part has a token type of its own where the
// model knows types, equal those of transformers.
TEST(Encoder, ScoresEqualTransformers) {
  for (const char* name : {"bert_cross", "xlmr_cross"}) {
    const Reference reference(name);
    on_each_isa([&] {
      const Loaded loaded(name);
      ASSERT_EQ(loaded.encoder->config().n_labels, 1);
      ASSERT_EQ(loaded.encoder->config().pooling, Pooling::kRank);
      std::vector<float> found(reference.ids_of.size());
      ASSERT_TRUE(loaded.encoder->classify(reference.texts(true), found).ok());
      EXPECT_LE(largest_difference(found, reference.numbers), 2e-5) << name;
    });
  }
}

// Goal: matrices rounded to Q8_0 and activations to 8 bits keep the direction of every vector.
TEST(Encoder, EightBitsKeepDirections) {
  for (const char* name : {"bert_mean", "xlmr_mean"}) {
    const Reference reference(name);
    on_each_isa([&] {
      const Loaded loaded(name, {.quantise = true, .activations = Activations::kInt8});
      const auto found = embedded(*loaded.encoder, reference.texts(false));
      EXPECT_GT(largest_difference(found, reference.numbers), 1e-6) << "nothing was rounded";
      for (size_t i = 0; i < reference.ids_of.size(); ++i) {
        double cosine = 0;
        for (size_t k = 32 * i; k < 32 * (i + 1); ++k) {
          cosine += static_cast<double>(found[k]) * static_cast<double>(reference.numbers[k]);
        }
        EXPECT_GE(cosine, 0.995) << name << ", text " << i;
      }
    });
  }
}

// Goal: a text's bits do not depend on the texts beside it, on the batch it falls into, nor on the
// number of threads.
TEST(Encoder, ATextAloneEqualsATextAmongOthers) {
  const Reference reference("xlmr_mean");
  std::vector<EncoderText> texts;
  for (int i = 0; i < 30; ++i) {
    for (const EncoderText& text : reference.texts(false)) texts.push_back(text);
  }
  for (const bool quantise : {false, true}) {
    on_each_isa([&] {
      const Loaded many("xlmr_mean", {.quantise = quantise}, 3);
      const Loaded one("xlmr_mean", {.quantise = quantise}, 1);
      const auto together = embedded(*many.encoder, texts);
      for (size_t i = 0; i < 10; ++i) {
        const auto alone = embedded(*one.encoder, std::span(texts).subspan(i, 1));
        for (size_t at = i; at < texts.size(); at += 10) {
          ASSERT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + 32 * at)) << at;
        }
      }
    });
  }
}

// Goal: the fuzzer's seed is an encoder that loads and computes.
TEST(Encoder, FuzzSeedComputes) {
  const auto file = GgufFile::open(std::string(HADAL_SOURCE_DIR) + "/fuzz/corpus/model/bert.gguf");
  ASSERT_TRUE(file.ok()) << file.error().text();
  ThreadPool pool(1);
  auto encoder = Encoder::load(file.value(), {}, pool);
  ASSERT_TRUE(encoder.ok()) << encoder.error().text();
  const std::vector<TokenId> ids = {0, 7};
  const EncoderText text{ids};
  const auto out = embedded(*encoder.value(), {&text, 1});
  EXPECT_GT(*std::max_element(out.begin(), out.end()), 0.0f);
}

// Goal: no ids, too many ids and ids outside the vocabulary are errors that say so.
TEST(Encoder, WrongTextsAreErrors) {
  const Loaded loaded("bert_mean");
  std::vector<float> out(32);
  const auto message = [&](const std::vector<TokenId>& ids) {
    const EncoderText text{ids};
    const Status done = loaded.encoder->embed({&text, 1}, out);
    return done.ok() ? std::string() : done.error().message;
  };
  EXPECT_EQ(message({}), "text 0 has 0 tokens; the model takes 1 to 48");
  EXPECT_EQ(message(std::vector<TokenId>(49, 5)), "text 0 has 49 tokens; the model takes 1 to 48");
  EXPECT_EQ(message(std::vector<TokenId>(48, 5)), "");
  EXPECT_EQ(message({5, 64}), "text 0: token 64 is not in [0, 64)");
  EXPECT_EQ(message({-1}), "text 0: token -1 is not in [0, 64)");
}

// Goal: every tensor that is missing or has another shape, and every key that contradicts itself,
// is a named error.
TEST(Encoder, DamagedFilesAreErrors) {
  std::ifstream in(kGolden + "bert_fused.gguf", std::ios::binary);
  std::ostringstream all;
  all << in.rdbuf();
  const std::string good = all.str();
  const auto error_with = [&](const std::string& from, const std::string& to) {
    std::string bytes = good;
    for (size_t at = bytes.find(from); at != std::string::npos; at = bytes.find(from, at + 1)) {
      bytes.replace(at, from.size(), to);
    }
    auto opened = GgufFile::from_memory(std::as_bytes(std::span(bytes)));
    if (!opened.ok()) return opened.error().text();
    ThreadPool pool(1);
    auto made = Encoder::load(opened.value(), {}, pool);
    return made.ok() ? std::string() : made.error().text();
  };
  for (const char* name : {"token_embd.weight", "position_embd.weight", "token_embd_norm.bias",
                           "attn_qkv.weight", "attn_output.weight", "attn_output_norm.weight",
                           "ffn_up.weight", "ffn_down.weight", "layer_output_norm.bias"}) {
    std::string other = name;
    other[2] = '#';
    const std::string error = error_with(name, other);
    EXPECT_NE(error.find("is missing"), std::string::npos) << name << ": " << error;
  }
  EXPECT_NE(error_with("bert.block_count", "bert.block_#ount").find("bert.block_count"),
            std::string::npos);
  EXPECT_NE(error_with("bert.feed_forward_length", "bert.feed_forward_l#ngth").find("feed_forward"),
            std::string::npos);
}

}  // namespace
}  // namespace hadal
