#include "app/large_model.h"

#include <algorithm>

#include <fmt/format.h>

#include "app/memory.h"
#include "app/output.h"
#include "app/progress.h"
#include "app/stop_signals.h"
#include "base/log.h"
#include "base/parse.h"

namespace hadal {
namespace {

/// Kept for keys, values and activations: this, or a tenth of the memory.
constexpr uint64_t kReserveBytes = 512ULL << 20;
/// Without which no start is tried.
constexpr uint64_t kReserveBytesMin = 256ULL << 20;

uint64_t less(uint64_t bytes, uint64_t reserve) {
  return bytes - std::min(bytes, reserve);
}

}  // namespace

Result<WeightMemory> weight_memory(const Settings& settings) {
  if (!settings.memory.empty()) {
    const auto bytes = parse_bytes(settings.memory);
    if (bytes.has_value()) return WeightMemory{*bytes, *bytes};
    return Error{Code::kInvalidArgument,
                 fmt::format("HADAL_MEMORY is '{}', which is no size", settings.memory),
                 "12GiB is one, and so is 800MB"};
  }
  const uint64_t bytes = memory_at_hand_bytes();
  if (bytes == 0) return WeightMemory{UINT64_MAX, UINT64_MAX};
  return WeightMemory{less(bytes, std::max(kReserveBytes, bytes / 10)),
                      less(bytes, kReserveBytesMin)};
}

uint64_t packed_bytes_of(const GgufFile& file) {
  const bool tied = file.find_tensor("output.weight") == nullptr;
  uint64_t bytes = 0;
  for (TensorView tensor : file.tensors()) {
    if (tensor.n_dims < 2 || (tensor.name == "token_embd.weight" && !tied)) continue;
    tensor.ne = {tensor.ne[0], tensor.rows(), 1, 1};
    const auto size = Weight::packed_size(tensor);
    if (size.ok()) bytes += size.value().bytes();  // others, as tables of numbers, are not packed
  }
  return bytes;
}

std::string note_about_size(const std::string& name, uint64_t bytes, const WeightMemory& memory) {
  return fmt::format(
      "{} is larger than memory: {} of weights, {} for them. What does not fit is read from disk "
      "again and again, so the disk's speed bounds the answer's.",
      name, human_bytes(bytes), human_bytes(memory.comfortable));
}

Result<std::unique_ptr<PackedImage>> pack_large_model(const PackedCache& cache,
                                                      const LoadedModel& model,
                                                      const WeightMemory& memory,
                                                      int64_t opened_micros) {
  const GgufFile& file = *model.file;
  TRY(const std::vector<UnpackedPart> parts, Model::unpacked_parts(file, *model.pool));
  if (parts.empty()) return std::unique_ptr<PackedImage>();
  const StopSignals signals;
  ProgressBar bar(fmt::format("packing {}", model.name), false);
  const PackingHooks hooks = {
      .progress = [&](uint64_t done, uint64_t total) { bar.update(done, total); },
      .packed = [&](const TensorView& tensor) { file.forget(tensor); }};
  const PackingJob job = {{file.origins(), opened_micros * 1000}, parts, hooks};
  auto image = cache.pack(job, *model.pool, StopSignals::stopped());
  if (image.ok()) return image;
  const Error& error = image.error();
  const bool about_disk =
      error.code == Code::kExhausted || error.code == Code::kIo || error.code == Code::kDenied;
  const uint64_t bytes = packed_bytes_of(file);
  if (about_disk && bytes <= memory.most) {
    log_event(LogLevel::kWarn, "large_model.packed_in_memory", {{"reason", error.message}});
    return std::unique_ptr<PackedImage>();
  }
  if (!about_disk) return image;
  return Error{
      error.code,
      fmt::format("{} is larger than memory ({} of packed weights, {} at hand), and {}", model.name,
                  human_bytes(bytes), human_bytes(memory.comfortable), error.message),
      error.hint.empty() ? "let HADAL_HOME name a directory that can be written" : error.hint};
}

}  // namespace hadal
