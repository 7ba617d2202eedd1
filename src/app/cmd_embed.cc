/// hadal embed: the vector of each line of standard input.
#include <memory>

#include <fmt/format.h>

#include "app/embedder.h"
#include "app/options.h"
#include "app/output.h"
#include "base/limits.h"

namespace hadal {
namespace {

struct EmbedOptions {
  std::string model;
  int threads = 0;
  bool int8 = false;
  bool truncate = false;
  bool json = false;
};

/// An encoder, or a generative model and its hidden states.
struct Opened {
  std::unique_ptr<LoadedEncoder> encoder;
  std::unique_ptr<LoadedModel> decoder;
  std::unique_ptr<Embedder> embedder;
  const Tokenizer* tokenizer = nullptr;
  int64_t n_ctx = 0;
};

Result<Opened> open_embedder(const EmbedOptions& options, const Settings& settings) {
  Opened out;
  TRY(const std::filesystem::path path, find_model(options.model, settings));
  TRY(const bool is_encoder, is_encoder_file(path));
  if (is_encoder) {
    TRY(LoadedEncoder loaded, load_encoder(path, {.quantise = options.int8}, options.threads));
    out.encoder = std::make_unique<LoadedEncoder>(std::move(loaded));
    out.tokenizer = out.encoder->tokenizer.get();
    out.n_ctx = out.encoder->encoder->config().n_ctx;
    out.embedder = make_encoder_embedder(*out.encoder->encoder, *out.tokenizer, on_this_thread());
  } else {
    TRY(LoadedModel loaded, open_model(options.model, options.threads, settings));
    out.decoder = std::make_unique<LoadedModel>(std::move(loaded));
    out.tokenizer = out.decoder->tokenizer.get();
    out.n_ctx = out.decoder->model->n_ctx_train();
    out.embedder = make_decoder_embedder(*out.decoder, on_this_thread());
  }
  if (out.embedder->shape().width == 0) {
    return Error{Code::kUnsupported,
                 options.model + " judges pairs of texts; it gives no embeddings",
                 "serve it and send pairs to /v1/rerank"};
  }
  return out;
}

Result<EmbeddingText> text_of(const Opened& opened, std::string_view line, size_t number,
                              bool truncate) {
  const auto most = static_cast<size_t>(opened.n_ctx);
  std::vector<TokenId> ids = opened.tokenizer->encode(line, Specials::kText);
  std::vector<TokenId> framed = opened.tokenizer->with_bos(ids);
  if (framed.size() > most && truncate) {
    ids.resize(ids.size() - std::min(ids.size(), framed.size() - most));
    framed = opened.tokenizer->with_bos(std::move(ids));
  }
  if (framed.empty() || framed.size() > most) {
    return Error{
        Code::kInvalidArgument,
        fmt::format("line {} has {} tokens; the model takes 1 to {}", number, framed.size(), most),
        "--truncate cuts lines that are too long"};
  }
  return EmbeddingText{std::move(framed), SIZE_MAX};
}

void print_vector(std::span<const float> vector, size_t index, bool as_json) {
  std::string out = as_json ? fmt::format("{{\"index\":{},\"embedding\":[", index) : "";
  for (size_t i = 0; i < vector.size(); ++i) {
    if (i > 0) out.push_back(as_json ? ',' : ' ');
    append_json_float(out, vector[i]);
  }
  out += as_json ? "]}\n" : "\n";
  print_out(out);
}

Result<int> embed(const EmbedOptions& options, const Settings& settings) {
  TRY(Opened opened, open_embedder(options, settings));
  TRY(const std::string input, read_stdin(limits::kTextInputBytes));
  const auto width = static_cast<size_t>(opened.embedder->shape().width);
  constexpr size_t kLines = 256;  // at a time
  size_t line = 0;
  std::string_view left = input;
  while (!left.empty()) {
    std::vector<EmbeddingText> texts;
    const size_t first = line;
    for (; !left.empty() && texts.size() < kLines; ++line) {
      const size_t end = std::min(left.find('\n'), left.size());
      TRY(EmbeddingText text, text_of(opened, left.substr(0, end), line + 1, options.truncate));
      texts.push_back(std::move(text));
      left.remove_prefix(std::min(left.size(), end + 1));
    }
    TRY(const std::vector<float> numbers, opened.embedder->compute(EmbeddingTask::kEmbed, texts));
    for (size_t i = 0; i < texts.size(); ++i) {
      print_vector(std::span(numbers).subspan(i * width, width), first + i, options.json);
    }
  }
  return kExitOk;
}

void add_embed(CLI::App& command, const Settings& settings, Action& run) {
  static EmbedOptions options;
  add_model_option(command, options.model);
  add_threads_option(command, options.threads);
  command.add_flag("--int8", options.int8, "compute an encoder with 8 bits: faster, cosine 0.999");
  command.add_flag("--truncate", options.truncate, "cut lines that are too long for the model");
  add_json_option(command, options.json);
  command.footer(
      "One vector of length 1 per line, as numbers or, with --json, as objects.\n"
      "Example: echo 'query: 你好' | hadal embed --model multilingual-e5-small.gguf");
  run = [&settings] { return embed(options, settings); };
}

}  // namespace

extern const Subcommand kEmbedCommand;
const Subcommand kEmbedCommand = {"embed", "the vector of each line of standard input", add_embed};

}  // namespace hadal
