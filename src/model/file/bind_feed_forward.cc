#include <fmt/format.h>

#include "model/file/bind_layer.h"

namespace hadal {
namespace {

/// One matrix of every expert: slices of "NAME_exps.weight", or tensors "NAME.E.weight".
Result<std::vector<Weight>> bind_experts(Binder& binder, const std::string& name, int64_t cols,
                                         int64_t rows, int64_t n_experts, Activations activations) {
  std::vector<Weight> out;
  const std::string stacked = name + "_exps.weight";
  const bool apart = !binder.has(stacked) && binder.has(name + ".0.weight");
  const TensorView* all = nullptr;
  if (!apart) {
    TRY(all, binder.find(stacked, cols, rows, n_experts));
  }
  for (int64_t e = 0; e < n_experts; ++e) {
    if (apart) {
      TRY(Linear one, binder.linear(fmt::format("{}.{}", name, e), cols, rows, activations));
      out.push_back(std::move(one.weight));
    } else {
      TRY(Weight one, binder.slice(*all, e * rows, rows, activations));
      out.push_back(std::move(one));
    }
  }
  return out;
}

/// Gate and up of every expert, where each expert's gate rows are followed by its up rows.
Status bind_fused_experts(Binder& binder, const TensorView& fused, int64_t rows, int64_t n_experts,
                          Activations activations, MoeWeights& out) {
  for (int64_t e = 0; e < n_experts; ++e) {
    TRY(Weight gate, binder.slice(fused, 2 * e * rows, rows, activations));
    TRY(Weight up, binder.slice(fused, (2 * e + 1) * rows, rows, activations));
    out.gate.push_back(std::move(gate));
    out.up.push_back(std::move(up));
  }
  return {};
}

/// The views that the kernel wants. Weights do not move any more.
void connect(MoeWeights& moe) {
  for (size_t e = 0; e < moe.gate.size(); ++e) {
    moe.experts.push_back({&moe.gate[e], &moe.up[e], &moe.down[e]});
  }
  moe.layer.experts = moe.experts;
  if (moe.shared) {
    moe.shared_expert = {&moe.shared->gate.weight, &moe.shared->up.weight,
                         &moe.shared->down.weight};
    moe.layer.shared = &moe.shared_expert;
  }
  moe.readers = moe_readers(moe.layer);
  moe.readers.push_back(&moe.router.weight);
}

}  // namespace

Result<DenseWeights> bind_dense(Binder& binder, const std::string& block, const std::string& suffix,
                                int64_t d_model, int64_t d_ff, Activations activations) {
  TRY(Linear gate, binder.linear(block + "ffn_gate" + suffix, d_model, d_ff, activations));
  TRY(Linear up, binder.linear(block + "ffn_up" + suffix, d_model, d_ff, activations));
  TRY(Linear down, binder.linear(block + "ffn_down" + suffix, d_ff, d_model, activations));
  return DenseWeights{std::move(gate), std::move(up), std::move(down)};
}

Result<std::unique_ptr<MoeWeights>> bind_moe(Binder& binder, const ModelConfig& config,
                                             const std::string& block, Activations activations) {
  const int64_t d = config.d_model;
  const int64_t n = config.moe.router.n_experts;
  const int64_t width = config.moe.d_expert;
  TRY(Linear router, binder.linear(block + "ffn_gate_inp", d, n, Activations::kInt16));
  auto out = std::make_unique<MoeWeights>(std::move(router));
  TRY(out->bias, binder.vector_if_present(block + "exp_probs_b.bias", n));
  const std::string fused = block + "ffn_gate_up_exps.weight";
  if (binder.has(fused)) {
    TRY(const TensorView* tensor, binder.find(fused, d, 2 * width, n));
    TRY_STATUS(bind_fused_experts(binder, *tensor, width, n, activations, *out));
  } else {
    TRY(out->gate, bind_experts(binder, block + "ffn_gate", d, width, n, activations));
    TRY(out->up, bind_experts(binder, block + "ffn_up", d, width, n, activations));
  }
  TRY(out->down, bind_experts(binder, block + "ffn_down", width, d, n, activations));
  if (config.moe.d_shared > 0) {
    TRY(DenseWeights shared,
        bind_dense(binder, block, "_shexp", d, config.moe.d_shared, activations));
    out->shared.emplace(std::move(shared));
  }
  connect(*out);
  return out;
}

}  // namespace hadal
