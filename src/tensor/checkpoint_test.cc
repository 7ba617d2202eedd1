/// Directories of safetensors as GGUF files: keys, names, and errors that name file and tensor.
#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "tensor/file/test_safetensors.h"
#include "tensor/gguf.h"

namespace hadal {
namespace {

using testing_safetensors::Directory;
using testing_safetensors::f32;
using testing_safetensors::file_of;
using testing_safetensors::Tensor;
using testing_safetensors::zeros;

const std::string kConfig = R"({"architectures":["LlamaForCausalLM"],"model_type":"llama",
  "hidden_size":8,"intermediate_size":12,"num_attention_heads":2,"num_key_value_heads":1,
  "num_hidden_layers":1,"vocab_size":5,"max_position_embeddings":64,"rms_norm_eps":1e-6,
  "rope_theta":500000.0,"tie_word_embeddings":true})";

std::vector<Tensor> llama_tensors() {
  const std::string layer = "model.layers.0.";
  return {f32("model.embed_tokens.weight", {5, 8}),
          f32("model.norm.weight", {8}),
          f32(layer + "input_layernorm.weight", {8}),
          f32(layer + "post_attention_layernorm.weight", {8}),
          f32(layer + "self_attn.q_proj.weight", {8, 8}),
          f32(layer + "self_attn.k_proj.weight", {4, 8}),
          f32(layer + "self_attn.v_proj.weight", {4, 8}),
          f32(layer + "self_attn.o_proj.weight", {8, 8}),
          f32(layer + "mlp.gate_proj.weight", {12, 8}),
          f32(layer + "mlp.up_proj.weight", {12, 8}),
          f32(layer + "mlp.down_proj.weight", {8, 12})};
}

/// A good checkpoint, to be made worse.
struct Llama {
  Directory directory;
  std::vector<Tensor> tensors = llama_tensors();
  std::string config = kConfig;

  Tensor& tensor(const std::string& name) {
    for (Tensor& t : tensors) {
      if (t.name.ends_with(name)) return t;
    }
    ADD_FAILURE() << name;
    return tensors.front();
  }
  void replace(const std::string& from, const std::string& to) {
    const size_t at = config.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    config.replace(at, from.size(), to);
  }
  Result<GgufFile> open() const {
    directory.write("config.json", config);
    directory.write("model.safetensors", file_of(tensors));
    return GgufFile::open(directory.path());
  }
  std::string error() const {
    const auto file = open();
    return file.ok() ? "" : file.error().message;
  }
};

#define EXPECT_SAYS(text, part) \
  EXPECT_NE((text).find(part), std::string::npos) << (text) << "\nlacks: " << (part)

// Goal: a checkpoint has the keys, tensor names and axes that a GGUF file of the model has.
TEST(Checkpoint, LooksLikeGguf) {
  const Llama model;
  const auto opened = model.open();
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  const GgufFile& file = opened.value();
  EXPECT_EQ(file.string("general.architecture").value(), "llama");
  EXPECT_EQ(file.string("general.name").value(), model.directory.path().filename().string());
  EXPECT_EQ(file.integer("llama.block_count").value(), 1);
  EXPECT_EQ(file.integer("llama.attention.head_count_kv").value(), 1);
  EXPECT_EQ(file.integer("llama.attention.key_length").value(), 4);
  EXPECT_EQ(file.integer("llama.feed_forward_length").value(), 12);
  EXPECT_EQ(file.number("llama.rope.freq_base").value(), 500000.0);
  EXPECT_EQ(file.boolean("llama.rope.half_split").value(), true);
  EXPECT_EQ(file.tensors().size(), 11u);
  const TensorView* down = file.find_tensor("blk.0.ffn_down.weight");
  ASSERT_NE(down, nullptr);
  EXPECT_EQ(down->ne[0], 12);
  EXPECT_EQ(down->ne[1], 8);
  EXPECT_EQ(file.version(), 0u);
  EXPECT_EQ(file.origins().size(), 2u);  // the weights, and the config that says what they mean
}

// Goal: each of the names that people type leads to the same checkpoint.
TEST(Checkpoint, OpensByAnyOfItsFiles) {
  const Llama model;
  ASSERT_TRUE(model.open().ok());
  for (const char* name : {"", ".", "config.json", "model.safetensors"}) {
    const auto file = GgufFile::open(model.directory.path() / name);
    ASSERT_TRUE(file.ok()) << name << ": " << file.error().text();
    EXPECT_EQ(file.value().tensors().size(), 11u) << name;
  }
}

