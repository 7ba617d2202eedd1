#include "text/stop_strings.h"

#include <algorithm>
#include <utility>

namespace hadal {

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
  if (patterns_.empty()) return std::string(text);
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
