#pragma once
/// The descriptions of the endpoints: OpenAPI for programs, a page for people.
#include <string>

#include "net/http.h"

namespace hadal {

/// OpenAPI 3.1, generated from the rows of endpoints.h and their shapes.
std::string openapi_document();

/// /docs: the same as one HTML page without scripts, fonts or images, so that it works offline and
/// under a content policy that allows nothing but its own style.
HttpReply docs_page();

}  // namespace hadal
