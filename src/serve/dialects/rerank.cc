#include <algorithm>
#include <numeric>
#include <optional>

#include "base/limits.h"
#include "serve/dialects/common.h"
#include "serve/dialects/embeddings.h"
#include "serve/params.h"

namespace hadal {
namespace {

// The conversation that Qwen3-Reranker was trained on (its model card).
constexpr std::string_view kJudge =
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    "the Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n"
    "<|im_start|>user\n<Instruct>: ";
constexpr std::string_view kTask =
    "Given a web search query, retrieve relevant passages that answer the query";
constexpr std::string_view kQuery = "\n<Query>: ";
constexpr std::string_view kDocument = "\n<Document>: ";
constexpr std::string_view kAnswer = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";

/// Puts a query and documents together, one after the other.
class PairMaker {
 public:
  /// `most`: tokens that a pair may have.
  PairMaker(const ServedModel& model, std::string_view query, std::string_view instruction,
            size_t most)
      : tokenizer_(*model.tokenizer), form_(model.embeddings.pairs), most_(most) {
    if (form_ == PairForm::kYesNo) {
      MarkedText head;
      head.append(kJudge, MarkedText::kTemplate);
      const bool own = instruction.empty();
      head.append(own ? kTask : instruction, own ? MarkedText::kTemplate : MarkedText::kCaller);
      head.append(kQuery, MarkedText::kTemplate);
      head.append(query, MarkedText::kCaller);
      head.append(kDocument, MarkedText::kTemplate);
      head_ = tokenizer_.encode(head);
      MarkedText tail;
      tail.append(kAnswer, MarkedText::kTemplate);
      tail_ = tokenizer_.encode(tail);
      return;
    }
    // What stands around a single text stands around each of the two; BERT's second one shares the
    // separator of the first, XLM-R's has one of its own before it.
    const std::vector<TokenId> ids = tokenizer_.encode(query, Specials::kText);
    head_.push_back(tokenizer_.bos().value_or(0));
    head_.insert(head_.end(), ids.begin(), ids.end());
    const TokenId separator = tokenizer_.eos().value_or(0);
    head_.insert(head_.end(), form_ == PairForm::kXlmr ? 2 : 1, separator);
    tail_.push_back(separator);
  }

  /// Ids that every pair has, whatever the document.
  size_t fixed() const { return head_.size() + tail_.size(); }
  size_t most() const { return most_; }

  /// nullopt: it is too long, and must not be cut.
  std::optional<EmbeddingText> pair(std::string_view document, bool cuts) const {
    std::vector<TokenId> ids = tokenizer_.encode(document, Specials::kText);
    const size_t room = most_ - fixed();
    if (ids.size() > room) {
      if (!cuts) return std::nullopt;
      ids.resize(room);
    }
    EmbeddingText out{head_, head_.size()};
    out.ids.insert(out.ids.end(), ids.begin(), ids.end());
    out.ids.insert(out.ids.end(), tail_.begin(), tail_.end());
    return out;
  }

