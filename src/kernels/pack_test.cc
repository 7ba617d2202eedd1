#include "kernels/pack.h"

#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

namespace hadal {
namespace {

struct Case {
  DType type;
  int64_t cols;
  uint64_t digest;
};

/// FNV-1a.
uint64_t digest_of(const std::vector<uint8_t>& bytes) {
  uint64_t digest = 0xcbf29ce484222325U;
  for (const uint8_t byte : bytes) digest = (digest ^ byte) * 0x100000001b3U;
  return digest;
}

/// All panels of a matrix of seeded bytes; `fill` is what lay in their place before.
std::vector<uint8_t> packed(DType type, int64_t rows, int64_t cols, uint8_t fill) {
  std::vector<std::byte> source(dtype_row_bytes(type, cols) * static_cast<uint64_t>(rows));
  uint64_t state = 42;
  for (std::byte& byte : source) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    byte = static_cast<std::byte>(state >> 56);
  }
  TensorView view;
  view.type = type;
  view.ne = {cols, rows, 1, 1};
  view.data = source.data();
  view.bytes = source.size();
  const cpu::Format format = pack_format(type);
  const int64_t panels = (rows + cpu::kPanelRows - 1) / cpu::kPanelRows;
  const int64_t panel_bytes = pack_panel_bytes(format, cols);
  std::vector<uint8_t> out(static_cast<size_t>(panels * panel_bytes), fill);
  for (int64_t i = 0; i < panels; ++i) pack_panel(view, format, i, out.data() + i * panel_bytes);
  return out;
}

// Goal: the packed bytes of every type are those of layout version 1; images kept on disk hold
// them. Whoever changes them raises kPackLayoutVersion and writes the new digests here.
TEST(Pack, BytesBelongToTheLayoutVersion) {
  ASSERT_EQ(kPackLayoutVersion, 1u);
  const Case cases[] = {
      {DType::kF32, 37, 0x25e717069dfd0db5U},    {DType::kF16, 37, 0x4d8f42037fd44a07U},
      {DType::kQ4_0, 96, 0x501ba094a31c769dU},   {DType::kQ4_1, 96, 0xc05adeb48d4ce9d7U},
      {DType::kQ5_0, 96, 0x0722bff82067a8d6U},   {DType::kQ5_1, 96, 0xc1eb29a0222a9a49U},
      {DType::kQ8_0, 96, 0xf1256eb13fdfc55dU},   {DType::kQ2_K, 512, 0x610a8b4e84c894a0U},
      {DType::kQ3_K, 512, 0xaaae582367599a59U},  {DType::kQ4_K, 512, 0x40c31f9c6c75421dU},
      {DType::kQ5_K, 512, 0x9348201be13be24bU},  {DType::kQ6_K, 512, 0x3a2bb0ddd3d3e877U},
      {DType::kIQ4_NL, 96, 0x501ba094a31c769dU}, {DType::kIQ4_XS, 512, 0x1fe703f1bac86a9dU},
      {DType::kBF16, 37, 0x4d8f42037fd44a07U},   {DType::kMXFP4, 96, 0xd7abdc4fc7f49caaU},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(digest_of(packed(c.type, 29, c.cols, 0)), c.digest) << dtype_info(c.type).name;
  }
}

// Goal: every byte is written, so that images of one file are equal; rows that are not there are
// zero. Fails when a format leaves a byte of a partial panel as it was.
TEST(Pack, EveryByteIsWritten) {
  for (int type = 0; type < 40; ++type) {
    const auto dtype = static_cast<DType>(type);
    if (pack_format(dtype) == cpu::kFormats) continue;
    for (const int64_t rows : {1, 15, 16, 33}) {
      EXPECT_EQ(packed(dtype, rows, 512, 0xAA), packed(dtype, rows, 512, 0x55))
          << dtype_info(dtype).name << " " << rows;
    }
  }
}

}  // namespace
}  // namespace hadal
