#pragma once
/// Reference logits of a committed tiny model, as the tools that make such models write them
/// (tools/make_tiny_models.py describes the format).
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "model/model.h"

namespace hadal::testing_model {

struct Reference {
  std::vector<TokenId> tokens;
  std::vector<float> logits;  ///< tokens x n_vocab
};

/// Of a file; one that cannot be read fails the test.
inline Reference read_reference(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  int32_t head[2] = {};
  in.read(reinterpret_cast<char*>(head), sizeof(head));
  Reference out;
  out.tokens.resize(static_cast<size_t>(head[0]));
  out.logits.resize(static_cast<size_t>(head[0]) * static_cast<size_t>(head[1]));
  in.read(reinterpret_cast<char*>(out.tokens.data()), head[0] * 4);
  in.read(reinterpret_cast<char*>(out.logits.data()),
          static_cast<std::streamsize>(out.logits.size() * 4));
  EXPECT_TRUE(in.good()) << path;
  return out;
}

/// Of two numbers at the same place; NaN where one is, infinity where the sizes differ.
inline double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size() || a.empty()) return INFINITY;
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - b[i]);
    if (std::isnan(difference)) return difference;
    worst = std::max(worst, difference);
  }
  return worst;
}

}  // namespace hadal::testing_model
