#pragma once
/// Python's string operations on Text: what filters and methods share. Origins are kept.
#include "text/template/run.h"

namespace hadal::jinja {

/// Without the given characters (white space when null) at the wanted ends.
Text strip(const Text& text, const Text* characters, bool left, bool right);
Text upper(const Text& text);
Text lower(const Text& text);
Text capitalized(const Text& text);
/// Python's str.title(): a letter after a non-letter is upper case.
Text titled(const Text& text);
/// std::string::find in linear time, whatever the needle.
size_t find_bytes(const std::string& hay, const std::string& needle, size_t from);
/// str.replace(); count < 0: all.
std::optional<Text> replaced(Run& run, const Text& text, const Text& from, const Text& to,
                             int64_t count);
/// str.split() on white space (separator null) or on a separator; most < 0: all.
std::optional<std::vector<Text>> split(Run& run, const Text& text, const Text* separator,
                                       int64_t most);
std::optional<std::vector<Text>> split_right(Run& run, const Text& text, const Text* separator,
                                             int64_t most);
std::optional<std::vector<Text>> split_lines(Run& run, const Text& text, bool keep_ends);
/// Strings as a list.
Maybe string_list(Run& run, std::vector<Text> parts, bool markup = false);
/// `text` with `left` and `right` fill characters around it.
Maybe padded(Run& run, const Text& text, int64_t left, int64_t right, const Text& fill);

}  // namespace hadal::jinja
