/// Shapes of the endpoints that llama.cpp and vLLM have beside the OpenAI ones.
#include "serve/dialects/llama_cpp.h"

#include "serve/shapes.h"

namespace hadal {
namespace {

constexpr FieldRow kAnswer[] = {
    {"index", "integer", kRequired},
    {"content", "string", kRequired},
    {"tokens", "integer[]", kRequired},
    {"id_slot", "integer", kRequired},
    {"stop", "true", kRequired},
    {"model", "string", kRequired},
    {"tokens_predicted", "integer", kRequired},
    {"tokens_evaluated", "integer", kRequired},
    {"tokens_cached", "integer", kRequired},
    {"generation_settings", "object", kRequired},
    {"prompt", "string", kRequired},
    {"has_new_line", "boolean"},
    {"truncated", "false", kRequired},
    {"stop_type", "'eos'|'limit'|'word'", kRequired},
    {"stopping_word", "string", kRequired},
    {"completion_probabilities", "TokenProbability[]"},
    {"timings", "LlamaTimings", kRequired},
};
constexpr FieldRow kPart[] = {
    {"index", "integer", kRequired},
    {"content", "string", kRequired},
    {"tokens", "integer[]", kRequired},
    {"stop", "false", kRequired},
    {"tokens_predicted", "integer", kRequired},
    {"tokens_evaluated", "integer", kRequired},
    {"completion_probabilities", "TokenProbability[]"},
};
constexpr FieldRow kProbability[] = {
    {"id", "integer", kRequired},           {"token", "string", kRequired},
    {"bytes", "integer[]", kRequired},      {"logprob", "number|null", kRequired},
    {"top_logprobs", "TokenProbability[]"},
};
constexpr FieldRow kTimings[] = {
    {"cache_n", "integer", kRequired},
    {"prompt_n", "integer", kRequired},
    {"prompt_ms", "number", kRequired},
    {"prompt_per_token_ms", "number", kRequired},
    {"prompt_per_second", "number", kRequired},
    {"predicted_n", "integer", kRequired},
    {"predicted_ms", "number", kRequired},
    {"predicted_per_token_ms", "number", kRequired},
    {"predicted_per_second", "number", kRequired},
};
constexpr FieldRow kExtraFile[] = {{"filename", "string"}, {"text", "string", kRequired}};
constexpr FieldRow kRendered[] = {{"prompt", "string", kRequired}};
constexpr FieldRow kProps[] = {
    {"default_generation_settings", "object", kRequired},
    {"total_slots", "integer", kRequired},
    {"model_alias", "string", kRequired},
    {"model_path", "string", kRequired},
    {"chat_template", "string", kRequired},
    {"bos_token", "string", kRequired},
    {"eos_token", "string", kRequired},
    {"modalities", "object", kRequired},
    {"build_info", "string", kRequired},
};
constexpr FieldRow kSlot[] = {{"id", "integer", kRequired},
                              {"n_ctx", "integer", kRequired},
                              {"is_processing", "boolean", kRequired}};
constexpr FieldRow kTokenizerInfo[] = {
    {"tokenizer_class", "string", kRequired},   {"vocab_size", "integer", kRequired},
    {"model_max_length", "integer", kRequired}, {"bos_token", "string|null", kRequired},
    {"eos_token", "string|null", kRequired},    {"pad_token", "string|null", kRequired},
    {"unk_token", "string|null", kRequired},    {"add_bos_token", "boolean", kRequired},
    {"add_eos_token", "boolean", kRequired},    {"chat_template", "string|null", kRequired},
};

constexpr ObjectShape kObjects[] = {
    {"LlamaAnswer", kAnswer},   {"LlamaPart", kPart},      {"TokenProbability", kProbability},
    {"LlamaTimings", kTimings}, {"ExtraFile", kExtraFile}, {"RenderedPrompt", kRendered},
    {"Props", kProps},          {"Slot", kSlot},           {"TokenizerInfo", kTokenizerInfo},
};

constexpr FieldRow kCompletionFields[] = {
    {"prompt", "string|integer(0..)[]|string[]|any[]", kRequired},
    {"cache_prompt", "any"},
    {"grammar", "any"},
    {"json_schema", "any"},
};
constexpr FieldRow kInfillFields[] = {
    {"input_prefix", "string"}, {"input_suffix", "string"}, {"input_extra", "ExtraFile[]"},
    {"prompt", "string"},       {"cache_prompt", "any"},    {"grammar", "any"},
    {"json_schema", "any"},
};
constexpr FieldRow kTemplateFields[] = {{"model", "string"},
                                        {"messages", "Message[1..16384]", kRequired}};

}  // namespace

std::span<const ObjectShape> llama_objects() {
  return kObjects;
}

namespace shapes {

constinit const EndpointShape kLlamaCompletion = {
    .fields = {kCompletionFields, kGenerationFields},
    .params = {common_params, llama_params},
    .reply = "LlamaAnswer|LlamaAnswer[]",
    .event = "LlamaPart|LlamaAnswer",
    .example = R"({"prompt": "1, 2, 3,", "n_predict": 8})"};
constinit const EndpointShape kLlamaInfill = {
    .fields = {kInfillFields, kGenerationFields},
    .params = {common_params, llama_params},
    .reply = "LlamaAnswer",
    .event = "LlamaPart|LlamaAnswer",
    .example = R"({"input_prefix": "def f(a):\n", "input_suffix": "\n", "n_predict": 8})"};
constinit const EndpointShape kApplyTemplate = {
    .fields = {kTemplateFields, kConversationFields},
    .reply = "RenderedPrompt",
    .example = R"({"messages": [{"role": "user", "content": "Hello"}]})"};
constinit const EndpointShape kProps = {.reply = "Props"};
constinit const EndpointShape kSlots = {.reply = "Slot[]"};
constinit const EndpointShape kTokenizerInfo = {.reply = "TokenizerInfo"};
constinit const EndpointShape kPing = {.reply = "", .reply_type = ""};

}  // namespace shapes
}  // namespace hadal
