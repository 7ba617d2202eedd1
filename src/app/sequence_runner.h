#pragma once
/// SequenceRunner: a model and one sequence, without an engine: logits, eval, bench.
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "model/model.h"

namespace hadal {

/// kCorrupt unless all are finite: damaged weights must not end as a figure.
Status check_numbers(std::span<const float> logits);

/// Borrows `model`. Not thread-safe.
class SequenceRunner {
 public:
  SequenceRunner(ForwardModel& model, int64_t n_ctx);

  /// Forgets the sequence.
  void clear() { length_ = 0; }
  int64_t length() const { return length_; }

  /// Appends `ids` (they must fit) and leaves the logits of the last one in `last` (n_vocab).
  Status append(std::span<const TokenId> ids, std::span<float> last);
  /// Appends `ids` and leaves the logits of all of them in `all` (ids.size() x n_vocab).
  Status append_all(std::span<const TokenId> ids, std::span<float> all);

 private:
  Batch batch_of(std::span<const TokenId> ids, bool all, bool last);

  ForwardModel& model_;
  int64_t n_ctx_;
  KvPool kv_;
  std::vector<PageId> pages_;
  int64_t length_ = 0;
};

}  // namespace hadal
