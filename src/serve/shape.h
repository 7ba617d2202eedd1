#pragma once
/// Shapes: what an endpoint takes and gives, as small data beside its row. /openapi.json, /docs,
/// the check of --strict-params and the generated tests of bad input (tests/api/bad_input.py) all
/// read them, so a shape that says something else than the code fails the tests.
///
///   constexpr FieldRow kFields[] = {{"prompt", "string|string[]|integer[]", kRequired},
///                                   {"suffix", "string"}};
///   constexpr EndpointShape kCompletions = {.fields = {kFields, shapes::kGenerationFields},
///                                           .params = {common_params, completion_params},
///                                           .reply = "Completion",
///                                           .example = R"({"prompt": "Once", "max_tokens": 8})"};
#include <array>
#include <span>
#include <string_view>

#include "serve/errors.h"
#include "serve/params.h"

namespace hadal {

inline constexpr bool kRequired = true;

/// One member of a JSON object. `type` is an expression:
///
///   string  integer  number  boolean  object  any  null  true  false
///   integer(0..20)  number(-2..2)   both ends allowed
///   'text'                          this string
///   Name                            an ObjectShape
///   T[]  T[1..256]                  a list, a list of so many
///   A|B                             one of them
///
/// Members that are not required may also be null, which counts as absent.
struct FieldRow {
  std::string_view name;
  std::string_view type;
  bool required = false;
};

/// An object that type expressions name. Members beyond `fields` are allowed.
struct ObjectShape {
  std::string_view name;
  std::span<const FieldRow> fields;
};

using ParamTable = std::span<const ParamRow> (*)();

struct EndpointShape {
  std::array<std::span<const FieldRow>, 4> fields = {};  ///< members of the body
  std::array<ParamTable, 3> params = {};  ///< further members: tables of params.h; the rest is null
  std::span<const FieldRow> query = {};   ///< what may stand behind '?'
  std::string_view reply = "object";      ///< type of a whole answer
  std::string_view reply_type = "application/json";  ///< empty: the answer has no body
  std::string_view event = "";  ///< type of one event of a stream; empty: it does not stream
  std::string_view event_type = "text/event-stream";
  std::string_view example = "";  ///< a body that any generating model accepts
  std::string_view error = "Error";
  bool creates = false;  ///< sent twice with one Idempotency-Key it happens once (manners.h)
  HttpReply (*refuse)(const ApiError& error) = error_reply;
};

/// JSON Schema of a type expression. A malformed expression is our bug.
json::value schema_of(std::string_view type);
/// JSON Schema of an object with these members.
json::object schema_of(const ObjectShape& object);
json::object schema_of_body(const EndpointShape& shape);
/// The endpoint reads a body.
bool has_body(const EndpointShape& shape);

/// A member of `body` that the endpoint does not know: 400 unknown_parameter naming it.
Checked check_known(const EndpointShape& shape, const json::object& body);

}  // namespace hadal
