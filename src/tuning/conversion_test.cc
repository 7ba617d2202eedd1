/// Whole files: what is planned, written, stacked and refused; importance matrices.
#include <cmath>
#include <cstring>
#include <filesystem>

#include <gtest/gtest.h>
#include <unistd.h>

#include "tensor/quantize.h"
#include "tuning/tuning.h"

namespace hadal {
namespace {

namespace fs = std::filesystem;

class ConversionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) /
              ("conversion-" + std::to_string(::getpid()) +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  /// A file of F32 tensors with values that differ from tensor to tensor.
  GgufFile source(const std::vector<GgufTensor>& tensors, uint32_t experts = 0) {
    std::vector<GgufEntry> entries = {GgufEntry::string("general.architecture", "deepseek2"),
                                      GgufEntry::u32("deepseek2.block_count", 2),
                                      GgufEntry::u32("split.count", 0)};
    if (experts > 0) entries.push_back(GgufEntry::u32("deepseek2.expert_count", experts));
    const fs::path path = folder_ / "source.gguf";
    auto writer = GgufWriter::create(path, entries, tensors, {.overwrite = true, .fingerprint = 0});
    EXPECT_TRUE(writer.ok()) << writer.error().text();
    for (size_t i = 0; i < tensors.size(); ++i) {
      const std::vector<float> content = values(tensors[i], i);
      EXPECT_TRUE(writer.value().append(std::as_bytes(std::span(content))).ok());
    }
    EXPECT_TRUE(writer.value().finish().ok());
    auto file = GgufFile::open(path);
    EXPECT_TRUE(file.ok()) << file.error().text();
    return std::move(file).value();
  }
  static std::vector<float> values(const GgufTensor& tensor, size_t seed) {
    std::vector<float> out(static_cast<size_t>(tensor.rows() * tensor.ne[0]));
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = std::sin(static_cast<float>(i * (seed + 3)) * 0.7f) * 0.1f;
    }
    return out;
  }
  static GgufTensor matrix(std::string name, int64_t cols, int64_t rows) {
    return {std::move(name), DType::kF32, 2, {cols, rows, 1, 1}};
  }

  fs::path folder_;
  ThreadPool pool_{2};
};

// Goal: experts that lie apart are stacked in their order, along a third axis, without a change.
TEST_F(ConversionTest, StacksExperts) {
  std::vector<GgufTensor> tensors;
  for (const char* kind : {"gate", "up", "down"}) {
    for (const int expert : {2, 0, 1}) {
      tensors.push_back(matrix(
          "blk.1.ffn_" + std::string(kind) + "." + std::to_string(expert) + ".weight", 64, 8));
    }
  }
  tensors.push_back(matrix("blk.1.ffn_gate_inp.weight", 64, 3));
  const GgufFile file = source(tensors, 3);
  auto conversion = Conversion::plan(file, {.target = "keep", .rules = {}, .importance = nullptr});
  ASSERT_TRUE(conversion.ok()) << conversion.error().text();
  ASSERT_EQ(conversion.value().tensors().size(), 4u);
  const fs::path path = folder_ / "out.gguf";
  ASSERT_TRUE(conversion.value().write(path, {}, pool_).ok());
  auto out = GgufFile::open(path);
  ASSERT_TRUE(out.ok());
  EXPECT_EQ(out.value().find("split.count"), nullptr);
  const TensorView* stack = out.value().find_tensor("blk.1.ffn_up_exps.weight");
  ASSERT_NE(stack, nullptr);
  EXPECT_EQ(stack->ne, (std::array<int64_t, 4>{64, 8, 3, 1}));
  for (int expert = 0; expert < 3; ++expert) {
    const TensorView* part = file.find_tensor("blk.1.ffn_up." + std::to_string(expert) + ".weight");
    EXPECT_EQ(std::memcmp(stack->data + static_cast<uint64_t>(expert) * part->bytes, part->data,
                          part->bytes),
              0);
  }
}

