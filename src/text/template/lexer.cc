#include "text/template/lexer.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/limits.h"
#include "base/parse.h"
#include "base/utf8.h"
#include "text/template/unicode.h"

namespace hadal::jinja {
namespace {

bool is_digit_byte(char c) {
  return c >= '0' && c <= '9';
}
bool starts_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<uint8_t>(c) >= 0x80;
}
bool continues_name(char c) {
  return starts_name(c) || is_digit_byte(c);
}

/// "\r\n" and "\r" to "\n"; one newline at the very end is dropped, as jinja2 does by default.
std::string normalized(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out.push_back(source[i]);
      continue;
    }
    out.push_back('\n');
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

/// Reads one template. Positions only grow; every step consumes at least one byte.
class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)), text_(source_) {}
  Result<std::vector<Token>> run();

 private:
  Status fail(std::string message) const {
    return Error{Code::kInvalidArgument,
                 "template line " + std::to_string(line_) + ": " + std::move(message)};
  }
  bool at(std::string_view what) const { return text_.substr(position_).starts_with(what); }
  bool done() const { return position_ >= text_.size(); }
  void advance(size_t count);
  size_t skip_space(size_t from) const { return from + leading_space(text_.substr(from)); }
  Status add(TokenType type, std::string text = {});

  Status literal_text();
  void emit_text(std::string_view text, char sign, bool is_output);
  size_t match_word_tag(size_t from, std::string_view word, bool trims, char& sign) const;
  Status comment();
  Status raw(size_t begin_end);
  Status tag(bool output);
  bool tag_end(bool output);
  Status token();
  Status number();
  Status string(char quote);
  Status escape(std::string& out, size_t& i, std::string_view body) const;
  Status op();

  std::string source_;
  std::string_view text_;
  size_t position_ = 0;
  uint32_t line_ = 1;
  bool line_starting_ = true;  ///< the last thing read ended with a newline
  std::string balance_;        ///< closing brackets that are waited for
  std::vector<Token> tokens_;
};

void Lexer::advance(size_t count) {
  const std::string_view read = text_.substr(position_, count);
  line_ += static_cast<uint32_t>(std::count(read.begin(), read.end(), '\n'));
  if (!read.empty()) line_starting_ = read.back() == '\n';
  position_ += read.size();
}

Status Lexer::add(TokenType type, std::string text) {
  if (tokens_.size() >= limits::kTemplateTokens) {
    return Error{Code::kExhausted,
                 "template: more than " + std::to_string(limits::kTemplateTokens) + " tokens"};
  }
  Token made;
  made.type = type;
  made.line = line_;
  made.text = std::move(text);
  tokens_.push_back(std::move(made));
  return Status::success();
}

Result<std::vector<Token>> Lexer::run() {
  while (!done()) TRY_STATUS(literal_text());
  TRY_STATUS(add(TokenType::kEnd));
  return std::move(tokens_);
}

/// Adds the text in front of a tag with what the tag's sign and lstrip_blocks take off its end.
void Lexer::emit_text(std::string_view text, char sign, bool is_output) {
  if (sign == '-') {
    text.remove_suffix(trailing_space(text));
  } else if (sign != '+' && !is_output) {
    const size_t newline = text.rfind('\n');
    const size_t line_begin = newline == std::string_view::npos ? 0 : newline + 1;
    if (line_begin > 0 || line_starting_) {
      const std::string_view rest = text.substr(line_begin);
      if (leading_space(rest) == rest.size()) text = text.substr(0, line_begin);
    }
  }
  if (!text.empty()) static_cast<void>(add(TokenType::kText, std::string(text)));
}

/// If a "{% word %}" tag stands at `from`, its length (with what its end trims), else 0.
size_t Lexer::match_word_tag(size_t from, std::string_view word, bool trims, char& sign) const {
  size_t i = from + 2;
  sign = i < text_.size() && (text_[i] == '-' || text_[i] == '+') ? text_[i] : 0;
  if (sign != 0) ++i;
  i = skip_space(i);
  if (!text_.substr(i).starts_with(word)) return 0;
  i = skip_space(i + word.size());
  const std::string_view rest = text_.substr(i);
  if (rest.starts_with("-%}")) return skip_space(i + 3) - from;
  if (trims && rest.starts_with("+%}")) return i + 3 - from;
  if (!rest.starts_with("%}")) return 0;
  i += 2;
  if (trims && i < text_.size() && text_[i] == '\n') ++i;
  return i - from;
}

