#include "base/topology.h"

#include <algorithm>
#include <fstream>
#include <set>
#include <string_view>

#include <sched.h>

#include "base/parse.h"

namespace hadal {
namespace {

constexpr int kCpuLimit = CPU_SETSIZE;

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// Cores that a cgroup quota allows (rounded up), 0 where none is set.
int read_quota(const std::string& root) {
  double best = 0;
  auto consider = [&](const std::string& quota_text, const std::string& period_text) {
    const auto quota = parse_double(quota_text);  // "max" is no number: no limit
    const auto period = parse_double(period_text);
    if (!quota || !period || !(*quota > 0) || !(*period > 0)) return;
    const double cores = *quota / *period;
    if (best == 0 || cores < best) best = cores;
  };
  const std::string groups = root + "/sys/fs/cgroup";
  auto consider_v2 = [&](const std::string& group) {
    const std::string line = first_line(group + "/cpu.max");
    const size_t space = line.find(' ');
    if (space != std::string::npos) consider(line.substr(0, space), line.substr(space + 1));
  };
  consider_v2(groups);
  std::ifstream self(root + "/proc/self/cgroup");
  std::string line;
  while (std::getline(self, line)) {  // version 2 has one line "0::/path"
    if (line.rfind("0::/", 0) != 0) continue;
    std::string path = line.substr(3);
    while (path.size() > 1) {
      consider_v2(groups + path);
      path.resize(path.rfind('/'));
    }
  }
  consider(first_line(groups + "/cpu/cpu.cfs_quota_us"),
           first_line(groups + "/cpu/cpu.cfs_period_us"));
  return best == 0 ? 0 : std::max(1, static_cast<int>(best + 0.999));
}

/// Physical cores among `cpus`: hardware threads that share one have the same list of siblings.
int count_cores(const std::vector<int>& cpus, const std::string& system) {
  std::set<std::string> cores;
  for (const int cpu : cpus) {
    const std::string name = "/cpu/cpu" + std::to_string(cpu);
    const std::string siblings = first_line(system + name + "/topology/thread_siblings_list");
    cores.insert(siblings.empty() ? name : siblings);
  }
  return static_cast<int>(cores.size());
}

}  // namespace

std::vector<int> parse_cpu_list(const std::string& text) {
  std::vector<int> cpus;
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view part = rest.substr(0, comma);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    const size_t dash = part.find('-');
    const auto first = parse_int<int>(part.substr(0, dash));
    const auto last =
        dash == std::string_view::npos ? first : parse_int<int>(part.substr(dash + 1));
    if (!first || !last || *first < 0) continue;
    for (int cpu = *first; cpu <= std::min(*last, kCpuLimit - 1); ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

std::vector<int> allowed_cpus() {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return {0};
  for (int cpu = 0; cpu < kCpuLimit; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

CpuTopology CpuTopology::detect(const std::vector<int>& allowed, const std::string& root) {
  const std::string system = root + "/sys/devices/system";
  CpuTopology out;
  std::set<int> left(allowed.begin(), allowed.end());
  auto add_node = [&](const std::vector<int>& cpus) {
    CpuNode node;
    for (const int cpu : cpus) {
      if (left.erase(cpu) == 1) node.cpus.push_back(cpu);
    }
    if (node.cpus.empty()) return;
    node.cores = count_cores(node.cpus, system);
    out.nodes.push_back(std::move(node));
  };
  for (const int node : parse_cpu_list(first_line(system + "/node/online"))) {
    add_node(parse_cpu_list(first_line(system + "/node/node" + std::to_string(node) + "/cpulist")));
  }
  add_node(std::vector<int>(left.begin(), left.end()));
  if (out.nodes.empty()) out.nodes.push_back({{0}, 1});
  out.quota_cores = read_quota(root);
  return out;
}

int CpuTopology::default_threads() const {
  int cores = 0;
  for (const CpuNode& node : nodes) cores += node.cores;
  return quota_cores > 0 ? std::min(cores, quota_cores) : cores;
}

std::vector<int> CpuTopology::place(int threads) const {
  std::vector<int> taken(nodes.size(), 0);
  std::vector<int> out;
  size_t turn = 0;
  while (static_cast<int>(out.size()) < threads) {
    for (size_t skipped = 0; skipped < nodes.size() && taken[turn] >= nodes[turn].cores;
         ++skipped) {
      turn = (turn + 1) % nodes.size();
    }
    out.push_back(static_cast<int>(turn));
    ++taken[turn];
    turn = (turn + 1) % nodes.size();
  }
  return out;
}

}  // namespace hadal
