#include "app/sequence_runner.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace hadal {
namespace {

constexpr int64_t kPageTokens = 64;
/// Rows per forward pass: enough for full speed, few enough for small activations.
constexpr size_t kStepRows = 512;

int64_t page_count(int64_t n_ctx) {
  return (n_ctx + kPageTokens - 1) / kPageTokens;
}

}  // namespace

Status check_numbers(std::span<const float> logits) {
  if (std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); })) {
    return {};
  }
  return Error{Code::kCorrupt, "the model computed logits that are not numbers",
               "the file may be damaged; compare its hash (hadal show) with the publisher's"};
}

SequenceRunner::SequenceRunner(ForwardModel& model, int64_t n_ctx)
    : model_(model),
      n_ctx_(n_ctx),
      kv_(model.kv_layout(), kPageTokens, page_count(n_ctx)),
      pages_(static_cast<size_t>(page_count(n_ctx))) {
  std::iota(pages_.begin(), pages_.end(), 0);
}

Batch SequenceRunner::batch_of(std::span<const TokenId> ids, bool all, bool last) {
  CHECK(length_ + static_cast<int64_t>(ids.size()) <= n_ctx_);
  Batch batch;
  batch.sequences.push_back(KvSequence{pages_});
  batch.rows.reserve(ids.size());
  for (const TokenId id : ids) {
    batch.rows.push_back(
        {.token = id, .position = static_cast<int32_t>(length_++), .wants_logits = all});
  }
  if (last) batch.rows.back().wants_logits = true;
  return batch;
}

Status SequenceRunner::append(std::span<const TokenId> ids, std::span<float> last) {
  while (!ids.empty()) {
    const auto step = ids.first(std::min(kStepRows, ids.size()));
    ids = ids.subspan(step.size());
    const bool at_end = ids.empty();
    TRY_STATUS(
        model_.forward(batch_of(step, false, at_end), kv_, at_end ? last : std::span<float>{}));
  }
  return check_numbers(last);
}

Status SequenceRunner::append_all(std::span<const TokenId> ids, std::span<float> all) {
  const auto n_vocab = static_cast<size_t>(model_.n_vocab());
  CHECK(all.size() == ids.size() * n_vocab);
  for (size_t begin = 0; begin < ids.size(); begin += kStepRows) {
    const auto step = ids.subspan(begin, std::min(kStepRows, ids.size() - begin));
    const auto out = all.subspan(begin * n_vocab, step.size() * n_vocab);
    TRY_STATUS(model_.forward(batch_of(step, true, false), kv_, out));
    TRY_STATUS(check_numbers(out));
  }
  return {};
}

}  // namespace hadal