Status Lexer::literal_text() {
  size_t open = position_;
  for (;; ++open) {
    open = text_.find('{', open);
    if (open == std::string_view::npos || open + 1 >= text_.size()) {
      TRY_STATUS(add(TokenType::kText, std::string(text_.substr(position_))));
      position_ = text_.size();
      return Status::success();
    }
    const char next = text_[open + 1];
    if (next == '{' || next == '%' || next == '#') break;
  }
  const std::string_view text = text_.substr(position_, open - position_);
  const char kind = text_[open + 1];
  if (kind == '%') {
    char sign = 0;
    if (const size_t length = match_word_tag(open, "raw", false, sign); length > 0) {
      emit_text(text, sign, false);
      advance(text.size());
      return raw(length);
    }
  }
  const char after = open + 2 < text_.size() ? text_[open + 2] : '\0';
  const char sign = after == '-' || after == '+' ? after : '\0';
  emit_text(text, sign, kind == '{');
  advance(text.size() + 2 + (sign != 0 ? 1 : 0));
  if (kind == '#') return comment();
  return tag(kind == '{');
}

Status Lexer::comment() {
  if (done()) return Status::success();  // an opening at the very end is nothing, as in jinja2
  const size_t end = text_.find("#}", position_);
  if (end == std::string_view::npos) return fail("missing end of comment");
  size_t after = end + 2;
  if (end > position_ && text_[end - 1] == '-') {
    after = skip_space(after);
  } else if (!(end > position_ && text_[end - 1] == '+') && after < text_.size() &&
             text_[after] == '\n') {
    ++after;
  }
  advance(after - position_);
  return Status::success();
}

Status Lexer::raw(size_t begin_length) {
  advance(begin_length);
  if (done()) return Status::success();
  for (size_t open = position_;; ++open) {
    open = text_.find("{%", open);
    if (open == std::string_view::npos) return fail("missing end of raw block");
    char sign = 0;
    const size_t length = match_word_tag(open, "endraw", true, sign);
    if (length == 0) continue;
    emit_text(text_.substr(position_, open - position_), sign, false);
    advance(open - position_ + length);
    return Status::success();
  }
}

/// Reads the end of the tag if it stands here, with the white space it takes off.
bool Lexer::tag_end(bool output) {
  if (!balance_.empty()) return false;
  const std::string_view close = output ? "}}" : "%}";
  const std::string_view rest = text_.substr(position_);
  size_t after = 0;
  if (rest.starts_with('-') && rest.substr(1).starts_with(close)) {
    after = skip_space(position_ + 3);
  } else if (!output && rest.starts_with("+%}")) {
    after = position_ + 3;
  } else if (rest.starts_with(close)) {
    after = position_ + 2;
    if (!output && after < text_.size() && text_[after] == '\n') ++after;
  } else {
    return false;
  }
  advance(after - position_);
  return true;
}

Status Lexer::tag(bool output) {
  TRY_STATUS(add(output ? TokenType::kOutputOpen : TokenType::kBlockOpen));
  while (true) {
    if (tag_end(output)) {
      return add(output ? TokenType::kOutputClose : TokenType::kBlockClose);
    }
    if (const size_t space = leading_space(text_.substr(position_)); space > 0) {
      advance(space);
      continue;
    }
    if (done()) return fail("unexpected end of template inside a tag");
    TRY_STATUS(token());
  }
}

Status Lexer::token() {
  const char c = text_[position_];
  if (is_digit_byte(c)) return number();
  if (starts_name(c)) {
    size_t end = position_;
    while (end < text_.size() && continues_name(text_[end])) ++end;
    TRY_STATUS(add(TokenType::kName, std::string(text_.substr(position_, end - position_))));
    advance(end - position_);
    return Status::success();
  }
  if (c == '"' || c == '\'') return string(c);
  return op();
}

