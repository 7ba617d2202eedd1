#include "kernels/matmul_rows.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/packed_weight.h"

namespace hadal {

MatmulRows::MatmulRows() : forms_(std::make_unique<Forms>()) {}
MatmulRows::~MatmulRows() = default;

void MatmulRows::reset(int64_t n, std::span<const Weight* const> readers) {
  Forms& f = *forms_;
  n_ = n;
  cols_ = readers.front()->cols();
  f.ops = nullptr;
  f.needs_floats = keep_floats_;
  std::fill_n(f.needed, cpu::kActivations, false);
  for (const Weight* reader : readers) {
    const Weight::Packed& w = reader->packed();
    CHECK(reader->cols() == cols_);
    if (w.ops == nullptr || !w.quantised()) {
      f.needs_floats = true;
      continue;
    }
    CHECK(f.ops == nullptr || f.ops == w.ops);  // one instruction set rounds for all
    f.ops = w.ops;
    f.needed[w.activation] = true;
  }
  f.reserve(n, cols_);
}

void MatmulRows::Forms::reserve(int64_t n, int64_t cols) {
  if (needs_floats) {
    floats = {reinterpret_cast<const float*>(float_memory.reserve(n * cols * 4)), cols};
  }
  for (int kind = 0; kind < cpu::kActivations; ++kind) {
    if (!needed[kind]) continue;
    // An odd number of blocks, so that the columns of a tile fall into different cache sets.
    const int64_t stride = (cols / cpu::kBlockColumns | 1) * ops->quant[kind].block_bytes;
    rounded[kind] = {rounded_memory[kind].reserve(n * stride), stride};
  }
}

const float* MatmulRows::floats(int64_t row) const {
  const Forms& f = *forms_;
  return f.needs_floats ? f.floats.x + row * f.floats.stride : nullptr;
}

void MatmulRows::set(int64_t row, int64_t first, int64_t count, const float* x) {
  Forms& f = *forms_;
  DCHECK(row >= 0 && row < n_ && first >= 0 && first + count <= cols_);
  DCHECK(first % (cpu::kGroup8 * cpu::kBlockColumns) == 0);
  if (f.needs_floats) {
    auto* floats = reinterpret_cast<float*>(f.float_memory.data());
    std::copy_n(x, count, floats + row * cols_ + first);
  }
  const int64_t block = first / cpu::kBlockColumns;
  for (int kind = 0; kind < cpu::kActivations; ++kind) {
    if (!f.needed[kind]) continue;
    const cpu::QuantOps& quant = f.ops->quant[kind];
    quant.quantize(
        x, count / cpu::kBlockColumns,
        f.rounded_memory[kind].data() + row * f.rounded[kind].stride + block * quant.block_bytes);
  }
}

void MatmulRows::set_all(const float* x, int64_t stride, ThreadPool& pool) {
  auto body = [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) set(r, 0, cols_, x + r * stride);
  };
  if (n_ < 8) {
    body(0, n_);
  } else {
    pool.parallel_for(n_, 4, body);
  }
}

void MatmulRows::gather(const MatmulRows& x, std::span<const int32_t> rows, ThreadPool& pool) {
  const Forms& from = *x.forms_;
  Forms& f = *forms_;
  n_ = static_cast<int64_t>(rows.size());
  cols_ = x.cols_;
  f.ops = from.ops;
  f.needs_floats = from.needs_floats;
  std::copy_n(from.needed, cpu::kActivations, f.needed);
  f.reserve(n_, cols_);
  auto body = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = rows[static_cast<size_t>(i)];
      DCHECK(row >= 0 && row < x.n_);
      if (f.needs_floats) {
        auto* floats = reinterpret_cast<float*>(f.float_memory.data());
        std::copy_n(from.floats.x + row * cols_, cols_, floats + i * cols_);
      }
      for (int kind = 0; kind < cpu::kActivations; ++kind) {
        if (!f.needed[kind]) continue;
        const int64_t stride = f.rounded[kind].stride;
        std::copy_n(from.rounded[kind].blocks + row * stride, stride,
                    f.rounded_memory[kind].data() + i * stride);
      }
    }
  };
  // Rows fewer than this are copied before another worker would have woken up.
  constexpr int64_t kRowsPerPiece = 32;
  pool.parallel_for(n_, kRowsPerPiece, body);
}

}  // namespace hadal
