#pragma once
/// Names for the integers that cross room borders.
#include <cstdint>

namespace hadal {

/// Index into a model's vocabulary. Never negative in a valid sequence; kNoToken marks "none".
using TokenId = int32_t;
inline constexpr TokenId kNoToken = -1;

/// One request inside the engine; unique for the life of the process, never 0.
using RequestId = uint64_t;

}  // namespace hadal
