/// Handlers of the Responses API: making answers, and what can be done with those that are stored.
#include "serve/dialects/responses.h"

#include "base/limits.h"
#include "base/parse.h"
#include "serve/detached.h"
#include "serve/event_log.h"
#include "serve/handlers.h"
#include "serve/manners.h"
#include "serve/structure.h"

namespace hadal::handlers {
namespace {

constexpr int64_t kPageDefault = 20;
constexpr int64_t kPageMax = 100;

/// What the caller shows to be let in; answers are found with the same credential only.
std::string credential_of(const HttpRequest& request) {
  for (const char* name : {"authorization", "x-api-key"}) {
    if (const std::string* value = request.header(name)) return *value;
  }
  return {};
}

/// The value of a query's field, decoded; empty when it is not there.
std::string query_value(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    const size_t equals = pair.find('=');
    std::string value;
    if (pair.substr(0, equals) != name || equals == std::string_view::npos) continue;
    if (percent_decode(pair.substr(equals + 1), value)) return value;
  }
  return {};
}

/// A request about a stored answer has no body: salt and user come in the query.
std::string owner_of(const HttpRequest& request) {
  RequestParams params;
  params.cache_salt = query_value(request.query, "cache_salt");
  isolate_user(query_value(request.query, "user_id"), params);
  return response_owner(credential_of(request), params.cache_salt);
}

ApiError not_found(std::string_view id) {
  return {.status = 404,
          .code = "response_not_found",
          .message = "Response with id '" + std::string(id.substr(0, 100)) + "' not found.",
          .param = "response_id"};
}

/// {"object":"list","data","first_id","last_id","has_more"}: at most `limit` items behind the one
/// called `after`; the newest come first unless `ascending`.
std::string items_page(const json::array& items, std::string_view after, size_t limit,
                       bool ascending) {
  json::array data;
  bool begun = after.empty();
  bool more = false;
  for (size_t i = 0; i < items.size() && !more; ++i) {
    const json::value& item = items[ascending ? i : items.size() - 1 - i];
    if (begun && data.size() == limit) {
      more = true;
    } else if (begun) {
      data.push_back(item);
    } else {
      const json::value* id = find_member(item.get_object(), "id");
      begun = id != nullptr && id->is_string() && std::string_view(id->get_string()) == after;
    }
  }
  const auto id_of = [](const json::value& item) { return *find_member(item.get_object(), "id"); };
  json::object page{{"object", "list"}, {"has_more", more}};
  page["first_id"] = data.empty() ? json::value() : id_of(data.front());
  page["last_id"] = data.empty() ? json::value() : id_of(data.back());
  page["data"] = std::move(data);
  return to_json(page);
}

void start_background(const PeerRef& peer, const ServedRef& served, PlannedResponse planned) {
  const std::string body = planned.queued.body;
  const EventLogRef events = planned.queued.events;
  ResponseStore& store = *planned.shelf.store;
  bool kept = false;
  Checked error = DetachedGeneration::start(
      peer, served, std::move(planned.plan), [&](DetachedGeneration::Cancel cancel) {
        planned.queued.cancel = std::move(cancel);
        kept = store.put(planned.shelf.owner, planned.id, planned.queued,
                         planned.shelf.env->now_micros());
      });
  if (!error && !kept) {
    planned.queued.cancel();
    error = invalid_param("input", "The request is too large to be stored.");
  }
  if (error) {
    peer.reply(error_reply(*error));
  } else if (events) {
    follow_events(peer, events, 0, rate_headers(served->backend->stats()));
  } else {
    peer.reply({.body = body});
  }
}

/// The events of a stored answer again, behind the one that the query names.
void stream_again(const HttpRequest& request, const PeerRef& peer, const StoredResponse& found) {
  if (!found.events) {
    peer.reply(error_reply(
        invalid_param("stream",
                      "Only a response made with 'background' and 'stream' is streamed again, and "
                      "only by the server that made it; fetch it whole.")));
    return;
  }
  const std::string after = query_value(request.query, "starting_after");
  const auto number = after.empty() ? -1 : parse_int<int64_t>(after);
  const int64_t first = found.events->first();
  if (!number || *number < (after.empty() ? -1 : 0) || *number == INT64_MAX) {
    peer.reply(error_reply(
        invalid_param("starting_after", "'starting_after' must be the number of an event.")));
  } else if (*number + 1 < first) {
    peer.reply(error_reply(invalid_param(
        "starting_after",
        "Events before " + std::to_string(first) + " are not kept any more; fetch it whole.")));
  } else {
    follow_events(peer, found.events, *number + 1, {});
  }
}

}  // namespace

