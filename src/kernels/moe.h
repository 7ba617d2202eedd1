#pragma once
/// The experts of a mixture-of-experts layer, all of them in one op (1701.06538, 2401.06066): each
/// token goes through a few feed-forward networks out of many, which a router chose (router.h), and
/// through one that is shared by all.
///
/// An expert computes down(silu(gate(x)) * up(x)), in the arithmetic of matmul.h. The rows of the
/// batch are sorted by expert; an expert without rows costs nothing, not even a look at its
/// weights. Reference twin: reference::moe_row.
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/matmul.h"

namespace hadal {

/// Borrowed. gate and up: d_ff x d_model; down: d_model x d_ff.
struct ExpertWeights {
  const Weight* gate = nullptr;
  const Weight* up = nullptr;
  const Weight* down = nullptr;
};

/// The experts of a layer. Types may differ between gate, up and down and between experts, d_ff
/// only between the shared one and the others.
struct MoeLayer {
  std::span<const ExpertWeights> experts;
  const ExpertWeights* shared = nullptr;  ///< every row goes through it with weight 1; or null
  /// Above 0: gate = min(gate, clamp) and up = clamp(up, -clamp, clamp), before silu.
  float clamp = 0.0f;
  float shared_clamp = 0.0f;  ///< the same in the shared expert
};

/// Which experts each row goes to, and with what weight: n x n_used each, ids in [0, experts).
struct Routing {
  int64_t n_used = 0;
  const int32_t* experts = nullptr;
  const float* weights = nullptr;
};

/// Readers for MatmulRows::reset() of a layer's input: one weight for each form of the activations
/// that the layer reads, instead of all of them. Ask once, when the model is loaded.
std::vector<const Weight*> moe_readers(const MoeLayer& layer);

/// Buffers that moe_add reuses between calls. One per calling thread.
class MoeWorkspace {
 public:
  MoeWorkspace();
  ~MoeWorkspace();
  MoeWorkspace(const MoeWorkspace&) = delete;
  MoeWorkspace& operator=(const MoeWorkspace&) = delete;

  /// As MatmulWorkspace::set_observer: each expert's products report its own rows.
  void set_observer(MatmulObserver* observer);

  struct Buffers;
  Buffers& buffers() { return *buffers_; }

 private:
  std::unique_ptr<Buffers> buffers_;
};

/// out[r] += sum over j of weights[r, j] * expert(experts[r, j], x[r]) + shared(x[r]), for the
/// x.n() rows; row r of out at out + r * out_stride, d_model floats. `x` was reset for
/// moe_readers(layer). A row's terms are added in the order of the experts' ids, then the shared
/// one's, so its result has the same bits whatever the other rows and the number of threads.
void moe_add(const MatmulRows& x, const MoeLayer& layer, const Routing& routing, float* out,
             int64_t out_stride, ThreadPool& pool, MoeWorkspace& workspace);

}  // namespace hadal
