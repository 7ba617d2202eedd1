#include "engine/sample/select.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace hadal {
namespace {

constexpr size_t kHeapMax = 512;  // above this, nth_element over a copy beats a heap
constexpr float kBanned = -std::numeric_limits<float>::infinity();

/// The k best of the row in `heap`, worst on top. A row in no special order makes about
/// k ln(n / k) insertions, so the scan is one predictable compare per logit.
void heap_top_k(std::span<const float> logits, size_t k, std::vector<Candidate>& heap) {
  float worst = kBanned;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] > worst)) continue;  // on a tie the earlier id is better
    const Candidate candidate{logits[i], 0, static_cast<TokenId>(i)};
    if (heap.size() == k) {
      std::pop_heap(heap.begin(), heap.end(), better);
      heap.back() = candidate;
    } else {
      heap.push_back(candidate);
    }
    std::push_heap(heap.begin(), heap.end(), better);
    if (heap.size() == k) worst = heap.front().logit;
  }
}

Candidate median_of_three(std::span<const Candidate> items) {
  Candidate a = items.front();
  Candidate b = items[items.size() / 2];
  Candidate c = items.back();
  if (better(b, a)) std::swap(a, b);
  if (better(c, b)) std::swap(b, c);
  return better(b, a) ? a : b;
}

/// The worst member of the prefix: quickselect, where the rank wanted is a sum of weights.
Candidate nucleus_edge(double target, std::span<Candidate> items) {
  double taken = 0;  // weight of everything better than `items`
  for (;;) {
    const Candidate pivot = median_of_three(items);
    const auto middle = std::partition(items.begin(), items.end(),
                                       [&](const Candidate& c) { return better(c, pivot); });
    double sum = 0;
    for (auto it = items.begin(); it != middle; ++it) sum += it->weight;
    if (middle != items.begin() && taken + sum >= target) {
      items = items.first(static_cast<size_t>(middle - items.begin()));
      continue;
    }
    taken += sum + pivot.weight;
    const auto rest =
        std::partition(middle, items.end(), [&](const Candidate& c) { return c.id == pivot.id; });
    if (taken >= target || rest == items.end()) return pivot;
    items = items.subspan(static_cast<size_t>(rest - items.begin()));
  }
}

}  // namespace

void select_top_k(std::span<const float> logits, size_t k, std::vector<Candidate>& scratch,
                  std::vector<Candidate>& out) {
  CHECK(k > 0);
  out.clear();
  if (k <= kHeapMax) {
    heap_top_k(logits, k, out);
    std::sort(out.begin(), out.end(),
              [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
    return;
  }
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > kBanned) out.push_back({logits[i], 0, static_cast<TokenId>(i)});
  }
  if (out.size() <= k) return;
  scratch = out;
  const auto nth = scratch.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(scratch.begin(), nth, scratch.end(), better);
  const Candidate edge = *nth;
  std::erase_if(out, [&](const Candidate& c) { return better(edge, c); });
}

void keep_nucleus(double target, std::vector<Candidate>& scratch, std::vector<Candidate>& items) {
  CHECK(!items.empty());
  scratch = items;
  const Candidate edge = nucleus_edge(target, scratch);
  std::erase_if(items, [&](const Candidate& c) { return better(edge, c); });
}

}  // namespace hadal
