#include "serve/dialects/llama_cpp.h"

namespace hadal {
namespace {

std::string token_text(const Tokenizer& tokenizer, std::optional<TokenId> id) {
  return id ? std::string(tokenizer.piece(*id, true)) : std::string();
}

}  // namespace

json::object llama_settings(const RequestParams& params) {
  const SamplingParams& sampling = params.sampling;
  json::object out;
  out["n_predict"] = params.prompt_only ? 0 : params.max_tokens == 0 ? -1 : params.max_tokens;
  out["temperature"] = double{sampling.temperature};
  out["top_k"] = sampling.top_k;
  out["top_p"] = double{sampling.top_p};
  out["min_p"] = double{sampling.min_p};
  out["typical_p"] = double{sampling.typical_p};
  out["repeat_penalty"] = double{sampling.repetition_penalty};
  out["presence_penalty"] = double{sampling.presence_penalty};
  out["frequency_penalty"] = double{sampling.frequency_penalty};
  out["mirostat"] = sampling.mirostat;
  out["mirostat_tau"] = double{sampling.mirostat_tau};
  out["mirostat_eta"] = double{sampling.mirostat_eta};
  out["ignore_eos"] = params.ignore_eos;
  out["stream"] = params.stream;
  out["n_probs"] = params.top_logprobs;
  json::array stops;
  for (const std::string& stop : params.stop) stops.push_back(json::value(stop));
  out["stop"] = std::move(stops);
  return out;
}

std::string props_body(const ServedModel& model, const EngineStats& stats) {
  const Tokenizer& tokenizer = *model.tokenizer;
  RequestParams defaults;
  defaults.sampling = model.defaults;
  json::object out;
  out["default_generation_settings"] = {{"n_ctx", model.n_ctx},
                                        {"params", llama_settings(defaults)}};
  out["total_slots"] = stats.rows_max;
  out["model_alias"] = model.id;
  out["model_path"] = model.id;
  out["chat_template"] = model.chat_template == nullptr ? "" : model.chat_template->source();
  out["bos_token"] = token_text(tokenizer, tokenizer.bos());
  out["eos_token"] = token_text(tokenizer, tokenizer.eos());
  out["modalities"] = {{"vision", false}, {"audio", false}};
  out["build_info"] = "hadal-" HADAL_VERSION;
  return to_json(out);
}

std::string slots_body(const ServedModel& model, const EngineStats& stats) {
  json::array out;
  for (int i = 0; i < stats.rows_max; ++i) {
    out.push_back({{"id", i}, {"n_ctx", model.n_ctx}, {"is_processing", i < stats.running}});
  }
  return to_json(out);
}

}  // namespace hadal
