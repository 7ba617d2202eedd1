#include "kernels/pack.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace hadal {
namespace {

using cpu::Format;
using cpu::kPanelRows;

/// What a block of 32 columns of a packed panel consists of.
struct Shape {
  int super;         ///< blocks per head
  int head_bytes;    ///< per super-block and panel
  int planes[2];     ///< bits of the first and second plane
  int scale_bytes;   ///< per block and row
  int source_bytes;  ///< of a whole GGUF block (super * 32 columns)

  int plane_bytes() const { return 64 * (planes[0] + planes[1]); }
  int block_bytes() const { return plane_bytes() + scale_bytes * kPanelRows; }
};

Shape shape_of(Format format) {
  switch (format) {
    case cpu::kFormatQ4_0:
      return {1, 0, {4, 0}, 2, 18};
    case cpu::kFormatQ4_1:
      return {1, 0, {4, 0}, 4, 20};
    case cpu::kFormatQ5_0:
      return {1, 0, {4, 1}, 2, 22};
    case cpu::kFormatQ5_1:
      return {1, 0, {4, 1}, 4, 24};
    case cpu::kFormatQ8_0:
      return {1, 0, {8, 0}, 2, 34};
    case cpu::kFormatIQ4_NL:
      return {1, 0, {4, 0}, 2, 18};
    case cpu::kFormatMXFP4:
      return {1, 0, {4, 0}, 1, 17};
    case cpu::kFormatQ2_K:
      return {8, 64, {2, 0}, 2, 84};
    case cpu::kFormatQ3_K:
      return {8, 32, {2, 1}, 2, 110};
    case cpu::kFormatQ4_K:
      return {8, 64, {4, 0}, 2, 144};
    case cpu::kFormatQ5_K:
      return {8, 64, {4, 1}, 2, 176};
    case cpu::kFormatQ6_K:
      return {8, 32, {4, 2}, 2, 210};
    case cpu::kFormatIQ4_XS:
      return {8, 32, {4, 0}, 1, 136};
    default:
      return {1, 0, {0, 0}, 0, 0};
  }
}

int float_bytes(Format format) {
  return format == cpu::kFormatF32 ? 4 : 2;
}

/// 32 columns of one row: codes as in the format's definition, scales as stored per row.
struct RowBlock {
  uint8_t codes[32];
  uint8_t scales[4];
};

void nibbles(const uint8_t* q, RowBlock& out) {
  for (int j = 0; j < 16; ++j) {
    out.codes[j] = q[j] & 15;
    out.codes[j + 16] = q[j] >> 4;
  }
}

void fifth_bits(const uint8_t* bits, RowBlock& out) {
  uint32_t high;
  std::memcpy(&high, bits, 4);
  for (int j = 0; j < 32; ++j) out.codes[j] |= static_cast<uint8_t>((high >> j & 1) << 4);
}

/// Formats with blocks of 32.
void read_small(Format format, const uint8_t* p, RowBlock& out) {
  switch (format) {
    case cpu::kFormatQ4_0:
    case cpu::kFormatIQ4_NL:
      std::memcpy(out.scales, p, 2);
      return nibbles(p + 2, out);
    case cpu::kFormatQ4_1:
      std::memcpy(out.scales, p, 4);
      return nibbles(p + 4, out);
    case cpu::kFormatQ5_0:
      std::memcpy(out.scales, p, 2);
      nibbles(p + 6, out);
      return fifth_bits(p + 2, out);
    case cpu::kFormatQ5_1:
      std::memcpy(out.scales, p, 4);
      nibbles(p + 8, out);
      return fifth_bits(p + 4, out);
    case cpu::kFormatQ8_0:
      std::memcpy(out.scales, p, 2);
      for (int j = 0; j < 32; ++j) out.codes[j] = p[2 + j] ^ 0x80;  // + 128
      return;
    default:  // MXFP4
      out.scales[0] = p[0];
      return nibbles(p + 1, out);
  }
}

/// The 6-bit scale and minimum `index` of Q4_K and Q5_K.
void scale_min(const uint8_t* s, int index, uint8_t* out) {
  if (index < 4) {
    out[0] = s[index] & 63;
    out[1] = s[index + 4] & 63;
  } else {
    out[0] = static_cast<uint8_t>((s[index + 4] & 15) | (s[index - 4] >> 6) << 4);
    out[1] = static_cast<uint8_t>((s[index + 4] >> 4) | (s[index] >> 6) << 4);
  }
}

uint8_t q3_scale(const uint8_t* s, int group) {
  const int low = group < 8 ? s[group] & 15 : s[group - 8] >> 4;
  const int high = s[8 + group % 4] >> 2 * (group / 4) & 3;
  return static_cast<uint8_t>((low | high << 4) - 32);
}

/// Block `b` (of 8) of a 256-column format.
void read_super(Format format, const uint8_t* p, int b, RowBlock& out) {
  const int half = b / 4;
  const int step = b % 4;
  switch (format) {
    case cpu::kFormatQ4_K:
    case cpu::kFormatQ5_K: {
      const uint8_t* quants = p + (format == cpu::kFormatQ4_K ? 16 : 48) + b / 2 * 32;
      scale_min(p + 4, b, out.scales);
      for (int j = 0; j < 32; ++j) {
        out.codes[j] = b % 2 == 0 ? quants[j] & 15 : quants[j] >> 4;
        if (format == cpu::kFormatQ5_K) {
          out.codes[j] |= static_cast<uint8_t>((p[16 + j] >> b & 1) << 4);
        }
      }
      return;
    }
    case cpu::kFormatQ6_K: {
      const uint8_t* low = p + half * 64 + step % 2 * 32;
      const uint8_t* high = p + 128 + half * 32;
      for (int j = 0; j < 32; ++j) {
        const int nibble = step < 2 ? low[j] & 15 : low[j] >> 4;
        out.codes[j] = static_cast<uint8_t>(nibble | (high[j] >> 2 * step & 3) << 4);
      }
      std::memcpy(out.scales, p + 192 + 2 * b, 2);
      return;
    }
    case cpu::kFormatQ3_K:
      for (int j = 0; j < 32; ++j) {
        const int bit = p[j] >> b & 1;
        out.codes[j] = static_cast<uint8_t>((p[32 + half * 32 + j] >> 2 * step & 3) | bit << 2);
      }
      out.scales[0] = q3_scale(p + 96, 2 * b);
      out.scales[1] = q3_scale(p + 96, 2 * b + 1);
      return;
    case cpu::kFormatQ2_K:
      for (int j = 0; j < 32; ++j) {
        out.codes[j] = static_cast<uint8_t>(p[16 + half * 32 + j] >> 2 * step & 3);
      }
      std::memcpy(out.scales, p + 2 * b, 2);
      return;
    default: {  // IQ4_XS
      uint16_t high;
      std::memcpy(&high, p + 2, 2);
      const int low = p[4 + b / 2] >> 4 * (b % 2) & 15;
      out.scales[0] = static_cast<uint8_t>((low | (high >> 2 * b & 3) << 4) - 32);
      return nibbles(p + 8 + 16 * b, out);
    }
  }
}

/// The f16 factors of a super-block: d, and dmin where there is one.
void read_head(Format format, const uint8_t* p, uint8_t out[4]) {
  switch (format) {
    case cpu::kFormatQ2_K:
      std::memcpy(out, p + 80, 4);
      return;
    case cpu::kFormatQ3_K:
      std::memcpy(out, p + 108, 2);
      return;
    case cpu::kFormatQ6_K:
      std::memcpy(out, p + 208, 2);
      return;
    case cpu::kFormatIQ4_XS:
      std::memcpy(out, p, 2);
      return;
    default:
      std::memcpy(out, p, 4);
      return;
  }
}

uint32_t word(const uint8_t* p) {
  uint32_t value;
  std::memcpy(&value, p, 4);
  return value;
}
void put(uint8_t* p, uint32_t value) {
  std::memcpy(p, &value, 4);
}

/// Stores bits [shift, shift + bits) of the row's codes as a plane.
void write_plane(const RowBlock& block, int bits, int shift, int row, uint8_t* plane) {
  uint32_t w[8];
  const uint32_t mask = 0x01010101U * ((1U << bits) - 1U);
  for (int g = 0; g < 8; ++g) w[g] = word(block.codes + 4 * g) >> shift & mask;
  switch (bits) {
    case 8:
      for (int g = 0; g < 8; ++g) put(plane + 64 * g + 4 * row, w[g]);
      return;
    case 4:
      for (int g = 0; g < 4; ++g) put(plane + 64 * g + 4 * row, w[g] | w[g + 4] << 4);
      return;
    case 2:
      for (int h = 0; h < 2; ++h) {
        const uint32_t* v = w + 4 * h;
        put(plane + 64 * h + 4 * row, v[0] | v[1] << 2 | v[2] << 4 | v[3] << 6);
      }
      return;
    default: {
      uint32_t all = 0;
      for (int g = 0; g < 8; ++g) all |= w[g] << g;
      put(plane + 4 * row, all);
    }
  }
}

/// The bytes of one scale: all formats store halves, except for these, which store single bytes.
int scale_unit(Format format) {
  return shape_of(format).super == 8 || format == cpu::kFormatMXFP4 ? 1 : 2;
}

void write_block(const Shape& shape, int unit, const RowBlock& block, int row, uint8_t* out) {
  write_plane(block, shape.planes[0], 0, row, out);
  if (shape.planes[1] > 0) {
    write_plane(block, shape.planes[1], shape.planes[0], row, out + 64 * shape.planes[0]);
  }
  uint8_t* scales = out + shape.plane_bytes();
  for (int i = 0; i < shape.scale_bytes / unit; ++i) {
    std::memcpy(scales + (i * kPanelRows + row) * unit, block.scales + i * unit,
                static_cast<size_t>(unit));
  }
}

void pack_quant(const TensorView& tensor, Format format, int64_t first, int64_t rows,
                uint8_t* out) {
  const Shape shape = shape_of(format);
  const int unit = scale_unit(format);
  const int64_t supers = tensor.ne[0] / (32 * shape.super);
  for (int64_t s = 0; s < supers; ++s) {
    for (int64_t row = 0; row < rows; ++row) {
      const auto* source =
          reinterpret_cast<const uint8_t*>(tensor.row(first + row)) + s * shape.source_bytes;
      const int r = static_cast<int>(row);
      if (shape.super == 1) {
        RowBlock block;
        read_small(format, source, block);
        write_block(shape, unit, block, r, out);
        continue;
      }
      uint8_t head[4];
      read_head(format, source, head);
      std::memcpy(out + 2 * r, head, 2);
      if (shape.head_bytes == 64) std::memcpy(out + 32 + 2 * r, head + 2, 2);
      for (int b = 0; b < 8; ++b) {
        RowBlock block;
        read_super(format, source, b, block);
        write_block(shape, unit, block, r, out + shape.head_bytes + b * shape.block_bytes());
      }
    }
    out += shape.head_bytes + shape.super * shape.block_bytes();
  }
}

}  // namespace

