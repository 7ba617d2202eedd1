#include "serve/dialects/kserve.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "base/parse.h"
#include "serve/dialects/common.h"
#include "serve/dialects/openai_completions.h"
#include "serve/params.h"

namespace hadal {
namespace {

constexpr std::string_view kInput = "text_input";
constexpr std::string_view kOutput = "text_output";
constexpr std::string_view kQuery = "query";        ///< of an encoder that judges pairs
constexpr std::string_view kVectors = "embedding";  ///< outputs of encoders
constexpr std::string_view kScores = "score";
constexpr std::string_view kHeadLength = "Inference-Header-Content-Length";

std::string_view text_member(const json::object& object, std::string_view name) {
  const json::value* value = find_member(object, name);
  return value != nullptr && value->is_string() ? std::string_view(value->get_string())
                                                : std::string_view();
}

bool flag_member(const json::object& object, std::string_view name, bool otherwise) {
  const json::value* value = find_member(object, name);
  return value != nullptr && value->is_bool() ? value->get_bool() : otherwise;
}

ApiError bad_input(std::string_view name, std::string_view why) {
  return invalid_param("inputs", "The input '" + std::string(name) + "' " + std::string(why));
}

template <typename T>
T read_little(std::string_view bytes) {
  static_assert(std::endian::native == std::endian::little);
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

/// Elements of a binary tensor: numbers little-endian, strings each behind their length.
Checked read_binary(std::string_view name, std::string_view type, std::string_view bytes,
                    json::array& out) {
  const auto numbers = [&]<typename T>(T) -> Checked {
    if (bytes.size() % sizeof(T) != 0) return bad_input(name, "has an odd number of bytes.");
    for (; !bytes.empty(); bytes.remove_prefix(sizeof(T))) {
      out.emplace_back(read_little<T>(bytes));
    }
    return std::nullopt;
  };
  if (type == "INT32") return numbers(int32_t{});
  if (type == "INT64") return numbers(int64_t{});
  if (type == "UINT32") return numbers(uint32_t{});
  if (type == "UINT64") return numbers(uint64_t{});
  if (type == "FP32") return numbers(float{});
  if (type == "FP64") return numbers(double{});
  if (type == "BOOL") {
    for (const char byte : bytes) out.emplace_back(byte != 0);
    return std::nullopt;
  }
  if (type != "BYTES") return bad_input(name, "has a datatype that is not understood.");
  while (!bytes.empty()) {
    if (bytes.size() < sizeof(uint32_t)) return bad_input(name, "ends in the middle.");
    const auto length = read_little<uint32_t>(bytes);
    bytes.remove_prefix(sizeof(uint32_t));
    if (bytes.size() < length) return bad_input(name, "ends in the middle.");
    std::string text;
    append_json_string(text, bytes.substr(0, length));  // as JSON would: whole UTF-8
    auto parsed = parse_json(text);
    if (!parsed.ok()) return bad_input(name, "is no text.");
    out.push_back(std::move(parsed).value());
    bytes.remove_prefix(length);
  }
  return std::nullopt;
}

/// Rows may lie in lists of their own: [["a"], ["b"]].
Checked read_data(std::string_view name, const json::value& data, json::array& out) {
  if (!data.is_array()) return bad_input(name, "must have its 'data' as a list.");
  for (const json::value& entry : data.get_array()) {
    if (!entry.is_array()) {
      out.push_back(entry);
      continue;
    }
    for (const json::value& inner : entry.get_array()) out.push_back(inner);
  }
  return std::nullopt;
}

/// One input's elements; `tensors` is what is left of the binary part.
Checked read_input(const json::object& input, std::string_view& tensors, json::array& out) {
  const std::string_view name = text_member(input, "name");
  const json::value* parameters = find_member(input, "parameters");
  const json::value* size = parameters != nullptr && parameters->is_object()
                                ? find_member(parameters->get_object(), "binary_data_size")
                                : nullptr;
  if (size != nullptr) {
    if (!size->is_int64() || size->get_int64() < 0 ||
        static_cast<uint64_t>(size->get_int64()) > tensors.size()) {
      return bad_input(name, "says more bytes than follow.");
    }
    const auto bytes = static_cast<size_t>(size->get_int64());
    Checked problem =
        read_binary(name, text_member(input, "datatype"), tensors.substr(0, bytes), out);
    tensors.remove_prefix(bytes);
    return problem;
  }
  const json::value* data = find_member(input, "data");
  if (data == nullptr) return bad_input(name, "has no 'data'.");
  return read_data(name, *data, out);
}

/// `shape` must count the elements; what is no list of sizes is refused.
Checked check_shape(const json::object& input, size_t elements) {
  const std::string_view name = text_member(input, "name");
  const json::value* shape = find_member(input, "shape");
  if (shape == nullptr || !shape->is_array()) return bad_input(name, "has no 'shape'.");
  uint64_t product = 1;
  for (const json::value& size : shape->get_array()) {
    if (!size.is_int64() || size.get_int64() < 0 || size.get_int64() > INT32_MAX) {
      return bad_input(name, "has a 'shape' that is no list of sizes.");
    }
    product = std::min<uint64_t>(product * static_cast<uint64_t>(size.get_int64()), INT32_MAX);
  }
  if (product != elements) return bad_input(name, "has not as many elements as its 'shape' says.");
  return std::nullopt;
}

/// Names of Triton's backends for parameters that ours have, too.
std::string_view our_name(std::string_view name) {
  if (name == "stop_words") return "stop";
  if (name == "beam_width" || name == "return_log_probs") return {};
  return name;
}

/// What is not the text is a parameter. vLLM's backend takes them as JSON in a string.
Checked add_parameter(std::string_view name, const json::value& value, json::object& out) {
  if (name == "sampling_parameters") {
    auto parsed = parse_json(value.is_string() ? std::string_view(value.get_string()) : "");
    if (!parsed.ok() || !parsed.value().is_object()) {
      return invalid_param("sampling_parameters",
                           "'sampling_parameters' must be JSON in a string.");
    }
    for (const auto& entry : parsed.value().get_object()) {
      if (Checked problem = add_parameter(entry.key(), entry.value(), out)) return problem;
    }
    return std::nullopt;
  }
  const std::string_view ours = our_name(name);
  if (ours.empty() || ours == "prompt" || ours == "model") return std::nullopt;
  out[ours] = value;
  return std::nullopt;
}

Checked add_parameters(const json::object& body, json::object& out) {
  const json::value* parameters = find_member(body, "parameters");
  if (parameters == nullptr) return std::nullopt;
  if (!parameters->is_object()) {
    return invalid_param("parameters", "'parameters' must be an object.");
  }
  for (const auto& entry : parameters->get_object()) {
    if (Checked problem = add_parameter(entry.key(), entry.value(), out)) return problem;
  }
  return std::nullopt;
}

Checked infer_body(const json::object& body, std::string_view tensors, json::object& out) {
  const json::value* inputs = find_member(body, "inputs");
  if (inputs == nullptr || !inputs->is_array()) {
    return invalid_param("inputs", "'inputs' must be a list of tensors.");
  }
  if (Checked problem = add_parameters(body, out)) return problem;
  for (const json::value& entry : inputs->get_array()) {
    if (!entry.is_object()) return invalid_param("inputs", "'inputs' must hold objects only.");
    const json::object& input = entry.get_object();
    const std::string_view name = text_member(input, "name");
    json::array elements;
    if (Checked problem = read_input(input, tensors, elements)) return problem;
    if (Checked problem = check_shape(input, elements.size())) return problem;
    if (name == kInput) {
      if (text_member(input, "datatype") != "BYTES") return bad_input(name, "must be of BYTES.");
      out["prompt"] = std::move(elements);
    } else if (!elements.empty()) {
      // Of a batch, all rows share their parameters.
      const json::value value = name == "stop" || name == "stop_words"
                                    ? json::value(std::move(elements))
                                    : elements.front();
      if (Checked problem = add_parameter(name, value, out)) return problem;
    }
  }
  return std::nullopt;
}

Checked generate_body(const json::object& body, json::object& out) {
  const json::value* text = find_member(body, kInput);
  if (text == nullptr || !text->is_string()) {
    return invalid_param(kInput, "'text_input' must be a string.");
  }
  for (const auto& entry : body) {
    const std::string_view name = entry.key();
    if (name == kInput || name == "parameters" || name == "id") continue;
    if (Checked problem = add_parameter(name, entry.value(), out)) return problem;
  }
  if (Checked problem = add_parameters(body, out)) return problem;
  out["prompt"] = json::array{*text};
  return std::nullopt;
}

/// The entry of "outputs" with that name, or null.
const json::object* asked_output(const json::object& body, std::string_view name) {
  const json::value* outputs = find_member(body, "outputs");
  if (outputs == nullptr || !outputs->is_array()) return nullptr;
  for (const json::value& output : outputs->get_array()) {
    if (output.is_object() && text_member(output.get_object(), "name") == name) {
      return &output.get_object();
    }
  }
  return nullptr;
}

/// Whether this output is to come as bytes behind the JSON.
bool wants_binary(const json::object& body, std::string_view name) {
  const json::value* parameters = find_member(body, "parameters");
  const bool all = parameters != nullptr && parameters->is_object() &&
                   flag_member(parameters->get_object(), "binary_data_output", false);
  const json::object* output = asked_output(body, name);
  const json::value* own = output != nullptr ? find_member(*output, "parameters") : nullptr;
  return own != nullptr && own->is_object() ? flag_member(own->get_object(), "binary_data", all)
                                            : all;
}

void append_little(std::string& out, uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(value >> shift));
}

/// {"model_name":..,"model_version":..,"id":.. of an answer.
std::string reply_head(const std::string& name, const std::string& id) {
  std::string out = "{\"model_name\":";
  append_json_string(out, name);
  out += ",\"model_version\":\"" + std::string(kKserveVersion) + "\"";
  if (!id.empty()) {
    out += ",\"id\":";
    append_json_string(out, id);
  }
  return out;
}

class KserveWriter final : public ReplyWriter {
 public:
  struct Options {
    KserveKind kind = KserveKind::kInfer;
    std::string name = {};
    std::string id = {};                     ///< of the request, given back
    std::vector<std::string> prefixes = {};  ///< texts that go before the answers; empty: none
    size_t binary_head = 0;  ///< bytes of the JSON before binary tensors; 0: all is JSON
  };
  explicit KserveWriter(Options options) : options_(std::move(options)) {}

