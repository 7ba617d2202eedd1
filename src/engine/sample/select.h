#pragma once
/// Partial selection: the edge of the k best tokens, and of the smallest best set that reaches a
/// probability, without sorting a row. "Better" is a total order: higher logit, then lower id.
#include <cstddef>
#include <span>
#include <vector>

#include "engine/sampling.h"

namespace hadal {

inline bool better(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/// Fills `out` with the k best tokens of the row in rising id order, weights 0; -inf is never
/// taken. `scratch` is overwritten. O(n) expected.
void select_top_k(std::span<const float> logits, size_t k, std::vector<Candidate>& scratch,
                  std::vector<Candidate>& out);

/// Cuts `items` to its smallest best-first prefix whose weights add up to `target` (all of them
/// when they do not reach it), at least one. Keeps the order of `items`. O(n) expected.
void keep_nucleus(double target, std::vector<Candidate>& scratch, std::vector<Candidate>& items);

}  // namespace hadal
