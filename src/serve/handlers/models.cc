/// Handlers of the list of models, and of loading and unloading them.
#include "serve/handlers.h"
#include "serve/params.h"

namespace hadal::handlers {
namespace {

json::object model_entry(const ModelEntry& model, const std::string& id) {
  json::object entry;
  entry["id"] = id;
  entry["object"] = "model";
  entry["created"] = model.created;
  entry["owned_by"] = "hadal";
  const json::value* trained = find_member(model.facts, "n_ctx_train");
  const json::value context = model.n_ctx > 0      ? json::value(model.n_ctx)
                              : trained != nullptr ? *trained
                                                   : nullptr;
  entry["max_model_len"] = context;
  entry["context_length"] = context;
  entry["state"] = std::string(model_state_name(model.state));
  entry["meta"] = model.facts;
  return entry;
}

/// For those who run the server: what loads, unloads and the budget are about.
json::object admin_entry(const ModelEntry& model) {
  json::object entry = model_entry(model, model.id);
  entry["in_use"] = model.in_use;
  entry["loads"] = model.loads;
  entry["memory_bytes"] = model.memory_bytes;
  entry["expires_at"] = model.expires > 0 ? json::value(model.expires / 1'000'000) : nullptr;
  return entry;
}

/// The body's "model", which these endpoints cannot do without.
Checked required_name(const HttpRequest& request, std::string& name, json::object& body) {
  if (Checked problem = parse_body(request.body, body)) return problem;
  if (Checked problem = read_model_name(body, name)) return problem;
  if (name.empty()) return invalid_param("model", "'model' must name a model.");
  return std::nullopt;
}

void reply_entry(Service& service, const PeerRef& peer, const std::string& name) {
  const std::optional<ModelEntry> entry = service.models().find(name);
  peer.reply(entry ? HttpReply{.body = to_json(admin_entry(*entry))}
                   : error_reply(unknown_model(name, "other models")));
}

}  // namespace

void models(Service& service, HttpRequest&&, const PeerRef& peer) {
  json::array data;
  for (const ModelEntry& entry : service.models().entries()) {
    data.push_back(model_entry(entry, entry.id));
    for (const std::string& alias : entry.aliases) data.push_back(model_entry(entry, alias));
  }
  json::object body;
  body["object"] = "list";
  body["data"] = std::move(data);
  peer.reply({.body = to_json(body)});
}

void model(Service& service, HttpRequest&& request, const PeerRef& peer) {
  const std::string name = request.path_tail;
  const std::optional<ModelEntry> entry = service.models().find(name);
  peer.reply(entry ? HttpReply{.body = to_json(model_entry(*entry, name))}
                   : error_reply(unknown_model(name, "other models")));
}

void load_model(Service& service, HttpRequest&& request, const PeerRef& peer) {
  json::object body;
  std::string name;
  Checked problem = required_name(request, name, body);
  std::optional<int64_t> keep;
  if (const json::value* asked = problem ? nullptr : find_member(body, "keep_alive")) {
    keep =
        parse_keep_alive(asked->is_string() ? std::string(asked->get_string()) : to_json(*asked));
    if (!keep) {
      problem = invalid_param("keep_alive",
                              "'keep_alive' must be seconds, or a duration such as \"5m\".");
    }
  }
  if (problem) {
    peer.reply(error_reply(*problem));
    return;
  }
  service.acquire(peer, name,
                  [&service, peer, name, keep](const ServedRef&, const Checked& missing) {
                    if (missing) {
                      peer.reply(error_reply(*missing));
                      return;
                    }
                    if (keep) service.models().keep(name, *keep);
                    reply_entry(service, peer, name);
                  });
}

void unload_model(Service& service, HttpRequest&& request, const PeerRef& peer) {
  json::object body;
  std::string name;
  Checked problem = required_name(request, name, body);
  if (!problem) problem = service.models().unload(name);
  if (problem) {
    peer.reply(error_reply(*problem));
    return;
  }
  reply_entry(service, peer, name);
}

}  // namespace hadal::handlers
