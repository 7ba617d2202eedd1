#pragma once
/// ThreadPool: the workers that kernels run on.
#include <cstdint>
#include <memory>

namespace hadal {

/// A reference to a callable, valid while the callable lives (no allocation, no ownership).
template <typename Signature>
class FunctionRef;
template <typename R, typename... Args>
class FunctionRef<R(Args...)> {
 public:
  template <typename F>
  FunctionRef(F&& f)  // NOLINT(google-explicit-constructor)
      : object_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(args...);
        }) {}
  R operator()(Args... args) const { return call_(object_, args...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

/// `size()` workers, the calling thread being worker 0. run() may be called by one thread at a
/// time (the engine's); it returns when every worker is done. Workers spin briefly, then sleep.
class ThreadPool {
 public:
  /// threads >= 1. 1 means: no extra thread at all.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;

  /// Calls body(worker) once on each worker.
  void run(FunctionRef<void(int worker)> body);

  /// Calls body(0) here and body(worker) on every other worker that comes before body(0) is done.
  /// For bodies that take pieces from a common counter: when the machine is busy with other
  /// processes, nobody waits for a worker that has not got a core. Returns when all who came left.
  void share(FunctionRef<void(int worker)> body);

  /// Splits [0, count) into chunks of `grain` items, handed out in order to free workers; which
  /// worker gets a chunk is not fixed, so a chunk's result must not depend on it.
  void parallel_for(int64_t count, int64_t grain,
                    FunctionRef<void(int64_t begin, int64_t end)> body);

  /// The cores this process may use (affinity and cgroup aware), at least 1.
  static int default_threads();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hadal
