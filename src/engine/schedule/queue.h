#pragma once
/// WaitQueue: who comes next.
///
/// 1. Classes: the most urgent class first. A request rises one class for every `age_micros` that
///    it waits. Once it has waited that long in the most urgent class it is overdue, and every
///    fourth place goes to the oldest overdue request: so nobody starves, and a flood of old
///    requests does not lock the others out.
/// 2. Inside a class tenants share alike: start-time fair queueing (Goyal, Vin, Cheng 1996) over
///    tokens asked, corrected by the tokens used when a request ends, as the virtual token counter
///    does (Sheng et al. 2024, 2401.00588). A tenant that comes back gets no credit for its
///    absence.
/// 3. Inside a tenant the oldest first.
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/engine.h"
#include "engine/schedule/row.h"

namespace hadal {

/// Not thread-safe; the inbox uses it under its mutex. Times in microseconds of one clock.
class WaitQueue {
 public:
  explicit WaitQueue(const EngineOptions& options);

  bool full() const { return entries_.size() >= capacity_; }
  size_t size() const { return entries_.size(); }
  const std::array<int, kPriorities>& size_by_class() const { return size_by_class_; }
  /// Tenants that wait or run; the others are forgotten.
  size_t tenants() const { return tenants_.size(); }

  /// REQUIRES: !full().
  void push(std::unique_ptr<Row> row, int64_t now_micros);
  /// The next request, or null. It counts as running until settle().
  std::unique_ptr<Row> pop(int64_t now_micros);
  /// The waiting request `id`, or null. It is done with: no settle().
  std::unique_ptr<Row> remove(RequestId id);
  std::unique_ptr<Row> remove_oldest();
  /// A request that has waited longer than it may, or null. Call until null.
  std::unique_ptr<Row> pop_expired(int64_t now_micros);
  /// A request that pop() gave has ended, having used `tokens` (prompt and output).
  void settle(RequestId id, int64_t tokens);

  /// Nobody waits beyond `deadline_micros` from now on.
  void limit_waits(int64_t deadline_micros);

  /// How long a request that comes now would wait, from the pace at which requests left the queue.
  int64_t wait_estimate(int64_t now_micros) const;

  void check_integrity() const;

 private:
  using Rank = size_t;  ///< 0: most urgent

  /// A tenant's account. `served` is its virtual time: tokens that it was served, per class.
  struct Tenant {
    std::array<int64_t, kPriorities> served = {};
    std::array<int, kPriorities> waiting = {};
    std::array<int, kPriorities> running = {};
    bool idle() const;
  };
  using Tenants = std::map<std::string, Tenant, std::less<>>;

  struct Entry {
    std::unique_ptr<Row> row;
    Tenants::iterator tenant;
    Rank asked;
    Rank rank;  ///< after rising
    int64_t deadline;
  };
  struct Charge {
    Tenants::iterator tenant;
    Rank rank;
    int64_t tokens;
  };

  void age(int64_t now_micros);
  void enter(Tenant& tenant, Rank rank);
  size_t choose(int64_t now_micros);
  Entry take(size_t index);
  void forget_idle(Tenants::iterator tenant);
  void note_departure(int64_t now_micros);
  bool overdue(const Entry& entry, int64_t now_micros) const;

  const size_t capacity_;
  const int64_t max_wait_micros_;
  const int64_t age_micros_;
  std::vector<Entry> entries_;  ///< oldest first
  std::array<int, kPriorities> size_by_class_ = {};
  Tenants tenants_;
  std::unordered_map<RequestId, Charge> running_;
  /// Per class: the virtual time at which the last request was taken.
  std::array<int64_t, kPriorities> clock_ = {};
  int64_t next_deadline_;
  int64_t deadline_max_;
  uint64_t places_given_ = 0;
  int64_t pace_micros_ = -1;    ///< mean time between departures while others wait; -1: none yet
  int64_t last_departure_ = 0;  ///< or when the queue ceased to be empty
};

}  // namespace hadal
