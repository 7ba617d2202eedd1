#include "model/check_batch.h"

#include <vector>

#include <fmt/format.h>

namespace hadal {
namespace {

Status check_row(const Batch& batch, size_t index, const KvPool& kv, int64_t n_vocab) {
  const BatchRow& row = batch.rows[index];
  if (row.token < 0 || row.token >= n_vocab) {
    return Error{Code::kInvalidArgument,
                 fmt::format("row {}: token {} is not in [0, {})", index, row.token, n_vocab)};
  }
  if (row.sequence < 0 || static_cast<size_t>(row.sequence) >= batch.sequences.size()) {
    return Error{Code::kInvalidArgument, fmt::format("row {}: sequence {} is not in [0, {})", index,
                                                     row.sequence, batch.sequences.size())};
  }
  const auto& pages = batch.sequences[static_cast<size_t>(row.sequence)].pages;
  const int64_t room = static_cast<int64_t>(pages.size()) * kv.page_tokens();
  if (row.position < 0 || row.position >= room) {
    return Error{Code::kInvalidArgument, fmt::format("row {}: position {} is not in [0, {}), the "
                                                     "pages of its sequence",
                                                     index, row.position, room)};
  }
  if (index > 0 && batch.rows[index - 1].sequence == row.sequence &&
      batch.rows[index - 1].position >= row.position) {
    return Error{Code::kInvalidArgument,
                 fmt::format("row {}: position {} does not follow {}", index, row.position,
                             batch.rows[index - 1].position)};
  }
  return {};
}

}  // namespace

Status check_batch(const Batch& batch, const KvPool& kv, const KvLayout& own, int64_t n_vocab,
                   size_t n_logits) {
  const KvLayout& layout = kv.layout();
  if (layout.n_layers != own.n_layers || layout.n_kv_heads != own.n_kv_heads ||
      layout.d_head != own.d_head || layout.values_in_keys != own.values_in_keys ||
      layout.extra_bytes != own.extra_bytes) {
    return Error{Code::kInvalidArgument, "the key/value pool was made for another model"};
  }
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    for (PageId page : batch.sequences[s].pages) {
      if (page < 0 || page >= kv.n_pages()) {
        return Error{Code::kInvalidArgument,
                     fmt::format("sequence {} names page {} of {}", s, page, kv.n_pages())};
      }
    }
  }
  size_t wanted = 0;
  std::vector<bool> seen(batch.sequences.size());
  for (size_t r = 0; r < batch.rows.size(); ++r) {
    TRY_STATUS(check_row(batch, r, kv, n_vocab));
    const size_t sequence = static_cast<size_t>(batch.rows[r].sequence);
    const bool continues = r > 0 && batch.rows[r - 1].sequence == batch.rows[r].sequence;
    if (seen[sequence] && !continues) {
      return Error{Code::kInvalidArgument,
                   fmt::format("row {}: the rows of sequence {} are not consecutive", r, sequence)};
    }
    seen[sequence] = true;
    wanted += batch.rows[r].wants_logits ? 1 : 0;
  }
  if (n_logits < wanted * static_cast<size_t>(n_vocab)) {
    return Error{Code::kInvalidArgument, fmt::format("room for {} logits, {} rows want {} each",
                                                     n_logits, wanted, n_vocab)};
  }
  return {};
}

}  // namespace hadal
