/// What a conversion will write: names, shapes and types of every tensor.
#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include <fmt/format.h>

#include "base/limits.h"
#include "tensor/quantize.h"
#include "tuning/quantise/recipe.h"
#include "tuning/tuning.h"

namespace hadal {
namespace {

/// "blk.3.ffn_gate.17.weight" as {"blk.3.ffn_gate", 17}.
struct ExpertName {
  std::string_view stem;
  int64_t expert = 0;
};

std::optional<ExpertName> parse_expert(std::string_view name) {
  constexpr std::string_view kTail = ".weight";
  if (!name.starts_with("blk.") || !name.ends_with(kTail)) return std::nullopt;
  const std::string_view head = name.substr(0, name.size() - kTail.size());
  const size_t dot = head.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  ExpertName out;
  out.stem = head.substr(0, dot);
  const std::string_view digits = head.substr(dot + 1);
  const auto [end, problem] =
      std::from_chars(digits.data(), digits.data() + digits.size(), out.expert);
  if (problem != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  for (const std::string_view kind : {".ffn_gate", ".ffn_up", ".ffn_down"}) {
    if (out.stem.ends_with(kind)) return out;
  }
  return std::nullopt;
}

/// A type that GGUF files do not have.
bool is_foreign(DType type) {
  return static_cast<uint32_t>(type) > 1000;
}

bool is_integer(DType type) {
  return type == DType::kI8 || type == DType::kI16 || type == DType::kI32 || type == DType::kI64;
}

bool is_float(DType type) {
  return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16;
}

/// The nearest type of GGUF: FP4 blocks convert exactly, of FP8 with its scale BF16 keeps all but
/// the last bits of the product.
DType own_type(DType type) {
  if (!is_foreign(type)) return type;
  return dtype_info(type).name.starts_with("F4") ? DType::kMXFP4 : DType::kBF16;
}

Result<ModelShape> shape_of(const GgufFile& source) {
  ModelShape shape;
  TRY(const auto architecture, source.string("general.architecture"));
  const std::string prefix(architecture.value_or(""));
  TRY(const auto layers, source.integer(prefix + ".block_count"));
  shape.n_layers = std::clamp<int64_t>(layers.value_or(0), 0, limits::kModelLayers);
  const GgufValue* heads = source.find(prefix + ".attention.head_count");
  const GgufValue* kv_heads = source.find(prefix + ".attention.head_count_kv");
  if (heads != nullptr && kv_heads != nullptr && heads->type() != GgufType::kArray &&
      kv_heads->type() != GgufType::kArray) {
    TRY(const int64_t n, heads->as_int());
    TRY(const int64_t n_kv, kv_heads->as_int());
    if (n_kv > 0) shape.heads_per_kv_head = n / n_kv;
  }
  shape.tied_head = source.find_tensor("output.weight") == nullptr;
  return shape;
}

/// Heads of q and k whose rows must change places: in checkpoints of some architectures rope turns
/// the first half of a head against the second, in GGUF files of them even rows against odd ones. A
/// translated checkpoint says so in ARCH.rope.half_split.
struct HalfSplitHeads {
  int64_t q = 0;
  int64_t k = 0;
};

Result<HalfSplitHeads> half_split_heads(const GgufFile& source) {
  TRY(const auto architecture, source.string("general.architecture"));
  const std::string prefix(architecture.value_or(""));
  TRY(const auto half_split, source.boolean(prefix + ".rope.half_split"));
  if (!half_split.value_or(false)) return HalfSplitHeads{};
  TRY(const auto q, source.integer(prefix + ".attention.head_count"));
  TRY(const auto k, source.integer(prefix + ".attention.head_count_kv"));
  const HalfSplitHeads heads{q.value_or(0), k.value_or(q.value_or(0))};
  for (const int64_t count : {heads.q, heads.k}) {
    if (count > 0 && count <= limits::kModelHeads) continue;
    return Error{Code::kCorrupt, fmt::format("{}.attention.head_count(_kv) is {}", prefix, count),
                 "the source is damaged: get it again"};
  }
  return heads;
}

class Planner {
 public:
  Planner(const GgufFile& source, const ConversionOptions& options, const Recipe* recipe,
          ModelShape shape, HalfSplitHeads half_split)
      : source_(source),
        options_(options),
        recipe_(recipe),
        shape_(shape),
        half_split_(half_split) {}

  Result<std::vector<PlannedTensor>> run() {
    const std::string extra = extra_block();
    for (const TensorView& view : source_.tensors()) {
      if (!extra.empty() && view.name.starts_with(extra)) continue;
      const auto expert = parse_expert(view.name);
      if (!expert) {
        TRY(PlannedTensor planned, plain(view));
        TRY_STATUS(add(std::move(planned)));
      } else if (stacked_.insert(std::string(expert->stem)).second) {
        TRY(PlannedTensor stack, stack_of(expert->stem, view));
        TRY_STATUS(add(std::move(stack)));
      }
    }
    return std::move(out_);
  }
  std::vector<std::string> take_notes() {
    for (const auto& [what, count] : replaced_) {
      notes_.push_back(fmt::format("{} tensors {}", count, what));
    }
    if (requantised_ > 0) {
      notes_.push_back(
          fmt::format("{} tensors of the source are quantised already: what they lost stays lost",
                      requantised_));
    }
    return std::move(notes_);
  }

 private:
  /// The prefix of DeepSeek V4's prediction layer, which a checkpoint has behind its block_count
  /// layers and no GGUF file of a whole model has; empty: none.
  std::string extra_block() {
    std::string prefix = fmt::format("blk.{}.", shape_.n_layers);
    if (source_.find_tensor(prefix + "nextn.e_proj.weight") == nullptr) return "";
    notes_.push_back(
        "the prediction layer is left out, as in all GGUF files of DeepSeek V4: only the source "
        "has --speculate mtp");
    return prefix;
  }

  Result<PlannedTensor> plain(const TensorView& view) const {
    PlannedTensor planned;
    planned.tensor = {std::string(view.name), view.type, view.n_dims, view.ne};
    planned.parts = {&view};
    if (pattern_matches("blk.*.attn_q.*", view.name)) planned.interleaved_heads = half_split_.q;
    if (pattern_matches("blk.*.attn_k.*", view.name)) planned.interleaved_heads = half_split_.k;
    const int64_t rows = view.n_dims == 1 ? view.ne[0] : view.ne[1];
    if (planned.interleaved_heads > 0 && rows % (2 * planned.interleaved_heads) != 0) {
      return Error{Code::kCorrupt, fmt::format("tensor {} has {} rows, which {} heads cannot share",
                                               view.name, rows, planned.interleaved_heads)};
    }
    return planned;
  }

  Result<PlannedTensor> stack_of(std::string_view stem, const TensorView& first) {
    PlannedTensor planned;
    for (int64_t expert = 0;; ++expert) {
      const std::string name = fmt::format("{}.{}.weight", stem, expert);
      const TensorView* part = source_.find_tensor(name);
      if (part == nullptr) break;
      if (part->n_dims != 2 || part->ne != first.ne) {
        return Error{Code::kCorrupt,
                     fmt::format("tensor {} is {} x {}, its fellow {} {} x {}", name, part->ne[0],
                                 part->ne[1], first.name, first.ne[0], first.ne[1])};
      }
      planned.parts.push_back(part);
    }
    TRY(const auto architecture, source_.string("general.architecture"));
    TRY(const auto expected,
        source_.integer(std::string(architecture.value_or("")) + ".expert_count"));
    const auto found = static_cast<int64_t>(planned.parts.size());
    if (found == 0 || (expected && *expected != found)) {
      return Error{Code::kCorrupt,
                   fmt::format("tensor {}.{}.weight is missing: the model has {} experts", stem,
                               found, expected.value_or(0)),
                   "the source is incomplete: get it again"};
    }
    planned.tensor = {
        std::string(stem) + "_exps.weight", first.type, 3, {first.ne[0], first.ne[1], found, 1}};
    return planned;
  }

  Status add(PlannedTensor planned) {
    if (!names_.insert(planned.tensor.name).second) {
      return Error{Code::kCorrupt,
                   fmt::format("tensor {} is there both stacked and in parts", planned.tensor.name),
                   "the source is damaged: get it again"};
    }
    TRY(planned.tensor.type, type_for(planned));
    const DType source_type = planned.parts.front()->type;
    if (planned.tensor.type != source_type && dtype_info(source_type).block_elements > 1 &&
        !is_foreign(source_type)) {
      ++requantised_;
    }
    out_.push_back(std::move(planned));
    return {};
  }

  Result<DType> type_for(const PlannedTensor& planned) {
    const GgufTensor& tensor = planned.tensor;
    const DType source_type = planned.parts.front()->type;
    if (is_integer(source_type)) return source_type;
    for (const TypeRule& rule : options_.rules) {
      if (!pattern_matches(rule.pattern, tensor.name)) continue;
      const DTypeInfo& info = dtype_info(rule.type);
      if (tensor.ne[0] % info.block_elements == 0) return rule.type;
      return Error{Code::kInvalidArgument,
                   fmt::format("{} cannot hold tensor {}: its rows of {} are no multiple of {}",
                               info.name, tensor.name, tensor.ne[0], info.block_elements),
                   fmt::format("{} can", dtype_info(fallback_type(rule.type, tensor.ne[0])).name)};
    }
    if (recipe_ == nullptr) return own_type(source_type);
    if (keeps_precision(tensor.name, tensor.n_dims)) {
      const bool as_it_is = tensor.n_dims > 1 && is_float(source_type);
      return as_it_is ? source_type : DType::kF32;
    }
    const DType wanted = recipe_type(*recipe_, tensor.name, shape_);
    const DType type = fallback_type(wanted, tensor.ne[0]);
    if (type != wanted) {
      ++replaced_[fmt::format("are {} instead of {}: their rows of {} are no multiple of {}",
                              dtype_info(type).name, dtype_info(wanted).name, tensor.ne[0],
                              dtype_info(wanted).block_elements)];
    }
    return type;
  }

  const GgufFile& source_;
  const ConversionOptions& options_;
  const Recipe* recipe_;
  ModelShape shape_;
  HalfSplitHeads half_split_;
  std::set<std::string> stacked_;
  std::set<std::string> names_;
  std::vector<PlannedTensor> out_;
  std::map<std::string, int> replaced_;
  std::vector<std::string> notes_;
  int requantised_ = 0;
};

Error unknown_target(const std::string& target) {
  std::string names;
  for (const std::string& name : recipe_names()) names += (names.empty() ? "" : ", ") + name;
  return Error{Code::kInvalidArgument, fmt::format("'{}' is no known type", target),
               "known are " + names};
}

/// A rule that matches nothing is a typing error.
Status check_rules(const ConversionOptions& options, std::span<const PlannedTensor> tensors) {
  for (const TypeRule& rule : options.rules) {
    const bool used = std::any_of(tensors.begin(), tensors.end(), [&](const PlannedTensor& t) {
      return pattern_matches(rule.pattern, t.tensor.name);
    });
    if (!used) {
      return Error{Code::kInvalidArgument,
                   fmt::format("no tensor's name matches '{}'", rule.pattern),
                   "`hadal show` lists the names"};
    }
  }
  return {};
}

/// Importance of other shapes belongs to another model.
Status check_importance(const ImportanceMatrix& importance,
                        std::span<const PlannedTensor> tensors) {
  bool any = false;
  for (const PlannedTensor& planned : tensors) {
    const ImportanceMatrix::Entry* entry = importance.find(planned.tensor.name);
    if (entry == nullptr) continue;
    any = true;
    const int64_t matrices = planned.tensor.rows() / planned.tensor.ne[1];
    if (entry->cols != planned.tensor.ne[0] || entry->matrices != matrices) {
      return Error{Code::kInvalidArgument,
                   fmt::format("the importance matrix has {} x {} numbers for tensor {}, which "
                               "needs {} x {}",
                               entry->matrices, entry->cols, planned.tensor.name, matrices,
                               planned.tensor.ne[0]),
                   "it was made from another model"};
    }
  }
  if (any) return {};
  return Error{Code::kInvalidArgument, "the importance matrix knows none of the model's tensors",
               "it was made from another model"};
}

}  // namespace

bool pattern_matches(std::string_view pattern, std::string_view name) {
  if (pattern.find('*') == std::string_view::npos) {
    if (pattern == name) return true;
    for (size_t begin = 0; begin <= name.size();) {
      const size_t end = std::min(name.find('.', begin), name.size());
      if (!pattern.empty() && name.substr(begin, end - begin) == pattern) return true;
      begin = end + 1;
    }
    return false;
  }
  // Where the last * was, and how far the name was when it was met: on a mismatch it takes one
  // more.
  size_t p = 0;
  size_t n = 0;
  size_t star = std::string_view::npos;
  size_t resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

Result<TypeRule> parse_type_rule(std::string_view text) {
  const size_t equals = text.rfind('=');
  if (equals == std::string_view::npos || equals == 0) {
    return Error{Code::kInvalidArgument, fmt::format("'{}' is not PATTERN=TYPE", text),
                 "for example ffn_down=Q6_K or 'blk.0.*=Q8_0'"};
  }
  const auto type = dtype_named(text.substr(equals + 1));
  if (!type) {
    std::string names;
    for (const DType known : quantize_targets()) {
      names += (names.empty() ? "" : ", ") + std::string(dtype_info(known).name);
    }
    return Error{Code::kInvalidArgument,
                 fmt::format("'{}' is no type of a tensor", text.substr(equals + 1)),
                 "known are " + names};
  }
  return TypeRule{std::string(text.substr(0, equals)), *type};
}

Result<Conversion> Conversion::plan(const GgufFile& source, const ConversionOptions& options) {
  const Recipe* recipe = find_recipe(options.target);
  if (recipe == nullptr && options.target != "keep") return unknown_target(options.target);
  if (source.tensors().empty()) {
    return Error{Code::kInvalidArgument,
                 fmt::format("{} holds no tensors, only metadata", source.path().string())};
  }
  TRY(const ModelShape shape, shape_of(source));
  Conversion out(source);
  out.target_ = recipe == nullptr ? "keep" : std::string(recipe->name);
  out.importance_ = options.importance;
  TRY(const HalfSplitHeads half_split, half_split_heads(source));
  Planner planner(source, options, recipe, shape, half_split);
  TRY(out.tensors_, planner.run());
  out.notes_ = planner.take_notes();
  TRY_STATUS(check_rules(options, out.tensors_));
  if (options.importance != nullptr) {
    TRY_STATUS(check_importance(*options.importance, out.tensors_));
  }
  if (recipe != nullptr) {
    out.file_type_ = recipe->file_type;
  } else {
    TRY(const auto known, source.integer("general.file_type"));
    out.file_type_ = static_cast<uint32_t>(known.value_or(0));
  }
  for (const PlannedTensor& planned : out.tensors_) {
    out.quantised_ = out.quantised_ || dtype_info(planned.tensor.type).block_elements > 1;
  }
  return out;
}

uint64_t Conversion::bytes() const {
  uint64_t sum = 0;
  for (const PlannedTensor& planned : tensors_) sum += planned.tensor.bytes();
  return sum;
}

double Conversion::bits_per_weight() const {
  double weights = 0;
  for (const PlannedTensor& planned : tensors_) {
    weights +=
        static_cast<double>(planned.tensor.rows()) * static_cast<double>(planned.tensor.ne[0]);
  }
  return weights > 0 ? 8.0 * static_cast<double>(bytes()) / weights : 0;
}

}  // namespace hadal
