/// DeepSeek V4's layer for multi-token prediction out of directories as they are published: against
/// the float64 oracle, against GGUF files of the same values, and errors about its tensors.
/// tools/make_tiny_checkpoints.py wrote the directories.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "kernels/testing/scoped_isa.h"
#include "model/test_model.h"
#include "model/testing/reference_logits.h"
#include "tensor/gguf_writer.h"

namespace hadal {
namespace {

using testing_model::largest_difference;
using testing_model::load_from;
using testing_model::LoadedModel;
using testing_model::read_reference;
using testing_model::Reference;
using testing_model::Runner;

const std::string kCheckpoints = std::string(HADAL_SOURCE_DIR) + "/tests/golden/checkpoints/";

GgufFile open(const std::filesystem::path& path) {
  auto file = GgufFile::open(path);
  EXPECT_TRUE(file.ok()) << file.error().text();
  return std::move(file).value();
}

struct Guesses {
  std::vector<float> forward;  ///< of every token
  std::vector<float> predict;  ///< of every token but the first
};

/// `tokens` in pieces of this size through the model and then, one by one from behind (each
/// overwrites a state), through its prediction layer.
Guesses guesses_of(Model& model, const std::vector<TokenId>& tokens, size_t piece) {
  Guesses out;
  Runner runner(model, 1, static_cast<int64_t>(tokens.size()), KvType::kF32);
  for (size_t begin = 0; begin < tokens.size(); begin += piece) {
    const size_t end = std::min(begin + piece, tokens.size());
    const std::vector<float> part =
        runner.append({{0,
                        {tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                         tokens.begin() + static_cast<std::ptrdiff_t>(end)}}});
    out.forward.insert(out.forward.end(), part.begin(), part.end());
  }
  const auto vocab = static_cast<size_t>(model.n_vocab());
  out.predict.resize((tokens.size() - 1) * vocab);
  for (size_t i = tokens.size() - 1; i > 0; --i) {
    Batch one{{{tokens[i], static_cast<int32_t>(i), 0, true}}, {{runner.pages(0)}}};
    const std::span<float> logits(out.predict.data() + (i - 1) * vocab, vocab);
    EXPECT_TRUE(model.predict(one, runner.kv(), logits).ok());
  }
  return out;
}

constexpr LoadOptions kPredicting = {
    .kv_type = KvType::kF32, .predict = true, .activations = Activations::kInt16};

// Goal: the prediction layer of a directory, in FP4, FP8 and BF16, gives the logits of the float64
// oracle on the decoded values at every position, in pieces of any size; and the model's own logits
// are the same bits with it and without. FP4 products round activations to 16 bits (3e-3), the
// others are float32 all through.
TEST(CheckpointPrediction, MatchesTheOracle) {
  struct Case {
    std::string name;
    double bound;
  };
  for (const Case& c : {Case{"deepseek_v4", 3e-3}, Case{"deepseek_v4_base", 1e-4},
                        Case{"deepseek_v4_bf16", 1e-4}}) {
    const std::string path = kCheckpoints + c.name;
    const Reference main = read_reference(path + "/logits.ref");
    const Reference next = read_reference(path + "/next.ref");
    on_each_isa([&] {
      LoadedModel m = load_from(open(path), 2, kPredicting);
      ASSERT_TRUE(m.model->predicts());
      const Guesses got = guesses_of(*m.model, main.tokens, main.tokens.size());
      const double difference = largest_difference(got.predict, next.logits);
      std::printf("%-18s %-10s %.1e\n", c.name.c_str(),
                  std::string(isa_name(current_isa())).c_str(), difference);
      EXPECT_LE(difference, c.bound) << c.name;
      EXPECT_LE(largest_difference(got.forward, main.logits), c.bound) << c.name;
      EXPECT_EQ(guesses_of(*m.model, main.tokens, 7).predict, got.predict) << c.name;
      LoadedModel plain = load_from(open(path), 2, {.kv_type = KvType::kF32});
      ASSERT_FALSE(plain.model->predicts());
      const auto n = static_cast<int64_t>(main.tokens.size());
      EXPECT_EQ(Runner(*plain.model, 1, n, KvType::kF32).append({{0, main.tokens}}), got.forward);
    });
  }
}

using Matrix = std::vector<float>;

/// A tensor of decoded numbers.
struct Plain {
  GgufTensor info;
  Matrix values;
};

Plain decoded(const TensorView& view) {
  Plain out{{std::string(view.name), DType::kF32, view.n_dims, view.ne},
            Matrix(static_cast<size_t>(view.elements()))};
  for (int64_t r = 0; r < view.elements() / view.ne[0]; ++r) {
    dequantize_row(view, r, out.values.data() + r * view.ne[0]);
  }
  return out;
}

/// [a | b], row by row.
Plain side_by_side(const Plain& a, const Plain& b, const std::string& name) {
  Plain out{{name, DType::kF32, 2, {a.info.ne[0] + b.info.ne[0], a.info.ne[1], 1, 1}}, {}};
  for (int64_t r = 0; r < a.info.ne[1]; ++r) {
    for (const Plain* half : {&a, &b}) {
      const float* row = half->values.data() + r * half->info.ne[0];
      out.values.insert(out.values.end(), row, row + half->info.ne[0]);
    }
  }
  return out;
}

/// A GGUF file with the keys of `source`, its integers where `tensors` hold no numbers.
void write_gguf(const std::filesystem::path& path, const GgufFile& source,
                const std::vector<Plain>& tensors, uint32_t blocks, uint32_t predicting) {
  std::vector<GgufEntry> keys;
  for (const GgufValue& value : source.metadata()) {
    if (value.key() != "deepseek4.block_count") keys.push_back(GgufEntry::copy_of(value));
  }
  keys.push_back(GgufEntry::u32("deepseek4.block_count", blocks));
  keys.push_back(GgufEntry::u32("deepseek4.nextn_predict_layers", predicting));
  std::vector<GgufTensor> infos;
  for (const Plain& tensor : tensors) infos.push_back(tensor.info);
  auto writer = GgufWriter::create(path, keys, infos, {.overwrite = true});
  ASSERT_TRUE(writer.ok()) << writer.error().text();
  for (const Plain& tensor : tensors) {
    std::span<const std::byte> bytes = std::as_bytes(std::span<const float>(tensor.values));
    const TensorView* integers = source.find_tensor(tensor.info.name);
    if (tensor.values.empty()) bytes = {integers->data, integers->bytes};
    ASSERT_TRUE(writer.value().append(bytes).ok());
  }
  ASSERT_TRUE(writer.value().finish().ok());
}

/// A directory with both files that GGUF has of a V4 model; gone with the object.
struct GgufPair {
  std::filesystem::path directory;

