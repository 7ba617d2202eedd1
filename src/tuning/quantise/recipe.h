#pragma once
/// Recipes: which type each kind of matrix gets. Private to the room.
#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "tensor/dtype.h"

namespace hadal {

/// What a choice depends on, of the whole model.
struct ModelShape {
  int64_t n_layers = 0;
  int64_t heads_per_kv_head = 1;
  bool tied_head = false;  ///< no output.weight: token_embd.weight does its work
};

struct Recipe {
  std::string_view name;
  DType base;
  uint32_t file_type;  ///< general.file_type
  bool mixed;          ///< layers differ by kind; else all matrices have the same type
};

/// nullptr for an unknown name (case does not matter).
const Recipe* find_recipe(std::string_view name);

/// The type for a matrix by its name; rows may be of any width (see fallback_type).
DType recipe_type(const Recipe& recipe, std::string_view name, const ModelShape& shape);

/// What holds rows of this width instead of `type`, at about its quality.
DType fallback_type(DType type, int64_t width);

/// Whether a tensor is left alone by every recipe: norms, biases, routers, tables, the small
/// matrices of hyper-connections. They cost next to nothing and everything depends on them.
bool keeps_precision(std::string_view name, int n_dims);

}  // namespace hadal
