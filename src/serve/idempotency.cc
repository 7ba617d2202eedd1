#include "serve/idempotency.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace hadal {
namespace {

constexpr size_t kEntryBytes = 512;  // what the maps need around an entry, roughly

size_t bytes_of(const HttpReply& reply) {
  size_t bytes = reply.body.size() + reply.content_type.size();
  for (const auto& [name, value] : reply.headers) bytes += name.size() + value.size();
  return bytes;
}

/// Whether a retry should get the same answer again.
bool is_final(int status) {
  return status < 500 && status != 408 && status != 409 && status != 429;
}

}  // namespace

IdempotencyClaim::IdempotencyClaim(IdempotencyClaim&& other) noexcept
    : keys_(std::exchange(other.keys_, nullptr)),
      outcome_(other.outcome_),
      name_(std::move(other.name_)),
      reply_(std::move(other.reply_)) {}

IdempotencyClaim::~IdempotencyClaim() {
  if (keys_ != nullptr) keys_->release(name_);
}

void IdempotencyClaim::complete(const HttpReply& reply) {
  CHECK(keys_ != nullptr);
  IdempotencyKeys* keys = std::exchange(keys_, nullptr);
  if (is_final(reply.status)) {
    keys->complete(name_, reply);
  } else {
    keys->release(name_);
  }
}

IdempotencyClaim IdempotencyKeys::claim(std::string_view caller, std::string_view key,
                                        std::string_view request) {
  using Outcome = IdempotencyClaim::Outcome;
  std::string name(caller);
  name.push_back('\0');
  name += key;
  const uint64_t fingerprint = std::hash<std::string_view>()(request);
  const int64_t now = env_.now_micros();
  MutexLock lock(mu_);
  const auto found = entries_.find(name);
  if (found != entries_.end()) {
    Entry& entry = found->second;
    if (entry.done && now - entry.since > limits_.keep_micros) {
      forget(found);
    } else {
      if (entry.fingerprint != fingerprint) return {nullptr, Outcome::kMismatch, "", {}};
      if (!entry.done) return {nullptr, Outcome::kRunning, "", {}};
      order_.splice(order_.end(), order_, entry.place);
      return {nullptr, Outcome::kReplay, "", entry.reply};
    }
  }
  make_room(now);
  if (entries_.size() >= limits_.entries || bytes_ >= limits_.bytes) {
    return {nullptr, Outcome::kFull, "", {}};
  }
  Entry& entry = entries_[name];
  entry.fingerprint = fingerprint;
  entry.since = now;
  entry.bytes = kEntryBytes + 2 * name.size();
  bytes_ += entry.bytes;
  entry.place = order_.insert(order_.end(), name);
  return {this, Outcome::kFirst, std::move(name), {}};
}

size_t IdempotencyKeys::size() const {
  MutexLock lock(mu_);
  return entries_.size();
}

void IdempotencyKeys::complete(const std::string& name, const HttpReply& reply) {
  MutexLock lock(mu_);
  const auto found = entries_.find(name);
  if (found == entries_.end()) return;
  const size_t bytes = bytes_of(reply);
  if (bytes > limits_.bytes / 4) {  // one answer must not push out all others
    forget(found);
    return;
  }
  Entry& entry = found->second;
  entry.reply = reply;
  entry.done = true;
  entry.since = env_.now_micros();
  entry.bytes += bytes;
  bytes_ += bytes;
  make_room(entry.since);
}

void IdempotencyKeys::release(const std::string& name) {
  MutexLock lock(mu_);
  const auto found = entries_.find(name);
  if (found != entries_.end()) forget(found);
}

void IdempotencyKeys::forget(std::unordered_map<std::string, Entry>::iterator entry) {
  bytes_ -= entry->second.bytes;
  order_.erase(entry->second.place);
  entries_.erase(entry);
}

/// Drops what is old, then what was used longest ago, until a new entry has a place. Running
/// requests keep theirs.
void IdempotencyKeys::make_room(int64_t now) {
  for (auto place = order_.begin(); place != order_.end();) {
    const auto entry = entries_.find(*place);
    ++place;
    const bool old = now - entry->second.since > limits_.keep_micros;
    const bool full = entries_.size() >= limits_.entries || bytes_ > limits_.bytes;
    if (entry->second.done && (old || full)) {
      forget(entry);
    } else if (!full) {
      return;  // what comes behind was used later
    }
  }
}

bool well_formed_idempotency_key(std::string_view key) {
  return !key.empty() && key.size() <= 255 &&
         std::ranges::all_of(key, [](char c) { return c > ' ' && c <= '~'; });
}

}  // namespace hadal
