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
/// On a machine with several memory nodes each worker but the caller is bound to a node.
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

  /// Splits [0, count) into one range per worker, range w = [bound(w), bound(w + 1)) with bound(0)
  /// = 0 and bound(size()) = count: where memory belongs to workers, each reads its own part in
  /// order. A worker takes `grain` items at a time from the front of its range; when it is empty,
  /// it takes half of what is left at the back of another's (its own memory node first). A piece
  /// never crosses a bound. count < 2^32.
  void stream(FunctionRef<int64_t(int worker)> bound, int64_t grain,
              FunctionRef<void(int worker, int64_t begin, int64_t end)> body);

  /// Physical cores this process may use (affinity and cgroup aware), at least 1.
  static int default_threads();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hadal
