#include "serve/response_store.h"

#include "base/limits.h"
#include "serve/response_archive.h"

namespace hadal {
namespace {

/// A chain is counted in full for each of its answers, so the sum is never below what is held.
size_t bytes_of(const std::string& owner, const StoredResponse& response) {
  return 512 + owner.size() + response.body.size() + (response.turn ? response.turn->bytes : 0) +
         (response.events ? response.events->bytes() : 0);
}

}  // namespace

size_t stored_turn_bytes(size_t input_bytes, size_t body_bytes, const ResponseTurnRef& previous) {
  return 4 * (input_bytes + body_bytes) + (previous ? previous->bytes : 0);
}

ResponseStore::ResponseStore() = default;
ResponseStore::~ResponseStore() = default;

void ResponseStore::keep_in(std::unique_ptr<ResponseArchive> archive) {
  archive_ = std::move(archive);
}

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
  if (response.unfinished()) response.cancel = found->second->response.cancel;
  put_in({owner, id}, std::move(response), now);
}

bool ResponseStore::put_in(Key key, StoredResponse response, int64_t now) {
  if (const auto found = by_key_.find(key); found != by_key_.end()) drop(found->second);
  Entry entry{.bytes = bytes_of(key.first, response), .put_at = now};
  entry.key = std::move(key);
  entry.response = std::move(response);
  if (entry.bytes > limits::kStoredResponseBytes / 4) return false;
  bytes_ += entry.bytes;
  if (archive_) archive_->put(entry.key.first, entry.key.second, entry.response);
  entries_.push_back(std::move(entry));
  by_key_.emplace(entries_.back().key, std::prev(entries_.end()));
  prune(now);
  return true;
}

std::optional<StoredResponse> ResponseStore::find(const std::string& owner, const std::string& id,
                                                  int64_t now) {
  {
    const MutexLock lock(mutex_);
    prune(now);
    const auto found = by_key_.find({owner, id});
    if (found != by_key_.end()) return found->second->response;
  }
  return archive_ ? archive_->find(owner, id) : std::nullopt;
}

bool ResponseStore::erase(const std::string& owner, const std::string& id) {
  bool there = false;
  {
    const MutexLock lock(mutex_);
    const auto found = by_key_.find({owner, id});
    there = found != by_key_.end();
    if (there) drop(found->second);
  }
  const bool archived = archive_ && archive_->erase(owner, id);
  return there || archived;
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
