#pragma once
/// Compressed rows: a weighted mean of what each of `ratio` tokens gives, the weights a softmax
/// over the tokens for each channel apart, normed and rotated as if at the first token's position.
/// Rows of kSparseRatio overlap: each also takes the tokens of the window before, of which other
/// channels count.
#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "kernels/attention.h"
#include "kernels/kv_pool.h"
#include "kernels/rope.h"
#include "model/deepseek4/state.h"

namespace hadal::deepseek4 {

struct Compressor {
  CompressedParts parts;
  KvType input_type = KvType::kF32;
  KvType row_type = KvType::kF32;
  bool index_keys = false;  ///< rows are stored as keys of the indexer instead
  int64_t width = 0;        ///< of a row
  int64_t ratio = 0;
  std::span<const float> position_bias;  ///< ratio x channels()
  std::span<const float> norm;           ///< width
  float rms_eps = 0;
  const RopeTable* rope = nullptr;  ///< turns the last columns

  /// Per token: its part in this window's row, behind its part in the next one's if rows overlap.
  int64_t channels() const { return ratio == kSparseRatio ? 2 * width : width; }
  /// Rows that a token at `position` may see: those of windows that end with it or before.
  static int64_t visible(int64_t position, int64_t ratio) { return (position + 1) / ratio; }
};

/// Keeps the rows' inputs (packed, channels() each; the bias is added to the gates here), then
/// makes the compressed rows of the windows that end in this batch.
void compress(KvPool& kv, const Compressor& compressor, const AttentionRows& rows,
              const float* values, const float* gates, ThreadPool& pool);

}  // namespace hadal::deepseek4
