#pragma once
/// The tensors of a checkpoint under the names and with the shapes that GGUF files give them.
/// Private to the room.
#include <deque>
#include <string>
#include <vector>

#include "base/result.h"
#include "tensor/hf/checkpoint.h"
#include "tensor/hf/config.h"
#include "tensor/tensor.h"

namespace hadal {

/// Views into `weights`; their names lie in `names`. Errors name file and tensor: one that is
/// missing, that no layer of this config has, or whose type, shape or scales are not what the
/// config asks for.
Result<std::vector<TensorView>> bind_hf_tensors(const HfModel& model, const Checkpoint& weights,
                                                const std::string& config_where,
                                                std::deque<std::string>& names);

}  // namespace hadal
