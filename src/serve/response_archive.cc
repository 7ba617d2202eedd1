#include "serve/response_archive.h"

#include <utility>

#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"
#include "serve/params.h"

namespace hadal {
namespace {

void warn(std::string_view what, const Error& error) {
  log_event(LogLevel::kWarn, what, {{"reason", error.text()}});
}

AnswerRecord record_of(const std::string& id, const StoredResponse& response) {
  AnswerRecord record{.id = id, .body = response.body, .input = "[]"};
  if (response.turn) {
    record.input = to_json(response.turn->input);
    if (response.turn->previous) record.previous = response.turn->previous->id;
  }
  return record;
}

/// What one record adds to its conversation. False: it is not as we write it.
bool read_turn(const AnswerRecord& record, json::object& body, ResponseTurn& turn) {
  auto parsed = parse_json(record.body);
  auto input = parse_json(record.input);
  if (!parsed.ok() || !parsed.value().is_object() || !input.ok() || !input.value().is_array()) {
    return false;
  }
  body = std::move(parsed.value().get_object());
  const json::value* output = find_member(body, "output");
  if (output == nullptr || !output->is_array()) return false;
  turn.id = record.id;
  turn.input = std::move(input.value().get_array());
  turn.output = output->get_array();
  turn.bytes = stored_turn_bytes(record.input.size(), record.body.size(), turn.previous);
  turn.length = turn.previous ? turn.previous->length + 1 : 1;
  return true;
}

std::string text_of(const json::object& body, std::string_view name) {
  const json::value* value = find_member(body, name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

/// The newest of a conversation's records, the first of which stands last.
std::optional<StoredResponse> response_of(std::vector<AnswerRecord> chain) {
  StoredResponse response;
  json::object body;
  for (auto record = chain.rbegin(); record != chain.rend(); ++record) {
    auto turn = std::make_shared<ResponseTurn>();  // see ResponseTurnRef; tidy: allow
    turn->previous = std::move(response.turn);
    if (!read_turn(*record, body, *turn)) return std::nullopt;
    response.turn = std::move(turn);
  }
  response.status = text_of(body, "status");
  const json::value* background = find_member(body, "background");
  response.background = background != nullptr && *background == json::value(true);
  if (response.unfinished()) {
    response.status = "failed";
    body["status"] = "failed";
    body["error"] = {{"code", "server_error"},
                     {"message", "The server ended while this answer was being made."}};
    response.body = to_json(body);
  } else {
    response.body = std::move(chain.front().body);
  }
  return response;
}

}  // namespace

ResponseArchive::ResponseArchive(std::unique_ptr<AnswerRecords> records, Env& env)
    : env_(env), records_(std::move(records)), thread_([this] { work(); }) {}

ResponseArchive::~ResponseArchive() {
  {
    const MutexLock lock(queue_mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void ResponseArchive::put(const std::string& owner, const std::string& id,
                          StoredResponse response) {
  response.cancel = {};
  response.events.reset();
  {
    const MutexLock lock(queue_mutex_);
    if (queued_bytes_ + response.body.size() > limits::kResponseQueueBytes) {
      log_event(LogLevel::kWarn, "response_not_kept", {{"id", id}, {"reason", "disk too slow"}});
      return;
    }
    queued_bytes_ += response.body.size();
    queue_.push_back({owner, id, std::move(response)});
  }
  wake_.notify_one();
}

/// The record's lock is held from taking a job to having it written, so that erase() and find()
/// either see it waiting or done.
bool ResponseArchive::write_next() {
  Job job;
  {
    const MutexLock lock(queue_mutex_);
    if (queue_.empty()) return false;
    job = std::move(queue_.front());
    queue_.pop_front();
    queued_bytes_ -= job.response.body.size();
  }
  const Status done = records_->put(job.owner, record_of(job.id, job.response), env_.unix_micros());
  if (!done.ok()) warn("response_not_kept", done.error());
  return true;
}

void ResponseArchive::work() {
  for (;;) {
    {
      const MutexLock lock(queue_mutex_);
      while (queue_.empty() && !ending_) wake_.wait(queue_mutex_);
      if (queue_.empty()) return;
    }
    const MutexLock lock(records_mutex_);
    (void)write_next();
  }
}

std::optional<StoredResponse> ResponseArchive::find(const std::string& owner,
                                                    const std::string& id) {
  std::vector<AnswerRecord> chain;
  {
    const MutexLock lock(records_mutex_);
    while (write_next()) {
    }
    auto found = records_->find(owner, id, env_.unix_micros());
    if (!found.ok()) {
      warn("stored_response_unreadable", found.error());
      return std::nullopt;
    }
    chain = std::move(found).value();
  }
  if (chain.empty()) return std::nullopt;
  auto response = response_of(std::move(chain));
  if (!response) log_event(LogLevel::kWarn, "stored_response_damaged", {{"id", id}});
  return response;
}

bool ResponseArchive::erase(const std::string& owner, const std::string& id) {
  const MutexLock lock(records_mutex_);
  while (write_next()) {
  }
  auto erased = records_->erase(owner, id);
  if (!erased.ok()) warn("stored_response_not_erased", erased.error());
  return erased.ok() && erased.value();
}

void ResponseArchive::flush() {
  const MutexLock lock(records_mutex_);
  while (write_next()) {
  }
}

}  // namespace hadal
