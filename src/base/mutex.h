#pragma once
/// Mutex whose locking discipline clang checks (-Wthread-safety). Fields say GUARDED_BY(mu).
#include <chrono>
#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define HADAL_TSA(x) __attribute__((x))
#else
#define HADAL_TSA(x)
#endif
#define GUARDED_BY(x) HADAL_TSA(guarded_by(x))
#define REQUIRES(...) HADAL_TSA(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) HADAL_TSA(locks_excluded(__VA_ARGS__))

namespace hadal {

class HADAL_TSA(capability("mutex")) Mutex {
 public:
  void lock() HADAL_TSA(acquire_capability()) { mu_.lock(); }
  void unlock() HADAL_TSA(release_capability()) { mu_.unlock(); }

 private:
  std::mutex mu_;
};

class HADAL_TSA(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mu) HADAL_TSA(acquire_capability(mu)) : mu_(mu) { mu_.lock(); }
  ~MutexLock() HADAL_TSA(release_capability()) { mu_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mu_;
};

/// Waits on a held Mutex. Always loop on the condition: wake-ups may be spurious.
class CondVar {
 public:
  void wait(Mutex& mu) REQUIRES(mu) { cv_.wait(mu); }
  /// False when the time ran out.
  bool wait_for(Mutex& mu, std::chrono::microseconds timeout) REQUIRES(mu) {
    return cv_.wait_for(mu, timeout) == std::cv_status::no_timeout;
  }
  void notify_one() { cv_.notify_one(); }
  void notify_all() { cv_.notify_all(); }

 private:
  std::condition_variable_any cv_;
};

}  // namespace hadal
