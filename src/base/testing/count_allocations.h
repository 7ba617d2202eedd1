#pragma once
/// Counts what operator new gives out. Replaces the global operators, so one file of a program may
/// include it, and none that runs under a sanitizer, which has its own.
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace hadal::testing {

/// Allocations by all threads since the start.
inline std::atomic<uint64_t> allocations{0};

}  // namespace hadal::testing

// Not inlined, or the compiler sees a malloc() freed by delete and warns.
[[gnu::noinline]] void* operator new(size_t bytes) {
  hadal::testing::allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes)) return memory;
  std::abort();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
