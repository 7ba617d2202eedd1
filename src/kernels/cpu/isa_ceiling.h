// What 8-bit dot products reach at best here: chains of them on registers, nothing else.

#if HADAL_ISA_NEON
#define HADAL_OPAQUE(x) asm volatile("" : "+w"(x))
#else
#define HADAL_OPAQUE(x) asm volatile("" : "+v"(x))
#endif

#if HADAL_ISA_AVX512
constexpr int kChainMacs = 64;
HADAL_INLINE I chain_step(I sum, B w, B x) {
  return dot_bytes(sum, w, x);
}
#elif HADAL_ISA_NEON && HADAL_ISA_I8MM
constexpr int kChainMacs = 32;
HADAL_INLINE I chain_step(I sum, B w, B x) {
  return vusmmlaq_s32(sum, w, vreinterpretq_s8_u8(x));
}
#elif HADAL_ISA_NEON
constexpr int kChainMacs = 16;
HADAL_INLINE I chain_step(I sum, B w, B x) {
  return vdotq_s32(sum, vreinterpretq_s8_u8(w), vreinterpretq_s8_u8(x));
}
#elif HADAL_ISA_VNNI
constexpr int kChainMacs = 32;
HADAL_INLINE I chain_step(I sum, B w, B x) {
  return dot_bytes(sum, w, x);
}
#else
constexpr int kChainMacs = 32;
// Sums of 16 bits, the least work per product that this instruction set allows.
HADAL_INLINE I chain_step(I sum, B w, B x) {
  return _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, x));
}
#endif

/// Returns the multiply-adds done.
int64_t dot_chains(int64_t rounds) {
  constexpr int kChains = 10;  // more than an instruction's delay takes, with registers to spare
  I sum[kChains];
  B w = {};
  B x = {};
  HADAL_OPAQUE(x);  // else a product with zeros is none
  HADAL_UNROLL
  for (int i = 0; i < kChains; ++i) {
    sum[i] = I{};
    HADAL_OPAQUE(sum[i]);
  }
  for (int64_t round = 0; round < rounds; ++round) {
    HADAL_UNROLL
    for (int i = 0; i < kChains; ++i) {
      HADAL_OPAQUE(w);  // else one product would serve all chains
      sum[i] = chain_step(sum[i], w, x);
    }
  }
  HADAL_UNROLL
  for (int i = 0; i < kChains; ++i) HADAL_OPAQUE(sum[i]);
  return rounds * kChains * kChainMacs;
}
