#pragma once
/// Which cores this process may compute on, and on which memory node each lies.
#include <string>
#include <vector>

namespace hadal {

/// The processors of one memory node (NUMA node) that this process may use.
struct CpuNode {
  std::vector<int> cpus;  ///< all of them, rising
  int cores = 0;          ///< physical cores among them: hardware threads of a core count once
};

struct CpuTopology {
  std::vector<CpuNode> nodes;  ///< only nodes with usable processors; at least one
  int quota_cores = 0;         ///< what a cgroup's time quota allows, rounded up; 0: no quota

  /// Reads /sys/devices/system/{node,cpu}, /sys/fs/cgroup and /proc/self/cgroup below `root` (for
  /// tests). `allowed` are the processors of the affinity mask; those of no known node form one of
  /// their own. Never fails: what cannot be read counts as one node, one core per processor.
  static CpuTopology detect(const std::vector<int>& allowed, const std::string& root = "");

  /// Threads worth having: one per physical core, within the quota.
  int default_threads() const;

  /// The node of each of `threads` workers: in turn over the nodes, skipping those whose cores are
  /// taken. Beyond all cores the turn goes on over all nodes.
  std::vector<int> place(int threads) const;
};

/// The processors in the calling thread's affinity mask.
std::vector<int> allowed_cpus();

/// "0-3,8,10-11" as numbers. Malformed parts and numbers beyond the system's limit are left out.
std::vector<int> parse_cpu_list(const std::string& text);

}  // namespace hadal