 private:
  const Tokenizer& tokenizer_;
  PairForm form_;
  size_t most_;
  std::vector<TokenId> head_, tail_;
};

Checked read_string(const json::object& body, const char* name, bool needed, std::string& out) {
  const json::value* value = find_member(body, name);
  if (value == nullptr && !needed) return std::nullopt;
  if (value == nullptr || !value->is_string() || (needed && value->get_string().empty())) {
    return invalid_param(name, "'" + std::string(name) + "' must be a text" +
                                   (needed ? ", and not an empty one." : "."));
  }
  out = std::string(value->get_string());
  return std::nullopt;
}

/// Texts, or objects with a "text".
Checked read_documents(const json::object& body, std::vector<std::string>& out) {
  const json::value* list = find_member(body, "documents");
  if (list == nullptr) list = find_member(body, "texts");  // Text Embeddings Inference
  if (list == nullptr || !list->is_array() || list->get_array().empty()) {
    return invalid_param("documents", "'documents' must be an array of at least one text.");
  }
  if (list->get_array().size() > limits::kEmbeddingInputs) {
    return invalid_param("documents", "'documents' has " +
                                          std::to_string(list->get_array().size()) +
                                          " texts; at most " +
                                          std::to_string(limits::kEmbeddingInputs) + " are taken.");
  }
  for (const json::value& one : list->get_array()) {
    const json::value* text = &one;
    if (one.is_object()) text = find_member(one.get_object(), "text");
    if (text == nullptr || !text->is_string()) {
      return invalid_param("documents",
                           "'documents' must hold texts, or objects with a text in 'text'.");
    }
    out.emplace_back(text->get_string());
  }
  return std::nullopt;
}

Checked judges_pairs(const ServedModel& model) {
  if (model.embeddings.pairs != PairForm::kNone) return std::nullopt;
  return ApiError{.status = 400,
                  .code = "model_not_reranking",
                  .message = "The model '" + model.id +
                             "' does not judge pairs of texts: it has no classifier. Serve a "
                             "reranking model for this endpoint.",
                  .param = "model"};
}

ApiError too_long(const char* param, const std::string& what, size_t most) {
  return {.status = 400,
          .code = "context_length_exceeded",
          .message = what + " longer than the " + std::to_string(most) +
                     " tokens that this model takes for both together.",
          .param = param};
}

/// A text, or a list of them.
Checked read_texts(const json::object& body, const char* name, std::vector<std::string>& out) {
  const json::value* value = find_member(body, name);
  const auto wrong = [&] {
    return invalid_param(name, "'" + std::string(name) + "' must be a text, or a list of 1 to " +
                                   std::to_string(limits::kEmbeddingInputs) + " texts.");
  };
  if (value == nullptr) return wrong();
  if (value->is_string()) {
    out.emplace_back(value->get_string());
    return std::nullopt;
  }
  if (!value->is_array() || value->get_array().empty() ||
      value->get_array().size() > limits::kEmbeddingInputs) {
    return wrong();
  }
  for (const json::value& one : value->get_array()) {
    if (!one.is_string()) return wrong();
    out.emplace_back(one.get_string());
  }
  return std::nullopt;
}

/// vLLM's "truncate_prompt_tokens": cut pairs to so many tokens; -1: to what the model takes.
Checked read_cut(const json::object& body, bool& cuts, size_t& most) {
  const json::value* value = find_member(body, "truncate_prompt_tokens");
  if (value == nullptr) return std::nullopt;
  if (!value->is_int64() || value->get_int64() < -1 || value->get_int64() == 0) {
    return invalid_param("truncate_prompt_tokens",
                         "'truncate_prompt_tokens' must be -1, or a whole number from 1 on.");
  }
  cuts = true;
  if (value->get_int64() > 0) most = std::min(most, static_cast<size_t>(value->get_int64()));
  return std::nullopt;
}

}  // namespace

Checked plan_rerank(const ServedModel& model, const json::object& body, RerankPlan& out) {
  if (Checked error = judges_pairs(model)) return error;
  std::string query;
  std::string instruction;
  bool cuts = true;
  if (Checked error = read_string(body, "query", true, query)) return error;
  if (Checked error = read_string(body, "instruction", false, instruction)) return error;
  if (Checked error = read_documents(body, out.documents)) return error;
  if (Checked error = read_flag(body, "return_documents", out.returns_documents)) return error;
  if (Checked error = read_flag(body, "truncate", cuts)) return error;
  out.top_n = out.documents.size();
  if (const json::value* value = find_member(body, "top_n")) {
    if (!value->is_int64() || value->get_int64() < 1) {
      return invalid_param("top_n", "'top_n' must be a whole number from 1 on.");
    }
    out.top_n = std::min(out.top_n, static_cast<size_t>(value->get_int64()));
  }
  const PairMaker maker(model, query, instruction, static_cast<size_t>(model.n_ctx));
  if (maker.fixed() >= maker.most()) return too_long("query", "The query is", maker.most());
  out.request.task = EmbeddingTask::kScore;
  for (size_t i = 0; i < out.documents.size(); ++i) {
    auto pair = maker.pair(out.documents[i], cuts);
    if (!pair) {
      return too_long("documents", "Query and document " + std::to_string(i) + " are",
                      maker.most());
    }
    out.tokens += static_cast<int64_t>(pair->ids.size());
    out.request.texts.push_back(std::move(*pair));
  }
  if (!out.returns_documents) out.documents.clear();
  return std::nullopt;
}

std::string rerank_reply(const ServedModel& model, const RerankPlan& plan,
                         std::span<const float> scores, Env& env) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  std::string out = "{\"id\":\"" + new_id(env, "rerank-") + "\",\"object\":\"list\",\"model\":";
  append_json_string(out, model.id);
  out += ",\"results\":[";
  for (size_t i = 0; i < plan.top_n; ++i) {
    if (i > 0) out.push_back(',');
    out += "{\"index\":" + std::to_string(order[i]) + ",\"relevance_score\":";
    append_json_float(out, scores[order[i]]);
    if (plan.returns_documents) {
      out += ",\"document\":{\"text\":";
      append_json_string(out, plan.documents[order[i]]);
      out.push_back('}');
    }
    out.push_back('}');
  }
  const std::string tokens = std::to_string(plan.tokens);
  // "meta" as Cohere has it, "usage" as Jina.
  out +=
      "],\"meta\":{\"billed_units\":{\"search_units\":1},\"tokens\":{\"input_tokens\":" + tokens +
      "}},\"usage\":{\"prompt_tokens\":" + tokens + ",\"total_tokens\":" + tokens + "}}";
  return out;
}

