#include "kernels/latent_attention.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/kernels.h"
#include "kernels/reference/reference.h"
#include "kernels/testing/scoped_isa.h"

namespace hadal {
namespace {

std::vector<Isa> fast_isas() {
  std::vector<Isa> list = available_isas();
  list.erase(list.begin());  // the reference
  return list;
}

std::vector<float> random_values(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& v : x) v = normal(random);
  return x;
}

KvLayout layout_of(const LatentShape& shape, KvType type) {
  return {.n_layers = 2,
          .n_kv_heads = 1,
          .d_head = shape.d_key(),
          .type = type,
          .values_in_keys = true};
}

/// A pool of two sequences whose pages are interleaved and out of order, all bytes 0xFF (NaN, or
/// scales that are) until written.
struct Fixture {
  KvPool kv;
  int64_t length;
  std::vector<PageId> pages[2];
  KvSequence sequences[2];

  Fixture(const LatentShape& shape, KvType type, int64_t page_tokens, int64_t n)
      : kv(layout_of(shape, type), page_tokens, 2 * ((n + page_tokens - 1) / page_tokens)),
        length(n) {
    const int64_t count = kv.n_pages() / 2;
    for (int64_t i = 0; i < count; ++i) {
      pages[0].push_back(static_cast<PageId>(2 * (count - 1 - i)));
      pages[1].push_back(static_cast<PageId>(2 * i + 1));
    }
    for (PageId page = 0; page < kv.n_pages(); ++page) {
      const std::span<std::byte> bytes = kv.page_bytes(page);
      std::memset(bytes.data(), 0xFF, bytes.size());
    }
    sequences[0].pages = pages[0];
    sequences[1].pages = pages[1];
  }