cpu::Format pack_format(DType type) {
  switch (type) {
    case DType::kF32:
      return cpu::kFormatF32;
    case DType::kF16:
      return cpu::kFormatF16;
    case DType::kBF16:
      return cpu::kFormatBF16;
    case DType::kQ4_0:
      return cpu::kFormatQ4_0;
    case DType::kQ4_1:
      return cpu::kFormatQ4_1;
    case DType::kQ5_0:
      return cpu::kFormatQ5_0;
    case DType::kQ5_1:
      return cpu::kFormatQ5_1;
    case DType::kQ8_0:
      return cpu::kFormatQ8_0;
    case DType::kQ2_K:
      return cpu::kFormatQ2_K;
    case DType::kQ3_K:
      return cpu::kFormatQ3_K;
    case DType::kQ4_K:
      return cpu::kFormatQ4_K;
    case DType::kQ5_K:
      return cpu::kFormatQ5_K;
    case DType::kQ6_K:
      return cpu::kFormatQ6_K;
    case DType::kIQ4_NL:
      return cpu::kFormatIQ4_NL;
    case DType::kIQ4_XS:
      return cpu::kFormatIQ4_XS;
    case DType::kMXFP4:
      return cpu::kFormatMXFP4;
    default:
      return cpu::kFormats;
  }
}

