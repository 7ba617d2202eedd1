#include "app/memory.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

namespace hadal {
namespace {

/// A tree of files as the kernel would show them.
class FakeRoot {
 public:
  FakeRoot() {
    std::string name = (std::filesystem::temp_directory_path() / "hadal-memory-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
    write("proc/meminfo", "MemTotal:  2000 kB\nMemFree: 1 kB\nMemAvailable:    1000 kB\n");
  }
  ~FakeRoot() { std::filesystem::remove_all(path_); }
  void write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name) << text;
  }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

// Goal: without control groups the kernel's own figure counts, in bytes; without any files nothing
// is known.
TEST(MemoryAtHand, AvailableMemory) {
  FakeRoot root;
  EXPECT_EQ(memory_at_hand_bytes(root.path()), 1000u * 1024);
  EXPECT_EQ(memory_limit_bytes(root.path()), UINT64_MAX);
  EXPECT_EQ(memory_at_hand_bytes(root.path() + "/none"), 0u);
}

// Goal: the tightest of a process's groups and those above it counts; pages of files are free, what
// else is used is not, and more use than allowed leaves nothing.
TEST(MemoryAtHand, ControlGroupsOfVersion2) {
  FakeRoot root;
  root.write("proc/self/cgroup", "0::/a/b\n");
  root.write("sys/fs/cgroup/a/memory.max", "500000\n");
  root.write("sys/fs/cgroup/a/memory.current", "300000\n");
  root.write("sys/fs/cgroup/a/memory.stat",
             "anon 100000\ninactive_file 150000\nactive_file 50000\n");
  root.write("sys/fs/cgroup/a/b/memory.max", "max\n");
  EXPECT_EQ(memory_at_hand_bytes(root.path()), 400000u);
  EXPECT_EQ(memory_limit_bytes(root.path()), 500000u);
  root.write("sys/fs/cgroup/a/b/memory.max", "200000\n");
  EXPECT_EQ(memory_at_hand_bytes(root.path()), 200000u);
  root.write("sys/fs/cgroup/a/b/memory.current", "250000\n");
  EXPECT_EQ(memory_at_hand_bytes(root.path()), 0u);
}

// Goal: the older groups say the same in other files; one of another controller does not count.
TEST(MemoryAtHand, ControlGroupsOfVersion1) {
  FakeRoot root;
  root.write("proc/self/cgroup", "5:devices:/c\n4:memory:/a\n");
  root.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  root.write("sys/fs/cgroup/memory/c/memory.limit_in_bytes", "1\n");
  root.write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "600000\n");
  root.write("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "500000\n");
  root.write("sys/fs/cgroup/memory/a/memory.stat",
             "inactive_file 1\ntotal_inactive_file 300000\ntotal_active_file 100000\n");
  EXPECT_EQ(memory_at_hand_bytes(root.path()), 500000u);
}

}  // namespace
}  // namespace hadal
