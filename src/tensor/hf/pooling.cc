#include "tensor/hf/pooling.h"

#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "tensor/hf/json_file.h"

namespace hadal {
namespace {

constexpr int64_t kMean = 1;  // GGUF's pooling_type
constexpr int64_t kRank = 4;

}  // namespace

Status write_hf_pooling(const std::filesystem::path& directory, const HfModel& model,
                        MetadataWriter& out) {
  if (model.shape.labels > 0) {
    out.integer(".pooling_type", kRank);
    return Status::success();
  }
  const std::filesystem::path file = directory / "1_Pooling" / "config.json";
  TRY(const std::optional<JsonFile> config, JsonFile::read_if_present(file));
  if (!config) {
    if (model.architecture == "bert") out.integer(".pooling_type", kMean);
    return Status::success();
  }
  std::error_code failed;
  if (std::filesystem::exists(directory / "2_Dense", failed)) {
    return Error{Code::kUnsupported,
                 fmt::format("{} has a dense layer behind its pooling (2_Dense), which is not "
                             "supported",
                             directory.string())};
  }
  constexpr std::pair<std::string_view, int64_t> kModes[] = {{"pooling_mode_mean_tokens", kMean},
                                                             {"pooling_mode_cls_token", 2},
                                                             {"pooling_mode_lasttoken", 3}};
  std::optional<int64_t> found;
  for (const auto& [key, value] : kModes) {
    TRY(const bool set, config->boolean_or(key, false));
    if (set && found) {
      return config->error(Code::kUnsupported, key, "is not the only way to pool");
    }
    if (set) found = value;
  }
  if (!found) {
    return config->error(Code::kUnsupported, "pooling_mode_mean_tokens",
                         "is false, and so are pooling_mode_cls_token and pooling_mode_lasttoken: "
                         "other ways to pool are not supported");
  }
  out.integer(".pooling_type", *found);
  return Status::success();
}

}  // namespace hadal