// Goal: what contradicts the config is one error that names file and tensor.
TEST(Checkpoint, TensorsMustBeThoseOfTheConfig) {
  const std::pair<std::function<void(Llama&)>, const char*> cases[] = {
      {[](Llama& m) {
         m.tensor("q_proj.weight") = f32("other", {8, 8});
       },
       "tensor 'model.layers.0.self_attn.q_proj.weight' is missing"},
      {[](Llama& m) {
         m.tensor("up_proj.weight").shape = {8, 12};
       },
       "model.safetensors: tensor 'model.layers.0.mlp.up_proj.weight' has shape [8, 12], but by"},
      {[](Llama& m) {
         m.tensor("model.norm.weight").shape = {8, 1};
       },
       "it must be [8]"},
      {[](Llama& m) { m.tensors.push_back(f32("model.layers.1.input_layernorm.weight", {8})); },
       "tensor 'model.layers.1.input_layernorm.weight' is not one that"},
      {[](Llama& m) { m.tensor("v_proj.weight").dtype = "U32"; }, "has type U32, which is not"},
      {[](Llama& m) {
         m.tensors.push_back(f32("model.layers.0.mlp.up_proj.weight_scale_inv", {1, 1}));
       },
       "but is of type F32"},
      {[](Llama& m) { m.replace("\"tie_word_embeddings\":true", "\"tie_word_embeddings\":false"); },
       "tensor 'lm_head.weight' is missing"},
      {[](Llama& m) { m.replace("\"num_hidden_layers\":1", "\"num_hidden_layers\":0"); },
       "config.json: num_hidden_layers is 0, expected 1 to"},
      {[](Llama& m) { m.replace("\"hidden_size\":8,", ""); },
       "config.json: hidden_size is missing"},
      {[](Llama& m) { m.replace("\"hidden_size\":8", "\"hidden_size\":\"8\""); },
       "is no whole number"},
      {[](Llama& m) { m.replace("LlamaForCausalLM", "MambaForCausalLM"); },
       "architecture \"MambaForCausalLM\" is not supported"},
      {[](Llama& m) {
         m.replace("\"rope_theta\"", "\"rope_scaling\":{\"type\":\"dynamic\"},\"rope_theta\"");
       },
       "config.json: rope_scaling: rope type \"dynamic\" is not supported"},
      {[](Llama& m) {
         m.replace("\"rope_theta\"",
                   "\"quantization_config\":{\"quant_method\":\"awq\"},\"rope_theta\"");
       },
       "quant_method \"awq\" is not supported"},
      {[](Llama& m) { m.config = "[1]"; }, "is no JSON object"},
      {[](Llama& m) { m.config = "{\"a\":"; }, "config.json: JSON:"},
  };
  for (const auto& [spoil, expected] : cases) {
    Llama model;
    spoil(model);
    EXPECT_SAYS(model.error(), expected);
  }
}

/// The weights in two shards with an index.
struct Sharded {
  Llama model;
  std::vector<Tensor> first, second;
  std::string map;

  Sharded() {
    for (size_t i = 0; i < model.tensors.size(); ++i) {
      (i < 5 ? first : second).push_back(model.tensors[i]);
      map += fmt::format("{}\"{}\":\"{}.safetensors\"", i == 0 ? "" : ",", model.tensors[i].name,
                         i < 5 ? "one" : "two");
    }
  }
  std::string error() const {
    model.directory.write("config.json", model.config);
    model.directory.write("model.safetensors.index.json", "{\"weight_map\":{" + map + "}}");
    const auto file = GgufFile::open(model.directory.path());
    return file.ok() ? "" : file.error().message;
  }
};

// Goal: shards that are missing, swapped, of another model or with a tensor too much are found.
TEST(Checkpoint, ShardsMustBeThoseOfTheIndex) {
  Sharded s;
  const Directory& directory = s.model.directory;
  EXPECT_SAYS(s.error(), "shard 1 of 2 is missing");
  directory.write("one.safetensors", file_of(s.first));
  EXPECT_SAYS(s.error(), "shard 2 of 2 is missing");
  directory.write("two.safetensors", file_of(s.second));
  EXPECT_EQ(s.error(), "");
  directory.write("one.safetensors", file_of(s.second));
  directory.write("two.safetensors", file_of(s.first));
  EXPECT_SAYS(s.error(), "which model.safetensors.index.json places in");
  directory.write("one.safetensors", file_of(s.first));
  EXPECT_SAYS(s.error(), "is also in");
  std::vector<Tensor> shorter = s.second;
  shorter.pop_back();
  directory.write("two.safetensors", file_of(shorter));
  EXPECT_SAYS(s.error(), "two.safetensors: tensor 'model.layers.0.mlp.down_proj.weight', which");
  directory.write("two.safetensors", file_of(s.second).substr(0, 200));
  EXPECT_SAYS(s.error(), "two.safetensors: the file ends inside its header");
  s.map += R"(,"x":"../../etc/passwd")";
  EXPECT_SAYS(s.error(), "gives tensor 'x' no file beside it");
}

