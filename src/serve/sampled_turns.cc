#include "serve/sampled_turns.h"

#include <algorithm>

#include "base/limits.h"

namespace hadal {
namespace {

size_t bytes_of(const Message& turn) {
  size_t bytes = sizeof(Message) + turn.content.size() + turn.reasoning.size();
  for (const ToolCall& call : turn.tool_calls) {
    bytes += sizeof(ToolCall) + call.id.size() + call.name.size() + call.arguments.size();
  }
  return bytes + 2 * (turn.sampled->reasoning.bytes.size() + turn.sampled->rest.bytes.size());
}

/// Clients may parse arguments and write them anew.
bool same_arguments(const std::string& one, const std::string& two) {
  if (one == two) return true;
  const auto left = parse_json(one);
  const auto right = parse_json(two);
  return left.ok() && right.ok() && left.value() == right.value();
}

bool same_call(const ToolCall& one, const ToolCall& two) {
  return one.id == two.id && one.name == two.name && same_arguments(one.arguments, two.arguments);
}

}  // namespace

void SampledTurns::put(const std::string& tenant, Message turn) {
  CHECK(turn.sampled.has_value() && !turn.tool_calls.empty());
  Entry entry;
  entry.key = {tenant, turn.tool_calls.front().id};
  entry.bytes = bytes_of(turn);
  entry.turn = std::move(turn);
  const MutexLock lock(mutex_);
  if (entry.bytes > limits::kSampledTurnBytes / 8 || by_key_.contains(entry.key)) return;
  bytes_ += entry.bytes;
  entries_.push_front(std::move(entry));
  by_key_.emplace(entries_.front().key, entries_.begin());
  while (bytes_ > limits::kSampledTurnBytes) {
    bytes_ -= entries_.back().bytes;
    by_key_.erase(entries_.back().key);
    entries_.pop_back();
  }
}

std::optional<SampledTurn> SampledTurns::find(const std::string& tenant, const Message& message) {
  if (message.role != "assistant" || message.tool_calls.empty()) return std::nullopt;
  const MutexLock lock(mutex_);
  const auto found = by_key_.find({tenant, message.tool_calls.front().id});
  if (found == by_key_.end()) return std::nullopt;
  const Message& turn = found->second->turn;
  const bool same = turn.content == message.content &&
                    (message.reasoning.empty() || message.reasoning == turn.reasoning) &&
                    std::ranges::equal(turn.tool_calls, message.tool_calls, same_call);
  if (!same) return std::nullopt;
  entries_.splice(entries_.begin(), entries_, found->second);
  SampledTurn out = *turn.sampled;
  if (message.reasoning.empty() && !turn.reasoning.empty()) out.reasoning = {};
  return out;
}

}  // namespace hadal
