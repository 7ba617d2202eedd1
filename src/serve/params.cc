#include "serve/params.h"

#include <algorithm>
#include <cmath>

#include "base/limits.h"
#include "base/parse.h"

namespace hadal {
namespace {

constexpr double kTokensMax = limits::kStreamTokens;
constexpr double kInt64Min = -9223372036854775808.0;
constexpr double kInt64Max = 9223372036854774784.0;  // the largest double below 2^63

constexpr ParamRow kCommon[] = {
    {"temperature", ParamKind::kNumber, 0, 100,
     [](RequestParams& p, const ParamValue& v) { p.sampling.temperature = float(v.number); }},
    // 0 means "the likeliest token only", which the smallest share above 0 gives.
    {"top_p", ParamKind::kNumber, 0, 1,
     [](RequestParams& p, const ParamValue& v) {
       p.sampling.top_p = std::max(float(v.number), 1e-6f);
     }},
    // -1 is another spelling of "off".
    {"top_k", ParamKind::kInteger, -1, 2147483647,
     [](RequestParams& p, const ParamValue& v) {
       p.sampling.top_k = int32_t(std::max<int64_t>(v.integer, 0));
     }},
    {"min_p", ParamKind::kNumber, 0, 1,
     [](RequestParams& p, const ParamValue& v) { p.sampling.min_p = float(v.number); }},
    // 0 as in top_p.
    {"typical_p", ParamKind::kNumber, 0, 1,
     [](RequestParams& p, const ParamValue& v) {
       p.sampling.typical_p = std::max(float(v.number), 1e-6f);
     }},
    {"mirostat", ParamKind::kInteger, 0, 2,
     [](RequestParams& p, const ParamValue& v) { p.sampling.mirostat = int(v.integer); }},
    {"mirostat_tau", ParamKind::kNumber, 0, 20,
     [](RequestParams& p, const ParamValue& v) { p.sampling.mirostat_tau = float(v.number); }},
    {"mirostat_eta", ParamKind::kNumber, 0, 1,
     [](RequestParams& p, const ParamValue& v) { p.sampling.mirostat_eta = float(v.number); }},
    {"repetition_penalty", ParamKind::kNumber, 0.01, 10,
     [](RequestParams& p, const ParamValue& v) {
       p.sampling.repetition_penalty = float(v.number);
     }},
    {"repeat_penalty", ParamKind::kNumber, 0.01, 10,
     [](RequestParams& p, const ParamValue& v) {
       p.sampling.repetition_penalty = float(v.number);
     }},
    {"presence_penalty", ParamKind::kNumber, -2, 2,
     [](RequestParams& p, const ParamValue& v) { p.sampling.presence_penalty = float(v.number); }},
    {"frequency_penalty", ParamKind::kNumber, -2, 2,
     [](RequestParams& p, const ParamValue& v) { p.sampling.frequency_penalty = float(v.number); }},
    // -1 asks for a random seed.
    {"seed", ParamKind::kInteger, kInt64Min, kInt64Max,
     [](RequestParams& p, const ParamValue& v) {
       if (v.integer == -1) {
         p.sampling.seed.reset();
       } else {
         p.sampling.seed = static_cast<uint64_t>(v.integer);
       }
     }},
    {"max_tokens", ParamKind::kInteger, 1, kTokensMax,
     [](RequestParams& p, const ParamValue& v) { p.max_tokens = v.integer; }},
    {"max_completion_tokens", ParamKind::kInteger, 1, kTokensMax,
     [](RequestParams& p, const ParamValue& v) { p.max_tokens = v.integer; }},
    {"min_tokens", ParamKind::kInteger, 0, kTokensMax,
     [](RequestParams& p, const ParamValue& v) { p.min_tokens = v.integer; }},
    {"n", ParamKind::kInteger, 1, limits::kChoices,
     [](RequestParams& p, const ParamValue& v) { p.n = v.integer; }},
    // As in vLLM the lower number comes first; there are three classes.
    {"priority", ParamKind::kInteger, -2147483648.0, 2147483647,
     [](RequestParams& p, const ParamValue& v) {
       p.priority = v.integer < 0   ? Priority::kInteractive
                    : v.integer > 0 ? Priority::kBatch
                                    : Priority::kNormal;
     }},
    {"queue_timeout_ms", ParamKind::kInteger, 1, double(limits::kQueueMicros / 1000),
     [](RequestParams& p, const ParamValue& v) { p.max_queue_micros = v.integer * 1000; }},
    {"ignore_eos", ParamKind::kBoolean, 0, 1,
     [](RequestParams& p, const ParamValue& v) { p.ignore_eos = v.boolean; }},
    {"stream", ParamKind::kBoolean, 0, 1,
     [](RequestParams& p, const ParamValue& v) { p.stream = v.boolean; }},
    {"skip_special_tokens", ParamKind::kBoolean, 0, 1,
     [](RequestParams& p, const ParamValue& v) { p.show_special = !v.boolean; }},
};

constexpr ParamRow kChat[] = {
    {"logprobs", ParamKind::kBoolean, 0, 1,
     [](RequestParams& p, const ParamValue& v) { p.logprobs = v.boolean; }},
    {"top_logprobs", ParamKind::kInteger, 0, limits::kTopLogprobs,
     [](RequestParams& p, const ParamValue& v) { p.top_logprobs = v.integer; }},
};

constexpr ParamRow kCompletion[] = {
    {"logprobs", ParamKind::kInteger, 0, limits::kTopLogprobs,
     [](RequestParams& p, const ParamValue& v) {
       p.logprobs = true;
       p.top_logprobs = v.integer;
     }},
    {"echo", ParamKind::kBoolean, 0, 1,
     [](RequestParams& p, const ParamValue& v) { p.echo = v.boolean; }},
    {"best_of", ParamKind::kInteger, 1, limits::kChoices,
     [](RequestParams& p, const ParamValue& v) { p.best_of = v.integer; }},
};

std::string bound_text(double bound) {
  if (std::abs(bound) >= 9e18) return bound < 0 ? "-2^63" : "2^63 - 1";
  std::string out;
  append_json_number(out, bound);
  return out;
}

ApiError range_error(const ParamRow& row) {
  return invalid_param(row.name, "'" + std::string(row.name) + "' must be between " +
                                     bound_text(row.min) + " and " + bound_text(row.max) + ".");
}

ApiError kind_error(const ParamRow& row) {
  const char* kind = row.kind == ParamKind::kBoolean   ? "true or false"
                     : row.kind == ParamKind::kInteger ? "a whole number"
                                                       : "a number";
  ApiError error = invalid_param(row.name, "'" + std::string(row.name) + "' must be " + kind + ".");
  error.code = "invalid_type";
  return error;
}

/// The number in `value` with both views of it; false when it is no number.
bool read_number(const json::value& value, ParamValue& out) {
  if (value.is_int64()) {
    out.integer = value.get_int64();
    out.number = static_cast<double>(out.integer);
    return true;
  }
  if (value.is_uint64()) {  // above the largest int64: outside every range
    out.number = static_cast<double>(value.get_uint64());
    return true;
  }
  if (value.is_double()) {
    out.number = value.get_double();
    if (std::abs(out.number) < 9e15) out.integer = static_cast<int64_t>(out.number);
    return true;
  }
  return false;
}

Checked read_row(const json::value& value, const ParamRow& row, RequestParams& out) {
  ParamValue read;
  if (row.kind == ParamKind::kBoolean) {
    if (!value.is_bool()) return kind_error(row);
    read.boolean = value.get_bool();
    row.set(out, read);
    return std::nullopt;
  }
  if (!read_number(value, read)) return kind_error(row);
  const bool in_range = read.number >= row.min && read.number <= row.max;
  if (!in_range) return range_error(row);
  if (row.kind == ParamKind::kInteger && value.is_double() &&
      read.number != std::floor(read.number)) {
    return kind_error(row);
  }
  if (row.kind == ParamKind::kInteger && !value.is_int64() && std::abs(read.number) >= 9e15) {
    return range_error(row);
  }
  row.set(out, read);
  return std::nullopt;
}

Checked read_logit_bias(const json::value& value, int64_t n_vocab, RequestParams& out) {
  if (!value.is_object()) {
    return invalid_param("logit_bias", "'logit_bias' must be an object of token ids.");
  }
  const json::object& entries = value.get_object();
  if (entries.size() > size_t{limits::kLogitBiasEntries}) {
    return invalid_param("logit_bias", "'logit_bias' has more than 1024 entries.");
  }
  for (const auto& entry : entries) {
    const auto id = parse_int<int32_t>(std::string_view(entry.key().data(), entry.key().size()));
    ParamValue bias;
    if (!id || *id < 0 || *id >= n_vocab) {
      return invalid_param("logit_bias", "A key of 'logit_bias' is not a token id of this model.");
    }
    if (!read_number(entry.value(), bias) || !(bias.number >= -100 && bias.number <= 100)) {
      return invalid_param("logit_bias", "Values of 'logit_bias' must be between -100 and 100.");
    }
    out.sampling.logit_bias.emplace_back(*id, static_cast<float>(bias.number));
  }
  return std::nullopt;
}

/// OpenAI's names for classes; `priority` is the more exact field and wins.
Checked read_service_tier(const json::object& body, RequestParams& out) {
  const json::value* tier = find_member(body, "service_tier");
  if (tier == nullptr) return std::nullopt;
  const std::string_view name =
      tier->is_string() ? std::string_view(tier->get_string().data(), tier->get_string().size())
                        : std::string_view();
  Priority priority = Priority::kNormal;
  if (name == "priority") {
    priority = Priority::kInteractive;
  } else if (name == "flex") {
    priority = Priority::kBatch;
  } else if (name != "auto" && name != "default") {
    return invalid_param("service_tier",
                         "'service_tier' must be \"auto\", \"default\", \"flex\" or \"priority\".");
  }
  if (find_member(body, "priority") == nullptr) out.priority = priority;
  return std::nullopt;
}

}  // namespace

std::span<const ParamRow> common_params() {
  return kCommon;
}
std::span<const ParamRow> chat_params() {
  return kChat;
}
std::span<const ParamRow> completion_params() {
  return kCompletion;
}

const json::value* find_member(const json::object& body, std::string_view name) {
  const json::value* found = body.if_contains(json::string_view(name.data(), name.size()));
  return found == nullptr || found->is_null() ? nullptr : found;
}

Checked read_params(const json::object& body, std::span<const ParamRow> rows, RequestParams& out) {
  for (const ParamRow& row : rows) {
    const json::value* value = find_member(body, row.name);
    if (value == nullptr) continue;
    if (Checked error = read_row(*value, row, out)) return error;
  }
  if (out.sampling.mirostat == 1) {
    return invalid_param("mirostat", "'mirostat' must be 0 or 2: the first version is not here.");
  }
  return std::nullopt;
}

Checked read_token_ids(const json::value& value, std::string_view param, int64_t n_vocab,
                       std::vector<TokenId>& out) {
  const std::string name(param);
  if (!value.is_array()) return invalid_param(param, "'" + name + "' must be a list of token ids.");
  for (const json::value& entry : value.get_array()) {
    if (!entry.is_int64() || entry.get_int64() < 0 || entry.get_int64() >= n_vocab) {
      return invalid_param(param,
                           "'" + name + "' holds something that is no token id of this model.");
    }
    out.push_back(static_cast<TokenId>(entry.get_int64()));
  }
  return std::nullopt;
}

Checked read_stop(const json::value& value, std::string_view param, RequestParams& out) {
  const std::string name = "'" + std::string(param) + "'";
  std::vector<const json::value*> entries;
  if (value.is_string()) {
    entries.push_back(&value);
  } else if (value.is_array()) {
    for (const json::value& entry : value.get_array()) entries.push_back(&entry);
  } else {
    return invalid_param(param, name + " must be a string or a list of strings.");
  }
  if (entries.size() > size_t{limits::kStopStrings}) {
    return invalid_param(param, name + " has more than 16 entries.");
  }
  for (const json::value* entry : entries) {
    if (!entry->is_string()) return invalid_param(param, name + " must hold strings only.");
    const auto& text = entry->get_string();
    if (text.size() > limits::kStopStringBytes) {
      return invalid_param(param, "A string of " + name + " is longer than 256 bytes.");
    }
    if (!text.empty()) out.stop.emplace_back(text.data(), text.size());
  }
  return std::nullopt;
}

Checked read_string(const json::object& body, std::string_view name, std::string& out) {
  const json::value* value = find_member(body, name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) {
    return invalid_param(name, "'" + std::string(name) + "' must be a string.");
  }
  out = value->get_string();
  return std::nullopt;
}

Checked read_flag(const json::object& body, std::string_view name, bool& out) {
  const json::value* value = find_member(body, name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_bool()) {
    return invalid_param(name, "'" + std::string(name) + "' must be true or false.");
  }
  out = value->get_bool();
  return std::nullopt;
}

Checked needed_string(const json::object& object, std::string_view name, std::string_view param,
                      std::string& out) {
  const json::value* value = find_member(object, name);
  if (value != nullptr && value->is_string()) {
    out = value->get_string();
    return std::nullopt;
  }
  const std::string where = std::string(param) + "." + std::string(name);
  return invalid_param(where, "'" + where + "' must be a string.");
}

/// A user's prefixes are apart from all others, and so are a salt's.
void isolate_user(std::string_view user_id, RequestParams& out) {
  if (user_id.empty()) return;
  out.cache_salt.push_back('\n');
  out.cache_salt += user_id;
}

Checked read_isolation(const json::object& body, RequestParams& out) {
  const json::value* salt = find_member(body, "cache_salt");
  if (salt != nullptr) {
    if (!salt->is_string() || salt->get_string().size() > limits::kCacheSaltBytes) {
      return invalid_param("cache_salt", "'cache_salt' must be a string of at most 256 bytes.");
    }
    out.cache_salt = salt->get_string();
  }
  std::string user;
  if (Checked error = read_string(body, "user_id", user)) return error;
  const bool plain =
      user.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") ==
      std::string::npos;
  if (!plain || user.size() > limits::kUserIdBytes) {
    return invalid_param("user_id", "'user_id' must be at most 512 letters, digits, '-' and '_'.");
  }
  isolate_user(user, out);
  return std::nullopt;
}

Checked read_structured_params(const json::object& body, int64_t n_vocab, RequestParams& out) {
  if (const json::value* stop = find_member(body, "stop")) {
    if (Checked error = read_stop(*stop, "stop", out)) return error;
  }
  if (const json::value* ids = find_member(body, "stop_token_ids")) {
    if (Checked error = read_token_ids(*ids, "stop_token_ids", n_vocab, out.stop_token_ids)) {
      return error;
    }
    if (out.stop_token_ids.size() > size_t{limits::kStopTokenIds}) {
      return invalid_param("stop_token_ids", "'stop_token_ids' has more than 1024 entries.");
    }
  }
  if (const json::value* bias = find_member(body, "logit_bias")) {
    if (Checked error = read_logit_bias(*bias, n_vocab, out)) return error;
  }
  if (Checked error = read_isolation(body, out)) return error;
  if (Checked error = read_service_tier(body, out)) return error;
  if (Checked error = read_answer_format(body, out.format)) return error;
  if (const json::value* options = find_member(body, "stream_options")) {
    if (!options->is_object()) {
      return invalid_param("stream_options", "'stream_options' must be an object.");
    }
    if (const json::value* usage = find_member(options->get_object(), "include_usage")) {
      if (!usage->is_bool()) {
        return invalid_param("stream_options.include_usage",
                             "'stream_options.include_usage' must be true or false.");
      }
      out.include_usage = usage->get_bool();
    }
  }
  return std::nullopt;
}

}  // namespace hadal
