#pragma once
/// Where the time of forward passes goes: per op, what it took, read and multiplied. A model with a
/// profile marks the end of each op (a clock read); one without pays a pointer test.
#include <array>
#include <cstdint>
#include <string_view>

namespace hadal {

/// The steps of a decoder's forward pass. An op that a pass fuses into another has no calls.
enum class Op : uint8_t {
  kEmbed,
  kNorm,
  kQkv,      ///< with latent attention: down to the ranks
  kQueryUp,  ///< latent attention: queries from their rank
  kRope,
  kKvWrite,
  kIndexer,   ///< sparse attention: keys and queries of the choice
  kLatentUp,  ///< latent attention: queries into the latent space, values out of it
  kAttention,
  kAttentionOut,
  kGateUp,
  kDown,
  kRouter,
  kExperts,
  kHead,
};
inline constexpr size_t kOps = static_cast<size_t>(Op::kHead) + 1;
std::string_view op_name(Op op);

/// What an op touches of the memory that exceeds the caches, and multiplies.
struct OpWork {
  uint64_t bytes = 0;  ///< weights, keys and values, each counted once per pass; no activations
  uint64_t macs = 0;   ///< multiply-adds
};

struct OpTotals {
  int64_t calls = 0;
  int64_t nanos = 0;
  OpWork work;
};

/// Totals per op of the passes since it was made. One thread at a time.
class Profile {
 public:
  /// A pass begins: the time until now belongs to no op.
  void start();
  /// The op that began at the last start() or lap() is done.
  void lap(Op op, const OpWork& work = {});

  const OpTotals& totals(Op op) const { return totals_[static_cast<size_t>(op)]; }
  int64_t nanos() const;  ///< of all ops

 private:
  int64_t last_ = 0;
  std::array<OpTotals, kOps> totals_{};
};

}  // namespace hadal
