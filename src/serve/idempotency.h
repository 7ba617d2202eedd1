#pragma once
/// Idempotency keys: a request that creates something and is sent twice with one key creates it
/// once; the second gets the answer of the first. Follows the IETF draft of the Idempotency-Key
/// header: a running first request makes the second 409, a different request under the same key
/// 422.
///
///   IdempotencyClaim claim = keys.claim(caller, key, fingerprint);
///   switch (claim.outcome()) ...        // kFirst: do it, then claim.complete(reply)
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/env.h"
#include "base/mutex.h"
#include "net/http.h"

namespace hadal {

class IdempotencyKeys;

/// Whoever holds a kFirst claim has the key; dropped without complete(), the key is free again, so
/// that a retry can do what the first request did not. Movable; not thread-safe.
class IdempotencyClaim {
 public:
  enum class Outcome : uint8_t {
    kFirst,     ///< nobody did this: do it
    kReplay,    ///< done before: reply() is the answer
    kRunning,   ///< the first request is not answered yet
    kMismatch,  ///< the key was used for a different request
    kFull,      ///< so many requests are running that no key can be kept
  };

  IdempotencyClaim(IdempotencyClaim&& other) noexcept;
  IdempotencyClaim& operator=(IdempotencyClaim&&) = delete;
  ~IdempotencyClaim();

  Outcome outcome() const { return outcome_; }
  const HttpReply& reply() const { return reply_; }
  /// kFirst only, once: keeps the answer. Answers of 5xx, 408, 409 and 429 are not kept: a retry
  /// may fare better.
  void complete(const HttpReply& reply);

 private:
  friend class IdempotencyKeys;
  IdempotencyClaim(IdempotencyKeys* keys, Outcome outcome, std::string name, HttpReply reply)
      : keys_(keys), outcome_(outcome), name_(std::move(name)), reply_(std::move(reply)) {}

  IdempotencyKeys* keys_;  ///< null: nothing to give back
  Outcome outcome_;
  std::string name_;
  HttpReply reply_;
};

/// Thread-safe. Memory is bounded by bytes and entries: the answers that were used longest ago go
/// first. Claims must not outlive it.
class IdempotencyKeys {
 public:
  struct Limits {
    size_t bytes = 16 << 20;
    size_t entries = 4096;
    int64_t keep_micros = 24LL * 3600 * 1'000'000;
  };

  explicit IdempotencyKeys(Env& env) : IdempotencyKeys(env, Limits{}) {}
  IdempotencyKeys(Env& env, const Limits& limits) : env_(env), limits_(limits) {}

  /// `caller` tells one client's keys from another's; `request` is all that must be the same.
  IdempotencyClaim claim(std::string_view caller, std::string_view key, std::string_view request);
  size_t size() const;

 private:
  friend class IdempotencyClaim;
  struct Entry {
    uint64_t fingerprint = 0;
    int64_t since = 0;
    bool done = false;
    HttpReply reply = {};
    size_t bytes = 0;
    std::list<std::string>::iterator place = {};  ///< in order_
  };

  void complete(const std::string& name, const HttpReply& reply);
  void release(const std::string& name);
  void forget(std::unordered_map<std::string, Entry>::iterator entry) REQUIRES(mu_);
  void make_room(int64_t now) REQUIRES(mu_);

  Env& env_;
  const Limits limits_;
  mutable Mutex mu_;
  std::unordered_map<std::string, Entry> entries_ GUARDED_BY(mu_);
  std::list<std::string> order_ GUARDED_BY(mu_);  ///< names, least recently used first
  size_t bytes_ GUARDED_BY(mu_) = 0;
};

/// Whether a key can be one: 1 to 255 printable ASCII characters.
bool well_formed_idempotency_key(std::string_view key);

}  // namespace hadal