  explicit GgufPair(const GgufFile& source, int64_t layers) {
    directory = std::filesystem::temp_directory_path() / fmt::format("hadal-pair-{}", getpid());
    std::filesystem::create_directory(directory);
    const std::string block = fmt::format("blk.{}.", layers);
    std::vector<Plain> main;
    std::map<std::string, Plain> own;
    for (const TensorView& view : source.tensors()) {
      const bool integers = view.type == DType::kI64;
      Plain plain = integers ? Plain{{std::string(view.name), view.type, view.n_dims, view.ne}, {}}
                             : decoded(view);
      if (view.name.starts_with(block)) {
        own.emplace(view.name.substr(block.size()), std::move(plain));
      } else {
        main.push_back(std::move(plain));
      }
    }
    std::vector<Plain> next = {side_by_side(own.find("nextn.e_proj.weight")->second,
                                            own.find("nextn.h_proj.weight")->second,
                                            block + "nextn.eh_proj.weight")};
    for (auto& [name, plain] : own) {
      if (name == "nextn.e_proj.weight" || name == "nextn.h_proj.weight") continue;
      const std::string_view head = "nextn.hc_head";
      if (name.starts_with(head)) plain.info.name = "output_hc" + name.substr(head.size());
      next.push_back(std::move(plain));
    }
    write_gguf(directory / "main.gguf", source, main, static_cast<uint32_t>(layers), 0);
    write_gguf(directory / "next.gguf", source, next, static_cast<uint32_t>(layers + 1), 1);
  }
  ~GgufPair() {
    std::error_code ignored;
    std::filesystem::remove_all(directory, ignored);
  }
};

// Goal: a directory and the two GGUF files that a converter makes of it (the projections joined,
// hc_head_* under the model's names) give the same logits of model and prediction layer. FP4
// rounds activations, the decoded floats do not.
TEST(CheckpointPrediction, EqualsTheGgufFiles) {
  for (const auto& [name, layers, bound] :
       {std::tuple{"deepseek_v4", 3, 3e-3}, {"deepseek_v4_base", 1, 2e-5}}) {
    const std::vector<TokenId> tokens = read_reference(kCheckpoints + name + "/logits.ref").tokens;
    LoadedModel m = load_from(open(kCheckpoints + name), 2, kPredicting);
    const Guesses directory = guesses_of(*m.model, tokens, tokens.size());
    const GgufPair files(*m.file, layers);
    const GgufFile block = open(files.directory / "next.gguf");
    LoadOptions options = kPredicting;
    options.prediction_file = &block;
    LoadedModel pair = load_from(open(files.directory / "main.gguf"), 2, options);
    ASSERT_TRUE(pair.model->predicts());
    const Guesses gguf = guesses_of(*pair.model, tokens, tokens.size());
    EXPECT_LE(largest_difference(directory.forward, gguf.forward), bound) << name;
    EXPECT_LE(largest_difference(directory.predict, gguf.predict), bound) << name;
  }
}

/// A copy of a directory with the header of its weights changed; gone with the object.
class Spoiled {
 public:
  /// `to` is as long as `from`, so that the header keeps its length.
  Spoiled(const std::string& from, const std::string& to) {
    path_ = std::filesystem::temp_directory_path() / fmt::format("hadal-spoiled-{}", getpid());
    std::filesystem::create_directory(path_);
    const std::string source = kCheckpoints + "deepseek_v4_base/";
    std::filesystem::copy_file(source + "config.json", path_ / "config.json",
                               std::filesystem::copy_options::overwrite_existing);
    std::ifstream in(source + "model.safetensors", std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(in)), {});
    EXPECT_EQ(from.size(), to.size());
    size_t at = bytes.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    for (; at != std::string::npos; at = bytes.find(from, at)) bytes.replace(at, from.size(), to);
    std::ofstream(path_ / "model.safetensors", std::ios::binary) << bytes;
  }
  ~Spoiled() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Result<GgufFile> open() const { return GgufFile::open(path_); }
  std::string error() const {
    const auto file = open();
    return file.ok() ? "" : file.error().text();
  }

