#pragma once
/// The table of functions that one instruction set offers. Plain types only: the ISA files include
/// this header, and nothing in it may emit code.
///
/// Weights lie in panels of 16 rows (kPanelRows). A panel of a quantised format is a row of blocks
/// of 32 columns (8 blocks with a common head for the 256-column formats); inside a block the codes
/// of 4 neighbouring columns of one row fill 32 bits, so one 64-byte vector holds 4 columns of 16
/// rows and each lane sums one output. pack.h describes the planes.
///
/// The arithmetic of a quantised product, the same in every function and instruction set, so that a
/// result never depends on which of them computed it. Codes are unsigned; a signed format has a
/// bias, others a minimum. With S = sum of code * x_int (activations of 16 bits) or, for signed
/// formats and 8 bits, sum of (code - bias) * x_int, an output adds group after group of the blocks
/// that share scale_x. A group's units are its blocks, or their halves where each has its scale:
///   one unit:     acc = fma(float(S), scale * scale_x, acc)
///   n units:      t = float(S1) * scale1; t = fma(float(Si), scalei, t), i = 2..n;
///                 acc = fma(t, scale_x, acc)
///   each offset:  acc = fma(-offset, scale_x * sum of the unit's x_int, acc)
/// where offset is the minimum, or bias * scale where S has the plain codes; else the line is left
/// out.
#include <stddef.h>
#include <stdint.h>

namespace hadal::cpu {

inline constexpr int kPanelRows = 16;
inline constexpr int kBlockColumns = 32;
/// Activations of 8 bits share a scale by so many blocks (those of 16 bits: each has its own).
inline constexpr int kGroup8 = 2;
/// Columns of a panel of FP8 under one scale per row.
inline constexpr int kF8Columns = 128;
inline constexpr int kKeyTile = 128;  ///< positions per attention tile
inline constexpr int kKvBlock = 16;   ///< positions per block of keys or values

enum Format : int {
  kFormatQ4_0,
  kFormatQ4_1,
  kFormatQ5_0,
  kFormatQ5_1,
  kFormatQ8_0,
  kFormatQ2_K,
  kFormatQ3_K,
  kFormatQ4_K,
  kFormatQ5_K,
  kFormatQ6_K,
  kFormatIQ4_NL,
  kFormatIQ4_XS,
  kFormatMXFP4,
  kQuantFormats,
  kFormatF32 = kQuantFormats,
  kFormatF16,
  kFormatBF16,
  kFormatF8_E4M3,
  kFormats
};

/// How many bits an activation is rounded to.
enum Activation : int { kActivation8, kActivation16, kActivations };

/// Rounded activations of some columns (tokens): per block of 32 values QuantOps::block_bytes, in
/// the instruction set's own order.
struct QuantInput {
  const uint8_t* blocks;
  int64_t stride;  ///< bytes per column
};

struct FloatInput {
  const float* x;
  int64_t stride;  ///< floats per column
};

/// How keys and values are stored, in the order of KvType. kv_pool.h describes the blocks.
/// kKvIndex: a key of the indexer (index_key.h), known to unpack_records alone.
enum Kv : int { kKvF32, kKvF16, kKvQ8_0, kKvBF16, kKvIndex };

/// One tile of attention: `n` queries of one KV group against up to kKeyTile positions.
struct AttentionTile {
  int kv;
  int64_t n;
  int64_t d_pad;           ///< d_head rounded up to 32
  const uint8_t* queries;  ///< n x query_bytes, by prepare_query
  /// Blocks of 16 positions. All can be read; what lies beyond `visible` does not count.
  const uint8_t* keys[kKeyTile / kKvBlock];
  const uint8_t* values[kKeyTile / kKvBlock];
  /// Blocks of the next tile, to be fetched ahead; the first one null: there is none.
  const uint8_t* next_keys[kKeyTile / kKvBlock];
  const int32_t* visible;  ///< per query: how many positions of the tile it may see, 0..kKeyTile
  float* work;             ///< scratch, attention_work_floats(n)
  float* maximum;          ///< n, running; starts at -inf
  float* sum;              ///< n, running; starts at 0
  float* mix;              ///< n x d_pad, running; starts at 0
};

/// One tile of attention over keys and values as floats: `n` queries, all heads of one KV head, or
/// of one head whose keys and values were computed.
struct LatentTile {
  int64_t n;
  int64_t d_key;         ///< a multiple of 32
  int64_t d_value;       ///< a multiple of 32
  const float* queries;  ///< [n / 16, rounded up][d_key][16 queries], scaled
  /// Of up to kKeyTile positions, a row each; whole blocks can be read. Values may lie in the keys.
  const float* keys;
  const float* values;
  int64_t stride;  ///< floats from one position's to the next
  bool fresh;      ///< `mix` holds nothing yet; it is written when any query sees a position
  /// As in AttentionTile; `mix` is n x d_value.
  const int32_t* visible;
  float* work;
  float* maximum;
  float* sum;
  float* mix;
};

/// One row's queries of the indexer, of 8 bits.
struct IndexQueries {
  const uint8_t* codes;  ///< by pack_index_queries
  const float*
      weights;     ///< panels x 16, each query's unit in its head's weight; 0 beyond the heads
  int64_t panels;  ///< of 16 heads
  int64_t blocks;  ///< of 32 columns
};

/// Products of quantised weights with activations of one kind. A tile's column c has its results of
/// panel p at out + (c * panels + p) * 16.
struct QuantOps {
  int64_t block_bytes;  ///< of QuantInput
  /// Whole groups, or what is left of a row.
  void (*quantize)(const float* x, int64_t blocks, uint8_t* out);
  int direct_columns;  ///< up to here `direct` is the faster way
  /// Few columns, straight from the packed panel: column c's results at out + 16 * c.
  void (*direct)(int format, const uint8_t* panel, int64_t blocks, const QuantInput& x, int columns,
                 float* out);
  /// Bytes per block of the unpacked form, and the conversion into it.
  int64_t (*unpacked_block_bytes)(int format);
  void (*unpack)(int format, const uint8_t* panel, int64_t blocks, uint8_t* unpacked);
  int tile_panels;  ///< most panels of one quant_tile call
  int tile_columns;
  /// Adds the blocks' contributions to `out`.
  void (*quant_tile)(int format, const uint8_t* unpacked, int64_t panel_stride, int panels,
                     int64_t blocks, const QuantInput& x, int columns, float* out);
};

struct Ops {
  QuantOps quant[kActivations];
  int float_panels;
  int float_columns;
  void (*float_tile)(int format, const uint8_t* packed, int64_t panel_stride, int panels,
                     int64_t depth, const FloatInput& x, int columns, float* out);