// Goal: rows and biases of half-split heads become pairs, and the key that said so goes.
TEST_F(ConversionTest, InterleavesHalfSplitHeads) {
  const std::vector<GgufEntry> entries = {
      GgufEntry::string("general.architecture", "llama"),
      GgufEntry::u32("llama.attention.head_count", 2),
      GgufEntry::u32("llama.attention.head_count_kv", 1),
      {"llama.rope.half_split", GgufType::kBool, GgufType::kU8, 1, std::string("\x01", 1)}};
  const std::vector<GgufTensor> tensors = {matrix("blk.0.attn_q.weight", 2, 8),
                                           {"blk.0.attn_q.bias", DType::kF32, 1, {8, 1, 1, 1}},
                                           matrix("blk.0.attn_k.weight", 2, 4),
                                           matrix("blk.0.attn_v.weight", 2, 4)};
  const fs::path path = folder_ / "half.gguf";
  auto writer = GgufWriter::create(path, entries, tensors, {});
  ASSERT_TRUE(writer.ok());
  for (const GgufTensor& tensor : tensors) {
    std::vector<float> content(tensor.bytes() / sizeof(float));
    for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<float>(i);
    ASSERT_TRUE(writer.value().append(std::as_bytes(std::span(content))).ok());
  }
  ASSERT_TRUE(writer.value().finish().ok());
  auto file = GgufFile::open(path);
  ASSERT_TRUE(file.ok());
  auto conversion =
      Conversion::plan(file.value(), {.target = "keep", .rules = {}, .importance = nullptr});
  ASSERT_TRUE(conversion.ok()) << conversion.error().text();
  ASSERT_TRUE(conversion.value().write(folder_ / "pairs.gguf", {}, pool_).ok());
  auto out = GgufFile::open(folder_ / "pairs.gguf");
  ASSERT_TRUE(out.ok());
  EXPECT_EQ(out.value().find("llama.rope.half_split"), nullptr);
  const auto first_column = [&](const char* name) {
    const TensorView* tensor = out.value().find_tensor(name);
    std::vector<float> values(static_cast<size_t>(tensor->elements()));
    dequantize_row(tensor->type, tensor->data, values.data(), tensor->elements());
    std::vector<int> rows;
    const auto step = static_cast<size_t>(tensor->n_dims == 1 ? 1 : tensor->ne[0]);
    for (size_t i = 0; i < values.size(); i += step) {
      rows.push_back(static_cast<int>(values[i]) / static_cast<int>(step));
    }
    return rows;
  };
  EXPECT_EQ(first_column("blk.0.attn_q.weight"), (std::vector<int>{0, 2, 1, 3, 4, 6, 5, 7}));
  EXPECT_EQ(first_column("blk.0.attn_q.bias"), (std::vector<int>{0, 2, 1, 3, 4, 6, 5, 7}));
  EXPECT_EQ(first_column("blk.0.attn_k.weight"), (std::vector<int>{0, 2, 1, 3}));
  EXPECT_EQ(first_column("blk.0.attn_v.weight"), (std::vector<int>{0, 1, 2, 3}));
}

// Goal: a missing expert, or one of another shape, is named.
TEST_F(ConversionTest, NamesWrongExperts) {
  const GgufFile missing =
      source({matrix("blk.0.ffn_up.0.weight", 64, 8), matrix("blk.0.ffn_up.2.weight", 64, 8)}, 3);
  const ConversionOptions keep{.target = "keep", .rules = {}, .importance = nullptr};
  auto planned = Conversion::plan(missing, keep);
  ASSERT_FALSE(planned.ok());
  EXPECT_NE(planned.error().message.find("blk.0.ffn_up.1.weight is missing"), std::string::npos);
  const GgufFile uneven =
      source({matrix("blk.0.ffn_up.0.weight", 64, 8), matrix("blk.0.ffn_up.1.weight", 32, 8)}, 2);
  planned = Conversion::plan(uneven, keep);
  ASSERT_FALSE(planned.ok());
  EXPECT_NE(planned.error().message.find("blk.0.ffn_up.1.weight is 32 x 8"), std::string::npos);
}

