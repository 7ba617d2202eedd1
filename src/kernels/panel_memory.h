#pragma once
/// PanelMemory: where packed weights lie.
#include <cstdint>

namespace hadal {

/// A block of zeroed memory, aligned to 64 bytes. Blocks are cut one after the other from large
/// chunks on huge pages, so that a model's matrices lie side by side; a chunk goes when its last
/// block does. Any thread may make and drop blocks.
class PanelMemory {
 public:
  PanelMemory() = default;
  explicit PanelMemory(int64_t bytes);
  ~PanelMemory();
  PanelMemory(PanelMemory&& other) noexcept;
  PanelMemory& operator=(PanelMemory&& other) noexcept;

  uint8_t* data() const { return data_; }

 private:
  struct Chunk;
  struct Current;
  static Current& current();

  Chunk* chunk_ = nullptr;
  uint8_t* data_ = nullptr;
};

}  // namespace hadal
