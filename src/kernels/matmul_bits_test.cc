// Goal: quantised products have the same bits on every fast instruction set of every processor
// family. The test compares those of this machine; the arm64 step of ./test compares the hashes
// printed here with those of the emulated processors.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/kernels.h"
#include "kernels/testing/scoped_isa.h"
#include "kernels/testing/weight_types.h"
#include "tensor/dtype.h"

namespace hadal {
namespace {

/// Numbers without a library: those of <random> may differ between C libraries.
struct Sequence {
  uint64_t state = 1;
  uint32_t next() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state >> 33);
  }
  /// In (-1, 1), exact in 17 bits.
  float unit() { return (static_cast<float>(next() % 131072) - 65535.5f) / 65536.0f; }
};

std::vector<std::byte> random_blocks(const WeightType& c, int64_t rows, int64_t cols) {
  Sequence random;
  const auto block = static_cast<size_t>(dtype_info(c.type).block_bytes);
  std::vector<std::byte> bytes(static_cast<size_t>(rows) * dtype_row_bytes(c.type, cols));
  for (std::byte& b : bytes) b = static_cast<std::byte>(random.next());
  for (size_t at = 0; at < bytes.size(); at += block) {
    if (c.type == DType::kMXFP4) bytes[at] = static_cast<std::byte>(118 + random.next() % 16);
    for (const size_t offset : c.f16_at) {
      const uint16_t value = f32_to_f16(random.unit());
      std::memcpy(&bytes[at + offset], &value, 2);
    }
  }
  return bytes;
}

uint64_t fnv(uint64_t hash, const std::vector<float>& values) {
  for (const float value : values) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    hash = (hash ^ bits) * 1099511628211u;
  }
  return hash;
}

uint64_t hash_of_products(const WeightType& c, Activations activations) {
  constexpr int64_t kRows = 37;
  constexpr int64_t kCols = 512;
  constexpr int64_t kMost = 65;  // beyond what goes straight from the panels
  ThreadPool pool(1);
  const std::vector<std::byte> bytes = random_blocks(c, kRows, kCols);
  const Weight weight =
      Weight::prepare(matrix_view(c.type, kRows, kCols, bytes), activations, pool).value();
  Sequence random;
  std::vector<float> x(kMost * kCols);
  for (float& v : x) v = random.unit() * (random.next() % 64 == 0 ? 100.0f : 1.0f);
  uint64_t hash = 14695981039346656037u;
  for (const int64_t n : {int64_t{1}, int64_t{3}, kMost}) {
    std::vector<float> out(static_cast<size_t>(n * kRows));
    MatmulWorkspace workspace;
    const MatmulTask task{&weight, nullptr, out.data(), kRows};
    matmul({x.data(), n, kCols}, {&task, 1}, pool, workspace);
    hash = fnv(hash, out);
  }
  return hash;
}

TEST(MatmulBits, SameOnEveryInstructionSet) {
  const IsaScope restore;
  std::string names;
  for (const Isa isa : available_isas()) {
    names += " " + std::string(isa_name(isa));
  }
  std::printf("instruction sets here:%s\n", names.c_str());
  for (const WeightType& c : weight_types()) {
    if (!c.quantised()) continue;
    for (const Activations activations : {Activations::kInt8, Activations::kInt16}) {
      const int bits = activations == Activations::kInt8 ? 8 : 16;
      std::vector<uint64_t> hashes;
      for (const Isa isa : available_isas()) {
        if (isa == Isa::kReference) continue;
        force_isa(isa);
        hashes.push_back(hash_of_products(c, activations));
        EXPECT_EQ(hashes.back(), hashes.front())
            << isa_name(isa) << " " << dtype_info(c.type).name << " x int" << bits;
      }
      if (hashes.empty()) continue;
      std::printf("product bits: %s x int%d %016llx\n",
                  std::string(dtype_info(c.type).name).c_str(), bits,
                  static_cast<unsigned long long>(hashes.front()));
    }
  }
}

}  // namespace
}  // namespace hadal
