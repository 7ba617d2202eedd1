#include "text/tokenizer/unicode.h"

#include <algorithm>
#include <map>
#include <span>

#include "text/tokenizer/unicode_tables.h"

namespace hadal::unicode {
namespace {

// Hangul syllables are composed by arithmetic (The Unicode Standard, section 3.12).
constexpr char32_t kSyllableBase = 0xAC00;
constexpr char32_t kLeadBase = 0x1100;
constexpr char32_t kVowelBase = 0x1161;
constexpr char32_t kTrailBase = 0x11A7;
constexpr char32_t kVowels = 21;
constexpr char32_t kTrails = 28;
constexpr char32_t kSyllables = 19 * kVowels * kTrails;

uint8_t combining_class(char32_t c) {
  const auto* end = kCombiningRanges + kCombiningRangesCount;
  const auto* after = std::upper_bound(kCombiningRanges, end, static_cast<uint32_t>(c << 8 | 0xFF));
  return static_cast<uint8_t>(after[-1] & 0xFF);  // the table starts at U+0000
}

const Decomposition* find_decomposition(char32_t c) {
  const auto* end = kDecompositions + kDecompositionsCount;
  const auto* at = std::lower_bound(
      kDecompositions, end, c,
      [](const Decomposition& d, char32_t wanted) { return d.code_point < wanted; });
  return at != end && at->code_point == c ? at : nullptr;
}

void append_decomposed(std::u32string& out, char32_t c) {
  if (c >= kSyllableBase && c < kSyllableBase + kSyllables) {
    const char32_t index = c - kSyllableBase;
    out.push_back(kLeadBase + index / (kVowels * kTrails));
    out.push_back(kVowelBase + index / kTrails % kVowels);
    if (index % kTrails != 0) out.push_back(kTrailBase + index % kTrails);
    return;
  }
  // Only the first part of a decomposition decomposes further; the chain is at most four long.
  char32_t tail[4];
  int tail_count = 0;
  for (const Decomposition* d = find_decomposition(c); d != nullptr && tail_count < 4;
       d = find_decomposition(c)) {
    if (d->second != 0) tail[tail_count++] = d->second;
    c = d->first;
  }
  out.push_back(c);
  while (tail_count > 0) out.push_back(tail[--tail_count]);
}

/// Puts marks between starters into canonical order.
void reorder_marks(std::u32string& text) {
  std::vector<std::pair<uint8_t, char32_t>> marks;
  for (size_t i = 0; i < text.size();) {
    marks.clear();
    size_t end = i;
    for (; end < text.size(); ++end) {
      const uint8_t ccc = combining_class(text[end]);
      if (ccc == 0) break;
      marks.emplace_back(ccc, text[end]);
    }
    std::stable_sort(marks.begin(), marks.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (size_t k = 0; k < marks.size(); ++k) text[i + k] = marks[k].second;
    i = end + 1;
  }
}

char32_t compose_pair(char32_t a, char32_t b) {
  static const auto* const table = [] {
    auto* pairs = new std::map<std::pair<char32_t, char32_t>, char32_t>;
    for (const Decomposition& d : std::span(kDecompositions, kDecompositionsCount)) {
      if (d.composes && d.second != 0) (*pairs)[{d.first, d.second}] = d.code_point;
    }
    return pairs;
  }();
  if (a >= kLeadBase && a < kLeadBase + 19 && b >= kVowelBase && b < kVowelBase + kVowels) {
    return kSyllableBase + ((a - kLeadBase) * kVowels + (b - kVowelBase)) * kTrails;
  }
  if (a >= kSyllableBase && a < kSyllableBase + kSyllables && (a - kSyllableBase) % kTrails == 0 &&
      b > kTrailBase && b < kTrailBase + kTrails) {
    return a + (b - kTrailBase);
  }
  const auto found = table->find({a, b});
  return found == table->end() ? 0 : found->second;
}

/// Composes in place: a character joins the last starter unless something of the same or a higher
/// class stands between.
void compose(std::u32string& text) {
  size_t out = 0;
  size_t starter = std::u32string::npos;
  uint8_t last_class = 0;
  for (const char32_t c : text) {
    const uint8_t ccc = combining_class(c);
    const bool adjacent = starter != std::u32string::npos && starter + 1 == out;
    const bool reachable = starter != std::u32string::npos && (adjacent || last_class < ccc);
    if (reachable) {
      if (const char32_t joined = compose_pair(text[starter], c); joined != 0) {
        text[starter] = joined;
        continue;
      }
    }
    if (ccc == 0) starter = out;
    last_class = ccc;
    text[out++] = c;
  }
  text.resize(out);
}

void append_nfc(std::string& out, std::u32string_view valid) {
  std::u32string text = nfd(valid);
  compose(text);
  for (const char32_t c : text) utf8_append(out, c);
}

}  // namespace

const ClassTable& ClassTable::get() {
  static const ClassTable table;
  return table;
}

ClassTable::ClassTable() {
  std::map<std::vector<uint16_t>, uint16_t> known;
  size_t range = 0;
  std::vector<uint16_t> block(128);
  for (char32_t start = 0; start < 0x110000; start += 128) {
    for (char32_t c = start; c < start + 128; ++c) {
      while (range + 1 < kClassRangesCount && (kClassRanges[range + 1] >> 10) <= c) ++range;
      block[c - start] = kClassRanges[range] & 0x3FF;
    }
    const auto [entry, added] = known.try_emplace(block, static_cast<uint16_t>(known.size()));
    if (added) blocks_.insert(blocks_.end(), block.begin(), block.end());
    stage1_[start >> 7] = entry->second;
  }
}

bool surely_nfc(std::string_view text, const ClassTable& classes) {
  for (size_t i = 0; i < text.size();) {
    if (static_cast<uint8_t>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const Utf8Step step = utf8_decode(text, i);
    if ((classes.of(step.code_point) & kNfcCheck) != 0) return false;
    i += step.size;
  }
  return true;
}

std::string nfc(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::u32string valid;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_decode(text, i);
    if (step.valid) {
      valid.push_back(step.code_point);
    } else {
      append_nfc(out, valid);
      valid.clear();
      out.append(text.substr(i, step.size));
    }
    i += step.size;
  }
  append_nfc(out, valid);
  return out;
}

std::u32string nfd(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (const char32_t c : text) append_decomposed(out, c);
  reorder_marks(out);
  return out;
}

char32_t lower(char32_t code_point) {
  const auto* end = kLowerRuns + kLowerRunsCount;
  const auto* after =
      std::upper_bound(kLowerRuns, end, code_point,
                       [](char32_t wanted, const LowerRun& run) { return wanted < run.first; });
  if (after == kLowerRuns) return code_point;
  const LowerRun& run = after[-1];
  const char32_t offset = code_point - run.first;
  if (offset % run.stride != 0 || offset / run.stride >= run.count) return code_point;
  return code_point + static_cast<char32_t>(run.difference);
}

}  // namespace hadal::unicode
