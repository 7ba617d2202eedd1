#include "engine/schedule/queue.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/check.h"

namespace hadal {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
constexpr uint64_t kOverdueTurn = 4;  ///< every so many places one goes to the oldest overdue
constexpr int64_t kPaceWeight = 8;    ///< a departure counts 1/8 of the pace

int64_t tokens_asked(const Row& row) {
  return static_cast<int64_t>(row.request.prompt.size()) + row.max_output;
}

/// `at` + `wait` without overflow; a wait of 0 never ends.
int64_t deadline_after(int64_t at, int64_t wait) {
  return wait == 0 || wait > kNever - at ? kNever : at + wait;
}

}  // namespace

WaitQueue::WaitQueue(const EngineOptions& options)
    : capacity_(static_cast<size_t>(options.max_queue)),
      max_wait_micros_(options.max_queue_micros),
      age_micros_(options.age_micros),
      next_deadline_(kNever),
      deadline_max_(kNever) {}

bool WaitQueue::Tenant::idle() const {
  for (size_t rank = 0; rank < kPriorities; ++rank) {
    if (waiting[rank] > 0 || running[rank] > 0) return false;
  }
  return true;
}

void WaitQueue::push(std::unique_ptr<Row> row, int64_t now_micros) {
  CHECK(!full());
  if (entries_.empty()) last_departure_ = now_micros;
  const GenerateRequest& request = row->request;
  const int64_t wait = request.max_queue_micros > 0 ? request.max_queue_micros : max_wait_micros_;
  const auto asked = static_cast<Rank>(request.priority);
  Entry entry = {.row = {},
                 .tenant = tenants_.try_emplace(request.tenant).first,
                 .asked = asked,
                 .rank = asked,
                 .deadline = std::min(deadline_after(now_micros, wait), deadline_max_)};
  enter(entry.tenant->second, asked);
  ++size_by_class_[asked];
  next_deadline_ = std::min(next_deadline_, entry.deadline);
  entry.row = std::move(row);
  entries_.push_back(std::move(entry));
}

/// Whoever has nothing in a class starts level with those who wait there.
void WaitQueue::enter(Tenant& tenant, Rank rank) {
  if (tenant.waiting[rank] == 0 && tenant.running[rank] == 0) {
    int64_t level = kNever;
    for (const auto& [name, other] : tenants_) {
      if (other.waiting[rank] > 0) level = std::min(level, other.served[rank]);
    }
    if (level == kNever) level = clock_[rank];
    tenant.served[rank] = std::max(tenant.served[rank], level);
  }
  ++tenant.waiting[rank];
}

void WaitQueue::age(int64_t now_micros) {
  for (Entry& entry : entries_) {
    const auto rank = static_cast<Rank>(entry.row->urgency(now_micros, age_micros_));
    if (rank == entry.rank) continue;
    Tenant& tenant = entry.tenant->second;
    --tenant.waiting[entry.rank];
    enter(tenant, rank);
    entry.rank = rank;
  }
}

bool WaitQueue::overdue(const Entry& entry, int64_t now_micros) const {
  return entry.row->waited(now_micros) / age_micros_ > static_cast<int64_t>(entry.asked);
}

size_t WaitQueue::choose(int64_t now_micros) {
  ++places_given_;
  if (places_given_ % kOverdueTurn == 0) {
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (overdue(entries_[i], now_micros)) return i;
    }
  }
  const auto place = [&](size_t i) {
    const Entry& entry = entries_[i];
    return std::pair(entry.rank, entry.tenant->second.served[entry.rank]);
  };
  size_t best = 0;
  for (size_t i = 1; i < entries_.size(); ++i) {
    if (place(i) < place(best)) best = i;
  }
  return best;
}

