#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/check.h"
#include "base/topology.h"

namespace hadal {
namespace {

// How long a thread looks for news before it sleeps. A model calls run() every 5 to 50 us while it
// computes; waking a sleeper costs about as much, so longer spinning only burns power.
constexpr std::chrono::microseconds kSpin{40};

void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");  // waits about as long; "yield" returns at once on most cores
#else
  std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
}

void futex_wait(std::atomic<uint32_t>& word, uint32_t expected) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT_PRIVATE, expected, nullptr,
          nullptr, 0);
}

void futex_wake_all(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE_PRIVATE, 0x7fffffff, nullptr,
          nullptr, 0);
}

/// Waits until `changed(word's value)`: spins for `spin`, then sleeps on the futex. `sleepers`
/// tells the waker that a wake call is needed: both sides store first and look second (seq_cst),
/// so at least one of them sees the other.
template <typename Changed>
void await(std::atomic<uint32_t>& word, std::atomic<uint32_t>& sleepers,
           std::chrono::microseconds spin, Changed changed) {
  if (changed(word.load(std::memory_order_acquire))) return;
  if (spin.count() > 0) {
    const auto end = std::chrono::steady_clock::now() + spin;
    do {
      for (int i = 0; i < 16; ++i) {
        cpu_relax();
        if (changed(word.load(std::memory_order_acquire))) return;
      }
    } while (std::chrono::steady_clock::now() < end);
  }
  sleepers.fetch_add(1);
  while (true) {
    const uint32_t value = word.load();
    if (changed(value)) break;
    futex_wait(word, value);
  }
  sleepers.fetch_sub(1);
}

/// What is left of one worker's range in stream(): begin in the low half, end in the high one, so
/// that one compare-and-swap moves either. Its owner takes from the front, others from the back.
struct alignas(64) Range {
  std::atomic<uint64_t> span{0};

  static uint64_t pack(uint64_t begin, uint64_t end) { return end << 32 | begin; }
  static uint64_t begin_of(uint64_t span) { return span & 0xffffffffU; }
  static uint64_t end_of(uint64_t span) { return span >> 32; }

  void set(uint64_t begin, uint64_t end) { span.store(pack(begin, end)); }

  /// Moves up to `grain` items from the front into [begin, end).
  bool take_front(uint64_t grain, uint64_t& begin, uint64_t& end) {
    uint64_t now = span.load();
    while (begin_of(now) < end_of(now)) {
      begin = begin_of(now);
      end = std::min(begin + grain, end_of(now));
      if (span.compare_exchange_weak(now, pack(end, end_of(now)))) return true;
    }
    return false;
  }
  /// Moves half of what is left, at least `grain` items, from the back.
  bool take_back(uint64_t grain, uint64_t& begin, uint64_t& end) {
    uint64_t now = span.load();
    while (begin_of(now) < end_of(now)) {
      end = end_of(now);
      const uint64_t left = end - begin_of(now);
      begin = end - std::min(left, std::max(grain, left / 2));
      if (span.compare_exchange_weak(now, pack(begin_of(now), begin))) return true;
    }
    return false;
  }
};

/// Binds the calling thread to the processors of a node. A refusal costs speed only.
void bind_to(const CpuNode& node) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : node.cpus) CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof(set), &set);
}

}  // namespace

/// `generation` announces a job when it changes. `members` counts the workers inside the job; its
/// top bit closes the job to those who come late. `working` counts those that run() still waits
/// for. Own cache lines: workers spin on the first while others change the rest.
struct ThreadPool::State {
  static constexpr uint32_t kClosed = 1U << 31;

  int size = 1;
  std::chrono::microseconds spin = kSpin;
  alignas(64) std::atomic<uint32_t> generation{0};
  std::atomic<uint32_t> workers_asleep{0};
  alignas(64) std::atomic<uint32_t> members{kClosed};
  std::atomic<uint32_t> working{0};
  std::atomic<uint32_t> caller_asleep{0};
  alignas(64) std::atomic<bool> stopping{false};
  const FunctionRef<void(int)>* body = nullptr;  ///< fixed while the job is open or has members
  uint32_t job_generation = 0;  ///< of that job, which announces it; likewise fixed
  std::vector<std::thread> threads;
  std::vector<Range> ranges;
  std::vector<int> nodes;  ///< per worker

  /// More work for `worker`, whose range is empty: half of somebody else's.
  bool steal(int worker, uint64_t grain) {
    const int node = nodes[static_cast<size_t>(worker)];
    for (const bool same_node : {true, false}) {
      for (int step = 1; step < size; ++step) {
        const auto victim = static_cast<size_t>((worker + step) % size);
        uint64_t begin = 0;
        uint64_t end = 0;
        if ((nodes[victim] == node) != same_node) continue;
        if (!ranges[victim].take_back(grain, begin, end)) continue;
        ranges[static_cast<size_t>(worker)].set(begin, end);
        return true;
      }
    }
    return false;
  }