/// One projection in FP8 with scales of this type and shape.
struct Fp8 : Llama {
  Fp8(const std::string& scale_dtype, const std::vector<int64_t>& scale_shape) {
    Tensor& weight = tensor("up_proj.weight");
    weight.dtype = "F8_E4M3";
    weight.data = zeros(weight.shape, 1);
    const size_t bytes = scale_dtype == "F32" ? 4 : scale_dtype == "F16" ? 2 : 1;
    tensors.push_back({"model.layers.0.mlp.up_proj.weight_scale_inv", scale_dtype, scale_shape,
                       zeros(scale_shape, bytes)});
  }
};

// Goal: scales of FP8 need the right shape and type for the blocks that the config names; partial
// blocks count.
TEST(Checkpoint, ScalesMustFitTheirMatrix) {
  const Fp8 model("F32", {1, 1});
  const auto opened = model.open();
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  const TensorView* view = opened.value().find_tensor("blk.0.ffn_up.weight");
  EXPECT_EQ(view->type, DType::kF8_E4M3);
  EXPECT_EQ(view->scales.columns, 128);
  EXPECT_FALSE(view->scales.e8m0);
  EXPECT_EQ(opened.value().find_tensor("blk.0.ffn_gate.weight")->scales.data, nullptr);
  EXPECT_EQ(Fp8("F8_E8M0", {1, 1}).error(), "");
  EXPECT_SAYS(Fp8("F32", {2, 1}).error(),
              "up_proj.weight_scale_inv' has shape [2, 1], but blocks of 128 x 128");
  EXPECT_SAYS(Fp8("F16", {1, 1}).error(), "expected F32 or F8_E8M0");
  Fp8 small_blocks("F32", {3, 2});
  small_blocks.replace(
      "\"rope_theta\"",
      R"("quantization_config":{"quant_method":"fp8","weight_block_size":[4,4]},"rope_theta")");
  EXPECT_EQ(small_blocks.error(), "");
  Fp8 bare("F32", {1, 1});
  bare.tensors.pop_back();
  EXPECT_SAYS(bare.error(), "has type F8_E4M3 without scales");
}

// Goal: a directory that is no checkpoint says what to name instead.
TEST(Checkpoint, OtherDirectoriesSayWhatIsMissing) {
  const Directory directory;
  EXPECT_SAYS(GgufFile::open(directory.path()).error().message, "has no config.json");
  directory.write("a.safetensors", file_of(llama_tensors()));
  EXPECT_SAYS(GgufFile::open(directory.path()).error().message, "which its safetensors files need");
  directory.write("b.safetensors", file_of(llama_tensors()));
  EXPECT_SAYS(GgufFile::open(directory.path()).error().message,
              "but no model.safetensors.index.json");
}

const std::string kTokenizer = R"({"added_tokens":[
    {"id":3,"content":"<s>","special":true},{"id":5,"content":"<think>","special":false},
    {"id":6,"content":"<|user|>","special":false}],
  "normalizer":null,
  "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},
    {"type":"ByteLevel","add_prefix_space":false,"use_regex":true}]},
  "model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]}})";

