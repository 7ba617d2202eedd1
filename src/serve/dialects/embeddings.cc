#include "serve/dialects/embeddings.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/base64.h"
#include "base/limits.h"
#include "serve/params.h"

namespace hadal {
namespace {

Checked too_long(size_t index, size_t tokens, int64_t most) {
  return ApiError{.status = 400,
                  .code = "context_length_exceeded",
                  .message = "Input " + std::to_string(index) + " has " + std::to_string(tokens) +
                             " tokens; this model takes at most " + std::to_string(most) +
                             ". Send shorter texts, or \"truncate\": true.",
                  .param = "input"};
}

/// Reads the inputs one by one.
class InputReader {
 public:
  InputReader(const ServedModel& model, EmbeddingsPlan& out) : model_(model), out_(out) {}

  Checked read(const json::object& body) {
    if (Checked error = read_flag(body, "truncate", truncate_)) return error;
    const json::value* input = find_member(body, "input");
    if (input == nullptr) return invalid_param("input", "'input' is missing.");
    if (input->is_string()) return add(*input);
    if (!input->is_array() || input->get_array().empty()) return wrong_type();
    const json::array& list = input->get_array();
    if (list.front().is_number()) return add(*input);
    if (list.size() > limits::kEmbeddingInputs) {
      return invalid_param("input", "'input' has " + std::to_string(list.size()) +
                                        " texts; at most " +
                                        std::to_string(limits::kEmbeddingInputs) + " are taken.");
    }
    for (const json::value& one : list) {
      if (Checked error = add(one)) return error;
    }
    return std::nullopt;
  }

 private:
  static Checked wrong_type() {
    return invalid_param("input",
                         "'input' must be a text, an array of texts, an array of token ids, or an "
                         "array of arrays of token ids.");
  }

  Checked add(const json::value& one) {
    std::vector<TokenId> ids;
    if (one.is_string()) {
      const auto& text = one.get_string();
      if (text.empty()) return invalid_param("input", "'input' must not hold an empty text.");
      ids = model_.tokenizer->encode(std::string_view(text.data(), text.size()), Specials::kText);
    } else if (one.is_array()) {
      if (one.get_array().empty()) return wrong_type();
      if (Checked error = read_token_ids(one, "input", model_.tokenizer->size(), ids)) return error;
    } else {
      return wrong_type();
    }
    const size_t index = out_.request.texts.size();
    const auto most = static_cast<size_t>(model_.n_ctx);
    std::vector<TokenId> framed = model_.tokenizer->with_bos(ids);
    if (framed.size() > most) {
      if (!truncate_) return too_long(index, framed.size(), model_.n_ctx);
      const size_t around = framed.size() - ids.size();
      ids.resize(most > around ? most - around : 0);
      framed = model_.tokenizer->with_bos(std::move(ids));
      framed.resize(std::min(framed.size(), most));
    }
    // A text of nothing but blanks; a vocabulary that puts nothing around texts.
    if (framed.empty()) return invalid_param("input", "'input' holds a text without any token.");
    out_.tokens += static_cast<int64_t>(framed.size());
    out_.request.texts.push_back({std::move(framed), SIZE_MAX});
    return std::nullopt;
  }

  const ServedModel& model_;
  EmbeddingsPlan& out_;
  bool truncate_ = false;
};

void append_vector(std::string& out, std::span<const float> vector, bool base64) {
  if (!base64) {
    append_json_floats(out, vector);
    return;
  }
  std::string bytes(vector.size_bytes(), '\0');
  std::memcpy(bytes.data(), vector.data(), bytes.size());  // little-endian, as clients read it
  out += '"' + base64_encode(bytes) + '"';
}

/// The first `width` numbers, made of length 1 again.
std::vector<float> shortened(std::span<const float> vector, size_t width) {
  std::vector<float> out(vector.begin(), vector.begin() + static_cast<std::ptrdiff_t>(width));
  double squares = 0;
  for (const float x : out) squares += static_cast<double>(x) * static_cast<double>(x);
  if (squares <= 0) return out;
  const auto scale = static_cast<float>(1.0 / std::sqrt(squares));
  for (float& x : out) x *= scale;
  return out;
}

}  // namespace

Checked plan_embeddings(const ServedModel& model, const json::object& body, EmbeddingsPlan& out) {
  if (model.embeddings.width == 0) {
    return ApiError{.status = 400,
                    .code = "model_not_embedding",
                    .message = "The model '" + model.id +
                               "' judges pairs of texts; it gives no embeddings. See /v1/rerank.",
                    .param = "model"};
  }
  out.width = model.embeddings.width;
  if (const json::value* value = find_member(body, "dimensions")) {
    const bool fits =
        value->is_int64() && value->get_int64() >= 1 && value->get_int64() <= out.width;
    if (!fits) {
      return invalid_param("dimensions", "'dimensions' must be a whole number from 1 to " +
                                             std::to_string(out.width) + ".");
    }
    out.width = value->get_int64();
  }
  if (const json::value* value = find_member(body, "encoding_format")) {
    const std::string_view format =
        value->is_string() ? std::string_view(value->get_string()) : std::string_view();
    if (format != "float" && format != "base64") {
      return invalid_param("encoding_format", "'encoding_format' must be \"float\" or \"base64\".");
    }
    out.base64 = format == "base64";
  }
  return InputReader(model, out).read(body);
}

void append_json_floats(std::string& out, std::span<const float> numbers) {
  out.push_back('[');
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (i > 0) out.push_back(',');
    append_json_float(out, numbers[i]);
  }
  out.push_back(']');
}

std::vector<float> embeddings_wanted(const ServedModel& model, const EmbeddingsPlan& plan,
                                     std::span<const float> numbers) {
  if (plan.width == model.embeddings.width) return {numbers.begin(), numbers.end()};
  const auto whole = static_cast<size_t>(model.embeddings.width);
  std::vector<float> out;
  for (; numbers.size() >= whole; numbers = numbers.subspan(whole)) {
    const auto one = shortened(numbers.first(whole), static_cast<size_t>(plan.width));
    out.insert(out.end(), one.begin(), one.end());
  }
  return out;
}

std::string embeddings_reply(const ServedModel& model, const EmbeddingsPlan& plan,
                             std::span<const float> numbers) {
  std::string out = "{\"object\":\"list\",\"data\":[";
  const auto width = static_cast<size_t>(plan.width);
  const std::vector<float> wanted = embeddings_wanted(model, plan, numbers);
  for (size_t i = 0; i < wanted.size() / width; ++i) {
    if (i > 0) out.push_back(',');
    out += "{\"object\":\"embedding\",\"index\":" + std::to_string(i) + ",\"embedding\":";
    append_vector(out, std::span(wanted).subspan(i * width, width), plan.base64);
    out.push_back('}');
  }
  out += "],\"model\":";
  append_json_string(out, model.id);
  const std::string tokens = std::to_string(plan.tokens);
  out += ",\"usage\":{\"prompt_tokens\":" + tokens + ",\"total_tokens\":" + tokens + "}}";
  return out;
}

}  // namespace hadal
