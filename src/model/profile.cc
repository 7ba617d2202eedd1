#include "model/profile.h"

#include <chrono>

namespace hadal {
namespace {

int64_t now_nanos() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

std::string_view op_name(Op op) {
  constexpr std::array<std::string_view, kOps> kNames = {
      "embed",    "norm",    "qkv",       "query_up",  "rope",
      "kv_write", "indexer", "latent_up", "attention", "attention_out",
      "gate_up",  "down",    "router",    "experts",   "head"};
  return kNames[static_cast<size_t>(op)];
}

void Profile::start() {
  last_ = now_nanos();
}

void Profile::lap(Op op, const OpWork& work) {
  const int64_t now = now_nanos();
  OpTotals& totals = totals_[static_cast<size_t>(op)];
  ++totals.calls;
  totals.nanos += now - last_;
  totals.work.bytes += work.bytes;
  totals.work.macs += work.macs;
  last_ = now;
}

int64_t Profile::nanos() const {
  int64_t all = 0;
  for (const OpTotals& totals : totals_) all += totals.nanos;
  return all;
}

}  // namespace hadal
