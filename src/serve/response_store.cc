#include "serve/response_store.h"

#include "base/limits.h"

namespace hadal {
namespace {

/// A chain is counted in full for each of its answers, so the sum is never below what is held.
size_t bytes_of(const std::string& owner, const StoredResponse& response) {
  return 512 + owner.size() + response.body.size() + (response.turn ? response.turn->bytes : 0);
}

}  // namespace

bool ResponseStore::put(const std::string& owner, const std::string& id, StoredResponse response,
                        int64_t now) {
  const MutexLock lock(mutex_);
  return put_in({owner, id}, std::move(response), now);
}

void ResponseStore::update(const std::string& owner, const std::string& id, StoredResponse response,
                           int64_t now) {
  const MutexLock lock(mutex_);
  const auto found = by_key_.find({owner, id});
  if (found == by_key_.end()) return;
  if (response.status == "in_progress") response.cancel = found->second->response.cancel;
  put_in({owner, id}, std::move(response), now);
}

bool ResponseStore::put_in(Key key, StoredResponse response, int64_t now) {
  if (const auto found = by_key_.find(key); found != by_key_.end()) drop(found->second);
  Entry entry{.bytes = bytes_of(key.first, response), .put_at = now};
  entry.key = std::move(key);
  entry.response = std::move(response);
  if (entry.bytes > limits::kStoredResponseBytes / 4) return false;
  bytes_ += entry.bytes;
  entries_.push_back(std::move(entry));
  by_key_.emplace(entries_.back().key, std::prev(entries_.end()));
  prune(now);
  return true;
}

std::optional<StoredResponse> ResponseStore::find(const std::string& owner, const std::string& id,
                                                  int64_t now) {
  const MutexLock lock(mutex_);
  prune(now);
  const auto found = by_key_.find({owner, id});
  if (found == by_key_.end()) return std::nullopt;
  return found->second->response;
}

bool ResponseStore::erase(const std::string& owner, const std::string& id) {
  const MutexLock lock(mutex_);
  const auto found = by_key_.find({owner, id});
  if (found == by_key_.end()) return false;
  drop(found->second);
  return true;
}

void ResponseStore::drop(std::list<Entry>::iterator entry) {
  bytes_ -= entry->bytes;
  by_key_.erase(entry->key);
  entries_.erase(entry);
}

void ResponseStore::prune(int64_t now) {
  while (!entries_.empty() &&
         (entries_.size() > limits::kStoredResponses || bytes_ > limits::kStoredResponseBytes ||
          now - entries_.front().put_at > limits::kStoredResponseMicros)) {
    drop(entries_.begin());
  }
}

}  // namespace hadal
