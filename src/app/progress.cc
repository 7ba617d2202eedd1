#include "app/progress.h"

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "app/output.h"
#include "base/env.h"

namespace hadal {
namespace {

constexpr int64_t kTerminalMicros = 100'000;
constexpr int64_t kLineMicros = 10'000'000;
constexpr int kBarCells = 24;

std::string bar_of(double fraction) {
  const int full = std::clamp(static_cast<int>(fraction * kBarCells), 0, kBarCells);
  return fmt::format("[{}{}]", std::string(static_cast<size_t>(full), '#'),
                     std::string(static_cast<size_t>(kBarCells - full), '.'));
}

}  // namespace

ProgressBar::ProgressBar(std::string label, bool quiet)
    : label_(std::move(label)), quiet_(quiet), terminal_(stderr_is_terminal()) {}

ProgressBar::~ProgressBar() {
  if (drawn_ && terminal_) fmt::print(stderr, "\r\033[K");
}

void ProgressBar::update(uint64_t done, uint64_t total) {
  if (quiet_) return;
  const int64_t now = Env::real().now_micros();
  if (start_micros_ == 0) {
    start_micros_ = shown_micros_ = now;
    start_bytes_ = done;
    return;
  }
  const bool due = now - shown_micros_ >= (terminal_ ? kTerminalMicros : kLineMicros);
  if (!due) return;
  shown_micros_ = now;
  drawn_ = true;
  if (terminal_) {
    fmt::print(stderr, "\r{}\033[K", text(done, total, now));
  } else {
    print_note(text(done, total, now));
  }
}

std::string ProgressBar::text(uint64_t done, uint64_t total, int64_t now) const {
  const double seconds = static_cast<double>(now - start_micros_) * 1e-6;
  const double rate =
      seconds > 0 ? static_cast<double>(done - std::min(done, start_bytes_)) / seconds : 0;
  const std::string speed = human_bytes(static_cast<uint64_t>(rate)) + "/s";
  if (total == 0 || done > total) return fmt::format("{} {} {}", label_, human_bytes(done), speed);
  const double fraction = static_cast<double>(done) / static_cast<double>(total);
  const std::string left =
      rate > 0 ? clock_text(static_cast<int64_t>(static_cast<double>(total - done) / rate))
               : "-:--";
  return fmt::format("{} {}{:3.0f} %  {} of {}  {}  {} left", label_,
                     terminal_ ? bar_of(fraction) : "", 100 * fraction, human_bytes(done),
                     human_bytes(total), speed, left);
}

std::string clock_text(int64_t seconds) {
  const int64_t minutes = seconds / 60;
  if (minutes < 60) return fmt::format("{}:{:02}", minutes, seconds % 60);
  return fmt::format("{}:{:02}:{:02}", minutes / 60, minutes % 60, seconds % 60);
}

}  // namespace hadal
