/// Handlers of Ollama's API: answers in serve/dialects/ollama.h, and what there is.
#include "serve/dialects/ollama.h"

#include <algorithm>

#include <fmt/format.h>

#include "serve/handlers.h"
#include "serve/params.h"
#include "serve/structure.h"

namespace hadal::handlers {
namespace {

constexpr int64_t kForeverMicros = 100LL * 365 * 86'400 * 1'000'000;  ///< Ollama has no "never"

int64_t number_fact(const json::object& facts, std::string_view name) {
  const json::value* value = find_member(facts, name);
  if (value == nullptr) return 0;
  if (value->is_uint64()) return static_cast<int64_t>(value->get_uint64());
  return value->is_int64() ? value->get_int64() : 0;
}

std::string text_fact(const json::object& facts, std::string_view name) {
  const json::value* value = find_member(facts, name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

/// "134.5M", "1.5B"
std::string parameter_size(int64_t parameters) {
  const auto count = static_cast<double>(parameters);
  return parameters >= 1'000'000'000 ? fmt::format("{:.1f}B", count / 1e9)
                                     : fmt::format("{:.1f}M", count / 1e6);
}

json::object details(const ModelEntry& entry) {
  const std::string family = text_fact(entry.facts, "architecture");
  return {{"parent_model", ""},
          {"format", "gguf"},
          {"family", family},
          {"families", json::array{json::value(family)}},
          {"parameter_size", parameter_size(number_fact(entry.facts, "parameters"))},
          {"quantization_level", text_fact(entry.facts, "quantization")}};
}

json::object listed(const ModelEntry& entry, const std::string& name) {
  return {{"name", name},
          {"model", name},
          {"modified_at", iso_time(entry.created * 1'000'000)},
          {"size", entry.file_bytes},
          {"digest", text_fact(entry.facts, "digest")},
          {"details", details(entry)}};
}

/// What a model can do beyond going on with text. A loaded one has its codec, else its template
/// tells.
json::array capabilities(const ModelEntry& entry) {
  const std::string codec = text_fact(entry.facts, "codec");
  const std::string& text = entry.chat_template;
  const bool native =
      !codec.empty() ? codec != "template" : text_fact(entry.facts, "architecture") == "deepseek4";
  const auto mentions = [&](std::string_view word) { return text.find(word) != std::string::npos; };
  json::array out = {"completion"};
  if (native ? codec != "deepseek-llm" : mentions("tools")) out.emplace_back("tools");
  const bool thinks = native ? codec != "deepseek-llm" && codec != "deepseek-v3"
                             : mentions("<think>") || mentions("enable_thinking");
  if (thinks) out.emplace_back("thinking");
  return out;
}

void answer(Service& service, HttpRequest&& request, const PeerRef& peer, OllamaKind kind) {
  json::object body;
  OllamaRequest asked{.began_micros = service.env().now_micros()};
  Checked problem = parse_body(request.body, body);
  if (!problem) problem = read_ollama_request(body, kind, asked);
  if (problem) {
    peer.reply(plain_error_reply(*problem));
    return;
  }
  const bool unload = asked.load_only && asked.keep_alive == 0;
  if (unload) {
    problem = service.models().unload(asked.model);
    peer.reply(problem ? plain_error_reply(*problem)
                       : HttpReply{.body = ollama_nothing(asked, "unload", service.env())});
    return;
  }
  const std::string name = asked.model;
  Service::LifeSign sign;
  if (asked.stream && !asked.load_only) {
    sign = [&service, shape = asked](Exchange& exchange) {
      exchange.start_stream({.content_type = std::string(kOllamaStream)});
      exchange.write(ollama_empty_piece(shape, service.env()));
    };
  }
  service.acquire(
      peer, name,
      [&service, peer, asked = std::move(asked), body = std::move(body)](
          const ServedRef& served, const Checked& missing) mutable {
        if (missing) {
          peer.reply(plain_error_reply(*missing));
          return;
        }
        Env& env = service.env();
        if (asked.keep_alive) service.models().keep(asked.model, *asked.keep_alive);
        if (asked.load_only) {
          peer.reply({.body = ollama_nothing(asked, "load", env)});
          return;
        }
        if (!served->model->generates) {
          peer.reply(plain_error_reply(not_generative(served->model->id)));
          return;
        }
        GenerationPlan plan;
        Checked error = plan_ollama(*served->model, body, asked, env.now_micros(), env, plan);
        if (!error) error = constrain_answer(*served->model, plan);
        if (error) {
          peer.reply(plain_error_reply(*error));
          return;
        }
        run_http_generation(peer, served, std::move(plan), plain_error_reply);
      },
      std::move(sign));
}

}  // namespace

void ollama_version(Service&, HttpRequest&&, const PeerRef& peer) {
  peer.reply(
      {.body = fmt::format(R"({{"version":"{}","hadal":"{}"}})", kOllamaVersion, HADAL_VERSION)});
}

void ollama_tags(Service& service, HttpRequest&&, const PeerRef& peer) {
  json::array models;
  for (const ModelEntry& entry : service.models().entries()) {
    models.push_back(listed(entry, entry.id));
    for (const std::string& alias : entry.aliases) models.push_back(listed(entry, alias));
  }
  peer.reply({.body = to_json(json::object{{"models", std::move(models)}})});
}

void ollama_ps(Service& service, HttpRequest&&, const PeerRef& peer) {
  json::array models;
  for (const ModelEntry& entry : service.models().entries()) {
    if (entry.state != ModelState::kReady) continue;
    json::object model = listed(entry, entry.id);
    model["size"] = std::max(entry.memory_bytes, entry.file_bytes);
    model["size_vram"] = 0;
    model["context_length"] = entry.n_ctx;
    model["expires_at"] =
        iso_time(entry.expires > 0 ? entry.expires : service.env().unix_micros() + kForeverMicros);
    models.push_back(std::move(model));
  }
  peer.reply({.body = to_json(json::object{{"models", std::move(models)}})});
}

void ollama_show(Service& service, HttpRequest&& request, const PeerRef& peer) {
  json::object asked;
  std::string name;
  Checked problem = parse_body(request.body, asked);
  if (!problem) problem = read_ollama_name(asked, name);
  if (problem) {
    peer.reply(plain_error_reply(*problem));
    return;
  }
  const std::optional<ModelEntry> entry = service.models().find(name);
  if (!entry) {
    peer.reply(plain_error_reply(
        {.status = 404, .code = "model_not_found", .message = "model '" + name + "' not found"}));
    return;
  }
  const std::string family = text_fact(entry->facts, "architecture");
  const int64_t trained = number_fact(entry->facts, "n_ctx_train");
  json::object info = {{"general.architecture", family},
                       {"general.basename", entry->id},
                       {"general.parameter_count", number_fact(entry->facts, "parameters")},
                       {family + ".context_length", entry->n_ctx > 0 ? entry->n_ctx : trained},
                       {family + ".embedding_length", number_fact(entry->facts, "d_model")},
                       {family + ".block_count", number_fact(entry->facts, "n_layers")},
                       {family + ".vocab_size", number_fact(entry->facts, "n_vocab")}};
  json::object body = {{"license", text_fact(entry->facts, "licence")},
                       {"modelfile", "FROM " + entry->id},
                       {"parameters", ""},
                       {"template", entry->chat_template},
                       {"details", details(*entry)},
                       {"model_info", std::move(info)},
                       {"capabilities", capabilities(*entry)},
                       {"modified_at", iso_time(entry->created * 1'000'000)}};
  peer.reply({.body = to_json(body)});
}

void ollama_chat(Service& service, HttpRequest&& request, const PeerRef& peer) {
  answer(service, std::move(request), peer, OllamaKind::kChat);
}

void ollama_generate(Service& service, HttpRequest&& request, const PeerRef& peer) {
  answer(service, std::move(request), peer, OllamaKind::kGenerate);
}

}  // namespace hadal::handlers
