#include "text/reasoning.h"

#include <algorithm>
#include <utility>

namespace hadal {
namespace {

constexpr std::string_view kOpen = "<think>";
constexpr std::string_view kClose = "</think>";

bool is_blank(char byte) {
  return byte == '\n' || byte == '\r' || byte == ' ' || byte == '\t';
}

/// Whether `text` + `next` is the beginning of `marker`.
bool continues(std::string_view text, char next, std::string_view marker) {
  return text.size() < marker.size() && marker[text.size()] == next && marker.starts_with(text);
}

}  // namespace

ReasoningSplitter::ReasoningSplitter(bool starts_inside)
    : where_(starts_inside ? Where::kReasoningStart : Where::kStart), reasoned_(starts_inside) {}

bool ReasoningSplitter::inside() const {
  return where_ == Where::kReasoningStart || where_ == Where::kReasoning;
}

OutputPiece ReasoningSplitter::push(std::string_view text) {
  OutputPiece out;
  for (char byte : text) take(byte, out);
  return out;
}

OutputPiece ReasoningSplitter::finish() {
  OutputPiece out;
  for (char byte : std::exchange(marker_, {})) take_text(byte, out);
  (where_ == Where::kReasoning ? out.reasoning : out.content) += std::exchange(held_, {});
  return out;
}

void ReasoningSplitter::take(char byte, OutputPiece& out) {
  if (may_be_marker(byte)) {
    marker_.push_back(byte);
    if (marker_ == kOpen || marker_ == kClose) take_marker();
    return;
  }
  if (!marker_.empty()) {
    // "<" occurs only at the start of a marker, so what was read holds no other beginning.
    for (char read : std::exchange(marker_, {})) take_text(read, out);
    take(byte, out);
    return;
  }
  take_text(byte, out);
}

bool ReasoningSplitter::may_be_marker(char next) const {
  const bool at_start = where_ == Where::kStart || where_ == Where::kReasoningStart;
  if (at_start && continues(marker_, next, kOpen)) return true;
  return (at_start || reasoned_) && continues(marker_, next, kClose);
}

void ReasoningSplitter::take_marker() {
  const bool opens = std::exchange(marker_, {}) == kOpen;
  if (where_ == Where::kContent) return;  // a further </think>
  if (where_ == Where::kAfterReasoning) return;
  held_.clear();
  reasoned_ = true;
  where_ = opens ? Where::kReasoningStart : Where::kAfterReasoning;
}

void ReasoningSplitter::take_text(char byte, OutputPiece& out) {
  switch (where_) {
    case Where::kStart:
      held_.push_back(byte);
      if (is_blank(byte)) return;
      where_ = Where::kContent;
      out.content += std::exchange(held_, {});
      return;
    case Where::kReasoningStart:
      if (byte == '\n') return;
      where_ = Where::kReasoning;
      out.reasoning.push_back(byte);
      return;
    case Where::kReasoning:
      held_.push_back(byte);
      if (byte != '\n') out.reasoning += std::exchange(held_, {});
      return;
    case Where::kAfterReasoning:
      if (byte == '\n') return;
      where_ = Where::kContent;
      out.content.push_back(byte);
      return;
    case Where::kContent:
      out.content.push_back(byte);
      return;
  }
}

bool prompt_opens_reasoning(std::string_view prompt) {
  while (!prompt.empty() && is_blank(prompt.back())) prompt.remove_suffix(1);
  return prompt.ends_with(kOpen);
}

StopStringFilter::StopStringFilter(std::vector<std::string> stops) {
  for (std::string& stop : stops) {
    if (stop.empty()) continue;
    Pattern pattern{std::move(stop), {0, 0}, 0};
    for (size_t i = 1; i < pattern.text.size(); ++i) {
      uint32_t border = pattern.failure[i];
      while (border > 0 && pattern.text[border] != pattern.text[i]) {
        border = pattern.failure[border];
      }
      pattern.failure.push_back(pattern.text[border] == pattern.text[i] ? border + 1 : 0);
    }
    patterns_.push_back(std::move(pattern));
  }
}

void StopStringFilter::advance(char byte) {
  held_.push_back(byte);
  for (Pattern& pattern : patterns_) {
    uint32_t& state = pattern.state;
    if (state == pattern.text.size()) state = pattern.failure[state];
    while (state > 0 && pattern.text[state] != byte) state = pattern.failure[state];
    if (pattern.text[state] == byte) ++state;
    if (state != pattern.text.size()) continue;
    const size_t start = held_.size() - state;
    if (match_start_ == kNone || start < match_start_) {
      match_start_ = start;
      matched_ = pattern.text;
    }
  }
}

/// Whether nothing that starts before the complete stop string can still become one.
bool StopStringFilter::decided() const {
  if (match_start_ == kNone) return false;
  return std::ranges::all_of(patterns_, [&](const Pattern& pattern) {
    return pattern.state == pattern.text.size() || held_.size() - pattern.state >= match_start_;
  });
}

/// Bytes at the front of held_ that no stop string can contain any more.
size_t StopStringFilter::safe_bytes() const {
  size_t safe = std::min(held_.size(), match_start_);
  for (const Pattern& pattern : patterns_) safe = std::min(safe, held_.size() - pattern.state);
  return safe;
}

std::string StopStringFilter::stop_here() {
  stopped_ = true;
  held_.resize(match_start_);
  return std::exchange(held_, {});
}

std::string StopStringFilter::push(std::string_view text) {
  if (stopped_) return {};
  for (char byte : text) {
    advance(byte);
    if (decided()) return stop_here();
  }
  const size_t safe = safe_bytes();
  std::string out = held_.substr(0, safe);
  held_.erase(0, safe);
  if (match_start_ != kNone) match_start_ -= safe;
  return out;
}

std::string StopStringFilter::finish() {
  if (stopped_) return {};
  if (match_start_ != kNone) return stop_here();
  return std::exchange(held_, {});
}

}  // namespace hadal
