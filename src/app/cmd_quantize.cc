/// hadal quantize, hadal convert: another file of the same model.
#include <fmt/format.h>

#include "app/app.h"
#include "app/options.h"
#include "app/output.h"
#include "app/progress.h"
#include "base/env.h"
#include "tuning/tuning.h"

namespace hadal {
namespace {

struct QuantizeOptions {
  std::string model;
  std::string output;
  std::string type;
  std::vector<std::string> rules;
  std::string imatrix;
  bool overwrite = false;
  bool dry_run = false;
  bool json = false;
  int threads = 0;
};

void print_types(const Conversion& conversion) {
  for (const PlannedTensor& planned : conversion.tensors()) {
    const GgufTensor& tensor = planned.tensor;
    std::string shape;
    for (int axis = 0; axis < tensor.n_dims; ++axis) {
      shape += fmt::format("{}{}", axis > 0 ? " x " : "", tensor.ne[static_cast<size_t>(axis)]);
    }
    const DType from = planned.parts.front()->type;
    print_out(fmt::format("{:<40} {:<22} {:>6} -> {}\n", tensor.name, shape, dtype_info(from).name,
                          dtype_info(tensor.type).name));
  }
}

void print_result(const Conversion& conversion, const QuantizeOptions& options,
                  uint64_t source_bytes, int64_t micros) {
  if (options.json) {
    print_json(json::object{{"output", options.output},
                            {"type", options.type},
                            {"tensors", conversion.tensors().size()},
                            {"source_bytes", source_bytes},
                            {"bytes", conversion.bytes()},
                            {"bits_per_weight", conversion.bits_per_weight()},
                            {"seconds", static_cast<double>(micros) / 1e6}});
    return;
  }
  print_out(fmt::format("{}: {}, {:.2f} bits per weight (the source has {}), in {}\n",
                        options.dry_run ? "would write" : options.output,
                        human_bytes(conversion.bytes()), conversion.bits_per_weight(),
                        human_bytes(source_bytes), clock_text(micros / 1000000)));
}

Result<int> quantize(const QuantizeOptions& options, const Settings& settings) {
  ConversionOptions how{.target = options.type, .rules = {}, .importance = nullptr};
  for (const std::string& text : options.rules) {
    const auto rule = parse_type_rule(text);
    if (!rule.ok()) return usage_error(rule.error().message, rule.error().hint);
    how.rules.push_back(rule.value());
  }
  ImportanceMatrix importance;
  if (!options.imatrix.empty()) {
    TRY(importance, ImportanceMatrix::read(options.imatrix));
    how.importance = &importance;
  }
  TRY(const std::filesystem::path path, find_model(options.model, settings));
  TRY(const GgufFile source, open_model_file(path));
  TRY(const Conversion conversion, Conversion::plan(source, how));
  for (const std::string& note : conversion.notes()) print_note("note: " + note);
  const int64_t begin = Env::real().now_micros();
  if (options.dry_run) {
    if (!options.json) print_types(conversion);
  } else {
    ThreadPool pool(options.threads > 0 ? options.threads : ThreadPool::default_threads());
    ProgressBar bar(std::filesystem::path(options.output).filename().string(), options.json);
    const Conversion::WriteOptions write{
        .overwrite = options.overwrite,
        .progress = [&](uint64_t done, uint64_t total) { bar.update(done, total); }};
    TRY(const size_t resumed, conversion.write(options.output, write, pool));
    if (resumed > 0) {
      print_note(fmt::format("went on after {} of {} tensors that an interrupted run had left",
                             resumed, conversion.tensors().size()));
    }
  }
  print_result(conversion, options, source.file_bytes(), Env::real().now_micros() - begin);
  return kExitOk;
}

void add_common(CLI::App& command, QuantizeOptions& options) {
  add_model_option(command, options.model);
  command.add_option("-o,--output", options.output, "the file to write")
      ->required()
      ->type_name("OUT.gguf");
  command
      .add_option("--tensor-type", options.rules,
                  "another type for the tensors whose name matches; * stands for any characters, "
                  "a word for a part of the name. May be repeated: the first that matches counts")
      ->type_name("PATTERN=TYPE")
      ->allow_extra_args(false);
  command.add_flag("--overwrite", options.overwrite, "replace OUT.gguf");
  command.add_flag("--dry-run", options.dry_run, "only say which types and sizes would be written");
  add_threads_option(command, options.threads);
  add_json_option(command, options.json);
}

std::string known_types() {
  return fmt::format("{}", fmt::join(recipe_names(), ", "));
}

void add_quantize(CLI::App& command, const Settings& settings, Action& run) {
  static QuantizeOptions options;
  add_common(command, options);
  command.add_option("--type", options.type, "one of " + known_types())
      ->required()
      ->type_name("TYPE");
  command
      .add_option("--imatrix", options.imatrix,
                  "what each column counts (`hadal imatrix` makes it); also files of llama.cpp in "
                  "their GGUF form")
      ->type_name("F");
  command.footer(
      "The best source is F16, BF16 or F32. An interrupted run goes on where it stopped when it "
      "is\n"
      "started again.\n"
      "Example: hadal quantize --model big.gguf --output small.gguf --type Q4_K_M --imatrix "
      "big.imatrix");
  run = [&settings] { return quantize(options, settings); };
}

void add_convert(CLI::App& command, const Settings& settings, Action& run) {
  static QuantizeOptions options;
  options.type = "keep";
  add_common(command, options);
  command
      .add_option("--type", options.type,
                  "keep (each tensor as it is, as far as GGUF has its type; the default), or one "
                  "of " +
                      known_types())
      ->type_name("TYPE");
  command.footer(
      "The model may be a GGUF file, whole or in parts, or a directory of safetensors.\n"
      "Example: hadal convert --model DIRECTORY --output model.gguf --type BF16");
  run = [&settings] { return quantize(options, settings); };
}

}  // namespace

extern const Subcommand kQuantizeCommand;
const Subcommand kQuantizeCommand = {"quantize", "write a smaller file of a model", add_quantize};
extern const Subcommand kConvertCommand;
const Subcommand kConvertCommand = {"convert", "write a model as one GGUF file", add_convert};

}  // namespace hadal