int64_t pack_panel_bytes(cpu::Format format, int64_t cols) {
  if (format >= cpu::kQuantFormats) return cols * kPanelRows * float_bytes(format);
  const Shape shape = shape_of(format);
  const int64_t supers = cols / (32 * shape.super);
  return supers * (shape.head_bytes + shape.super * shape.block_bytes());
}

void pack_panel(const TensorView& tensor, cpu::Format format, int64_t index, uint8_t* out) {
  const int64_t first = index * kPanelRows;
  const int64_t rows = std::min<int64_t>(kPanelRows, tensor.ne[1] - first);
  DCHECK(rows > 0);
  if (rows < kPanelRows) {
    std::memset(out, 0, static_cast<size_t>(pack_panel_bytes(format, tensor.ne[0])));
  }
  if (format < cpu::kQuantFormats) return pack_quant(tensor, format, first, rows, out);
  const auto size = static_cast<size_t>(float_bytes(format));
  for (int64_t row = 0; row < rows; ++row) {
    const std::byte* source = tensor.row(first + row);
    uint8_t* target = out + static_cast<size_t>(row) * size;
    for (int64_t i = 0; i < tensor.ne[0]; ++i) {
      std::memcpy(target, source, size);
      source += size;
      target += size * kPanelRows;
    }
  }
}

}  // namespace hadal
