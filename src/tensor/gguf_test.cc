#include "tensor/gguf.h"

#include <cmath>
#include <cstdlib>

#include <gtest/gtest.h>

namespace hadal {
namespace {

// Goal: a real model file opens, its vocabulary is there and its first weights are sane numbers.
TEST(GgufRealFile, OpensAndDecodes) {
  const char* path = std::getenv("HADAL_TEST_MODEL");
  if (path == nullptr) GTEST_SKIP() << "HADAL_TEST_MODEL names no GGUF file";
  auto opened = GgufFile::open(path);
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  const GgufFile file = std::move(opened).value();
  ASSERT_NE(file.find("tokenizer.ggml.tokens"), nullptr);
  EXPECT_GT(file.find("tokenizer.ggml.tokens")->as_strings().value().size(), 1000u);
  EXPECT_TRUE(file.string("general.architecture").value().has_value());
  ASSERT_GT(file.tensors().size(), 0u);
  for (const TensorView& tensor : file.tensors()) {
    ASSERT_EQ(file.find_tensor(tensor.name), &tensor);
    std::vector<float> row(static_cast<size_t>(tensor.ne[0]));
    dequantize_row(tensor.type, tensor.row(tensor.rows() - 1), row.data(), tensor.ne[0]);
    for (const float x : row) ASSERT_TRUE(std::isfinite(x) && std::fabs(x) < 1e4F) << tensor.name;
  }
}

}  // namespace
}  // namespace hadal