  void begin(std::string&, const std::vector<Choice>&) override {}
  void delta(std::string& out, Choice& choice, const OutputPiece& piece) override {
    if (piece.content.empty()) return;
    const bool first = !std::exchange(begun_, true);
    out += "data: " + one(first ? prefix(choice.index) + piece.content : piece.content) + "\n\n";
  }
  void choice_end(std::string&, Choice&) override {}
  void end(std::string&, const Usage&) override {}
  void error(std::string& out, const ApiError& error) override {
    out += "data: " + plain_error_body(error) + "\n\n";
  }
  std::string whole(const std::vector<Choice>& choices, const Usage&) override {
    if (options_.kind != KserveKind::kInfer) {
      return one(prefix(0) + choices.front().content);
    }
    std::string data;
    for (const Choice& choice : choices) {
      const std::string text = prefix(choice.index) + choice.content;
      if (options_.binary_head == 0) {
        data += data.empty() ? "" : ",";
        append_json_string(data, text);
      } else {
        append_little(data, static_cast<uint32_t>(text.size()));
        data += text;
      }
    }
    std::string out = head();
    out += ",\"outputs\":[{\"name\":\"text_output\",\"datatype\":\"BYTES\",\"shape\":[" +
           std::to_string(choices.size()) + ",1]";
    if (options_.binary_head == 0) return out + ",\"data\":[" + data + "]}]}";
    out += ",\"parameters\":{\"binary_data_size\":" + std::to_string(data.size()) + "}}]}";
    CHECK(out.size() <= options_.binary_head);
    out.resize(options_.binary_head, ' ');
    return out + data;
  }

