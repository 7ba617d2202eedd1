#pragma once
/// How an HTTP request for vectors or relevances is answered, whatever its dialect.
#include <functional>
#include <span>

#include "net/exchange.h"
#include "serve/directory.h"
#include "serve/embedding_backend.h"
#include "serve/errors.h"

namespace hadal {

/// A checked request, ready to run.
struct EmbeddingJob {
  EmbeddingRequest request;
  int64_t tokens = 0;  ///< of all texts, for the access log
  HttpReply (*refuse)(const ApiError& error) = error_reply;
  /// Makes the answer of the numbers; on a worker thread.
  std::function<HttpReply(const ServedModel& model, std::span<const float> numbers)> write;
};

/// Has the numbers made and answers with them. A client that hangs up takes its job out of the
/// queue.
void run_embedding(const ServedRef& served, const PeerRef& peer, EmbeddingJob job);

/// 400 model_not_embedding for a model that gives no numbers here at all.
Checked gives_numbers(const ServedRef& served);

}  // namespace hadal