// Goal: a tokenizer.json becomes the vocabulary that GGUF's converters write: kinds of added
// tokens, gaps filled, merges of either spelling, special ids and the template of the files beside
// it.
TEST(Checkpoint, VocabularyBecomesKeys) {
  const Directory directory;
  directory.write("tokenizer.json", kTokenizer);
  directory.write("tokenizer_config.json",
                  R"({"bos_token":{"content":"<s>"},"eos_token":"<|user|>","add_bos_token":true,
                      "chat_template":[{"name":"tool","template":"x"},
                                       {"name":"default","template":"y"}]})");
  directory.write("generation_config.json",
                  R"({"do_sample":true,"temperature":0.6,"top_p":0.95,"eos_token_id":[6,5]})");
  const auto opened = GgufFile::open(directory.path());
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  const GgufFile& file = opened.value();
  EXPECT_EQ(file.string("tokenizer.ggml.pre").value(), "smollm");
  const auto tokens = file.find("tokenizer.ggml.tokens")->as_strings().value();
  EXPECT_EQ(tokens, (std::vector<std::string_view>{"a", "b", "ab", "<s>", "[PAD4]", "<think>",
                                                   "<|user|>"}));
  EXPECT_EQ(file.find("tokenizer.ggml.token_type")->as_ints().value(),
            (std::vector<int64_t>{1, 1, 1, 3, 5, 4, 3}));
  EXPECT_EQ(file.find("tokenizer.ggml.merges")->as_strings().value().front(), "a b");
  EXPECT_EQ(file.integer("tokenizer.ggml.bos_token_id").value(), 3);
  EXPECT_EQ(file.integer("tokenizer.ggml.eos_token_id").value(), 6);
  EXPECT_EQ(file.integer("tokenizer.ggml.eot_token_id").value(), 5);
  EXPECT_EQ(file.boolean("tokenizer.ggml.add_bos_token").value(), true);
  EXPECT_EQ(file.string("tokenizer.chat_template").value(), "y");
  EXPECT_FLOAT_EQ(static_cast<float>(*file.number("general.sampling.temp").value()), 0.6F);
  directory.write("chat_template.jinja", "z");
  EXPECT_EQ(GgufFile::open(directory.path()).value().string("tokenizer.chat_template").value(),
            "z");
}

// Goal: a tokenizer that would give other ids than its own program is refused, not guessed.
TEST(Checkpoint, UnknownTokenizersAreRefused) {
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {"\"Digits\"", "\"Punctuation\"", "splits text in a way that is not known"},
      {"\"use_regex\":true", "\"use_regex\":false", "splits text in a way that is not known"},
      {"\"normalizer\":null", "\"normalizer\":{\"type\":\"Lowercase\"}", "is of type 'Lowercase'"},
      {"\"normalizer\":null", "\"normalizer\":{\"type\":\"NFC\"}", "splits text in a way"},
      {"\"type\":\"BPE\"", "\"type\":\"WordLevel\"", "a tokenizer of type 'WordLevel'"},
      {"\"type\":\"BPE\"", "\"type\":\"Unigram\"", "vocab has no scores"},
      {"\"type\":\"BPE\"", "\"type\":\"WordPiece\"", "only supported as BertNormalizer"},
      {"\"type\":\"BPE\"", "\"type\":\"BPE\",\"byte_fallback\":true", "with byte_fallback"},
      {"\"type\":\"BPE\"", "\"type\":\"BPE\",\"ignore_merges\":true", "ignore_merges is not"},
      {"\"b\":1", "\"b\":0", "have the same id 0"},
      {"\"b\":1", "\"b\":-1", "token 'b' has no id"},
      {"[[\"a\",\"b\"]]", "[[\"a\"]]", "no pair of strings"},
      {"\"content\":\"<s>\",", "", "something that is no token"},
  };
  for (const auto& [from, to, expected] : cases) {
    const Directory directory;
    std::string text = kTokenizer;
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    directory.write("tokenizer.json", text.replace(at, std::string(from).size(), to));
    const auto file = GgufFile::open(directory.path());
    ASSERT_FALSE(file.ok()) << to;
    EXPECT_SAYS(file.error().message, expected);
  }
}

/// `text` with its first `from` replaced.
std::string with(std::string text, std::string_view from, std::string_view to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

const std::string kWordPiece = R"({"added_tokens":[
    {"id":0,"content":"[UNK]","special":true},{"id":1,"content":"[CLS]","special":true},
    {"id":2,"content":"[SEP]","special":true}],
  "normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,
    "strip_accents":null,"lowercase":false},
  "pre_tokenizer":{"type":"BertPreTokenizer"},
  "post_processor":{"type":"TemplateProcessing","single":[
    {"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}},
    {"SpecialToken":{"id":"[SEP]","type_id":0}}]},
  "model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##",
    "max_input_chars_per_word":100,
    "vocab":{"[UNK]":0,"[CLS]":1,"[SEP]":2,"un":3,"##able":4}}})";

