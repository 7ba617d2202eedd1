/// Any bytes as a vocabulary and a text. Creation gives a tokenizer or an error with a message;
/// ids are in range; byte-level BPE gives back every byte; user text never gives a control token;
/// streaming gives the same characters as decoding at once.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <fuzzer/FuzzedDataProvider.h>

#include "base/check.h"
#include "base/utf8.h"
#include "text/tokenizer.h"
#include "text/tokenizer/byte_alphabet.h"
#include "text/tokenizer/vocabulary.h"

namespace {

using hadal::MarkedText;
using hadal::Specials;
using hadal::TokenId;
using hadal::Tokenizer;
using hadal::TokenKind;
using hadal::VocabSpec;

constexpr const char* kModels[] = {"gpt2", "gpt2", "gpt2", "llama", "bert", "t5"};
constexpr const char* kPres[] = {"gpt-2",        "smollm",         "llama-bpe",   "qwen2",
                                 "deepseek-llm", "deepseek-coder", "deepseek-v3", "?"};
constexpr const char* kTexts[] = {"<0x41>",  "<0x-1>", "<0x>",  "[UNK]", "[CLS]", "[SEP]", "▁",
                                  "<think>", "<|a|>",  "｜b｜", "ø",     "</s>",  "<unk>"};

std::optional<int64_t> special_id(FuzzedDataProvider& data) {
  if (data.ConsumeBool()) return std::nullopt;
  return data.ConsumeIntegralInRange<int64_t>(-2, 300);
}

/// A table of replacements: sizes that fit, mostly, and units that point somewhere.
std::string consume_charsmap(FuzzedDataProvider& data) {
  if (data.ConsumeBool()) return data.ConsumeRandomLengthString(64);
  const uint32_t units = data.ConsumeIntegralInRange<uint32_t>(1, 600);
  std::string out(4 + 4 * size_t{units}, '\0');
  const uint32_t bytes = 4 * units;
  std::memcpy(out.data(), &bytes, sizeof(bytes));
  for (int n = data.ConsumeIntegralInRange(0, 24); n > 0; --n) {
    const auto at = data.ConsumeIntegralInRange<uint32_t>(0, units - 1);
    const uint32_t unit = data.ConsumeIntegral<uint32_t>();
    std::memcpy(out.data() + 4 + 4 * size_t{at}, &unit, sizeof(unit));
  }
  return out + data.ConsumeRandomLengthString(64);
}

/// Byte alphabet (mostly whole), then tokens and merges from the input.
VocabSpec consume_spec(FuzzedDataProvider& data, bool& whole_alphabet) {
  VocabSpec spec;
  spec.model = data.PickValueInArray(kModels);
  spec.pre = data.PickValueInArray(kPres);
  whole_alphabet = data.ConsumeIntegralInRange(0, 7) != 0;
  if (whole_alphabet) {
    for (int byte = 0; byte < 256; ++byte) {
      spec.tokens.push_back(hadal::to_byte_alphabet(std::string(1, static_cast<char>(byte))));
    }
  }
  spec.kinds.assign(spec.tokens.size(), static_cast<uint8_t>(TokenKind::kNormal));
  for (int n = data.ConsumeIntegralInRange(0, 40); n > 0; --n) {
    const std::string text =
        data.ConsumeBool() ? data.PickValueInArray(kTexts) : data.ConsumeRandomLengthString(8);
    spec.tokens.push_back(data.ConsumeBool() ? hadal::to_byte_alphabet(text) : text);
    spec.kinds.push_back(data.ConsumeIntegralInRange<uint8_t>(0, 7));
  }
  for (int n = data.ConsumeIntegralInRange(0, 40); n > 0; --n) {
    if (data.ConsumeIntegralInRange(0, 15) == 0) {
      spec.merges.push_back(data.ConsumeRandomLengthString(12));
      continue;
    }
    const std::string joined = hadal::to_byte_alphabet(data.ConsumeRandomLengthString(4)) + " " +
                               hadal::to_byte_alphabet(data.ConsumeRandomLengthString(4));
    spec.merges.push_back(joined);
  }
  for (size_t n = data.ConsumeBool() ? spec.tokens.size() : 0; n > 0; --n) {
    spec.scores.push_back(static_cast<float>(data.ConsumeIntegralInRange(-9, 9)));
  }
  if (data.ConsumeIntegralInRange(0, 15) == 0) spec.kinds.clear();
  if (spec.model == "t5") spec.charsmap = consume_charsmap(data);
  spec.bos = special_id(data);
  spec.eos = special_id(data);
  spec.unknown = special_id(data);
  return spec;
}

void check_ids(const Tokenizer& tokenizer, const std::vector<TokenId>& ids, bool user_text) {
  for (const TokenId id : ids) {
    CHECK(id >= 0 && id < tokenizer.size());
    const bool unknown_word = id == tokenizer.spec().unknown.value_or(-1) ||
                              tokenizer.spec().model == "bert" ||
                              (tokenizer.spec().model == "t5" && id == tokenizer.find("<unk>"));
    const bool marker =
        tokenizer.kind(id) == TokenKind::kControl ||
        (tokenizer.kind(id) == TokenKind::kUserDefined &&
         hadal::looks_like_control(tokenizer.spec().tokens[static_cast<size_t>(id)]));
    CHECK(!user_text || !marker || unknown_word);
  }
}

void check_stream(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  hadal::Detokenizer stream(tokenizer, true);
  std::string all;
  for (const TokenId id : ids) {
    const std::string part = stream.push(id);
    CHECK(hadal::utf8_valid(part));
    all += part;
  }
  all += stream.finish();
  CHECK(hadal::utf8_valid(all));
  const std::string whole = tokenizer.decode(ids, true);
  if (hadal::utf8_valid(whole)) CHECK(all == whole);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  FuzzedDataProvider data(bytes, size);
  bool whole_alphabet = false;
  auto made = Tokenizer::create(consume_spec(data, whole_alphabet));
  if (!made.ok()) {
    CHECK(!made.error().message.empty());
    return 0;
  }
  const Tokenizer& tokenizer = *made.value();
  const size_t border = data.ConsumeIntegralInRange<size_t>(0, 64);
  const std::string text = data.ConsumeRemainingBytesAsString();

  const std::vector<TokenId> plain = tokenizer.encode(text, Specials::kText);
  check_ids(tokenizer, plain, true);
  check_stream(tokenizer, plain);
  const std::vector<TokenId> parsed = tokenizer.encode(text, Specials::kParse);
  check_ids(tokenizer, parsed, false);
  check_stream(tokenizer, parsed);
  MarkedText marked;
  marked.append(std::string_view(text).substr(0, border), MarkedText::kTemplate);
  marked.append(std::string_view(text).substr(std::min(border, text.size())), MarkedText::kCaller);
  check_ids(tokenizer, tokenizer.encode(marked), false);

  const VocabSpec& spec = tokenizer.spec();
  if (spec.model == "gpt2" && whole_alphabet && spec.pre != "qwen2") {
    CHECK(tokenizer.decode(plain, true) == text);
    CHECK(tokenizer.decode(parsed, true) == text);
  }
  return 0;
}
