#include "base/topology.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

namespace hadal {
namespace {

namespace fs = std::filesystem;

/// A made-up /sys and /proc below a directory that goes away with it.
class FakeRoot {
 public:
  FakeRoot() {
    root_ = fs::path(::testing::TempDir()) /
            ("topology_" +
             std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(root_);
  }
  ~FakeRoot() { fs::remove_all(root_); }
  FakeRoot(const FakeRoot&) = delete;
  FakeRoot& operator=(const FakeRoot&) = delete;

  void write(const std::string& path, const std::string& line) {
    const fs::path file = root_ / path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << line << '\n';
  }
  void node(int index, const std::string& cpus) {
    write("sys/devices/system/node/node" + std::to_string(index) + "/cpulist", cpus);
  }
  void online_nodes(const std::string& list) { write("sys/devices/system/node/online", list); }
  void siblings(int cpu, const std::string& list) {
    write("sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list",
          list);
  }
  std::string path() const { return root_.string(); }

 private:
  fs::path root_;
};

std::vector<int> range(int begin, int end) {
  std::vector<int> out;
  for (int i = begin; i < end; ++i) out.push_back(i);
  return out;
}

// Goal: lists as the kernel writes them, and hostile ones, give the numbers they hold.
TEST(Topology, ParsesCpuLists) {
  EXPECT_EQ(parse_cpu_list("0-3,8,10-11"), (std::vector<int>{0, 1, 2, 3, 8, 10, 11}));
  EXPECT_EQ(parse_cpu_list("5"), std::vector<int>{5});
  EXPECT_TRUE(parse_cpu_list("").empty());
  EXPECT_EQ(parse_cpu_list("x,2,3-,-4,7-6,9"), (std::vector<int>{2, 9}));
  EXPECT_LE(parse_cpu_list("0-2000000000").size(), 4096U);
}

// Goal: two sockets with two hardware threads per core: cores, not threads, are counted, and
// workers go to the nodes in turn.
TEST(Topology, TwoNodesWithSiblings) {
  FakeRoot root;
  root.online_nodes("0-1");
  root.node(0, "0-3,8-11");
  root.node(1, "4-7,12-15");
  for (int cpu = 0; cpu < 16; ++cpu) {
    root.siblings(cpu, std::to_string(cpu % 8) + "," + std::to_string(cpu % 8 + 8));
  }
  const CpuTopology topology = CpuTopology::detect(range(0, 16), root.path());
  ASSERT_EQ(topology.nodes.size(), 2U);
  EXPECT_EQ(topology.nodes[0].cpus, (std::vector<int>{0, 1, 2, 3, 8, 9, 10, 11}));
  EXPECT_EQ(topology.nodes[1].cores, 4);
  EXPECT_EQ(topology.default_threads(), 8);
  EXPECT_EQ(topology.place(4), (std::vector<int>{0, 1, 0, 1}));
}

// Goal: nodes of unequal size fill up one after the other, and more workers than cores go on.
TEST(Topology, AsymmetricNodes) {
  FakeRoot root;
  root.online_nodes("0,2");
  root.node(0, "0-4");
  root.node(2, "5");
  const CpuTopology topology = CpuTopology::detect(range(0, 6), root.path());
  ASSERT_EQ(topology.nodes.size(), 2U);
  EXPECT_EQ(topology.default_threads(), 6);
  EXPECT_EQ(topology.place(6), (std::vector<int>{0, 1, 0, 0, 0, 0}));
  EXPECT_EQ(topology.place(8).size(), 8U);
}

// Goal: a cpuset that leaves one node only, with offline processors in the lists, is one node.
TEST(Topology, RestrictedCpusetAndOfflineProcessors) {
  FakeRoot root;
  root.online_nodes("0-1");
  root.node(0, "0-3");
  root.node(1, "4-7");
  const CpuTopology topology = CpuTopology::detect({5, 7}, root.path());
  ASSERT_EQ(topology.nodes.size(), 1U);
  EXPECT_EQ(topology.nodes[0].cpus, (std::vector<int>{5, 7}));
  EXPECT_EQ(topology.default_threads(), 2);
}

// Goal: without any /sys all allowed processors are one node; a processor of no listed node is
// kept.
TEST(Topology, MissingFiles) {
  FakeRoot root;
  EXPECT_EQ(CpuTopology::detect({0, 1, 2}, root.path()).nodes.size(), 1U);
  EXPECT_EQ(CpuTopology::detect({0, 1, 2}, root.path()).default_threads(), 3);
  EXPECT_EQ(CpuTopology::detect({}, root.path()).default_threads(), 1);
  root.online_nodes("0");
  root.node(0, "0-1");
  EXPECT_EQ(CpuTopology::detect({0, 1, 9}, root.path()).default_threads(), 3);
}

// Goal: quotas of both cgroup versions, of the group itself and of those above it, are rounded up.
TEST(Topology, Quotas) {
  FakeRoot root;
  root.write("sys/fs/cgroup/cpu.max", "max 100000");
  EXPECT_EQ(CpuTopology::detect(range(0, 8), root.path()).default_threads(), 8);
  root.write("proc/self/cgroup", "0::/a/b");
  root.write("sys/fs/cgroup/a/cpu.max", "250000 100000");
  EXPECT_EQ(CpuTopology::detect(range(0, 8), root.path()).default_threads(), 3);
  root.write("sys/fs/cgroup/a/b/cpu.max", "50000 100000");
  EXPECT_EQ(CpuTopology::detect(range(0, 8), root.path()).default_threads(), 1);
  FakeRoot old;
  old.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000");
  old.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000");
  EXPECT_EQ(CpuTopology::detect(range(0, 8), old.path()).default_threads(), 2);
}

}  // namespace
}  // namespace hadal
