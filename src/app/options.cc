#include "app/options.h"

#include <cstdio>

#include <fmt/format.h>

#include "app/output.h"

namespace hadal {
namespace {

void show_progress(double fraction, void* shown) {
  const int percent = static_cast<int>(fraction * 100);
  int& last = *static_cast<int*>(shown);
  if (percent == last) return;
  last = percent;
  fmt::print(stderr, "\rloading {:3d} %", percent);
  std::fflush(stderr);
}

void warn_about(const LoadedText& text) {
  if (!text.tokenizer->warning().empty()) print_note("warning: " + text.tokenizer->warning());
}

using Loader = Result<LoadedModel>(const std::filesystem::path&, const LoadOptions&, int,
                                   const Settings&);

Result<LoadedModel> load_with_progress(Loader& load, const std::string& model, int threads,
                                       const Settings& settings, LoadOptions options) {
  TRY(const std::filesystem::path path, find_model(model, settings));
  int shown = -1;
  const bool progress = stderr_is_terminal();
  if (progress) {
    options.progress = show_progress;
    options.progress_context = &shown;
  }
  auto loaded = load(path, options, threads, settings);
  if (progress && shown >= 0) fmt::print(stderr, "\r\033[K");
  return loaded;
}

}  // namespace

CLI::Option* add_model_option(CLI::App& command, std::string& model) {
  return command
      .add_option("-m,--model", model, "a name from `hadal list`, or a path to a .gguf file")
      ->required()
      ->type_name("M");
}

void add_threads_option(CLI::App& command, int& threads) {
  command
      .add_option("-t,--threads", threads, "threads to compute with (default: the cores at hand)")
      ->check(CLI::Range(1, 1024))
      ->type_name("T");
}

void add_json_option(CLI::App& command, bool& json) {
  command.add_flag("--json", json, "print one JSON object");
}

Result<LoadedText> open_text(const std::string& model, const Settings& settings) {
  TRY(const std::filesystem::path path, find_model(model, settings));
  TRY(LoadedText text, load_text(path));
  warn_about(text);
  return text;
}

Result<LoadedModel> open_model(const std::string& model, int threads, const Settings& settings,
                               const LoadOptions& options) {
  TRY(LoadedModel loaded, load_with_progress(load_model, model, threads, settings, options));
  warn_about(loaded);
  return loaded;
}

Result<LoadedModel> open_weights(const std::string& model, int threads, const Settings& settings,
                                 const LoadOptions& options) {
  return load_with_progress(load_weights, model, threads, settings, options);
}

void add_kv_option(CLI::App& command, std::string& kv) {
  command
      .add_option(
          "--kv-type,--kv", kv,
          "keep keys and values in f32, f16, bf16 or q8_0 (half the memory of f16; default " + kv +
              ")")
      ->check(CLI::IsMember({"f32", "f16", "bf16", "q8_0"}))
      ->type_name("TYPE");
}

Result<KvType> kv_type_from(const std::string& kv) {
  if (const auto type = kv_type_of(kv)) return *type;
  return Error{Code::kInvalidArgument, "'" + kv + "' is no type for keys and values",
               "use f32, f16, bf16 or q8_0"};
}

void add_latent_option(CLI::App& command, std::string& latent) {
  command
      .add_option(
          "--latent", latent,
          "attention of DeepSeek V2 and V3: absorbed (the same tokens whatever runs beside a "
          "request) or auto (faster on long prompts, rounded differently by their pieces; "
          "default " +
              latent + ")")
      ->check(CLI::IsMember({"absorbed", "auto"}))
      ->type_name("FORM");
}

Result<LatentForm> latent_form_from(const std::string& latent) {
  if (latent == "absorbed") return LatentForm::kAbsorbed;
  if (latent == "auto") return LatentForm::kAuto;
  return Error{Code::kInvalidArgument, "'" + latent + "' is no form of latent attention",
               "use absorbed or auto"};
}

void add_rounding_options(CLI::App& command, RoundingOptions& options) {
  add_kv_option(command, options.kv);
  command
      .add_option(
          "--activations", options.activations,
          "what meets quantised weights: int8 (fast), int16 (exact) or auto (default: int16 "
          "for models below half a billion parameters)")
      ->check(CLI::IsMember({"auto", "int8", "int16"}))
      ->type_name("TYPE");
  add_latent_option(command, options.latent);
}

Result<LoadOptions> load_options_from(const RoundingOptions& options) {
  LoadOptions out;
  TRY(out.kv_type, kv_type_from(options.kv));
  TRY(out.latent_form, latent_form_from(options.latent));
  if (options.activations == "int8") out.activations = Activations::kInt8;
  if (options.activations == "int16") out.activations = Activations::kInt16;
  return out;
}

}  // namespace hadal