// Goal: stacked experts are quantised each with its own importance, and on any number of threads
// the file has the same bytes.
TEST_F(ConversionTest, ImportancePerExpert) {
  const GgufFile file = source({{"blk.0.ffn_up_exps.weight", DType::kF32, 3, {64, 16, 2, 1}}});
  // A matrix in which expert 0's even columns count and nothing is known of expert 1.
  const fs::path matrix_path = folder_ / "m.imatrix";
  {
    std::vector<float> sums(128);
    for (size_t i = 0; i < 64; i += 2) sums[i] = 50;
    const std::vector<float> counts = {10, 0};
    const std::vector<GgufTensor> tensors = {
        {"blk.0.ffn_up_exps.weight.in_sum2", DType::kF32, 2, {64, 2, 1, 1}},
        {"blk.0.ffn_up_exps.weight.counts", DType::kF32, 2, {1, 2, 1, 1}}};
    const std::vector<GgufEntry> entries = {GgufEntry::string("general.type", "imatrix")};
    auto writer = GgufWriter::create(matrix_path, entries, tensors, {});
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(writer.value().append(std::as_bytes(std::span(sums))).ok());
    ASSERT_TRUE(writer.value().append(std::as_bytes(std::span(counts))).ok());
    ASSERT_TRUE(writer.value().finish().ok());
  }
  const auto importance = ImportanceMatrix::read(matrix_path);
  ASSERT_TRUE(importance.ok()) << importance.error().text();
  EXPECT_TRUE(importance.value().weights("blk.0.ffn_up_exps.weight", 1).empty());
  EXPECT_TRUE(importance.value().weights("blk.0.ffn_down_exps.weight", 0).empty());
  const auto weights = importance.value().weights("blk.0.ffn_up_exps.weight", 0);
  ASSERT_EQ(weights.size(), 64u);
  EXPECT_FLOAT_EQ(weights[0], 2.0f);
  EXPECT_GT(weights[1], 0.0f);
  EXPECT_LT(weights[1], 0.01f);

  const auto write = [&](const char* name, const ImportanceMatrix* used, int threads) {
    auto conversion = Conversion::plan(file, {.target = "Q4_0", .rules = {}, .importance = used});
    EXPECT_TRUE(conversion.ok()) << conversion.error().text();
    ThreadPool pool(threads);
    EXPECT_TRUE(conversion.value().write(folder_ / name, {}, pool).ok());
    auto out = GgufFile::open(folder_ / name);
    EXPECT_TRUE(out.ok());
    return std::move(out).value();
  };
  const GgufFile with = write("with.gguf", &importance.value(), 1);
  const GgufFile again = write("again.gguf", &importance.value(), 3);
  const GgufFile without = write("without.gguf", nullptr, 2);
  const TensorView& a = with.tensors()[0];
  const TensorView& b = without.tensors()[0];
  EXPECT_EQ(std::memcmp(a.data, again.tensors()[0].data, a.bytes), 0);
  EXPECT_NE(std::memcmp(a.data, b.data, a.bytes / 2), 0);
  EXPECT_EQ(std::memcmp(a.data + a.bytes / 2, b.data + b.bytes / 2, a.bytes / 2), 0);
  double error[2] = {};
  const auto exact = values({"", DType::kF32, 3, {64, 16, 2, 1}}, 0);
  for (int64_t r = 0; r < 16; ++r) {
    std::vector<float> row(64);
    for (int i = 0; i < 2; ++i) {
      const TensorView& tensor = i == 0 ? a : b;
      dequantize_row(tensor.type, tensor.row(r), row.data(), 64);
      for (size_t c = 0; c < 64; c += 2) {
        const double off = static_cast<double>(row[c] - exact[static_cast<size_t>(r) * 64 + c]);
        error[i] += off * off;
      }
    }
  }
  EXPECT_LT(error[0], error[1]);
}

