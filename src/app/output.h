#pragma once
/// What every subcommand needs to talk to its user: results on standard output, everything else on
/// standard error.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/json.h"
#include "base/result.h"

namespace hadal {

/// Exit codes that scripts rely on.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

/// Writes to standard output as it is.
void print_out(std::string_view text);
/// One object and a line end.
void print_json(const json::value& value);
/// "hadal: message" and, when there is one, the hint on a line of its own.
void print_error(const Error& error);
/// A line for people on standard error, without prefix.
void print_note(std::string_view text);
/// Prints the error; the value is the exit code for wrong usage.
Result<int> usage_error(std::string message, std::string hint = {});

/// All of standard input.
Result<std::string> read_stdin(size_t bytes_max);

/// Blank- or comma-separated ids ("[1, 2]" too). The error names the first word that is none.
Result<std::vector<TokenId>> parse_ids(std::string_view text);

/// "98.4 MB" (powers of 1000, as disks and hubs count).
std::string human_bytes(uint64_t bytes);

/// Names of `candidates` that are close to `name` (edit distance or containment), nearest first,
/// at most three.
std::vector<std::string> near_names(std::string_view name,
                                    const std::vector<std::string>& candidates);
/// "did you mean a, b?" or "" without candidates.
std::string did_you_mean(const std::vector<std::string>& names);

/// Whether standard error is a terminal.
bool stderr_is_terminal();

}  // namespace hadal
