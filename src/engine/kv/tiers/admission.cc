#include "engine/kv/tiers/admission.h"

#include <algorithm>

namespace hadal {

bool ReuseGate::admit(const PageKey& key, uint32_t hits) {
  if (hits > 0 || refused_.seen(key)) return true;
  if (credit_ > 0) {
    --credit_;
    return true;
  }
  refused_.note(key);
  return false;
}

void ReuseGate::reward() {
  credit_ = std::min(credit_ + kReward, credit_max_);
}

void ReuseGate::missed(const PageKey& key) {
  if (refused_.seen(key)) reward();
}

}  // namespace hadal