Status Lexer::number() {
  const std::string_view rest = text_.substr(position_);
  const auto digits = [&](size_t i) {
    while (i < rest.size() && (is_digit_byte(rest[i]) || (rest[i] == '_' && i + 1 < rest.size() &&
                                                          is_digit_byte(rest[i + 1])))) {
      ++i;
    }
    return i;
  };
  size_t end = 0;
  int base = 10;
  bool real = false;
  if (rest.size() > 2 && rest[0] == '0' && std::string_view("xXoObB").find(rest[1]) < 6) {
    base = (rest[1] | 32) == 'x' ? 16 : (rest[1] | 32) == 'o' ? 8 : 2;
    end = 2;
    while (end < rest.size() && (continues_name(rest[end]))) ++end;
  } else {
    end = digits(0);
    if (end + 1 < rest.size() && rest[end] == '.' && is_digit_byte(rest[end + 1])) {
      real = true;
      end = digits(end + 1);
    }
    if (end < rest.size() && (rest[end] | 32) == 'e') {
      const size_t sign = end + 1 < rest.size() && (rest[end + 1] == '+' || rest[end + 1] == '-');
      if (end + 1 + sign < rest.size() && is_digit_byte(rest[end + 1 + sign])) {
        real = true;
        end = digits(end + 1 + sign);
      }
    }
  }
  std::string plain(rest.substr(0, end));
  std::erase(plain, '_');
  TRY_STATUS(add(real ? TokenType::kFloat : TokenType::kInt));
  if (real) {
    // What is out of range is infinite or zero, as in Python.
    const bool small =
        plain.find("e-") != std::string::npos || plain.find("E-") != std::string::npos;
    tokens_.back().real = parse_double(plain).value_or(small ? 0 : HUGE_VAL);
  } else {
    const char* first = plain.data() + (base == 10 ? 0 : 2);
    const char* last = plain.data() + plain.size();
    const auto [stop, error] = std::from_chars(first, last, tokens_.back().integer, base);
    if (error != std::errc{} || stop != last) return fail("bad or too large number " + plain);
  }
  advance(end);
  return Status::success();
}

Status Lexer::string(char quote) {
  size_t end = position_ + 1;
  while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
  if (end >= text_.size()) return fail("a string does not end");
  const std::string_view body = text_.substr(position_ + 1, end - position_ - 1);
  std::string out;
  for (size_t i = 0; i < body.size();) {
    if (body[i] == '\\') {
      TRY_STATUS(escape(out, i, body));
    } else {
      out.push_back(body[i++]);
    }
  }
  TRY_STATUS(add(TokenType::kString, std::move(out)));
  advance(end + 1 - position_);
  return Status::success();
}

/// One backslash sequence as Python reads it; an unknown one stays as it is.
Status Lexer::escape(std::string& out, size_t& i, std::string_view body) const {
  static constexpr std::string_view kFrom = "\\'\"abfnrtv";
  static constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
  const char c = i + 1 < body.size() ? body[i + 1] : '\0';
  if (const size_t known = kFrom.find(c); known != std::string_view::npos && c != '\0') {
    out.push_back(kTo[known]);
    i += 2;
    return Status::success();
  }
  if (c == '\n') {
    i += 2;
    return Status::success();
  }
  size_t first = i + 2;
  size_t count = 0;
  int base = 16;
  if (c >= '0' && c <= '7') {
    base = 8;
    first = i + 1;
    while (count < 3 && first + count < body.size() && body[first + count] >= '0' &&
           body[first + count] <= '7') {
      ++count;
    }
  } else {
    count = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (count == 0) {
      if (c == 'N') return fail("\\N{...} in a string is not supported");
      out.push_back('\\');
      ++i;
      return Status::success();
    }
  }
  const std::string_view digits = body.substr(std::min(first, body.size()), count);
  uint32_t code_point = 0;
  const auto [stop, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), code_point, base);
  if (digits.size() != count || error != std::errc{} || stop != digits.data() + count ||
      code_point > 0x10FFFF) {
    return fail("bad escape in a string");
  }
  utf8_append(out,
              code_point >= 0xD800 && code_point <= 0xDFFF ? kReplacementCharacter : code_point);
  i = first + count;
  return Status::success();
}

Status Lexer::op() {
  static constexpr std::string_view kLong[] = {"//", "**", "==", "!=", ">=", "<="};
  static constexpr std::string_view kShort = "+-/*%~[](){}><=.:|,;";
  size_t size = 0;
  for (std::string_view two : kLong) {
    if (at(two)) size = 2;
  }
  const char c = text_[position_];
  if (size == 0 && kShort.find(c) != std::string_view::npos) size = 1;
  if (size == 0) return fail(std::string("unexpected character '") + c + "'");
  if (size == 1) {
    if (c == '(') balance_.push_back(')');
    if (c == '[') balance_.push_back(']');
    if (c == '{') balance_.push_back('}');
    if (c == ')' || c == ']' || c == '}') {
      if (balance_.empty() || balance_.back() != c) {
        return fail(std::string("unexpected '") + c + "'");
      }
      balance_.pop_back();
    }
  }
  TRY_STATUS(add(TokenType::kOperator, std::string(text_.substr(position_, size))));
  advance(size);
  return Status::success();
}

}  // namespace

Result<std::vector<Token>> tokenize(std::string_view source) {
  if (source.size() > limits::kTemplateSourceBytes) {
    return Error{Code::kExhausted, "template: the source is larger than " +
                                       std::to_string(limits::kTemplateSourceBytes) + " bytes"};
  }
  return Lexer(normalized(source)).run();
}

}  // namespace hadal::jinja
