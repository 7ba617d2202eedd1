/// Any bytes as a GGUF file: open, read all metadata through every accessor, decode the first row
/// of every tensor.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "tensor/gguf.h"

namespace {

using hadal::GgufFile;
using hadal::GgufValue;
using hadal::TensorView;

/// Any accessor gives a value or an error with a text.
template <typename T>
void expect_sane(const hadal::Result<T>& result) {
  if (!result.ok()) CHECK(!result.error().message.empty());
}

void read_every_way(const GgufFile& file, const GgufValue& value) {
  CHECK(file.find(value.key()) == &value);
  expect_sane(value.as_string());
  expect_sane(value.as_int());
  expect_sane(value.as_float());
  expect_sane(value.as_bool());
  expect_sane(value.as_strings());
  expect_sane(value.as_ints());
  expect_sane(value.as_floats());
  expect_sane(file.string(value.key()));
  expect_sane(file.integer(value.key()));
  expect_sane(file.number(value.key()));
  expect_sane(file.boolean(value.key()));
  CHECK(value.to_text().size() <= 80 * 4 + 3);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // A copy of exactly this size on the heap: the sanitizer sees a read of one byte too many.
  std::vector<std::byte> bytes(size);
  if (size > 0) std::memcpy(bytes.data(), data, size);
  bytes.shrink_to_fit();
  const auto file = GgufFile::from_memory(bytes);
  if (!file.ok()) {
    CHECK(!file.error().message.empty());
    return 0;
  }
  for (const GgufValue& value : file.value().metadata()) read_every_way(file.value(), value);
  for (const TensorView& tensor : file.value().tensors()) {
    CHECK(file.value().find_tensor(tensor.name) == &tensor);
    CHECK(tensor.row_bytes() * static_cast<uint64_t>(tensor.rows()) == tensor.bytes);
    std::vector<float> row(static_cast<size_t>(tensor.ne[0]));
    hadal::dequantize_row(tensor.type, tensor.row(0), row.data(), tensor.ne[0]);
  }
  return 0;
}
