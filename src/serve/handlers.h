#pragma once
/// The handlers of the endpoint table: one function per endpoint, all of one shape. They run on
/// worker threads and answer through `peer`, now or later.
#include "net/exchange.h"
#include "serve/service.h"

namespace hadal {

using Handler = void (*)(Service& service, HttpRequest&& request, const PeerRef& peer);

namespace handlers {

void health(Service& service, HttpRequest&& request, const PeerRef& peer);
void ready(Service& service, HttpRequest&& request, const PeerRef& peer);
void metrics(Service& service, HttpRequest&& request, const PeerRef& peer);
void version(Service& service, HttpRequest&& request, const PeerRef& peer);

void models(Service& service, HttpRequest&& request, const PeerRef& peer);
void model(Service& service, HttpRequest&& request, const PeerRef& peer);
void load_model(Service& service, HttpRequest&& request, const PeerRef& peer);
void unload_model(Service& service, HttpRequest&& request, const PeerRef& peer);

void chat_completions(Service& service, HttpRequest&& request, const PeerRef& peer);
void completions(Service& service, HttpRequest&& request, const PeerRef& peer);
void generate(Service& service, HttpRequest&& request, const PeerRef& peer);

void messages(Service& service, HttpRequest&& request, const PeerRef& peer);
void count_message_tokens(Service& service, HttpRequest&& request, const PeerRef& peer);

void responses(Service& service, HttpRequest&& request, const PeerRef& peer);
void count_response_tokens(Service& service, HttpRequest&& request, const PeerRef& peer);
void response(Service& service, HttpRequest&& request, const PeerRef& peer);
void delete_response(Service& service, HttpRequest&& request, const PeerRef& peer);
void cancel_response(Service& service, HttpRequest&& request, const PeerRef& peer);
void response_input_items(Service& service, HttpRequest&& request, const PeerRef& peer);

void user_balance(Service& service, HttpRequest&& request, const PeerRef& peer);

void embeddings(Service& service, HttpRequest&& request, const PeerRef& peer);
void rerank(Service& service, HttpRequest&& request, const PeerRef& peer);
void score(Service& service, HttpRequest&& request, const PeerRef& peer);
void tokenize(Service& service, HttpRequest&& request, const PeerRef& peer);
void detokenize(Service& service, HttpRequest&& request, const PeerRef& peer);

void ollama_version(Service& service, HttpRequest&& request, const PeerRef& peer);
void ollama_tags(Service& service, HttpRequest&& request, const PeerRef& peer);
void ollama_ps(Service& service, HttpRequest&& request, const PeerRef& peer);
void ollama_show(Service& service, HttpRequest&& request, const PeerRef& peer);
void ollama_chat(Service& service, HttpRequest&& request, const PeerRef& peer);
void ollama_generate(Service& service, HttpRequest&& request, const PeerRef& peer);
void ollama_embed(Service& service, HttpRequest&& request, const PeerRef& peer);
void ollama_embeddings(Service& service, HttpRequest&& request, const PeerRef& peer);
void ollama_pull(Service& service, HttpRequest&& request, const PeerRef& peer);
void ollama_copy(Service& service, HttpRequest&& request, const PeerRef& peer);
void ollama_delete(Service& service, HttpRequest&& request, const PeerRef& peer);
void ollama_not_there(Service& service, HttpRequest&& request, const PeerRef& peer);

void kserve_server(Service& service, HttpRequest&& request, const PeerRef& peer);
void kserve_live(Service& service, HttpRequest&& request, const PeerRef& peer);
void kserve_ready(Service& service, HttpRequest&& request, const PeerRef& peer);
void kserve_model(Service& service, HttpRequest&& request, const PeerRef& peer);
void kserve_model_ready(Service& service, HttpRequest&& request, const PeerRef& peer);
void kserve_config(Service& service, HttpRequest&& request, const PeerRef& peer);
void kserve_stats(Service& service, HttpRequest&& request, const PeerRef& peer);
void kserve_all_stats(Service& service, HttpRequest&& request, const PeerRef& peer);
void kserve_infer(Service& service, HttpRequest&& request, const PeerRef& peer);
void kserve_generate(Service& service, HttpRequest&& request, const PeerRef& peer);
void kserve_generate_stream(Service& service, HttpRequest&& request, const PeerRef& peer);
void kserve_index(Service& service, HttpRequest&& request, const PeerRef& peer);
void kserve_load(Service& service, HttpRequest&& request, const PeerRef& peer);
void kserve_unload(Service& service, HttpRequest&& request, const PeerRef& peer);

// What clients of llama.cpp and vLLM look for.
void llama_completion(Service& service, HttpRequest&& request, const PeerRef& peer);
void llama_infill(Service& service, HttpRequest&& request, const PeerRef& peer);
void apply_template(Service& service, HttpRequest&& request, const PeerRef& peer);
void props(Service& service, HttpRequest&& request, const PeerRef& peer);
void slots(Service& service, HttpRequest&& request, const PeerRef& peer);
void tokenizer_info(Service& service, HttpRequest&& request, const PeerRef& peer);
void ping(Service& service, HttpRequest&& request, const PeerRef& peer);

}  // namespace handlers
}  // namespace hadal
