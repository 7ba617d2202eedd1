/// The mixes that the field knows under these names: attention values and the way back from the
/// feed-forward network suffer most from rounding, above all in the first and last layers; the head
/// turns every error into a wrong word.
#include "tuning/quantise/recipe.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include "tuning/tuning.h"

namespace hadal {
namespace {

constexpr std::array kRecipes = {
    Recipe{"F32", DType::kF32, 0, false},       Recipe{"F16", DType::kF16, 1, false},
    Recipe{"BF16", DType::kBF16, 32, false},    Recipe{"Q8_0", DType::kQ8_0, 7, false},
    Recipe{"Q6_K", DType::kQ6_K, 18, true},     Recipe{"Q5_K_M", DType::kQ5_K, 17, true},
    Recipe{"Q5_K_S", DType::kQ5_K, 16, true},   Recipe{"Q5_1", DType::kQ5_1, 9, true},
    Recipe{"Q5_0", DType::kQ5_0, 8, true},      Recipe{"Q4_K_M", DType::kQ4_K, 15, true},
    Recipe{"Q4_K_S", DType::kQ4_K, 14, true},   Recipe{"Q4_1", DType::kQ4_1, 3, true},
    Recipe{"Q4_0", DType::kQ4_0, 2, true},      Recipe{"IQ4_NL", DType::kIQ4_NL, 25, true},
    Recipe{"IQ4_XS", DType::kIQ4_XS, 30, true}, Recipe{"MXFP4_MOE", DType::kQ8_0, 38, true},
    Recipe{"Q3_K_L", DType::kQ3_K, 13, true},   Recipe{"Q3_K_M", DType::kQ3_K, 12, true},
    Recipe{"Q3_K_S", DType::kQ3_K, 11, true},   Recipe{"Q2_K", DType::kQ2_K, 10, true},
};

/// "attn_v" of "blk.3.attn_v.weight", "ffn_down" of "blk.3.ffn_down_exps.weight".
struct MatrixName {
  std::string_view kind;
  int64_t layer = 0;
};

MatrixName parse(std::string_view name) {
  MatrixName out;
  if (name.starts_with("blk.")) {
    name.remove_prefix(4);
    const auto [end, problem] = std::from_chars(name.data(), name.data() + name.size(), out.layer);
    if (problem == std::errc()) name.remove_prefix(static_cast<size_t>(end - name.data()));
    if (name.starts_with('.')) name.remove_prefix(1);
  }
  out.kind = name.substr(0, name.find('.'));
  if (out.kind.ends_with("_exps")) out.kind.remove_suffix(5);
  if (out.kind.ends_with("_shexp")) out.kind.remove_suffix(6);
  return out;
}

/// The layers that get more bits: the first and the last eighth and every third between.
bool more_bits(int64_t layer, int64_t n) {
  return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
}

DType values_type(const Recipe& recipe, int64_t layer, const ModelShape& shape) {
  const bool shared = shape.heads_per_kv_head >= 4;  // the matrix is small, and many heads read it
  if (recipe.name == "Q2_K") return shared ? DType::kQ4_K : DType::kQ3_K;
  if (recipe.name == "Q3_K_M") return layer < 2 ? DType::kQ5_K : DType::kQ4_K;
  if (recipe.name == "Q3_K_L") return DType::kQ5_K;
  if (recipe.name == "Q4_K_M" || recipe.name == "Q5_K_M") {
    return more_bits(layer, shape.n_layers) ? DType::kQ6_K : recipe.base;
  }
  if (recipe.name == "Q4_K_S") return layer < 4 ? DType::kQ5_K : recipe.base;
  if (recipe.name.starts_with("IQ4") && shared) return DType::kQ5_K;
  return recipe.base;
}

DType down_type(const Recipe& recipe, int64_t layer, int64_t n) {
  if (recipe.name == "Q2_K") return DType::kQ3_K;
  if (recipe.name == "Q3_K_M") return layer < n / 16 ? DType::kQ5_K : DType::kQ4_K;
  if (recipe.name == "Q3_K_L") return DType::kQ5_K;
  if (recipe.name == "Q4_K_M" || recipe.name == "Q5_K_M") {
    return more_bits(layer, n) ? DType::kQ6_K : recipe.base;
  }
  if ((recipe.name == "Q4_K_S" || recipe.name.starts_with("IQ4")) && layer < n / 8) {
    return DType::kQ5_K;
  }
  return recipe.base;
}

DType fused_type(const Recipe& recipe) {
  if (recipe.name == "Q3_K_M" || recipe.name == "Q3_K_L") return DType::kQ4_K;
  if (recipe.name == "Q4_K_M") return DType::kQ5_K;
  if (recipe.name == "Q5_K_M") return DType::kQ6_K;
  return recipe.base;
}

DType mixed_out_type(const Recipe& recipe) {
  if (recipe.name == "Q2_K") return DType::kQ3_K;
  if (recipe.name == "Q3_K_M") return DType::kQ4_K;
  if (recipe.name == "Q3_K_L") return DType::kQ5_K;
  return recipe.base;
}

bool same_letters(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::toupper(static_cast<unsigned char>(x)) ==
           std::toupper(static_cast<unsigned char>(y));
  });
}

}  // namespace

const Recipe* find_recipe(std::string_view name) {
  for (const Recipe& recipe : kRecipes) {
    if (same_letters(recipe.name, name)) return &recipe;
  }
  return nullptr;
}

std::vector<std::string> recipe_names() {
  std::vector<std::string> names;
  for (const Recipe& recipe : kRecipes) names.emplace_back(recipe.name);
  return names;
}

DType recipe_type(const Recipe& recipe, std::string_view name, const ModelShape& shape) {
  if (!recipe.mixed) return recipe.base;
  const auto [kind, layer] = parse(name);
  if (recipe.name == "MXFP4_MOE") {
    return name.find("_exps.") != std::string_view::npos ? DType::kMXFP4 : recipe.base;
  }
  if (kind == "output" || (kind == "token_embd" && shape.tied_head)) return DType::kQ6_K;
  if (kind == "attn_v" || kind == "attn_kv_b" || kind == "attn_v_b") {
    return values_type(recipe, layer, shape);
  }
  if (kind == "attn_qkv") return fused_type(recipe);
  if (kind == "attn_output") return mixed_out_type(recipe);
  if (kind == "ffn_down") return down_type(recipe, layer, shape.n_layers);
  return recipe.base;
}

DType fallback_type(DType type, int64_t width) {
  const int block = dtype_info(type).block_elements;
  if (width % block == 0) return type;
  DType wanted = type;
  switch (type) {
    case DType::kQ2_K:
    case DType::kQ3_K:
      wanted = DType::kQ4_0;
      break;
    case DType::kQ4_K:
      wanted = DType::kQ5_0;
      break;
    case DType::kQ5_K:
      wanted = DType::kQ5_1;
      break;
    case DType::kQ6_K:
      wanted = DType::kQ8_0;
      break;
    case DType::kIQ4_XS:
      wanted = DType::kIQ4_NL;
      break;
    default:
      break;
  }
  return width % dtype_info(wanted).block_elements == 0 ? wanted : DType::kF16;
}

bool keeps_precision(std::string_view name, int n_dims) {
  if (n_dims == 1 || !name.ends_with(".weight")) return true;
  for (const std::string_view part :
       {"_norm.", "ffn_gate_inp.", "ffn_gate_tid2eid.", "hc_attn_", "hc_ffn_", "output_hc_",
        "compressor_ape.", "attn_sinks.", "position_embd.", "token_types."}) {
    if (name.find(part) != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace hadal
