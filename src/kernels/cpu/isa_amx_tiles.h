// The tile registers of AMX: eight of up to 16 rows of 64 bytes. Included inside
// hadal::isa_amx::(anonymous).
//
// A product adds x (one row per column of the matrix product, kDepth signed bytes each) times codes
// (kDepth / 4 rows; each of the 16 words of a row has 4 columns of one output, unsigned) to sums
// (one row of 16 words per row of x).

enum TileName { kTileSums, kTileX, kTileCodes, kTilesUsed };

/// What the processor reads when tiles are set up.
struct alignas(64) TileShapes {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  TileShapes(int columns, int depth) {
    set(kTileSums, columns, 64);
    set(kTileX, columns, depth);
    set(kTileCodes, depth / 4, 64);
  }
  HADAL_INLINE void set(TileName tile, int its_rows, int its_row_bytes) {
    rows[tile] = static_cast<uint8_t>(its_rows);
    row_bytes[tile] = static_cast<uint16_t>(its_row_bytes);
  }
};
static_assert(sizeof(TileShapes) == 64);

#ifndef HADAL_STAND_IN

/// This thread's tiles, from the constructor to release(). Assembly, because the compilers'
/// intrinsics want literal numbers, and some versions' do not say that they read memory.
class Tiles {
 public:
  explicit HADAL_INLINE Tiles(const TileShapes& shapes) {
    __asm__ volatile("ldtilecfg (%0)" : : "r"(&shapes) : "memory");
  }
  HADAL_INLINE void release() { __asm__ volatile("tilerelease"); }
  template <TileName kTile>
  HADAL_INLINE void clear() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  template <TileName kTile>
  HADAL_INLINE void load(const uint8_t* p, int64_t stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2"
                     :
                     : "r"(p), "r"(stride), "i"(kTile)
                     : "memory");
  }
  template <TileName kTile>
  HADAL_INLINE void store(int32_t* p, int64_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)"
                     :
                     : "r"(p), "r"(stride), "i"(kTile)
                     : "memory");
  }
  /// sums += signed x * unsigned codes.
  HADAL_INLINE void multiply() {
    __asm__ volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0"
                     :
                     : "i"(kTileSums), "i"(kTileX), "i"(kTileCodes));
  }
};

#else

/// The same as the manual describes it, for tests on processors without AMX.
class Tiles {
 public:
  explicit Tiles(const TileShapes& shapes) : shapes_(shapes) {
    bool valid = shapes.palette == 1 && shapes.start_row == 0;
    for (const uint8_t byte : shapes.reserved) valid &= byte == 0;
    for (int i = 0; i < 16; ++i) {
      valid &= shapes.rows[i] <= 16 && shapes.row_bytes[i] <= 64;
      valid &= (shapes.rows[i] == 0) == (shapes.row_bytes[i] == 0);
      valid &= i < 8 || shapes.rows[i] == 0;
    }
    if (!valid) __builtin_trap();
  }
  void release() {}
  template <TileName kTile>
  void clear() {
    __builtin_memset(data_[kTile], 0, sizeof(data_[kTile]));
  }
  template <TileName kTile>
  void load(const uint8_t* p, int64_t stride) {
    clear<kTile>();
    for (int r = 0; r < shapes_.rows[kTile]; ++r) {
      __builtin_memcpy(data_[kTile][r], p + r * stride, shapes_.row_bytes[kTile]);
    }
  }
  template <TileName kTile>
  void store(int32_t* p, int64_t stride) {
    auto* out = reinterpret_cast<uint8_t*>(p);
    for (int r = 0; r < shapes_.rows[kTile]; ++r) {
      __builtin_memcpy(out + r * stride, data_[kTile][r], shapes_.row_bytes[kTile]);
    }
  }
  void multiply() {
    const int words = shapes_.row_bytes[kTileX] / 4;
    const bool valid = shapes_.rows[kTileSums] == shapes_.rows[kTileX] &&
                       shapes_.rows[kTileCodes] == words && shapes_.row_bytes[kTileX] % 4 == 0 &&
                       shapes_.row_bytes[kTileCodes] == shapes_.row_bytes[kTileSums];
    if (!valid) __builtin_trap();
    for (int r = 0; r < shapes_.rows[kTileX]; ++r) {
      int32_t sums[16];
      __builtin_memcpy(sums, data_[kTileSums][r], 64);
      for (int k = 0; k < 4 * words; ++k) {
        const int x = static_cast<int8_t>(data_[kTileX][r][k]);
        for (int i = 0; i < 16; ++i) sums[i] += x * data_[kTileCodes][k / 4][4 * i + k % 4];
      }
      __builtin_memcpy(data_[kTileSums][r], sums, 64);
    }
  }

 private:
  const TileShapes& shapes_;
  uint8_t data_[kTilesUsed][16][64];
};

#endif
