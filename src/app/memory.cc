#include "app/memory.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>

#include "base/env.h"
#include "base/limits.h"
#include "base/parse.h"

namespace hadal {
namespace {

constexpr uint64_t kNone = UINT64_MAX;

std::string read(const std::string& path) {
  auto text = Env::real().read_file(path, limits::kMiB);
  return text.ok() ? std::move(text).value() : std::string();
}

/// The number that `text` begins with, blanks aside; nothing when it begins with none ("max").
std::optional<uint64_t> leading_number(std::string_view text) {
  const size_t first = std::min(text.find_first_not_of(" \t"), text.size());
  const size_t end = std::min(text.find_first_not_of("0123456789", first), text.size());
  return parse_int<uint64_t>(text.substr(first, end - first));
}

/// The number behind `label` at the start of a line; 0 when there is none.
uint64_t field(const std::string& text, const std::string& label) {
  size_t at = text.starts_with(label) ? 0 : text.find("\n" + label);
  if (at == std::string::npos) return 0;
  if (at > 0) ++at;
  return leading_number(std::string_view(text).substr(at + label.size())).value_or(0);
}

/// A bound, and how much of it is taken by what cannot be given back.
struct Bound {
  uint64_t limit = kNone;
  uint64_t taken = 0;
};

Bound group_bound(const std::string& limit, const std::string& used, const std::string& stat,
                  const std::string& prefix) {
  const auto bytes = leading_number(read(limit));
  if (!bytes.has_value()) return {};
  const std::string parts = read(stat);
  const uint64_t files =
      field(parts, prefix + "active_file ") + field(parts, prefix + "inactive_file ");
  const uint64_t all = leading_number(read(used)).value_or(0);
  return {*bytes, all - std::min(all, files)};
}

Bound data_segment(const std::string& root) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_DATA, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return {};
  return {limit.rlim_cur, 1024 * field(read(root + "/proc/self/status"), "VmData:")};
}

/// Of the process's own groups and all above them.
std::vector<Bound> bounds(const std::string& root) {
  std::vector<Bound> out = {data_segment(root)};
  const std::string mount = root + "/sys/fs/cgroup";
  const auto add_v2 = [&](const std::string& group) {
    const std::string at = mount + group + "/memory.";
    out.push_back(group_bound(at + "max", at + "current", at + "stat", ""));
  };
  const auto add_v1 = [&](const std::string& group) {
    const std::string at = mount + "/memory" + group + "/memory.";
    out.push_back(group_bound(at + "limit_in_bytes", at + "usage_in_bytes", at + "stat", "total_"));
  };
  add_v2("");
  add_v1("");
  const std::string groups = read(root + "/proc/self/cgroup");
  for (size_t begin = 0; begin < groups.size();) {
    const size_t end = std::min(groups.find('\n', begin), groups.size());
    const std::string line = groups.substr(begin, end - begin);
    begin = end + 1;
    const size_t colon = line.find(":/");
    if (colon == std::string::npos) continue;
    const bool v2 = line.starts_with("0::/");
    const bool v1 = line.find(":memory:/") != std::string::npos;
    for (std::string path = line.substr(colon + 1); path.size() > 1; path.resize(path.rfind('/'))) {
      if (v2) add_v2(path);
      if (v1) add_v1(path);
    }
  }
  return out;
}

}  // namespace

uint64_t memory_limit_bytes(const std::string& root) {
  uint64_t least = kNone;
  for (const Bound& bound : bounds(root)) least = std::min(least, bound.limit);
  return least;
}

uint64_t machine_memory_bytes() {
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long page_bytes = sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page_bytes <= 0) return 0;
  return std::min(static_cast<uint64_t>(pages) * static_cast<uint64_t>(page_bytes),
                  memory_limit_bytes());
}

uint64_t memory_at_hand_bytes(const std::string& root) {
  uint64_t least = 1024 * field(read(root + "/proc/meminfo"), "MemAvailable:");
  for (const Bound& bound : bounds(root)) {
    least = std::min(least, bound.limit - std::min(bound.limit, bound.taken));
  }
  return least;
}

}  // namespace hadal