// Goal: matrices with numbers that are no means of squares are refused by name.
TEST_F(ConversionTest, RefusesBadImportance) {
  const auto read_with = [&](float bad, const char* counts_name) {
    const std::vector<GgufTensor> tensors = {{"a.weight.in_sum2", DType::kF32, 2, {2, 1, 1, 1}},
                                             {counts_name, DType::kF32, 2, {1, 1, 1, 1}}};
    const std::vector<GgufEntry> entries = {GgufEntry::string("general.type", "imatrix")};
    const fs::path path = folder_ / "bad.imatrix";
    auto writer = GgufWriter::create(path, entries, tensors, {.overwrite = true, .fingerprint = 0});
    EXPECT_TRUE(writer.ok());
    const std::vector<float> sums = {1, bad};
    const std::vector<float> counts = {1};
    EXPECT_TRUE(writer.value().append(std::as_bytes(std::span(sums))).ok());
    EXPECT_TRUE(writer.value().append(std::as_bytes(std::span(counts))).ok());
    EXPECT_TRUE(writer.value().finish().ok());
    const auto read = ImportanceMatrix::read(path);
    return read.ok() ? std::string() : read.error().message;
  };
  EXPECT_EQ(read_with(2, "a.weight.counts"), "");
  EXPECT_NE(read_with(-1, "a.weight.counts").find("a.weight.in_sum2 holds -1"), std::string::npos);
  EXPECT_NE(read_with(std::nanf(""), "a.weight.counts").find("holds nan"), std::string::npos);
  EXPECT_NE(read_with(1, "b.weight.counts").find("a.weight.counts is missing"), std::string::npos);
}

// Goal: what the collector sums while products run is the mean square of their inputs, per matrix
// of a stack, whatever type the weights have.
TEST_F(ConversionTest, CollectsInputs) {
  const GgufFile floats = source({{"blk.0.ffn_up_exps.weight", DType::kF32, 3, {64, 16, 2, 1}}});
  auto conversion =
      Conversion::plan(floats, {.target = "Q8_0", .rules = {}, .importance = nullptr});
  ASSERT_TRUE(conversion.ok());
  ASSERT_TRUE(conversion.value().write(folder_ / "q.gguf", {}, pool_).ok());
  auto quantised = GgufFile::open(folder_ / "q.gguf");
  ASSERT_TRUE(quantised.ok());
  for (const GgufFile* file : {&floats, static_cast<const GgufFile*>(&quantised.value())}) {
    const TensorView& stack = file->tensors()[0];
    TensorView second = stack;
    second.n_dims = 2;
    second.ne = {64, 16, 1, 1};
    second.bytes = stack.bytes / 2;
    second.data = stack.data + second.bytes;
    auto weight = Weight::prepare(second, Activations::kInt8, pool_);
    ASSERT_TRUE(weight.ok());
    std::vector<float> x(3 * 64);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 64) * 0.5f;
    std::vector<float> out(3 * 16);
    ImportanceCollector collector(*file, pool_);
    MatmulWorkspace workspace;
    workspace.set_observer(&collector);
    const MatmulTask tasks[] = {
        {.weight = &weight.value(), .bias = nullptr, .out = out.data(), .out_stride = 16}};
    matmul(MatmulInput{x.data(), 3, 64}, tasks, pool_, workspace);
    workspace.set_observer(nullptr);
    matmul(MatmulInput{x.data(), 3, 64}, tasks, pool_, workspace);
    const ImportanceMatrix::Entry* entry = collector.matrix().find("blk.0.ffn_up_exps.weight");
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->rows, (std::vector<double>{0, 3}));
    for (size_t c = 0; c < 64; ++c) {
      const double half = static_cast<double>(c) * 0.5;
      EXPECT_DOUBLE_EQ(entry->sum_squares[64 + c], 3 * half * half);
      EXPECT_EQ(entry->sum_squares[c], 0);
    }
    const fs::path path = folder_ / "c.imatrix";
    ASSERT_TRUE(collector.matrix().write(path, "text", 32, true).ok());
    const auto read = ImportanceMatrix::read(path);
    ASSERT_TRUE(read.ok()) << read.error().text();
    EXPECT_EQ(read.value().weights("blk.0.ffn_up_exps.weight", 1),
              collector.matrix().weights("blk.0.ffn_up_exps.weight", 1));
    EXPECT_EQ(read.value().dataset(), "text");
  }
}

}  // namespace
}  // namespace hadal