  void announce() {
    generation.fetch_add(1);
    if (workers_asleep.load() > 0) futex_wake_all(generation);
  }

  void open(const FunctionRef<void(int)>& job) {
    DCHECK(members.load() == kClosed);
    body = &job;
    job_generation = generation.load() + 1;
    members.store(0);
    announce();
  }
  void close() {
    members.fetch_or(kClosed);
    await(members, caller_asleep, spin, [](uint32_t now) { return now == kClosed; });
  }

  bool join() {
    uint32_t now = members.load();
    while ((now & kClosed) == 0) {
      if (members.compare_exchange_weak(now, now + 1)) return true;
    }
    return false;
  }

  void work(int worker) {
    uint32_t seen = 0;
    while (true) {
      await(generation, workers_asleep, spin,
            [&](uint32_t now) { return static_cast<int32_t>(now - seen) > 0; });
      seen = generation.load(std::memory_order_acquire);
      if (stopping.load(std::memory_order_acquire)) return;
      if (!join()) continue;
      // A late worker may have joined the job after the one it saw announced, even before that is
      // announced itself. Either way it must not join it again.
      seen = job_generation;
      (*body)(worker);
      if (working.load() > 0 && working.fetch_sub(1) == 1 && caller_asleep.load() > 0) {
        futex_wake_all(working);
      }
      if (members.fetch_sub(1) == (kClosed | 1U) && caller_asleep.load() > 0) {
        futex_wake_all(members);
      }
    }
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  CHECK(threads >= 1);
  state_->size = threads;
  state_->ranges = std::vector<Range>(static_cast<size_t>(threads));
  const CpuTopology topology = CpuTopology::detect(allowed_cpus());
  state_->nodes = topology.place(threads);
  if (threads > static_cast<int>(std::thread::hardware_concurrency())) {
    state_->spin = std::chrono::microseconds(0);  // a spinner would keep a worker off its core
  }
  for (int worker = 1; worker < threads; ++worker) {
    const CpuNode& node =
        topology.nodes[static_cast<size_t>(state_->nodes[static_cast<size_t>(worker)])];
    state_->threads.emplace_back(
        [s = state_.get(), worker, node, bind = topology.nodes.size() > 1] {
          if (bind) bind_to(node);
          s->work(worker);
        });
  }
}

ThreadPool::~ThreadPool() {
  state_->stopping.store(true, std::memory_order_release);
  state_->announce();
  for (auto& thread : state_->threads) thread.join();
}

int ThreadPool::size() const {
  return state_->size;
}

void ThreadPool::run(FunctionRef<void(int worker)> body) {
  State& s = *state_;
  if (s.size == 1) {
    body(0);
    return;
  }
  s.working.store(static_cast<uint32_t>(s.size - 1));
  s.open(body);
  body(0);
  await(s.working, s.caller_asleep, s.spin, [](uint32_t now) { return now == 0; });
  s.close();
}

void ThreadPool::share(FunctionRef<void(int worker)> body) {
  State& s = *state_;
  if (s.size == 1) {
    body(0);
    return;
  }
  s.open(body);
  body(0);
  s.close();
}

void ThreadPool::parallel_for(int64_t count, int64_t grain,
                              FunctionRef<void(int64_t begin, int64_t end)> body) {
  CHECK(grain >= 1);
  if (count <= grain || state_->size == 1) {
    for (int64_t begin = 0; begin < count; begin += grain) {
      body(begin, std::min(begin + grain, count));
    }
    return;
  }
  std::atomic<int64_t> next{0};
  auto work = [&](int) {
    while (true) {
      const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= count) return;
      body(begin, std::min(begin + grain, count));
    }
  };
  share(work);
}

void ThreadPool::stream(FunctionRef<int64_t(int worker)> bound, int64_t grain,
                        FunctionRef<void(int worker, int64_t begin, int64_t end)> body) {
  State& s = *state_;
  CHECK(grain >= 1);
  if (s.size == 1) {
    const int64_t count = bound(1);
    for (int64_t begin = 0; begin < count; begin += grain) {
      body(0, begin, std::min(begin + grain, count));
    }
    return;
  }
  CHECK(bound(s.size) <= 0xffffffffLL);
  for (int worker = 0; worker < s.size; ++worker) {
    s.ranges[static_cast<size_t>(worker)].set(static_cast<uint64_t>(bound(worker)),
                                              static_cast<uint64_t>(bound(worker + 1)));
  }
  const auto step = static_cast<uint64_t>(grain);
  auto work = [&](int worker) {
    Range& own = s.ranges[static_cast<size_t>(worker)];
    uint64_t begin = 0;
    uint64_t end = 0;
    do {
      while (own.take_front(step, begin, end)) {
        body(worker, static_cast<int64_t>(begin), static_cast<int64_t>(end));
      }
    } while (s.steal(worker, step));
  };
  share(work);
}

int ThreadPool::default_threads() {
  return CpuTopology::detect(allowed_cpus()).default_threads();
}

}  // namespace hadal
