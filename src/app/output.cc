#include "app/output.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>
#include <unistd.h>

#include "base/log.h"
#include "base/parse.h"
#include "base/utf8.h"

namespace hadal {
namespace {

/// Levenshtein distance over bytes, letters compared without case.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const bool same = std::tolower(static_cast<unsigned char>(a[i - 1])) ==
                        std::tolower(static_cast<unsigned char>(b[j - 1]));
      const size_t replaced = diagonal + (same ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

void print_out(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
}

void print_json(const json::value& value) {
  print_out(to_json(value));
  print_out("\n");
}

void print_error(const Error& error) {
  std::fflush(stdout);  // keeps the order of what a terminal shows
  fmt::print(stderr, "hadal: {}\n", error.message);
  if (!error.hint.empty()) fmt::print(stderr, "       {}\n", error.hint);
}

void print_note(std::string_view text) {
  log_text(text);
}

Result<int> usage_error(std::string message, std::string hint) {
  print_error(Error{Code::kInvalidArgument, std::move(message), std::move(hint)});
  return kExitUsage;
}

Result<std::string> read_stdin(size_t bytes_max) {
  std::string out;
  std::array<char, 1 << 16> buffer;
  while (true) {
    const ssize_t n = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      return Error{Code::kIo, std::string("cannot read standard input: ") + std::strerror(errno)};
    if (n == 0) return out;
    if (out.size() + static_cast<size_t>(n) > bytes_max) {
      return Error{Code::kExhausted, "standard input is larger than " + human_bytes(bytes_max)};
    }
    out.append(buffer.data(), static_cast<size_t>(n));
  }
}

Result<std::vector<TokenId>> parse_ids(std::string_view text) {
  std::vector<TokenId> ids;
  constexpr std::string_view kBetween = " \t\r\n,[]";
  size_t position = 0;
  while ((position = text.find_first_not_of(kBetween, position)) != std::string_view::npos) {
    const size_t end = std::min(text.find_first_of(kBetween, position), text.size());
    const std::string_view word = text.substr(position, end - position);
    const auto id = parse_int<TokenId>(word);
    if (!id || *id < 0) {
      return Error{Code::kInvalidArgument,
                   fmt::format("'{}' is not a token id", utf8_sanitized(word.substr(0, 40))),
                   "ids are whole numbers from 0, with blanks between them: \"1 2 3\""};
    }
    ids.push_back(*id);
    position = end;
  }
  return ids;
}

std::string human_bytes(uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 999.95 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::vector<std::string> near_names(std::string_view name,
                                    const std::vector<std::string>& candidates) {
  std::vector<std::pair<size_t, std::string>> ranked;
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(name, candidate);
    const bool contains = name.size() >= 3 && candidate.find(name) != std::string::npos;
    const bool same_start = name.size() >= 3 && candidate.starts_with(name.substr(0, 3));
    if (contains || same_start || distance <= std::max<size_t>(2, candidate.size() / 3)) {
      ranked.emplace_back(contains ? 0 : distance, candidate);
    }
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<std::string> names;
  for (auto& [distance, candidate] : ranked) {
    if (names.size() < 3) names.push_back(std::move(candidate));
  }
  return names;
}

std::string did_you_mean(const std::vector<std::string>& names) {
  return names.empty() ? "" : fmt::format("did you mean {}?", fmt::join(names, ", "));
}

bool stderr_is_terminal() {
  return ::isatty(STDERR_FILENO) == 1;
}

}  // namespace hadal