// Goal: WordPiece vocabularies get GGUF's spelling, BERT's flags and the tokens around a text;
// other rules are refused.
TEST(Checkpoint, WordPieceBecomesKeys) {
  const Directory directory;
  directory.write("tokenizer.json", kWordPiece);
  const auto opened = GgufFile::open(directory.path());
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  const GgufFile& file = opened.value();
  EXPECT_EQ(file.string("tokenizer.ggml.model").value(), "bert");
  EXPECT_EQ(file.find("tokenizer.ggml.tokens")->as_strings().value(),
            (std::vector<std::string_view>{"[UNK]", "[CLS]", "[SEP]", "▁un", "able"}));
  EXPECT_EQ(file.boolean("tokenizer.ggml.normalizer.lowercase").value(), false);
  EXPECT_EQ(file.boolean("tokenizer.ggml.normalizer.strip_accents").value(), false);
  EXPECT_EQ(file.integer("tokenizer.ggml.cls_token_id").value(), 1);
  EXPECT_EQ(file.integer("tokenizer.ggml.seperator_token_id").value(), 2);
  EXPECT_EQ(file.integer("tokenizer.ggml.unknown_token_id").value(), 0);
  EXPECT_EQ(file.boolean("tokenizer.ggml.add_eos_token").value(), true);
  const std::pair<const char*, const char*> others[] = {
      {"\"##\"", "\"@@\""},
      {":100", ":50"},
      {"BertPreTokenizer", "Whitespace"},
      {"\"clean_text\":true", "\"clean_text\":false"},
      {"\"type\":\"BertNormalizer\"", "\"type\":\"NFKC\""}};
  for (const auto& [from, to] : others) {
    directory.write("tokenizer.json", with(kWordPiece, from, to));
    const auto refused = GgufFile::open(directory.path());
    ASSERT_FALSE(refused.ok()) << to;
    EXPECT_SAYS(refused.error().message, "only supported as");
  }
}

const std::string kUnigram = R"({"added_tokens":[{"id":0,"content":"<unk>","special":true}],
  "normalizer":{"type":"Sequence","normalizers":[
    {"type":"Precompiled","precompiled_charsmap":"AQID"},
    {"type":"Strip","strip_left":false,"strip_right":true},
    {"type":"Replace","pattern":{"Regex":" {2,}"},"content":"▁"}]},
  "pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"always"},
  "post_processor":{"type":"RobertaProcessing","sep":["</s>",9],"cls":["<s>",8]},
  "model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0.0],["▁a",-1.5],["b",-2]]}})";

// Goal: Unigram vocabularies keep scores and charsmap; every step that would change a text in
// another way, and every damaged entry, is refused by name.
TEST(Checkpoint, UnigramBecomesKeys) {
  const Directory directory;
  directory.write("tokenizer.json", kUnigram);
  const auto opened = GgufFile::open(directory.path());
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  const GgufFile& file = opened.value();
  EXPECT_EQ(file.string("tokenizer.ggml.model").value(), "t5");
  EXPECT_EQ(file.find("tokenizer.ggml.scores")->as_floats().value(),
            (std::vector<float>{0, -1.5F, -2}));
  EXPECT_EQ(file.find("tokenizer.ggml.precompiled_charsmap")->as_ints().value(),
            (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(file.boolean("tokenizer.ggml.remove_extra_whitespaces").value(), true);
  EXPECT_EQ(file.boolean("tokenizer.ggml.add_bos_token").value(), false);  // <s> is no token
  EXPECT_EQ(file.integer("tokenizer.ggml.unknown_token_id").value(), 0);
  const std::tuple<const char*, const char*, const char*> others[] = {
      {"\"Strip\"", "\"Lowercase\"", "normalizer has a step that is not known"},
      {" {2,}", " +", "normalizer has a step that is not known"},
      {"\"strip_right\":true", "\"strip_right\":false", "normalizer has a step"},
      {"AQID", "A", "no base64"},
      {"\"always\"", "\"never\"", "pre_tokenizer has a step"},
      {"\"Metaspace\"", "\"WhitespaceSplit\"", "does not mark blanks"},
      {"[\"b\",-2]", "[\"b\"]", "no pair of a text and a score"},
      {"[\"b\",-2]", "[\"b\",\"x\"]", "no pair of a text and a score"},
      {"\"unk_id\":0", "\"unk_id\":3", "unk_id is 3, expected 0 to 2"}};
  for (const auto& [from, to, expected] : others) {
    directory.write("tokenizer.json", with(kUnigram, from, to));
    const auto refused = GgufFile::open(directory.path());
    ASSERT_FALSE(refused.ok()) << to;
    EXPECT_SAYS(refused.error().message, expected);
  }
}

}  // namespace
}  // namespace hadal
