#include "text/chat_template.h"

#include "text/template/parser.h"
#include "text/template/run.h"

namespace hadal {

struct ChatTemplate::Program {
  std::string source;
  std::unique_ptr<const jinja::Tree> tree;
};

ChatTemplate::ChatTemplate(std::unique_ptr<const Program> program) : program_(std::move(program)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::parse(std::string_view source) {
  TRY(auto tokens, jinja::tokenize(source));
  TRY(auto tree, jinja::parse(std::move(tokens)));
  auto program = std::make_unique<Program>();
  program->source = std::string(source);
  program->tree = std::move(tree);
  return ChatTemplate(std::unique_ptr<const Program>(std::move(program)));
}

Result<MarkedText> ChatTemplate::render(const json::object& variables,
                                        const TemplateOptions& options) const {
  CHECK(program_ != nullptr);
  return jinja::Run(*program_->tree, variables, options).render();
}

const std::string& ChatTemplate::source() const {
  return program_->source;
}

}  // namespace hadal
