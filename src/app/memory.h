#pragma once
/// How much memory there is for this process.
#include <cstdint>
#include <string>

namespace hadal {

/// What the control groups (version 1 or 2) and the data segment (ulimit -d) let this process have
/// in all; the largest number where nothing bounds it. The files of the kernel are read below
/// `root` (for tests).
uint64_t memory_limit_bytes(const std::string& root = "");

/// What the machine has, or less where memory_limit_bytes() is less; 0 where the system does not
/// say.
uint64_t machine_memory_bytes();

/// What can be taken now without swapping: the kernel's MemAvailable, within what is left below the
/// same bounds. Pages of files count as free, they go when memory is needed. 0 where the system
/// does not say.
uint64_t memory_at_hand_bytes(const std::string& root = "");

}  // namespace hadal
