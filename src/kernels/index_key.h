#pragma once
/// A stored key of the indexer (indexer.h): 16 bits per column with one unit per key, in two
/// planes, so that an 8-bit product reads the first plane and nothing else.
///
///   IndexKeyHead  16 bytes
///   high          signed bytes [w]
///   low           signed bytes [w]
///
/// with w = columns rounded up to 32; column c is unit * (256 * high[c] + low[c]). The vector that
/// is stored is the key turned by index_turn(), which no product of two turned vectors notices and
/// which spreads large columns over all: the unit follows the largest column.
///
/// A key that holds infinities or NaN, or nothing of 2^-100 or above, is stored as zeros, so scores
/// are numbers whatever was stored.
#include <cstddef>
#include <cstdint>

namespace hadal {

struct IndexKeyHead {
  float unit;
  int32_t start;  ///< -128 * sum of `high`: what products with codes biased by 128 have too much
  float error;    ///< at least the Euclidean norm of unit * low
  float norm;     ///< at least the norm of the stored vector
};
static_assert(sizeof(IndexKeyHead) == 16);

/// Bytes of a key of w columns.
constexpr int64_t index_key_bytes(int64_t w) {
  return static_cast<int64_t>(sizeof(IndexKeyHead)) + 2 * w;
}
IndexKeyHead index_key_head(const std::byte* key);

/// Multiplies each piece of x by the orthonormal Sylvester-Hadamard matrix; a piece is as long as
/// the largest power of two that divides w. REQUIRES: w divisible by 32.
void index_turn(float* x, int64_t w);

/// Stores the turned vector x of w columns. The same bits on every machine.
void index_store(const float* x, int64_t w, std::byte* key);

}  // namespace hadal
