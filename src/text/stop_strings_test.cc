#include "text/stop_strings.h"

#include <random>

#include <gtest/gtest.h>

namespace hadal {
namespace {

struct Stopped {
  std::string text;
  std::string matched;
  bool operator==(const Stopped&) const = default;
};

Stopped filter(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopStringFilter stop_filter(stops);
  std::string out;
  for (const std::string& piece : pieces) out += stop_filter.push(piece);
  out += stop_filter.finish();
  EXPECT_EQ(stop_filter.stopped(), !stop_filter.matched().empty());
  return {out, stop_filter.matched()};
}

/// The slow twin: earliest start, then shortest.
Stopped slow_filter(const std::vector<std::string>& stops, const std::string& text) {
  size_t best = std::string::npos;
  std::string matched;
  for (const std::string& stop : stops) {
    const size_t at = stop.empty() ? std::string::npos : text.find(stop);
    if (at == std::string::npos) continue;
    if (at < best || (at == best && stop.size() < matched.size())) {
      best = at;
      matched = stop;
    }
  }
  return {text.substr(0, best), matched};
}

// Goal: overlapping and nested stop strings: the earliest start wins.
TEST(StopStringFilter, EarliestStartWins) {
  EXPECT_EQ(filter({"bc", "abcd"}, {"xabcd"}), (Stopped{"x", "abcd"}));
  EXPECT_EQ(filter({"bc", "abcd"}, {"xabce"}), (Stopped{"xa", "bc"}));
  EXPECT_EQ(filter({"bc", "abcd"}, {"xabc"}), (Stopped{"xa", "bc"}));
  EXPECT_EQ(filter({"。", "你好"}, {"他说你", "好。"}), (Stopped{"他说", "你好"}));
  EXPECT_EQ(filter({"aab"}, {"aaa", "ab"}), (Stopped{"aa", "aab"}));
  EXPECT_EQ(filter({"", "zz"}, {"az"}), (Stopped{"az", ""}));
  EXPECT_EQ(filter({}, {"a", "b"}), (Stopped{"ab", ""}));
}

// Goal: text after a stop never comes out.
TEST(StopStringFilter, SilentAfterStop) {
  StopStringFilter stop_filter({"END"});
  EXPECT_EQ(stop_filter.push("abEN"), "ab");
  EXPECT_EQ(stop_filter.push("Dxyz"), "");
  EXPECT_TRUE(stop_filter.stopped());
  EXPECT_EQ(stop_filter.push("more"), "");
  EXPECT_EQ(stop_filter.finish(), "");
}

// Goal: random stops, texts and cuts over a tiny alphabet agree with a plain search.
TEST(StopStringFilter, AgreesWithPlainSearch) {
  std::mt19937 random(7);
  const auto word = [&](size_t most) {
    std::string out(random() % (most + 1), 'a');
    for (char& c : out) c = static_cast<char>('a' + random() % 2);
    return out;
  };
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops(random() % 4);
    for (std::string& stop : stops) stop = word(6);
    const std::string text = word(20);
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size();) {
      const size_t size = 1 + random() % 4;
      pieces.push_back(text.substr(at, size));
      at += size;
    }
    ASSERT_EQ(filter(stops, pieces), slow_filter(stops, text)) << text;
  }
}

// Goal: a long run that always nearly matches is handed on, only a stop's length is held back.
TEST(StopStringFilter, HoldsBackLittle) {
  std::string stop(256, 'a');
  stop.back() = 'b';
  StopStringFilter stop_filter({stop});
  size_t out = 0;
  for (int i = 0; i < 1000; ++i) out += stop_filter.push(std::string(100, 'a')).size();
  EXPECT_EQ(out, 100000u - 255u);
}

}  // namespace
}  // namespace hadal
