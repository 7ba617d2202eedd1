#pragma once
/// DeepSeek V4 (GGUF architecture "deepseek4"): four residual streams joined by hyper-connections,
/// attention over a window and compressed rows with one key that is its own value, experts.
#include <memory>

#include "base/result.h"
#include "base/thread_pool.h"
#include "model/model.h"
#include "tensor/gguf.h"

namespace hadal {

/// Borrows `file` and `pool`, which must outlive the model. Keys and values may be F32 or F16
/// (decision 0018 says why not 8 bits). Errors name the key or tensor.
Result<std::unique_ptr<Model>> load_deepseek4(const GgufFile& file, const LoadOptions& options,
                                              ThreadPool& pool);
/// Fills options.plan with what load_deepseek4() would pack of `file`.
Status plan_deepseek4(const GgufFile& file, const LoadOptions& options, ThreadPool& pool);

}  // namespace hadal
