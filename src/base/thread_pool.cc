#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/check.h"

namespace hadal {
namespace {

// How long a thread looks for news before it sleeps. A model calls run() every 5 to 50 us while it
// computes; waking a sleeper costs about as much, so longer spinning only burns power.
constexpr std::chrono::microseconds kSpin{40};

void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
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

/// Cores that a cgroup quota allows (rounded up), or `fallback` where none is set.
int quota_cores(int fallback) {
  double best = fallback;
  auto consider = [&](double quota, double period) {
    if (quota > 0 && period > 0) best = std::min(best, quota / period);
  };
  std::string line;
  std::vector<std::string> groups = {"/sys/fs/cgroup"};
  std::ifstream self("/proc/self/cgroup");
  while (std::getline(self, line)) {  // version 2 has one line "0::/path"
    if (line.rfind("0::/", 0) != 0) continue;
    std::string path = line.substr(3);
    while (path.size() > 1) {
      groups.push_back("/sys/fs/cgroup" + path);
      path.resize(path.rfind('/'));
    }
  }
  for (const std::string& group : groups) {
    std::ifstream file(group + "/cpu.max");
    double quota = 0;
    double period = 0;
    if (file >> quota >> period) consider(quota, period);  // "max 100000" fails to parse: no limit
  }
  std::ifstream quota_v1("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream period_v1("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double quota = 0;
  double period = 0;
  if (quota_v1 >> quota && period_v1 >> period) consider(quota, period);
  return std::max(1, static_cast<int>(best + 0.999));
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
  std::vector<std::thread> threads;

  void announce() {
    generation.fetch_add(1);
    if (workers_asleep.load() > 0) futex_wake_all(generation);
  }

  void open(const FunctionRef<void(int)>& job) {
    DCHECK(members.load() == kClosed);
    body = &job;
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
      await(generation, workers_asleep, spin, [&](uint32_t now) { return now != seen; });
      seen = generation.load(std::memory_order_acquire);
      if (stopping.load(std::memory_order_acquire)) return;
      if (!join()) continue;
      // A late worker may have joined the job after the one it saw announced. The generation stands
      // still while a job has members.
      seen = generation.load();
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
  if (threads > static_cast<int>(std::thread::hardware_concurrency())) {
    state_->spin = std::chrono::microseconds(0);  // a spinner would keep a worker off its core
  }
  for (int worker = 1; worker < threads; ++worker) {
    state_->threads.emplace_back([s = state_.get(), worker] { s->work(worker); });
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

int ThreadPool::default_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  // Two hardware threads of a core share its multipliers: one worker per core is enough.
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                       "/topology/thread_siblings_list");
    std::string siblings;
    if (!std::getline(file, siblings)) siblings = std::to_string(cpu);
    cores.insert(siblings);
  }
  return quota_cores(std::max<int>(1, static_cast<int>(cores.size())));
}

}  // namespace hadal