 private:
  std::string prefix(int index) const {
    const auto at = static_cast<size_t>(index);
    return at < options_.prefixes.size() ? options_.prefixes[at] : "";
  }
  std::string head() const { return reply_head(options_.name, options_.id); }
  std::string one(const std::string& text) const {
    std::string out = head() + ",\"text_output\":";
    append_json_string(out, text);
    return out + "}";
  }

  Options options_;
  bool begun_ = false;
};

std::string request_id(const json::object& body) {
  return std::string(text_member(body, "id")).substr(0, limits::kKiB);
}

ApiError no_texts() {
  return invalid_param("inputs", "There is no input 'text_input'.");
}

ApiError too_many(size_t rows_max) {
  return invalid_param("inputs",
                       "A request may bring " + std::to_string(rows_max) + " texts at most.");
}

json::object tensor(std::string_view name, std::string_view type, json::array shape) {
  return {{"name", name}, {"datatype", type}, {"shape", std::move(shape)}};
}

json::object config_tensor(std::string_view name, std::string_view type, bool optional,
                           int64_t width = 1) {
  json::object out = {{"name", name}, {"data_type", type}, {"dims", json::array{width}}};
  if (optional) out["optional"] = true;
  return out;
}

struct ParameterInput {
  std::string_view name, type, config_type;
};
constexpr ParameterInput kParameters[] = {{"max_tokens", "INT32", "TYPE_INT32"},
                                          {"temperature", "FP32", "TYPE_FP32"},
                                          {"top_p", "FP32", "TYPE_FP32"},
                                          {"top_k", "INT32", "TYPE_INT32"},
                                          {"seed", "INT64", "TYPE_INT64"},
                                          {"stop", "BYTES", "TYPE_STRING"},
                                          {"sampling_parameters", "BYTES", "TYPE_STRING"}};

}  // namespace

Checked read_kserve_body(const HttpRequest& request, json::object& body, std::string& tensors) {
  size_t length = request.body.size();
  if (const std::string* head = request.header(kHeadLength)) {
    const auto bytes = parse_int<uint64_t>(*head);
    if (!bytes || *bytes > request.body.size()) {
      return invalid_param(kHeadLength,
                           "Inference-Header-Content-Length is no length within the "
                           "body.");
    }
    length = static_cast<size_t>(*bytes);
  }
  tensors = request.body.substr(length);
  const std::string_view text = std::string_view(request.body).substr(0, length);
  if (text.empty()) return std::nullopt;  // where nothing has to be said
  auto parsed = parse_json(text);
  if (!parsed.ok() || !parsed.value().is_object()) {
    return ApiError{
        .status = 400, .code = "invalid_json", .message = "The body is no JSON object."};
  }
  body = std::move(parsed.value().get_object());
  return std::nullopt;
}

Checked plan_kserve(const ServedModel& model, const KserveRequest& request,
                    const json::object& body, const std::string& tensors, Env& env,
                    GenerationPlan& out) {
  json::object plain;
  Checked problem = request.kind == KserveKind::kInfer ? infer_body(body, tensors, plain)
                                                       : generate_body(body, plain);
  if (problem) return problem;
  const json::value* texts = find_member(plain, "prompt");
  if (texts == nullptr || texts->get_array().empty()) return no_texts();
  const json::array& prompts = texts->get_array();
  if (prompts.size() > request.rows_max) return too_many(request.rows_max);
  KserveWriter::Options options{.kind = request.kind, .name = request.name};
  options.id = request_id(body);
  for (const json::value& prompt : prompts) {
    if (!prompt.is_string()) return bad_input(kInput, "must hold strings.");
    if (flag_member(plain, "exclude_input_in_output", true)) continue;
    options.prefixes.emplace_back(prompt.get_string());
  }
  plain["stream"] = request.kind == KserveKind::kGenerateStream;
  plain["n"] = 1;
  plain.erase("best_of");
  plain.erase("echo");
  if (Checked refused = plan_openai_completions(model, plain, env, out)) return refused;
  if (request.kind == KserveKind::kInfer && wants_binary(body, kOutput)) {
    constexpr size_t kFixed =
        256;  // of the JSON around names, which JSON may write six times longer
    options.binary_head = kFixed + 6 * (options.name.size() + options.id.size());
    out.headers.emplace_back(kHeadLength, std::to_string(options.binary_head));
    out.whole_type = "application/octet-stream";
  }
  out.writer = std::make_unique<KserveWriter>(std::move(options));
  return std::nullopt;
}

bool wants_kserve_numbers(const ServedModel& model, const json::object& body) {
  return !model.generates || asked_output(body, kVectors) != nullptr ||
         asked_output(body, kScores) != nullptr;
}

Checked plan_kserve_numbers(const ServedModel& model, const KserveRequest& request,
                            const json::object& body, const std::string& tensors,
                            KserveNumbers& out) {
  json::object plain;
  if (Checked problem = infer_body(body, tensors, plain)) return problem;
  const json::value* texts = find_member(plain, "prompt");
  if (texts == nullptr || texts->get_array().empty()) return no_texts();
  if (texts->get_array().size() > request.rows_max) return too_many(request.rows_max);
  for (const json::value& text : texts->get_array()) {
    if (!text.is_string()) return bad_input(kInput, "must hold strings.");
  }
  out.name = request.name;
  out.id = request_id(body);
  out.scores = asked_output(body, kScores) != nullptr || model.embeddings.width == 0;
  out.binary = wants_binary(body, out.scores ? kScores : kVectors);
  if (!out.scores) {
    plain["input"] = *texts;
    plain.erase("encoding_format");
    if (Checked problem = plan_embeddings(model, plain, out.vectors)) return problem;
    out.request = std::move(out.vectors.request);
    out.tokens = out.vectors.tokens;
    return std::nullopt;
  }
  plain["documents"] = *texts;
  RerankPlan ranks;
  if (Checked problem = plan_rerank(model, plain, ranks)) return problem;
  out.request = std::move(ranks.request);
  out.tokens = ranks.tokens;
  return std::nullopt;
}

HttpReply kserve_numbers_reply(const ServedModel& model, const KserveNumbers& plan,
                               std::span<const float> numbers) {
  std::vector<float> wanted(numbers.begin(), numbers.end());
  if (!plan.scores) wanted = embeddings_wanted(model, plan.vectors, numbers);
  const int64_t width = plan.scores ? 1 : plan.vectors.width;
  std::string out = reply_head(plan.name, plan.id);
  out += ",\"outputs\":[{\"name\":\"" + std::string(plan.scores ? kScores : kVectors) +
         "\",\"datatype\":\"FP32\",\"shape\":[" +
         std::to_string(wanted.size() / static_cast<size_t>(width)) + "," + std::to_string(width) +
         "]";
  if (!plan.binary) {
    out += ",\"data\":";
    append_json_floats(out, wanted);
    return {.body = out + "}]}"};
  }
  static_assert(std::endian::native == std::endian::little);
  std::string bytes(wanted.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), wanted.data(), bytes.size());
  out += ",\"parameters\":{\"binary_data_size\":" + std::to_string(bytes.size()) + "}}]}";
  const std::string length = std::to_string(out.size());
  return {.content_type = "application/octet-stream",
          .body = out + bytes,
          .headers = {{std::string(kHeadLength), length}}};
}

