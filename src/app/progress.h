#pragma once
/// Progress of a long transfer: a bar on a terminal, a line now and then elsewhere, nothing when
/// quiet. Writes to standard error.
#include <cstdint>
#include <string>

namespace hadal {

class ProgressBar {
 public:
  ProgressBar(std::string label, bool quiet);
  /// Clears the bar.
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// `total` 0: unknown. The first call's `done` (a resumed part) does not count for the rate.
  void update(uint64_t done, uint64_t total);

 private:
  std::string text(uint64_t done, uint64_t total, int64_t now) const;

  std::string label_;
  bool quiet_;
  bool terminal_;
  bool drawn_ = false;
  int64_t start_micros_ = 0;
  int64_t shown_micros_ = 0;
  uint64_t start_bytes_ = 0;
};

/// "1:05" or "2:03:04".
std::string clock_text(int64_t seconds);

}  // namespace hadal