std::unique_ptr<Row> WaitQueue::pop(int64_t now_micros) {
  if (entries_.empty()) return nullptr;
  age(now_micros);
  note_departure(now_micros);
  Entry entry = take(choose(now_micros));
  Tenant& tenant = entry.tenant->second;
  const int64_t tokens = tokens_asked(*entry.row);
  clock_[entry.rank] = std::max(clock_[entry.rank], tenant.served[entry.rank]);
  tenant.served[entry.rank] += tokens;
  ++tenant.running[entry.rank];
  running_.emplace(entry.row->id, Charge{entry.tenant, entry.rank, tokens});
  return std::move(entry.row);
}

WaitQueue::Entry WaitQueue::take(size_t index) {
  Entry entry = std::move(entries_[index]);
  entries_.erase(entries_.begin() + static_cast<ptrdiff_t>(index));
  --entry.tenant->second.waiting[entry.rank];
  --size_by_class_[entry.asked];
  return entry;
}

std::unique_ptr<Row> WaitQueue::remove(RequestId id) {
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].row->id != id) continue;
    Entry entry = take(i);
    forget_idle(entry.tenant);
    return std::move(entry.row);
  }
  return nullptr;
}

std::unique_ptr<Row> WaitQueue::remove_oldest() {
  return entries_.empty() ? nullptr : remove(entries_.front().row->id);
}

std::unique_ptr<Row> WaitQueue::pop_expired(int64_t now_micros) {
  if (now_micros < next_deadline_) return nullptr;
  next_deadline_ = kNever;
  for (const Entry& entry : entries_) {
    if (entry.deadline <= now_micros) {
      next_deadline_ = now_micros;  // there may be more
      return remove(entry.row->id);
    }
    next_deadline_ = std::min(next_deadline_, entry.deadline);
  }
  return nullptr;
}

void WaitQueue::limit_waits(int64_t deadline_micros) {
  deadline_max_ = std::min(deadline_max_, deadline_micros);
  for (Entry& entry : entries_) entry.deadline = std::min(entry.deadline, deadline_max_);
  if (!entries_.empty()) next_deadline_ = std::min(next_deadline_, deadline_max_);
}

void WaitQueue::settle(RequestId id, int64_t tokens) {
  const auto found = running_.find(id);
  CHECK(found != running_.end());
  const Charge charge = found->second;
  running_.erase(found);
  Tenant& tenant = charge.tenant->second;
  tenant.served[charge.rank] += tokens - charge.tokens;
  --tenant.running[charge.rank];
  forget_idle(charge.tenant);
}

void WaitQueue::forget_idle(Tenants::iterator tenant) {
  if (tenant->second.idle()) tenants_.erase(tenant);
}

void WaitQueue::note_departure(int64_t now_micros) {
  const int64_t gap = now_micros - std::exchange(last_departure_, now_micros);
  pace_micros_ = pace_micros_ < 0 ? gap : pace_micros_ + (gap - pace_micros_) / kPaceWeight;
}

int64_t WaitQueue::wait_estimate(int64_t now_micros) const {
  if (entries_.empty()) return 0;
  // When nobody left for longer than usual, that is the pace now.
  const int64_t pace = std::max(pace_micros_, now_micros - last_departure_);
  return pace * static_cast<int64_t>(entries_.size() + 1);
}

void WaitQueue::check_integrity() const {
  CHECK(entries_.size() <= capacity_);
  std::map<const Tenant*, Tenant> expected;
  std::array<int, kPriorities> by_class = {};
  for (const Entry& entry : entries_) {
    CHECK(entry.rank <= entry.asked && entry.deadline >= next_deadline_);
    ++expected[&entry.tenant->second].waiting[entry.rank];
    ++by_class[entry.asked];
  }
  for (const auto& [id, charge] : running_) {
    ++expected[&charge.tenant->second].running[charge.rank];
  }
  CHECK(by_class == size_by_class_);
  CHECK(expected.size() == tenants_.size());
  for (const auto& [tenant, counts] : expected) {
    CHECK(tenant->waiting == counts.waiting && tenant->running == counts.running);
  }
}

}  // namespace hadal
