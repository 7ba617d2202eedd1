/// Any bytes as a checkpoint of one file: the first byte chooses a config, the rest is its
/// model.safetensors. What opens must have tensors whose every row decodes.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <unistd.h>

#include "base/check.h"
#include "tensor/gguf.h"

namespace {

constexpr const char* kConfigs[] = {
    R"({"architectures":["LlamaForCausalLM"],"hidden_size":4,"intermediate_size":4,
        "num_attention_heads":1,"num_hidden_layers":1,"vocab_size":2,"rms_norm_eps":1e-6,
        "max_position_embeddings":8,"tie_word_embeddings":true})",
    R"({"architectures":["DeepseekV3ForCausalLM"],"hidden_size":4,"intermediate_size":4,
        "num_attention_heads":1,"num_hidden_layers":1,"vocab_size":2,"rms_norm_eps":1e-6,
        "max_position_embeddings":8,"qk_nope_head_dim":2,"qk_rope_head_dim":2,"v_head_dim":2,
        "kv_lora_rank":2,"n_routed_experts":2,"num_experts_per_tok":1,"moe_intermediate_size":2,
        "first_k_dense_replace":1})",
    R"({"architectures":["XLMRobertaForSequenceClassification"],"model_type":"xlm-roberta",
        "hidden_size":4,"intermediate_size":4,"num_attention_heads":1,"num_hidden_layers":1,
        "vocab_size":2,"max_position_embeddings":8,"pad_token_id":1,"type_vocab_size":1})",
};

/// A directory of this process, reused by every input.
const std::filesystem::path& directory() {
  static const std::filesystem::path path = [] {
    std::string name = (std::filesystem::temp_directory_path() / "hadal-fuzz-XXXXXX").string();
    CHECK(mkdtemp(name.data()) != nullptr);
    return std::filesystem::path(name);
  }();
  return path;
}

void write(const char* name, const char* bytes, size_t size) {
  std::ofstream out(directory() / name, std::ios::binary | std::ios::trunc);
  out.write(bytes, static_cast<std::streamsize>(size));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const char* config = kConfigs[data[0] % std::size(kConfigs)];
  write("config.json", config, std::strlen(config));
  write("model.safetensors", reinterpret_cast<const char*>(data + 1), size - 1);
  const auto file = hadal::GgufFile::open(directory());
  if (!file.ok()) {
    CHECK(!file.error().message.empty());
    return 0;
  }
  for (const hadal::TensorView& tensor : file.value().tensors()) {
    CHECK(file.value().find_tensor(tensor.name) == &tensor);
    CHECK(tensor.row_bytes() * static_cast<uint64_t>(tensor.rows()) == tensor.bytes);
    std::vector<float> row(static_cast<size_t>(tensor.ne[0]));
    for (int64_t r = 0; r < tensor.rows(); ++r) dequantize_row(tensor, r, row.data());
  }
  return 0;
}
