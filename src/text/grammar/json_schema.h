#pragma once
/// SchemaCompiler: a JSON Schema as a grammar. docs/STRUCTURED_OUTPUT.md says what is accepted.
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "text/grammar.h"
#include "text/grammar/ir.h"

namespace hadal {

/// JSON texts that no schema describes, and the punctuation that all share.
class JsonParts {
 public:
  JsonParts(IrBuilder& builder, const JsonGrammarOptions& options);

  IrBuilder::Id blanks() const { return blanks_; }
  /// Before the whole value.
  IrBuilder::Id leading_blanks() const { return leading_; }
  IrBuilder::Id comma() const { return comma_; }  ///< with the blanks after it
  IrBuilder::Id string() const { return string_; }
  /// Any value of at most limits::kGrammarJsonDepth levels.
  IrBuilder::Id any_value();
  IrBuilder::Id any_object();
  /// `open` blanks `inside` blanks `close`.
  IrBuilder::Id enclosed(std::string_view open, IrBuilder::Id inside, std::string_view close);
  /// part (comma part){min - 1, max - 1}; `min` at least 1.
  IrBuilder::Id list(IrBuilder::Id part, uint32_t min, uint32_t max);
  IrBuilder::Id colon();  ///< with the blanks after it

 private:
  std::pair<IrBuilder::Id, IrBuilder::Id> nested(IrBuilder::Id value);

  IrBuilder& b_;
  IrBuilder::Id blanks_, leading_, comma_, string_, scalar_;
  std::optional<IrBuilder::Id> any_value_, any_object_;
};

class SchemaCompiler {
 public:
  using Id = IrBuilder::Id;

  SchemaCompiler(const json::value& root, const JsonGrammarOptions& options)
      : root_(root), parts_(b_, options), one_of_may_overlap_(options.one_of_may_overlap) {}
  Result<Grammar> compile();

 private:
  /// A place in the schema: its JSON pointer and how deep the compiler stands.
  struct Place {
    std::string pointer;
    int depth = 0;
    Place in(std::string_view key) const;
    Place in(size_t index) const { return in(std::to_string(index)); }
  };
  /// Properties, additional ones and counts of an object.
  struct ObjectShape {
    struct Property {
      std::string name;
      bool required = false;
      Id value = 0;
    };
    std::vector<Property> properties;
    std::vector<Id> others;  ///< entries ("key: value") that no property names
    LexemeSpec keys;         ///< what propertyNames allows
    bool any_key = true;     ///< and that is all
    uint32_t min = 0, max = Regex::kUnbounded;
  };

  Error error(Code code, const Place& place, std::string_view what) const;
  Status spend(size_t steps, const Place& place);

  Result<Id> value(const json::value& schema, const Place& place);
  Result<Id> object_schema(const json::object& schema, const Place& place);
  Result<Id> reference(std::string_view pointer, const Place& place);
  Result<const json::value*> resolve(std::string_view pointer, const Place& place) const;
  Result<Id> combined(const json::object& schema, const Place& place);
  Result<Id> one_of_types(const json::object& schema, const Place& place);
  Result<std::vector<std::string>> types_of(const json::object& schema, const Place& place) const;
  Result<Id> of_type(const std::string& type, const json::object& schema, const Place& place);
  Status check_keywords(const json::object& schema, const Place& place) const;
  Status check_bases(const json::value& schema, const Place& place, bool other_base) const;

  // Merging, json_schema_merge.cc: `a` and `b` at once.
  Result<json::value> merged(const json::value& a, const json::value& b, const Place& place);
  Result<json::object> merged_objects(json::object a, const json::object& b, const Place& place);
  Status merge_keyword(json::object& a, std::string_view key, const json::value& value,
                       const Place& place);
  Status merge_options(json::object& a, std::string_view key, const json::value& value,
                       const Place& place);
  Status close_unevaluated(json::object& part, const Place& place) const;
  Status close_over(json::object& schema, const json::object& other, const Place& place);
  Result<json::object> without_references(const json::object& schema, const Place& place);

  // oneOf, json_schema_one_of.cc.
  Status check_one_of(const json::array& options, const Place& place);
  static std::optional<json::array> exclusive_required(const json::array& options);
  bool misses(const json::value& a, const json::value& b, int depth);
  bool misses_plain(const json::object& a, const json::object& b, int depth);
  bool misses_object(const json::object& a, const json::object& b, int depth);
  bool rejects(const json::object& schema, const json::value& value) const;

  // Scalars, json_schema_scalars.cc.
  Result<Id> enumeration(const json::object& schema, const Place& place);
  Result<Id> string_value(const json::object& schema, const Place& place);
  Result<Id> number_value(bool integer, const json::object& schema, const Place& place);
  Result<LexemeSpec> string_spec(const json::object& schema, const Place& place);
  Result<std::optional<uint32_t>> count(const json::object& schema, std::string_view key,
                                        const Place& place) const;
  Result<std::optional<double>> bound(const json::object& schema, std::string_view key,
                                      const Place& place) const;
  Status number_bounds(const json::object& schema, const Place& place,
                       std::vector<Regex>& regexes) const;
  Status multiple(bool& integer, const json::object& schema, const Place& place,
                  std::vector<Regex>& regexes) const;

  // Objects and arrays, json_schema_objects.cc.
  Result<Id> object_value(const json::object& schema, const Place& place);
  Status shape_properties(const json::object& schema, const Place& place, ObjectShape& shape);
  Status shape_others(const json::object& schema, const Place& place, ObjectShape& shape);
  Result<Id> property_value(const json::object& schema, std::string_view name, const Place& place);
  Result<LexemeSpec> key_spec(const json::value* names, const Place& place);
  Result<bool> matches(std::string_view pattern, std::string_view name, const Place& place);
  Result<Regex> pattern_of(std::string_view pattern, const Place& place) const;
  Result<Id> write_object(const ObjectShape& shape, const Place& place);
  Result<Id> array_value(const json::object& schema, const Place& place);
  Id entry_of(Id key, Id value) { return b_.seq({key, parts_.colon(), value}); }

  const json::value& root_;
  IrBuilder b_;
  JsonParts parts_;
  std::map<std::string, Id, std::less<>>
      references_;                    ///< by pointer; declared before they are made
  std::vector<std::string> pending_;  ///< references that are declared but not made
  size_t steps_ = 0;
  bool one_of_may_overlap_ = false;
};

/// The member of an object, or null.
const json::value* member(const json::object& object, std::string_view key);
/// A finite number of any kind.
std::optional<double> number_of(const json::value& value);
/// Whether a keyword says nothing about which values are valid.
bool has_no_effect(std::string_view key);
void settle_unevaluated(json::object& schema);
/// A counted lexeme as one of expressions, so that others can be taken from it.
void uncount(LexemeSpec& spec);
/// Whether a keyword other than "type" is only about values of that type.
bool has_keyword_of(std::string_view type, const json::object& schema);
/// Whether a value is of one of JSON Schema's types.
bool is_of_type(const json::value& value, const std::vector<std::string>& types);

}  // namespace hadal
