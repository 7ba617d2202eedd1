#pragma once
/// Models whose packed form does not fit into memory (decision 0021): they are packed into the
/// cache's image part by part, and read from it.
#include <cstdint>
#include <memory>
#include <string>

#include "app/app.h"
#include "app/packed_cache.h"
#include "base/result.h"

namespace hadal {

/// What packed weights may take of the memory.
struct WeightMemory {
  uint64_t comfortable = 0;  ///< and the rest of the program has its own
  uint64_t most = 0;         ///< and it just starts
};
/// $HADAL_MEMORY, else what is at hand now. kInvalidArgument when the variable is no size.
Result<WeightMemory> weight_memory(const Settings& settings);

/// About what the packed form of all matrices takes; 0 where the instruction set reads the file's
/// own form.
uint64_t packed_bytes_of(const GgufFile& file);

/// What to tell people before such a model is loaded: sizes, and what bounds the speed.
std::string note_about_size(const std::string& name, uint64_t bytes, const WeightMemory& memory);

/// The image of a model that was opened from files and has none yet: packs it into the cache. Shows
/// progress; a signal to stop removes what is not complete and ends the process. Null: pack it in
/// memory (that is just possible, or nothing is packed). kExhausted says how much room is needed
/// where.
Result<std::unique_ptr<PackedImage>> pack_large_model(const PackedCache& cache,
                                                      const LoadedModel& model,
                                                      const WeightMemory& memory,
                                                      int64_t opened_micros);

}  // namespace hadal