  // Attention. `kv` is a Kv; rows have d_pad floats, zero beyond the head's width.
  int64_t (*query_bytes)(int kv, int64_t d_pad);
  void (*prepare_query)(int kv, const float* q, int64_t d_pad, float scale, uint8_t* out);
  int64_t (*attention_work_floats)(int64_t n);
  void (*attention_tile)(const AttentionTile& tile);
  /// Writes position `slot` of a block.
  void (*store_key)(int kv, const float* k, int64_t d_pad, int slot, uint8_t* block);
  void (*store_value)(int kv, const float* v, int64_t d_pad, int slot, uint8_t* block);

  // Attention over records of positions (kv_pool.h, values_in_keys).
  void (*store_record)(int kv, const float* x, int64_t d_pad, uint8_t* record);
  void (*read_record)(int kv, const uint8_t* record, int64_t d_pad, float* x);
  /// 16 records side by side: [d_pad][16].
  void (*unpack_records)(int kv, const uint8_t* const* records, int64_t d_pad, float* out);
  void (*latent_tile)(const LatentTile& tile);
  /// out[p] = sum over heads of weight[h] * relu(q[h] . key p) for the first `positions` of a tile,
  /// rounded up to blocks. q: heads x d_pad; keys: [kKeyTile / 16][d_pad][16 positions]; work:
  /// heads x kKeyTile.
  void (*index_tile)(const float* q, const float* weights, int64_t heads, int64_t d_pad,
                     const float* keys, int positions, float* work, float* out);
  /// Queries of the indexer as its products want them, index_block_bytes per panel and 32 columns.
  /// codes: [panel and block][8 groups][16 heads][4 columns], biased by 128.
  int64_t index_block_bytes;
  void (*pack_index_queries)(const uint8_t* codes, int64_t panel_blocks, uint8_t* out);
  /// out[i] = 256 * unit_i * sum over heads of weight[h] * relu(q[h] . high of key i), the product
  /// an integer. Sums of floats: lane h % 16 adds head after head by fma, then lanes i and i + 8,
  /// i + 4, 2, 1.
  void (*index_estimates)(const IndexQueries& q, const uint8_t* const* keys, int64_t n, float* out);

  // Element-wise, one row each.
  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t n, float* out);
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps, int64_t n,
                     float* out);
  void (*gelu)(float* x, int64_t n);
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* out);
  void (*add)(float* x, const float* y, int64_t n);
  int64_t (*arg_max)(const float* x, int64_t n);
  /// One row's heads; cosine and sine hold `pairs` values each.
  void (*rope)(const float* cosine, const float* sine, int64_t pairs, int half_split, float* x,
               int64_t n_heads, int64_t d_head);

  /// For measuring: runs the 8-bit dot product on registers, returns the multiply-adds done.
  int64_t (*dot_chains)(int64_t rounds);
};

}  // namespace hadal::cpu

namespace hadal::isa_avx2 {
extern const cpu::Ops kOps;
}
namespace hadal::isa_avxvnni {
extern const cpu::Ops kOps;
}
namespace hadal::isa_avxvnni_stand_in {  // of the tests
extern const cpu::Ops kOps;
}
namespace hadal::isa_avx512 {
extern const cpu::Ops kOps;
}
// AVX-512's table with AMX in it. A function: what runs when the program starts must not need them.
namespace hadal::isa_amx {
cpu::Ops ops();
}
namespace hadal::isa_amx_stand_in {  // of the tests
cpu::Ops ops();
}
namespace hadal::isa_neon_dot {
extern const cpu::Ops kOps;
}
namespace hadal::isa_neon_i8mm {
extern const cpu::Ops kOps;
}
