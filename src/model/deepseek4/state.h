#pragma once
/// What a V4 layer keeps of a token beside its window key, and where: compressed rows, keys of the
/// indexer, and what rows still to be made will be computed from. Everything of a token lies in the
/// page of that token (of a row: of the last token it stands for), so whatever starts with whole
/// pages can be continued, and a position computed again writes all of its own again.
#include <cstdint>
#include <vector>

#include "kernels/kv_pool.h"
#include "model/deepseek4/config.h"

namespace hadal::deepseek4 {

/// One kind of entries. In a page they lie in a row.
struct Part {
  int64_t offset = 0;  ///< bytes per token of the parts before
  int64_t bytes = 0;   ///< of one entry
  int64_t step = 1;    ///< tokens per entry
};

/// A compressor's inputs per token and its rows.
struct CompressedParts {
  Part values;
  Part gates;  ///< position bias included
  Part rows;
};

struct LayerState {
  CompressedParts attention;  ///< layers with a ratio
  CompressedParts index;      ///< layers with kSparseRatio
};

class StateLayout {
 public:
  /// Inputs and rows are stored as `type`, keys of the indexer in 16 bits (index_key.h).
  /// `predicts`: there is one more layer, and all streams of a token are kept for it.
  StateLayout(const Config& config, KvType type, bool predicts);

  const LayerState& layer(int64_t index) const { return layers_[static_cast<size_t>(index)]; }
  /// A token's streams behind the last layer.
  const Part& streams() const { return streams_; }
  /// Of KvLayout::extra_bytes.
  int64_t bytes_per_token() const { return bytes_; }

  /// The entry that `position` belongs to.
  static std::byte* at(KvPool& kv, const KvSequence& sequence, const Part& part, int64_t position) {
    const int64_t tokens = kv.page_tokens();
    const PageId page = sequence.pages[static_cast<size_t>(position / tokens)];
    return kv.extra(page) + tokens * part.offset + position % tokens / part.step * part.bytes;
  }

 private:
  Part add(int64_t bytes, int64_t step);

  std::vector<LayerState> layers_;
  Part streams_;
  int64_t bytes_ = 0;
};

}  // namespace hadal::deepseek4
