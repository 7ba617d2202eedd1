#pragma once
/// A small matrix per head: out[r, h] = W_h x[r, h]. What latent attention does between a head's
/// space and the latent one.
#include <cstdint>
#include <memory>
#include <span>

#include "base/thread_pool.h"
#include "kernels/matmul.h"

namespace hadal {

/// Buffers that matmul_heads reuses between calls. One per calling thread.
class HeadsWorkspace {
 public:
  HeadsWorkspace();
  ~HeadsWorkspace();
  HeadsWorkspace(const HeadsWorkspace&) = delete;
  HeadsWorkspace& operator=(const HeadsWorkspace&) = delete;

  struct Buffers;
  Buffers& buffers() { return *buffers_; }

 private:
  std::unique_ptr<Buffers> buffers_;
};

/// Rows of all heads: head h of row r begins at data + r * row_stride + h * head_stride.
struct HeadRows {
  float* data = nullptr;
  int64_t row_stride = 0;
  int64_t head_stride = 0;

  float* head(int64_t row, int64_t index) const {
    return data + row * row_stride + index * head_stride;
  }
};

/// For n rows. All weights have the same shape; `x` and `out` do not overlap. The arithmetic is
/// that of matmul.
void matmul_heads(const HeadRows& x, int64_t n, std::span<const Weight> weights,
                  const HeadRows& out, ThreadPool& pool, HeadsWorkspace& workspace);

}  // namespace hadal