json::object kserve_metadata(const KserveModel& model) {
  json::array inputs = {tensor(kInput, "BYTES", {-1, 1})};
  json::array outputs;
  if (model.task.empty()) {
    for (const ParameterInput& each : kParameters) {
      inputs.push_back(tensor(each.name, each.type, {-1, 1}));
    }
    outputs.push_back(tensor(kOutput, "BYTES", {-1, 1}));
  } else if (model.task == "rerank") {
    inputs.push_back(tensor(kQuery, "BYTES", {-1, 1}));
    outputs.push_back(tensor(kScores, "FP32", {-1, 1}));
  } else {
    outputs.push_back(tensor(kVectors, "FP32", {-1, model.width}));
  }
  return {{"name", model.name},
          {"versions", json::array{kKserveVersion}},
          {"platform", "hadal"},
          {"inputs", std::move(inputs)},
          {"outputs", std::move(outputs)}};
}

json::object kserve_model_config(const KserveModel& model) {
  json::array inputs = {config_tensor(kInput, "TYPE_STRING", false)};
  json::array outputs;
  if (model.task.empty()) {
    for (const ParameterInput& each : kParameters) {
      inputs.push_back(config_tensor(each.name, each.config_type, true));
    }
    outputs.push_back(config_tensor(kOutput, "TYPE_STRING", false));
  } else if (model.task == "rerank") {
    inputs.push_back(config_tensor(kQuery, "TYPE_STRING", false));
    outputs.push_back(config_tensor(kScores, "TYPE_FP32", false));
  } else {
    outputs.push_back(config_tensor(kVectors, "TYPE_FP32", false, model.width));
  }
  return {{"name", model.name},
          {"platform", "hadal"},
          {"backend", "hadal"},
          {"max_batch_size", model.rows_max},
          {"input", std::move(inputs)},
          {"output", std::move(outputs)},
          {"model_transaction_policy", {{"decoupled", false}}}};
}

}  // namespace hadal
