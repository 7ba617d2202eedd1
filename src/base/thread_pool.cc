#include "base/thread_pool.h"

#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "base/check.h"

namespace hadal {

/// One generation counter starts a run, one countdown ends it.
struct ThreadPool::State {
  explicit State(int n) : size(n) {}
  int size;
  std::mutex mu;
  std::condition_variable wake;
  std::condition_variable done;
  uint64_t generation = 0;
  int working = 0;
  bool stopping = false;
  const FunctionRef<void(int)>* body = nullptr;
  std::vector<std::thread> threads;
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>(threads)) {
  CHECK(threads >= 1);
  for (int worker = 1; worker < threads; ++worker) {
    state_->threads.emplace_back([s = state_.get(), worker] {
      uint64_t seen = 0;
      while (true) {
        std::unique_lock lock(s->mu);
        s->wake.wait(lock, [&] { return s->stopping || s->generation != seen; });
        if (s->stopping) return;
        seen = s->generation;
        const auto* body = s->body;
        lock.unlock();
        (*body)(worker);
        lock.lock();
        if (--s->working == 0) s->done.notify_one();
      }
    });
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(state_->mu);
    state_->stopping = true;
  }
  state_->wake.notify_all();
  for (auto& thread : state_->threads) thread.join();
}

int ThreadPool::size() const { return state_->size; }

void ThreadPool::run(FunctionRef<void(int worker)> body) {
  {
    std::lock_guard lock(state_->mu);
    state_->body = &body;
    state_->working = state_->size - 1;
    ++state_->generation;
  }
  state_->wake.notify_all();
  body(0);
  std::unique_lock lock(state_->mu);
  state_->done.wait(lock, [&] { return state_->working == 0; });
}

void ThreadPool::parallel_for(int64_t count, int64_t grain, FunctionRef<void(int64_t begin, int64_t end)> body) {
  std::atomic<int64_t> next{0};
  auto work = [&](int) {
    while (true) {
      const int64_t begin = next.fetch_add(grain);
      if (begin >= count) return;
      body(begin, begin + grain < count ? begin + grain : count);
    }
  };
  run(work);
}

int ThreadPool::default_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  return n < 1 ? 1 : n;
}

}  // namespace hadal
