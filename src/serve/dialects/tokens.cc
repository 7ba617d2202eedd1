#include "serve/dialects/tokens.h"

#include "base/utf8.h"
#include "serve/dialects/common.h"
#include "serve/prompt.h"

namespace hadal {
namespace {

Checked text_ids(const ServedModel& model, const json::object& body, std::vector<TokenId>& out) {
  const json::value* content = find_member(body, "content");
  const json::value* text = content != nullptr ? content : find_member(body, "prompt");
  if (text == nullptr || !text->is_string()) {
    return invalid_param(content != nullptr ? "content" : "prompt",
                         "Send 'content' or 'prompt' (a string), or 'messages'.");
  }
  bool add_special = content == nullptr;
  if (Checked error = read_flag(body, "add_special", add_special)) return error;
  if (Checked error = read_flag(body, "add_special_tokens", add_special)) return error;
  bool parse_special = true;
  if (Checked error = read_flag(body, "parse_special", parse_special)) return error;
  const auto& string = text->get_string();
  out = encode_text(model, std::string_view(string.data(), string.size()), parse_special,
                    add_special);
  return std::nullopt;
}

/// llama.cpp's shape: the text, or the bytes where they are no text by themselves.
void append_piece(std::string& out, const Tokenizer& tokenizer, TokenId id) {
  out += "{\"id\":" + std::to_string(id) + ",\"piece\":";
  if (utf8_valid(tokenizer.piece(id, true))) {
    append_token_text(out, tokenizer, id);
  } else {
    append_token_bytes(out, tokenizer, id);
  }
  out += "}";
}

}  // namespace

Checked tokenize_body(const ServedModel& model, const json::object& body, Env& env,
                      std::string& out) {
  std::vector<TokenId> ids;
  if (find_member(body, "messages") != nullptr) {
    Conversation conversation;
    if (Checked error = read_conversation(body, conversation)) return error;
    Prompt prompt;
    // A conversation beyond the context has a count too: that is why one asks.
    Checked error = render_chat(model, std::move(conversation), "", env, prompt);
    if (error && error->code != "context_length_exceeded") return error;
    ids = std::move(prompt.ids);
  } else if (Checked error = text_ids(model, body, ids)) {
    return error;
  }
  bool pieces = false;
  bool texts = false;
  if (Checked error = read_flag(body, "with_pieces", pieces)) return error;
  if (Checked error = read_flag(body, "return_token_strs", texts)) return error;
  out = "{\"tokens\":[";
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) out.push_back(',');
    if (pieces) {
      append_piece(out, *model.tokenizer, ids[i]);
    } else {
      out += std::to_string(ids[i]);
    }
  }
  out += "],\"count\":" + std::to_string(ids.size()) +
         ",\"max_model_len\":" + std::to_string(model.n_ctx);
  if (texts) {
    out += ",\"token_strs\":[";
    for (size_t i = 0; i < ids.size(); ++i) {
      if (i > 0) out.push_back(',');
      append_token_text(out, *model.tokenizer, ids[i]);
    }
    out += "]";
  }
  out += "}";
  return std::nullopt;
}

std::string tokenizer_info_body(const ServedModel& model) {
  const Tokenizer& tokenizer = *model.tokenizer;
  const VocabSpec& spec = tokenizer.spec();
  const auto text = [&](std::optional<int64_t> id) -> json::value {
    if (!id) return nullptr;
    return json::value(tokenizer.piece(static_cast<TokenId>(*id), true));
  };
  json::object out;
  out["tokenizer_class"] = spec.model;
  out["vocab_size"] = tokenizer.size();
  out["model_max_length"] = model.n_ctx;
  out["bos_token"] = text(tokenizer.bos());
  out["eos_token"] = text(tokenizer.eos());
  out["pad_token"] = text(spec.padding);
  out["unk_token"] = text(spec.unknown);
  out["add_bos_token"] = tokenizer.adds_bos();
  out["add_eos_token"] = tokenizer.adds_eos();
  out["chat_template"] = nullptr;
  if (model.chat_template != nullptr) out["chat_template"] = model.chat_template->source();
  return to_json(out);
}

Checked detokenize_body(const ServedModel& model, const json::object& body, std::string& out) {
  const json::value* tokens = find_member(body, "tokens");
  if (tokens == nullptr) return invalid_param("tokens", "'tokens' is missing.");
  std::vector<TokenId> ids;
  if (Checked error = read_token_ids(*tokens, "tokens", model.tokenizer->size(), ids)) return error;
  std::string decoded;
  append_json_string(decoded, model.tokenizer->decode(ids, true));
  out = "{\"content\":" + decoded + ",\"prompt\":" + decoded + "}";
  return std::nullopt;
}

}  // namespace hadal
