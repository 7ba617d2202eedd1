#include "tensor/dtype.h"

#include <array>
#include <iterator>

#include <fmt/format.h>

#include "base/check.h"
#include "tensor/quant/quant.h"

namespace hadal {
namespace {

struct TypeRow {
  DTypeInfo info;
  void (*decode)(quant::Block, float*);  ///< nullptr: a plain array
};

constexpr TypeRow kTypes[] = {
    {{DType::kF32, "F32", 1, 4}, nullptr},
    {{DType::kF16, "F16", 1, 2}, nullptr},
    {{DType::kQ4_0, "Q4_0", 32, 18}, quant::decode_q4_0},
    {{DType::kQ4_1, "Q4_1", 32, 20}, quant::decode_q4_1},
    {{DType::kQ5_0, "Q5_0", 32, 22}, quant::decode_q5_0},
    {{DType::kQ5_1, "Q5_1", 32, 24}, quant::decode_q5_1},
    {{DType::kQ8_0, "Q8_0", 32, 34}, quant::decode_q8_0},
    {{DType::kQ2_K, "Q2_K", 256, 84}, quant::decode_q2_k},
    {{DType::kQ3_K, "Q3_K", 256, 110}, quant::decode_q3_k},
    {{DType::kQ4_K, "Q4_K", 256, 144}, quant::decode_q4_k},
    {{DType::kQ5_K, "Q5_K", 256, 176}, quant::decode_q5_k},
    {{DType::kQ6_K, "Q6_K", 256, 210}, quant::decode_q6_k},
    {{DType::kIQ4_NL, "IQ4_NL", 32, 18}, quant::decode_iq4_nl},
    {{DType::kIQ4_XS, "IQ4_XS", 256, 136}, quant::decode_iq4_xs},
    {{DType::kI8, "I8", 1, 1}, nullptr},
    {{DType::kI16, "I16", 1, 2}, nullptr},
    {{DType::kI32, "I32", 1, 4}, nullptr},
    {{DType::kI64, "I64", 1, 8}, nullptr},
    {{DType::kF64, "F64", 1, 8}, nullptr},
    {{DType::kBF16, "BF16", 1, 2}, nullptr},
    {{DType::kMXFP4, "MXFP4", 32, 17}, quant::decode_mxfp4},
    {{DType::kF8_E4M3, "F8_E4M3", 1, 1}, nullptr},
    {{DType::kF4_E2M1, "F4_E2M1", 2, 1}, quant::decode_f4_e2m1},
};

constexpr uint32_t kGgufIds = 40;   // all below
constexpr uint32_t kOwnIds = 1001;  // the first id that GGUF does not know
constexpr uint32_t kOwnIdsEnd = 1003;

struct KnownName {
  uint32_t id;
  std::string_view name;
};

/// Types of the format that this version does not decode.
constexpr KnownName kNotYet[] = {
    {9, "Q8_1"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"},
    {19, "IQ1_S"}, {21, "IQ3_S"}, {22, "IQ2_S"},   {29, "IQ1_M"},  {34, "TQ1_0"},
    {35, "TQ2_0"}, {40, "NVFP4"}, {41, "Q1_0"},    {42, "Q2_0"},
};

constexpr KnownName kRemoved[] = {
    {4, "Q4_2"},      {5, "Q4_3"},        {31, "Q4_0_4_4"},   {32, "Q4_0_4_8"},
    {33, "Q4_0_8_8"}, {36, "IQ4_NL_4_4"}, {37, "IQ4_NL_4_8"}, {38, "IQ4_NL_8_8"},
};

/// Id to place in kTypes, -1 for none: row_bytes() sits in hot loops.
constexpr auto kPlaces = [] {
  std::array<int8_t, kGgufIds + kOwnIdsEnd - kOwnIds> places{};
  places.fill(-1);
  for (size_t i = 0; i < std::size(kTypes); ++i) {
    const auto id = static_cast<uint32_t>(kTypes[i].info.type);
    places[id < kGgufIds ? id : kGgufIds + id - kOwnIds] = static_cast<int8_t>(i);
  }
  return places;
}();

const TypeRow* find_row(uint32_t id) {
  if (id >= kOwnIds && id < kOwnIdsEnd)
    id -= kOwnIds - kGgufIds;
  else if (id >= kGgufIds)
    return nullptr;
  return kPlaces[id] < 0 ? nullptr : &kTypes[kPlaces[id]];
}

/// Ids that the ik_llama.cpp fork added.
bool is_fork_id(uint32_t id) {
  return (id >= 97 && id <= 99) || (id >= 133 && id <= 158) || (id >= 202 && id <= 399);
}

}  // namespace

const DTypeInfo& dtype_info(DType type) {
  const TypeRow* row = find_row(static_cast<uint32_t>(type));
  CHECK(row != nullptr);
  return row->info;
}

Result<DType> dtype_from_gguf(uint32_t id) {
  const TypeRow* row = find_row(id);
  if (row != nullptr && id < kGgufIds) return row->info.type;
  for (const KnownName& known : kNotYet) {
    if (known.id == id) {
      return Error{Code::kUnsupported,
                   fmt::format("tensor type {} (id {}) is not supported yet", known.name, id),
                   "use a file quantised as Q4_K_M, Q6_K, Q8_0 or IQ4_XS"};
    }
  }
  for (const KnownName& known : kRemoved) {
    if (known.id == id) {
      return Error{Code::kUnsupported,
                   fmt::format("tensor type {} (id {}) is not supported: it was removed from GGUF",
                               known.name, id),
                   "convert the original model again"};
    }
  }
  if (is_fork_id(id)) {
    return Error{Code::kUnsupported,
                 fmt::format("tensor type id {} is not supported: only ik_llama.cpp knows it", id),
                 "use a file made by llama.cpp's llama-quantize"};
  }
  return Error{Code::kCorrupt, fmt::format("tensor type id {} does not exist", id)};
}

Result<DType> dtype_from_id(uint32_t id) {
  const TypeRow* row = find_row(id);
  if (row != nullptr) return row->info.type;
  return Error{Code::kCorrupt, fmt::format("tensor type number {} does not exist", id)};
}

void dequantize_row(DType type, const void* source, float* out, int64_t elements) {
  const TypeRow* row = find_row(static_cast<uint32_t>(type));
  CHECK(row != nullptr);
  CHECK(elements >= 0);
  if (elements == 0) return;
  CHECK(elements % row->info.block_elements == 0);
  const auto* p = static_cast<const uint8_t*>(source);
  if (row->decode == nullptr) {
    quant::decode_plain(type, p, out, elements);
    return;
  }
  for (int64_t i = 0; i < elements; i += row->info.block_elements, p += row->info.block_bytes) {
    row->decode(p, out + i);
  }
}

}  // namespace hadal