void responses(Service& service, HttpRequest&& request, const PeerRef& peer) {
  const ResponseShelf shelf{
      .store = &service.responses(), .env = &service.env(), .owner = credential_of(request)};
  const std::string id = request.request_id;
  service.with_body(std::move(request), peer, error_reply,
                    [peer, shelf, id](const ServedRef& served, json::object& body) {
                      PlannedResponse planned;
                      planned.plan.request_id = id;
                      Checked error = plan_responses(*served->model, body, shelf, planned);
                      if (!error) error = constrain_answer(*served->model, planned.plan);
                      if (error) {
                        peer.reply(error_reply(*error));
                      } else if (planned.background) {
                        start_background(peer, served, std::move(planned));
                      } else {
                        run_http_generation(peer, served, std::move(planned.plan), error_reply);
                      }
                    });
}

void count_response_tokens(Service& service, HttpRequest&& request, const PeerRef& peer) {
  const ResponseShelf shelf{
      .store = &service.responses(), .env = &service.env(), .owner = credential_of(request)};
  service.with_body(std::move(request), peer, error_reply,
                    [peer, shelf](const ServedRef& served, json::object& body) {
                      HttpReply reply;
                      Checked error =
                          count_responses_tokens(*served->model, body, shelf, reply.body);
                      peer.reply(error ? error_reply(*error) : std::move(reply));
                    });
}

void response(Service& service, HttpRequest&& request, const PeerRef& peer) {
  const auto found =
      service.responses().find(owner_of(request), request.path_tail, service.env().now_micros());
  if (!found) {
    peer.reply(error_reply(not_found(request.path_tail)));
  } else if (query_value(request.query, "stream") == "true") {
    stream_again(request, peer, *found);
  } else {
    peer.reply({.body = found->body});
  }
}

void delete_response(Service& service, HttpRequest&& request, const PeerRef& peer) {
  const std::string& id = request.path_tail;
  const std::string owner = owner_of(request);
  const auto found = service.responses().find(owner, id, service.env().now_micros());
  if (!found || !service.responses().erase(owner, id)) {
    peer.reply(error_reply(not_found(id)));
    return;
  }
  if (found->cancel) found->cancel();
  peer.reply(
      {.body = to_json(json::object{{"id", id}, {"object", "response"}, {"deleted", true}})});
}

void cancel_response(Service& service, HttpRequest&& request, const PeerRef& peer) {
  const std::string& id = request.path_tail;
  const std::string owner = owner_of(request);
  auto found = service.responses().find(owner, id, service.env().now_micros());
  if (!found) {
    peer.reply(error_reply(not_found(id)));
    return;
  }
  if (!found->background) {
    peer.reply(error_reply(
        invalid_param("response_id", "Only a response with 'background': true can be cancelled.")));
    return;
  }
  if (found->cancel) {
    found->cancel();
    found = service.responses().find(owner, id, service.env().now_micros());
  }
  peer.reply(found ? HttpReply{.body = found->body} : error_reply(not_found(id)));
}

void response_input_items(Service& service, HttpRequest&& request, const PeerRef& peer) {
  const auto found =
      service.responses().find(owner_of(request), request.path_tail, service.env().now_micros());
  if (!found) {
    peer.reply(error_reply(not_found(request.path_tail)));
    return;
  }
  const std::string limit_text = query_value(request.query, "limit");
  const auto limit = limit_text.empty() ? kPageDefault : parse_int<int64_t>(limit_text);
  const std::string order = query_value(request.query, "order");
  if (!limit || *limit < 1 || *limit > kPageMax) {
    peer.reply(error_reply(invalid_param("limit", "'limit' must be between 1 and 100.")));
    return;
  }
  if (!order.empty() && order != "asc" && order != "desc") {
    peer.reply(error_reply(invalid_param("order", "'order' must be asc or desc.")));
    return;
  }
  peer.reply({.body = items_page(found->turn->input, query_value(request.query, "after"),
                                 static_cast<size_t>(*limit), order == "asc")});
}

}  // namespace hadal::handlers
