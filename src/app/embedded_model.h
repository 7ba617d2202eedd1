#pragma once
/// The model inside the program: Hadal nano, a tiny one of the DeepSeek-V3 architecture, so that
/// something answers with no file and no network (decision 0019). It goes by one name and has no
/// path in the file system.
#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace hadal {

/// What people type for it. A model of that name in the store comes first.
inline constexpr std::string_view kEmbeddedModel = "nano";
inline constexpr std::string_view kEmbeddedLicence = "Apache-2.0";

/// Its GGUF file, aligned as mapped files are. Lives as long as the program; immutable.
std::span<const std::byte> embedded_model();
/// Stands for it where the path of a model file is asked for; for people it says where it is.
std::filesystem::path embedded_model_path();
bool is_embedded_model(const std::filesystem::path& path);

}  // namespace hadal
