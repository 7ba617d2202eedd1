#include "model/decoder/decoder.h"
#include "model/deepseek4/deepseek4.h"
#include "model/model.h"
#include "model/weights.h"

namespace hadal {

Status ForwardModel::predict(const Batch&, KvPool&, std::span<float>) {
  return Error{Code::kUnsupported, "the model has no layer for multi-token prediction"};
}

Status Model::set_observer(MatmulObserver*) {
  return Error{Code::kUnsupported, "the inputs of the matrices of architecture '" +
                                       config().architecture + "' cannot be observed"};
}

Result<std::unique_ptr<Model>> Model::load(const GgufFile& file, const LoadOptions& options,
                                           ThreadPool& pool) {
  TRY(const std::optional<std::string_view> name, file.string("general.architecture"));
  if (name == "deepseek4") return load_deepseek4(file, options, pool);
  TRY(ModelConfig config, ModelConfig::from_gguf(file));
  TRY(ModelWeights weights, ModelWeights::bind(file, config, options, pool));
  const auto make = config.latent ? make_latent_decoder : make_grouped_decoder;
  return make(std::move(config), std::move(weights), options, pool);
}

Result<std::vector<UnpackedPart>> Model::unpacked_parts(const GgufFile& file, ThreadPool& pool) {
  std::vector<UnpackedPart> parts;
  const LoadOptions options{.predict = true, .plan = &parts};
  TRY(const std::optional<std::string_view> name, file.string("general.architecture"));
  if (name == "deepseek4") {
    TRY_STATUS(plan_deepseek4(file, options, pool));
  } else {
    TRY(const ModelConfig config, ModelConfig::from_gguf(file));
    TRY(const ModelWeights weights, ModelWeights::bind(file, config, options, pool));
  }
  return parts;
}

}  // namespace hadal