Checked plan_score(const ServedModel& model, const json::object& body, ScorePlan& out) {
  if (Checked error = judges_pairs(model)) return error;
  std::vector<std::string> first;
  std::vector<std::string> second;
  bool cuts = false;
  auto most = static_cast<size_t>(model.n_ctx);
  if (Checked error = read_texts(body, "text_1", first)) return error;
  if (Checked error = read_texts(body, "text_2", second)) return error;
  if (Checked error = read_cut(body, cuts, most)) return error;
  if (first.size() != 1 && first.size() != second.size()) {
    return invalid_param("text_1",
                         "'text_1' must be one text, or have as many texts as 'text_2' has.");
  }
  out.request.task = EmbeddingTask::kScore;
  std::optional<PairMaker> maker;
  for (size_t i = 0; i < second.size(); ++i) {
    if (i < first.size()) maker.emplace(model, first[i], "", most);
    if (maker->fixed() >= maker->most()) {
      return too_long("text_1", "Text " + std::to_string(i) + " is", most);
    }
    auto pair = maker->pair(second[i], cuts);
    if (!pair) return too_long("text_2", "The texts of pair " + std::to_string(i) + " are", most);
    out.tokens += static_cast<int64_t>(pair->ids.size());
    out.request.texts.push_back(std::move(*pair));
  }
  return std::nullopt;
}

std::string score_reply(const ServedModel& model, const ScorePlan& plan,
                        std::span<const float> scores, Env& env) {
  std::string out = "{\"id\":\"" + new_id(env, "score-") + "\",\"object\":\"list\",\"created\":" +
                    std::to_string(env.unix_micros() / 1'000'000) + ",\"model\":";
  append_json_string(out, model.id);
  out += ",\"data\":[";
  for (size_t i = 0; i < scores.size(); ++i) {
    out += (i > 0 ? ",{\"index\":" : "{\"index\":") + std::to_string(i) +
           ",\"object\":\"score\",\"score\":";
    append_json_float(out, scores[i]);
    out.push_back('}');
  }
  const std::string tokens = std::to_string(plan.tokens);
  return out + "],\"usage\":{\"prompt_tokens\":" + tokens + ",\"total_tokens\":" + tokens +
         ",\"completion_tokens\":0,\"prompt_tokens_details\":null}}";
}

}  // namespace hadal
