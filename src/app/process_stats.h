#pragma once
/// What the kernel knows about this process.
#include <cstdint>

namespace hadal {

/// Bytes; 0 where the system does not say.
struct ProcessMemory {
  uint64_t peak = 0;       ///< most that was resident at once, mapped files included
  uint64_t anonymous = 0;  ///< resident now and not backed by a file
};
ProcessMemory process_memory();

/// Since the process was started (exec included), in steps of 10 ms; 0 where the system does not
/// say.
double seconds_since_start();

}  // namespace hadal
