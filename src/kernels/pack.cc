#include "kernels/pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace hadal {
namespace {

using cpu::Format;
using cpu::kPanelRows;

// Vectors of the compiler's own kind: every machine that we build for has 16-byte registers, and
// packing is bound by memory, so wider ones would gain nothing.
using Bytes = uint8_t __attribute__((vector_size(16)));
using Halves = uint16_t __attribute__((vector_size(16)));
using Words = uint32_t __attribute__((vector_size(16)));
using Longs = uint64_t __attribute__((vector_size(16)));

/// What a block of 32 columns of a packed panel consists of.
struct Shape {
  int super;         ///< blocks per head
  int head_bytes;    ///< per super-block and panel
  int planes[2];     ///< bits of the first and second plane
  int scale_bytes;   ///< per block and row
  int source_bytes;  ///< of a whole GGUF block (super * 32 columns)

  constexpr int plane_bytes() const { return 64 * (planes[0] + planes[1]); }
  constexpr int block_bytes() const { return plane_bytes() + scale_bytes * kPanelRows; }
};

constexpr Shape shape_of(Format format) {
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
  return format == cpu::kFormatF32 ? 4 : format == cpu::kFormatF8_E4M3 ? 1 : 2;
}

constexpr int64_t kF8ScaleBytes = kPanelRows * sizeof(float);  // before each chunk of columns

template <typename V>
V load(const void* p) {
  V v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
template <typename V>
void store(void* p, V v) {
  std::memcpy(p, &v, sizeof(v));
}
uint32_t word(const uint8_t* p) {
  return load<uint32_t>(p);
}

/// The first (second) halves of a and b, element by element in turn.
template <typename V, size_t... i>
V zip_low(V a, V b, std::index_sequence<i...>) {
  return __builtin_shufflevector(a, b, (i / 2 + i % 2 * sizeof...(i))...);
}
template <typename V, size_t... i>
V zip_high(V a, V b, std::index_sequence<i...>) {
  return __builtin_shufflevector(a, b, (i / 2 + i % 2 * sizeof...(i) + sizeof...(i) / 2)...);
}

/// Transposes the n x n matrix whose rows are `v`: log2(n) perfect shuffles.
template <typename V, size_t n>
void transpose(V (&v)[n]) {
  constexpr std::make_index_sequence<n> kAll;
  for (size_t pass = 1; pass < n; pass *= 2) {
    V next[n];
    for (size_t i = 0; i < n / 2; ++i) {
      next[2 * i] = zip_low(v[i], v[i + n / 2], kAll);
      next[2 * i + 1] = zip_high(v[i], v[i + n / 2], kAll);
    }
    std::copy(next, next + n, v);
  }
}

/// The codes of 32 columns of one row: columns 0..15 and 16..31.
struct Codes {
  Bytes low, high;
};

Codes nibbles(const uint8_t* q) {
  const Bytes v = load<Bytes>(q);
  return {v & 15, v >> 4};
}

/// Adds bit j of the 32 at `bits` to code j as its fifth.
Codes fifth_bits(const uint8_t* bits, Codes codes) {
  constexpr Bytes kBit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  constexpr uint64_t kSpread = 0x0101010101010101U;
  const auto fifth = [&](int i) {
    const Longs spread = {bits[i] * kSpread, bits[i + 1] * kSpread};
    return Bytes((Bytes(spread) & kBit) != 0) & 16;
  };
  return {codes.low | fifth(0), codes.high | fifth(2)};
}

/// Block `b` of a GGUF block (which has more than one only where it has 256 columns).
template <Format format, int b>
Codes read_codes(const uint8_t* p) {
  constexpr int kHalf = b / 4;
  constexpr int kStep = b % 4;
  const auto both = [](const uint8_t* q) { return Codes{load<Bytes>(q), load<Bytes>(q + 16)}; };
  if constexpr (format == cpu::kFormatQ4_0 || format == cpu::kFormatIQ4_NL) return nibbles(p + 2);
  if constexpr (format == cpu::kFormatQ4_1) return nibbles(p + 4);
  if constexpr (format == cpu::kFormatQ5_0) return fifth_bits(p + 2, nibbles(p + 6));
  if constexpr (format == cpu::kFormatQ5_1) return fifth_bits(p + 4, nibbles(p + 8));
  if constexpr (format == cpu::kFormatMXFP4) return nibbles(p + 1);
  if constexpr (format == cpu::kFormatIQ4_XS) return nibbles(p + 8 + 16 * b);
  if constexpr (format == cpu::kFormatQ8_0) {
    const Codes q = both(p + 2);
    return {q.low ^ 0x80, q.high ^ 0x80};  // + 128
  }
  if constexpr (format == cpu::kFormatQ2_K) {
    const Codes q = both(p + 16 + kHalf * 32);
    return {q.low >> 2 * kStep & 3, q.high >> 2 * kStep & 3};
  }
  if constexpr (format == cpu::kFormatQ3_K) {
    const Codes q = both(p + 32 + kHalf * 32);
    const Codes bit = both(p);
    return {(q.low >> 2 * kStep & 3) | (bit.low >> b & 1) << 2,
            (q.high >> 2 * kStep & 3) | (bit.high >> b & 1) << 2};
  }
  if constexpr (format == cpu::kFormatQ4_K || format == cpu::kFormatQ5_K) {
    Codes q = both(p + (format == cpu::kFormatQ4_K ? 16 : 48) + b / 2 * 32);
    q = b % 2 == 0 ? Codes{q.low & 15, q.high & 15} : Codes{q.low >> 4, q.high >> 4};
    if constexpr (format == cpu::kFormatQ4_K) return q;
    const Codes bit = both(p + 16);
    return {q.low | (bit.low >> b & 1) << 4, q.high | (bit.high >> b & 1) << 4};
  }
  if constexpr (format == cpu::kFormatQ6_K) {
    Codes q = both(p + kHalf * 64 + kStep % 2 * 32);
    q = kStep < 2 ? Codes{q.low & 15, q.high & 15} : Codes{q.low >> 4, q.high >> 4};
    const Codes bits = both(p + 128 + kHalf * 32);
    return {q.low | (bits.low >> 2 * kStep & 3) << 4, q.high | (bits.high >> 2 * kStep & 3) << 4};
  }
}

/// The 6-bit scales and minima of Q4_K and Q5_K: scale 0, minimum 0, scale 1, ...
Bytes scales_and_minima(const uint8_t* s) {
  const uint32_t scales[2] = {word(s) & 0x3f3f3f3fU,
                              (word(s + 8) & 0x0f0f0f0fU) | (word(s) >> 6 & 0x03030303U) << 4};
  const uint32_t minima[2] = {word(s + 4) & 0x3f3f3f3fU, (word(s + 8) >> 4 & 0x0f0f0f0fU) |
                                                             (word(s + 4) >> 6 & 0x03030303U) << 4};
  const Words all = {scales[0], scales[1], minima[0], minima[1]};
  return __builtin_shufflevector(Bytes(all), Bytes(all), 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6,
                                 14, 7, 15);
}

/// The 16 scales of Q3_K, four bits here and two there, less their bias.
Bytes q3_scales(const uint8_t* s) {
  const uint32_t high = word(s + 8);
  const Words low4 = Words{word(s), word(s + 4), word(s) >> 4, word(s + 4) >> 4} & 0x0f0f0f0fU;
  const Words high2 = Words{high, high >> 2, high >> 4, high >> 6} & 0x03030303U;
  return Bytes(low4 | high2 << 4) - 32;
}

/// The scales of the 8 blocks of a 256-column format, scale_bytes for each.
template <Format format>
Bytes read_scales(const uint8_t* p) {
  if constexpr (format == cpu::kFormatQ2_K) return load<Bytes>(p);
  if constexpr (format == cpu::kFormatQ6_K) return load<Bytes>(p + 192);
  if constexpr (format == cpu::kFormatQ4_K || format == cpu::kFormatQ5_K)
    return scales_and_minima(p + 4);
  if constexpr (format == cpu::kFormatQ3_K) return q3_scales(p + 96);
  if constexpr (format == cpu::kFormatIQ4_XS) {
    const auto high = load<uint16_t>(p + 2);
    uint8_t scales[16] = {};
    for (int b = 0; b < 8; ++b) {
      const int low = p[4 + b / 2] >> 4 * (b % 2) & 15;
      scales[b] = static_cast<uint8_t>((low | (high >> 2 * b & 3) << 4) - 32);
    }
    return load<Bytes>(scales);
  }
}

/// Where a 256-column format has d, and right behind it dmin if there is one.
constexpr int head_offset(Format format) {
  return format == cpu::kFormatQ2_K   ? 80
         : format == cpu::kFormatQ3_K ? 108
         : format == cpu::kFormatQ6_K ? 208
                                      : 0;
}

/// Stores bits [shift, shift + bits) of four rows' codes as a plane. Word g of the rows, that is
/// columns 4g..4g+3, is in codes[g].
template <int bits, int shift>
void write_plane(const Words (&codes)[8], uint8_t* plane) {
  constexpr uint32_t kMask = 0x01010101U * ((1U << bits) - 1U);
  Words w[8];
  for (int g = 0; g < 8; ++g) w[g] = bits == 8 ? codes[g] : codes[g] >> shift & kMask;
  if constexpr (bits == 8) {
    for (int g = 0; g < 8; ++g) store(plane + 64 * g, w[g]);
  } else if constexpr (bits == 4) {
    for (int g = 0; g < 4; ++g) store(plane + 64 * g, w[g] | w[g + 4] << 4);
  } else if constexpr (bits == 2) {
    for (int h = 0; h < 2; ++h) {
      const Words* v = w + 4 * h;
      store(plane + 64 * h, v[0] | v[1] << 2 | v[2] << 4 | v[3] << 6);
    }
  } else {
    Words all = w[0];
    for (int g = 1; g < 8; ++g) all |= w[g] << g;
    store(plane, all);
  }
}

/// Where a panel's rows lie, at one column.
struct Rows {
  const uint8_t* at[kPanelRows];
};

template <Format format, int b>
void pack_codes(const Rows& rows, uint8_t* out) {
  constexpr Shape kShape = shape_of(format);
  for (int row = 0; row < kPanelRows; row += 4) {
    Words low[4];
    Words high[4];
    for (int i = 0; i < 4; ++i) {
      const Codes codes = read_codes<format, b>(rows.at[row + i]);
      low[i] = Words(codes.low);
      high[i] = Words(codes.high);
    }
    transpose(low);
    transpose(high);
    const Words codes[8] = {low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]};
    write_plane<kShape.planes[0], 0>(codes, out + 4 * row);
    if constexpr (kShape.planes[1] > 0) {
      write_plane<kShape.planes[1], kShape.planes[0]>(codes, out + 64 * kShape.planes[0] + 4 * row);
    }
  }
}

/// One block of a format with blocks of 32: its scales, of halves (MXFP4: a byte), come first.
template <Format format>
void pack_small(const Rows& rows, uint8_t* out) {
  constexpr Shape kShape = shape_of(format);
  constexpr int kUnit = format == cpu::kFormatMXFP4 ? 1 : 2;
  pack_codes<format, 0>(rows, out);
  uint8_t* scales = out + kShape.plane_bytes();
  for (int i = 0; i < kShape.scale_bytes; i += kUnit) {
    for (int row = 0; row < kPanelRows; ++row) {
      std::memcpy(scales + i * kPanelRows + row * kUnit, rows.at[row] + i, kUnit);
    }
  }
}

/// The 8 blocks of a 256-column format and their head.
template <Format format, int... b>
void pack_super(const Rows& rows, uint8_t* out, std::integer_sequence<int, b...>) {
  constexpr Shape kShape = shape_of(format);
  for (int i = 0; i < kShape.head_bytes / 2; ++i) {
    std::memcpy(out + 2 * i, rows.at[i % kPanelRows] + head_offset(format) + 2 * (i / kPanelRows),
                2);
  }
  out += kShape.head_bytes;
  Bytes scales[kPanelRows];
  for (int row = 0; row < kPanelRows; ++row) scales[row] = read_scales<format>(rows.at[row]);
  transpose(scales);
  for (int i = 0; i < 8 * kShape.scale_bytes; ++i) {
    store(out + i / kShape.scale_bytes * kShape.block_bytes() + kShape.plane_bytes() +
              i % kShape.scale_bytes * kPanelRows,
          scales[i]);
  }
  (pack_codes<format, b>(rows, out + b * kShape.block_bytes()), ...);
}

template <Format format>
void pack_rows(Rows rows, int64_t cols, uint8_t* out) {
  constexpr Shape kShape = shape_of(format);
  for (int64_t block = 0; block < cols / (32 * kShape.super); ++block) {
    if constexpr (kShape.super == 1) {
      pack_small<format>(rows, out);
    } else {
      pack_super<format>(rows, out, std::make_integer_sequence<int, 8>());
    }
    for (const uint8_t*& row : rows.at) row += kShape.source_bytes;
    out += kShape.head_bytes + kShape.super * kShape.block_bytes();
  }
}

template <typename V, typename T>
void pack_floats(const Rows& rows, int64_t cols, uint8_t* out) {
  constexpr int kTile = sizeof(V) / sizeof(T);
  constexpr int64_t kColumnBytes = kPanelRows * sizeof(T);
  int64_t column = 0;
  for (; column + kTile <= cols; column += kTile) {
    for (int row = 0; row < kPanelRows; row += kTile) {
      V v[kTile];
      for (int i = 0; i < kTile; ++i) v[i] = load<V>(rows.at[row + i] + column * sizeof(T));
      transpose(v);
      uint8_t* target = out + column * kColumnBytes + row * sizeof(T);
      for (int i = 0; i < kTile; ++i) store(target + i * kColumnBytes, v[i]);
    }
  }
  for (; column < cols; ++column) {
    for (int row = 0; row < kPanelRows; ++row) {
      std::memcpy(out + column * kColumnBytes + row * sizeof(T), rows.at[row] + column * sizeof(T),
                  sizeof(T));
    }
  }
}

/// Where a panel's rows are in `tensor`. Rows that are not there read the last one, and are cleared
/// afterwards.
int64_t row_of(const TensorView& tensor, int64_t index, int64_t lane) {
  return std::min(index * kPanelRows + lane, tensor.ne[1] - 1);
}

void pack_f8(const TensorView& tensor, Rows rows, int64_t index, uint8_t* out) {
  const BlockScales& scales = tensor.scales;
  for (int64_t begin = 0; begin < tensor.ne[0]; begin += cpu::kF8Columns) {
    const int64_t count = std::min<int64_t>(cpu::kF8Columns, tensor.ne[0] - begin);
    float scale[kPanelRows];
    for (int64_t i = 0; i < kPanelRows; ++i) {
      scale[i] = scales.data == nullptr
                     ? 1.0f
                     : scales.factor(row_of(tensor, index, i), begin / scales.columns);
    }
    std::memcpy(out, scale, kF8ScaleBytes);
    pack_floats<Bytes, uint8_t>(rows, count, out + kF8ScaleBytes);
    for (const uint8_t*& row : rows.at) row += count;
    out += kF8ScaleBytes + count * kPanelRows;
  }
}

/// Codes and scale of 32 columns as a block of MXFP4.
void to_mxfp4(const uint8_t* codes, uint8_t scale, uint8_t* block) {
  constexpr std::make_index_sequence<16> kAll;
  const Bytes v = load<Bytes>(codes);
  const Bytes first = zip_low(v & 15, v >> 4, kAll);    // columns 0..15
  const Bytes second = zip_high(v & 15, v >> 4, kAll);  // columns 16..31
  block[0] = scale;
  store(block + 1, first | second << 4);
}

void pack_f4(const TensorView& tensor, Rows rows, int64_t index, uint8_t* out) {
  constexpr Shape kShape = shape_of(cpu::kFormatMXFP4);
  uint8_t blocks[kPanelRows][kShape.source_bytes];
  Rows block_rows;
  for (int64_t i = 0; i < kPanelRows; ++i) block_rows.at[i] = blocks[i];
  for (int64_t block = 0; block < tensor.ne[0] / 32; ++block) {
    for (int64_t i = 0; i < kPanelRows; ++i) {
      const int64_t row = tensor.scales.first_row + row_of(tensor, index, i);
      const std::byte scale = tensor.scales.data[row * tensor.scales.per_row + block];
      to_mxfp4(rows.at[i], static_cast<uint8_t>(scale), blocks[i]);
      rows.at[i] += 16;
    }
    pack_small<cpu::kFormatMXFP4>(block_rows, out);
    out += kShape.block_bytes();
  }
}

void pack_any(const Rows& rows, Format format, int64_t cols, uint8_t* out) {
  switch (format) {
    case cpu::kFormatQ4_0:
      return pack_rows<cpu::kFormatQ4_0>(rows, cols, out);
    case cpu::kFormatQ4_1:
      return pack_rows<cpu::kFormatQ4_1>(rows, cols, out);
    case cpu::kFormatQ5_0:
      return pack_rows<cpu::kFormatQ5_0>(rows, cols, out);
    case cpu::kFormatQ5_1:
      return pack_rows<cpu::kFormatQ5_1>(rows, cols, out);
    case cpu::kFormatQ8_0:
      return pack_rows<cpu::kFormatQ8_0>(rows, cols, out);
    case cpu::kFormatQ2_K:
      return pack_rows<cpu::kFormatQ2_K>(rows, cols, out);
    case cpu::kFormatQ3_K:
      return pack_rows<cpu::kFormatQ3_K>(rows, cols, out);
    case cpu::kFormatQ4_K:
      return pack_rows<cpu::kFormatQ4_K>(rows, cols, out);
    case cpu::kFormatQ5_K:
      return pack_rows<cpu::kFormatQ5_K>(rows, cols, out);
    case cpu::kFormatQ6_K:
      return pack_rows<cpu::kFormatQ6_K>(rows, cols, out);
    case cpu::kFormatIQ4_NL:
      return pack_rows<cpu::kFormatIQ4_NL>(rows, cols, out);
    case cpu::kFormatIQ4_XS:
      return pack_rows<cpu::kFormatIQ4_XS>(rows, cols, out);
    case cpu::kFormatMXFP4:
      return pack_rows<cpu::kFormatMXFP4>(rows, cols, out);
    case cpu::kFormatF32:
      return pack_floats<Words, uint32_t>(rows, cols, out);
    case cpu::kFormatF16:
    case cpu::kFormatBF16:
      return pack_floats<Halves, uint16_t>(rows, cols, out);
    case cpu::kFormatF8_E4M3:  // with its scales: pack_f8
    case cpu::kFormats:
      CHECK(false);
  }
}

/// Zeroes what belongs to the rows from `first` on in `count` arrays over the rows, whose elements
/// have `bytes` bytes; returns what lies behind them.
uint8_t* clear_lanes(uint8_t* arrays, int64_t count, int bytes, int64_t first) {
  for (int64_t i = 0; i < count; ++i, arrays += kPanelRows * bytes) {
    std::memset(arrays + first * bytes, 0, static_cast<size_t>((kPanelRows - first) * bytes));
  }
  return arrays;
}

void clear_rows(Format format, int64_t cols, int64_t first, uint8_t* out) {
  if (format == cpu::kFormatF8_E4M3) {
    for (int64_t begin = 0; begin < cols; begin += cpu::kF8Columns) {
      out = clear_lanes(out, 1, sizeof(float), first);
      out = clear_lanes(out, std::min<int64_t>(cpu::kF8Columns, cols - begin), 1, first);
    }
    return;
  }
  if (format >= cpu::kQuantFormats) {
    clear_lanes(out, cols, float_bytes(format), first);
    return;
  }
  const Shape shape = shape_of(format);
  const int unit = shape.super == 8 || format == cpu::kFormatMXFP4 ? 1 : 2;
  for (int64_t s = 0; s < cols / (32 * shape.super); ++s) {
    out = clear_lanes(out, shape.head_bytes / 32, 2, first);
    for (int b = 0; b < shape.super; ++b) {
      out = clear_lanes(out, shape.plane_bytes() / 64, 4, first);
      out = clear_lanes(out, shape.scale_bytes / unit, unit, first);
    }
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
    case DType::kF4_E2M1:
      return cpu::kFormatMXFP4;
    case DType::kF8_E4M3:
      return cpu::kFormatF8_E4M3;
    default:
      return cpu::kFormats;
  }
}

int64_t pack_panel_bytes(cpu::Format format, int64_t cols) {
  if (format == cpu::kFormatF8_E4M3) {
    return cols * kPanelRows + (cols + cpu::kF8Columns - 1) / cpu::kF8Columns * kF8ScaleBytes;
  }
  if (format >= cpu::kQuantFormats) return cols * kPanelRows * float_bytes(format);
  const Shape shape = shape_of(format);
  const int64_t supers = cols / (32 * shape.super);
  return supers * (shape.head_bytes + shape.super * shape.block_bytes());
}

void pack_panel(const TensorView& tensor, cpu::Format format, int64_t index, uint8_t* out) {
  const int64_t first = index * kPanelRows;
  const int64_t last = tensor.ne[1] - 1;
  DCHECK(first <= last);
  Rows rows;
  for (int64_t i = 0; i < kPanelRows; ++i) {
    rows.at[i] = reinterpret_cast<const uint8_t*>(tensor.row(row_of(tensor, index, i)));
  }
  if (tensor.type == DType::kF8_E4M3) {
    pack_f8(tensor, rows, index, out);
  } else if (tensor.type == DType::kF4_E2M1) {
    pack_f4(tensor, rows, index, out);
  } else {
    pack_any(rows, format, tensor.ne[0], out);
  }
  if (last - first + 1 < kPanelRows) clear_rows(format, tensor.ne[0], last - first + 1, out);
}

bool panel_has_nan(const TensorView& tensor, int64_t index) {
  if (tensor.type != DType::kF8_E4M3 && tensor.type != DType::kF4_E2M1) return false;
  const BlockScales& scales = tensor.scales;
  const int64_t end = std::min((index + 1) * kPanelRows, tensor.ne[1]);
  uint64_t nan = 0;
  for (int64_t row = index * kPanelRows; row < end; ++row) {
    for (int64_t begin = 0; scales.data != nullptr && begin < tensor.ne[0];
         begin += scales.columns) {
      if (!std::isfinite(scales.factor(row, begin / scales.columns))) return true;
    }
    if (tensor.type != DType::kF8_E4M3) continue;
    const std::byte* bytes = tensor.row(row);
    int64_t column = 0;
    for (; column + 8 <= tensor.ne[0]; column += 8) {
      // All lower seven bits set is NaN: one more carries into the eighth.
      const auto eight = load<uint64_t>(bytes + column);
      nan |= (eight & 0x7F7F7F7F7F7F7F7FU) + 0x0101010101010101U;
    }
    for (; column < tensor.ne[0]; ++column) {
      nan |= (static_cast<uint64_t>(bytes[column]) & 0x7F) + 1;
    }
  }
  return (nan & 0x8080808080808080U) != 0;
}

}  // namespace hadal