 private:
  std::filesystem::path path_;
};

// Goal: a tensor of the layer that is missing, misshapen, of a wrong type or unknown is one error
// that names it and its file (or directory, where no file has it).
TEST(CheckpointPrediction, ErrorsNameFileAndTensor) {
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {"\"mtp.0.e_proj.weight\"", "\"mtp.1.e_proj.weight\"",
       "tensor 'mtp.0.e_proj.weight' is missing, which"},
      {"\"mtp.0.h_proj.weight\"", "\"mtp.0.h_prox.weight\"",
       "tensor 'mtp.0.h_proj.weight' is missing, which"},
      {"\"mtp.0.enorm.weight\"", "\"mtp.0.enorn.weight\"",
       "tensor 'mtp.0.enorm.weight' is missing"},
      {"\"mtp.0.hc_head_scale\"", "\"mtp.0.hc_head_scalf\"", "'mtp.0.hc_head_scale' is missing"},
      {"\"mtp.0.ffn.experts.3.w2.weight\"", "\"mtp.0.ffn.experts.9.w2.weight\"",
       "tensor 'mtp.0.ffn.experts.3.w2.weight' is missing"},
      {"\"mtp.0.ffn.gate.bias\"", "\"mtp.0.ffn.gate.biaz\"", "'mtp.0.ffn.gate.bias' is missing"},
      {"\"mtp.0.e_proj.scale\"", "\"mtp.0.e_proj.scalf\"",
       "tensor 'mtp.0.e_proj.weight' has type F8_E4M3 without scales"},
      {"\"mtp.0.hc_head_fn\":{\"dtype\":\"F32\",\"shape\":[4,128]",
       "\"mtp.0.hc_head_fn\":{\"dtype\":\"F32\",\"shape\":[8, 64]",
       "model.safetensors: tensor 'mtp.0.hc_head_fn' has shape [8, 64], but by"},
      {"\"mtp.0.h_proj.weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[32,32]",
       "\"mtp.0.h_proj.weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[64,16]",
       "model.safetensors: tensor 'mtp.0.h_proj.weight' has shape [64, 16], but by"},
  };
  for (const auto& [from, to, expected] : cases) {
    const std::string error = Spoiled(from, to).error();
    EXPECT_NE(error.find(expected), std::string::npos) << error << "\nlacks: " << expected;
  }
}

// Goal: what a checkpoint has under "mtp." without being this layer (the stages of another kind of
// drafter) is not read, and the model runs without prediction.
TEST(CheckpointPrediction, OtherDraftersAreNotRead) {
  const Spoiled other("\"mtp.0.", "\"mtp.1.");
  const auto file = other.open();
  ASSERT_TRUE(file.ok()) << file.error().text();
  EXPECT_EQ(file.value().find_tensor("blk.1.nextn.e_proj.weight"), nullptr);
  ThreadPool pool(1);
  const auto model = Model::load(file.value(), {.predict = true}, pool);
  ASSERT_TRUE(model.ok()) << model.error().text();
  EXPECT_FALSE(model.value()->predicts());
}

}  // namespace
}  // namespace hadal
