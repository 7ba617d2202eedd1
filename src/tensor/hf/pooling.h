#pragma once
/// What sentence-transformers puts beside a checkpoint: how rows become one vector. Private to the
/// room.
#include <filesystem>

#include "base/result.h"
#include "tensor/hf/config.h"
#include "tensor/hf/metadata.h"

namespace hadal {

/// Writes pooling_type by 1_Pooling/config.json; without one the mean for encoders, nothing for
/// others, and the classifier where the model is one. kUnsupported for other ways to pool and for
/// further layers.
Status write_hf_pooling(const std::filesystem::path& directory, const HfModel& model,
                        MetadataWriter& out);

}  // namespace hadal