  /// Random latents at all positions of both sequences, in layer 1.
  void fill(uint32_t seed, ThreadPool& pool) {
    std::vector<int32_t> positions, owners;
    for (int64_t p = 0; p < length; ++p) {
      for (int s = 0; s < 2; ++s) {
        positions.push_back(static_cast<int32_t>(p));
        owners.push_back(s);
      }
    }
    const auto d = static_cast<size_t>(kv.layout().d_head);
    const std::vector<float> latents = random_values(positions.size() * d, seed);
    kv_write_latent(kv, 1, {positions, owners, sequences}, latents.data(), pool);
  }
};

// Goal: every instruction set agrees with the reference and, to the bit, with every other of this
// machine: KV types, head counts, latents that fill no vector, page, tile and span borders, several
// sequences, one thread and several.
// Tolerance: a score is a chain of d roundings of sums below 3 sqrt(d), so that it is within
// 3 d 2^-24 with a scale of 1 / sqrt(d); twice that is a weight's relative error, values are below
// 5. The weights' own roundings (exp, sums over spans) are below 40 2^-24.
TEST(LatentAttention, MatchesReference) {
  const IsaScope restore;
  ThreadPool one(1);
  ThreadPool three(3);
  struct Case {
    LatentShape shape;
    int64_t page_tokens, length;
  };
  for (const Case& c :
       {Case{{1, 512, 64}, 16, 140}, Case{{3, 32, 16}, 7, 70}, Case{{16, 48, 16}, 64, 1100},
        Case{{128, 48, 64}, 48, 200}, Case{{70, 20, 6}, 160, 530}, Case{{16, 512, 64}, 256, 520}}) {
    for (const KvType type : kKvTypes) {
      Fixture f(c.shape, type, c.page_tokens, c.length);
      force_isa(Isa::kReference);
      f.fill(3, one);
      const auto last = static_cast<int32_t>(c.length - 1);
      std::vector<int32_t> positions = {0, 15, 16, std::min(63, last), last / 2, last};
      std::vector<int32_t> owners(positions.size(), 0);
      for (int32_t p = last - 5; p <= last; ++p) {
        positions.push_back(p);
        owners.push_back(1);
      }
      const AttentionRows rows{positions, owners, f.sequences};
      const auto heads = positions.size() * static_cast<size_t>(c.shape.n_heads);
      const std::vector<float> q = random_values(heads * static_cast<size_t>(c.shape.d_key()), 9);
      const auto d = static_cast<double>(c.shape.d_key());
      const auto scale = static_cast<float>(1.0 / std::sqrt(d));
      std::vector<float> want(heads * static_cast<size_t>(c.shape.kv_lora_rank)), first;
      latent_attention(f.kv, 1, rows, q.data(), c.shape, scale, want.data(), one);
      const double tolerance = (2 * 3 * d + 40) * 5 * 0x1p-24;
      for (const Isa isa : fast_isas()) {
        force_isa(isa);
        for (ThreadPool* pool : {&one, &three}) {
          std::vector<float> got(want.size(), -1.0f);
          latent_attention(f.kv, 1, rows, q.data(), c.shape, scale, got.data(), *pool);
          for (size_t i = 0; i < got.size(); ++i) {
            ASSERT_NEAR(got[i], want[i], tolerance)
                << isa_name(isa) << " " << name_of(type) << " heads " << c.shape.n_heads << " rank "
                << c.shape.kv_lora_rank << " at " << i;
          }
          if (first.empty()) first = got;
          ASSERT_EQ(0, std::memcmp(first.data(), got.data(), got.size() * 4))
              << isa_name(isa) << " " << name_of(type) << " heads " << c.shape.n_heads;
        }
      }
    }
  }
}

// Goal: every instruction set stores the reference's bytes, tiny, huge, equal and unreal values
// included.
TEST(LatentAttention, StoresTheReferencesBytes) {
  const IsaScope restore;
  ThreadPool pool(2);
  const float inf = std::numeric_limits<float>::infinity();
  const LatentShape shape{1, 48, 16};
  const auto d = static_cast<size_t>(shape.d_key());
  std::vector<float> x = random_values(d * 32, 6);
  std::fill_n(x.begin() + static_cast<int64_t>(d), d, 0.0f);
  for (size_t i = 0; i < d; ++i) {
    x[2 * d + i] = -3.25f;
    x[3 * d + i] *= 1e-42f;
    x[4 * d + i] *= 1e-6f;
    x[5 * d + i] *= 3e6f;
    x[6 * d + i] *= 1e37f;
  }
  x[7 * d + 3] = inf;
  x[8 * d + d - 1] = -inf;
  x[9 * d + 2] = 1e5f;
  std::vector<int32_t> positions, owners(32, 0);
  for (int32_t p = 0; p < 32; ++p) positions.push_back(p);
  for (const KvType type : kKvTypes) {
    Fixture want(shape, type, 32, 32);
    force_isa(Isa::kReference);
    kv_write_latent(want.kv, 0, {positions, owners, want.sequences}, x.data(), pool);
    for (const Isa isa : fast_isas()) {
      force_isa(isa);
      Fixture got(shape, type, 32, 32);
      kv_write_latent(got.kv, 0, {positions, owners, got.sequences}, x.data(), pool);
      for (int64_t p = 0; p < 32; ++p) {
        EXPECT_EQ(0, std::memcmp(want.kv.key_record(0, want.sequences[0], p),
                                 got.kv.key_record(0, got.sequences[0], p),
                                 static_cast<size_t>(got.kv.layout().key_record_bytes())))
            << isa_name(isa) << " " << name_of(type) << " position " << p;
      }
    }
  }
}

void expect_independent_rows(const LatentShape& shape, KvType type) {
  ThreadPool one(1);
  ThreadPool three(3);
  const int64_t length = 1200;
  const auto q_floats = static_cast<size_t>(shape.n_heads * shape.d_key());
  const auto out_floats = static_cast<size_t>(shape.n_heads * shape.kv_lora_rank);
  std::vector<float> across_pages;
  for (const int64_t page_tokens : {16, 100}) {
    Fixture f(shape, type, page_tokens, length);
    f.fill(5, one);
    std::vector<int32_t> positions, owners(static_cast<size_t>(length), 0);
    for (int32_t p = 0; p < length; ++p) positions.push_back(p);
    const std::vector<float> q = random_values(q_floats * static_cast<size_t>(length), 4);
    std::vector<float> all(out_floats * static_cast<size_t>(length));
    latent_attention(f.kv, 1, {positions, owners, f.sequences}, q.data(), shape, 0.15f, all.data(),
                     three);
    if (!across_pages.empty()) {
      ASSERT_EQ(across_pages, all);
    }
    across_pages = all;
    for (const auto& [first, count] :
         {std::pair<int64_t, int64_t>{0, 1}, {127, 2}, {511, 2}, {1199, 1}, {500, 37}}) {
      for (ThreadPool* pool : {&one, &three}) {
        // The chunk, followed by two rows of the other sequence.
        std::vector<int32_t> part(positions.begin() + first, positions.begin() + first + count);
        std::vector<int32_t> who(static_cast<size_t>(count), 0);
        part.insert(part.end(), {900, 901});
        who.insert(who.end(), {1, 1});
        const auto begin = static_cast<size_t>(first);
        std::vector<float> in(q.data() + begin * q_floats,
                              q.data() + (begin + static_cast<size_t>(count)) * q_floats);
        in.resize(in.size() + 2 * q_floats, 0.5f);
        std::vector<float> out((static_cast<size_t>(count) + 2) * out_floats);
        latent_attention(f.kv, 1, {part, who, f.sequences}, in.data(), shape, 0.15f, out.data(),
                         *pool);
        ASSERT_EQ(0, std::memcmp(out.data(), all.data() + begin * out_floats,
                                 static_cast<size_t>(count) * out_floats * 4))
            << "rows " << first << " + " << count << " page " << page_tokens;
      }
    }
  }
}

// Goal: a row's bits are the same alone, in a chunk, in the whole prompt, beside another sequence,
// on one thread or several, and when pages hold other numbers of positions.
TEST(LatentAttention, RowsAreBitwiseIndependent) {
  const IsaScope restore;
  for (const Isa isa : fast_isas()) {
    force_isa(isa);
    for (const KvType type : kKvTypes) {
      SCOPED_TRACE(std::string(isa_name(isa)) + " " + std::string(name_of(type)));
      expect_independent_rows({5, 32, 16}, type);
    }
    expect_independent_rows({80, 20, 4}, KvType::kF16);
  }
}

// Goal: memory behind a row's position (NaN here) never reaches it: each prefix of a sequence is
// written, asked, and equals what the whole sequence gives; a row alone gets its own latent back.
TEST(LatentAttention, WhatLiesBehindARowDoesNotMatter) {
  const IsaScope restore;
  ThreadPool pool(1);
  const LatentShape shape{3, 24, 8};
  for (const Isa isa : available_isas()) {
    force_isa(isa);
    for (const KvType type : kKvTypes) {
      Fixture growing(shape, type, 32, 40), whole(shape, type, 32, 40);
      const std::vector<float> latents = random_values(static_cast<size_t>(40 * 32), 1);
      const std::vector<float> q = random_values(static_cast<size_t>(3 * 32), 2);
      std::vector<int32_t> positions, owners(40, 0);
      for (int32_t p = 0; p < 40; ++p) positions.push_back(p);
      kv_write_latent(whole.kv, 1, {positions, owners, whole.sequences}, latents.data(), pool);
      for (int32_t p = 0; p < 40; ++p) {
        const int32_t owner = 0;
        const AttentionRows row{{&p, 1}, {&owner, 1}, growing.sequences};
        kv_write_latent(growing.kv, 1, row, latents.data() + p * 32, pool);
        std::vector<float> out(72), want(72);
        latent_attention(growing.kv, 1, row, q.data(), shape, 0.2f, out.data(), pool);
        latent_attention(whole.kv, 1, {{&p, 1}, {&owner, 1}, whole.sequences}, q.data(), shape,
                         0.2f, want.data(), pool);
        for (const float x : out) ASSERT_TRUE(std::isfinite(x)) << isa_name(isa) << " " << p;
        ASSERT_EQ(out, want) << isa_name(isa) << " " << name_of(type) << " " << p;
        // A Q8_0 code is within half a step of its group's peak / 127; peaks are below 4.
        const float rounding = type == KvType::kF32 ? 1e-6f : type == KvType::kF16 ? 2e-3f : 2e-2f;
        for (size_t i = 0; p == 0 && i < 72; ++i) {
          ASSERT_NEAR(out[i], latents[i % 24], rounding) << isa_name(isa) << " " << name_of(type);
        }
      }
    }
  }
}

}  // namespace
}  // namespace hadal
