#include "kernels/matmul_heads.h"

#include <algorithm>
#include <deque>

#include "base/check.h"

namespace hadal {
namespace {

/// Rows that one work item takes of a head: enough for the matrix kernels' full speed.
constexpr int64_t kRowsPerItem = 128;

/// What a worker computes with, alone.
struct Worker {
  ThreadPool alone{1};
  MatmulRows rows;
  MatmulWorkspace workspace;
};

}  // namespace

struct HeadsWorkspace::Buffers {
  std::deque<Worker> workers;  ///< they cannot move
};

HeadsWorkspace::HeadsWorkspace() : buffers_(std::make_unique<Buffers>()) {}
HeadsWorkspace::~HeadsWorkspace() = default;

void matmul_heads(const HeadRows& x, int64_t n, std::span<const Weight> weights,
                  const HeadRows& out, ThreadPool& pool, HeadsWorkspace& workspace) {
  if (n == 0) return;
  std::deque<Worker>& workers = workspace.buffers().workers;
  while (static_cast<int>(workers.size()) < pool.size()) workers.emplace_back();
  const int64_t spans = (n + kRowsPerItem - 1) / kRowsPerItem;
  const int64_t items = static_cast<int64_t>(weights.size()) * spans;
  auto bound = [&](int worker) { return items * worker / pool.size(); };
  pool.stream(bound, 1, [&](int index, int64_t begin, int64_t end) {
    Worker& worker = workers[static_cast<size_t>(index)];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t head = item / spans;
      const int64_t first = item % spans * kRowsPerItem;
      const int64_t rows = std::min(kRowsPerItem, n - first);
      const Weight* const readers[] = {&weights[static_cast<size_t>(head)]};
      worker.rows.reset(rows, readers);
      worker.rows.set_all(x.head(first, head), x.row_stride, worker.alone);
      const MatmulTask task{
          .weight = readers[0], .out = out.head(first, head), .out_stride = out.row_stride};
      matmul(worker.rows, {&task, 1}, worker.alone, worker.workspace);
    }
  });
}

}  // namespace hadal
