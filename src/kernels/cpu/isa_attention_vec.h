// Additions to the vector layer for attention: reductions in one order for every instruction set,
// and the unsigned codes of keys and values as the 16-bit products want them.

#if HADAL_ISA_AVX512
HADAL_INLINE float fold_sum(F x) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
#elif HADAL_ISA_NEON
HADAL_INLINE float fold_sum(F x) {
  const float32x2_t two = vadd_f32(vget_low_f32(x), vget_high_f32(x));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
#else
HADAL_INLINE float fold_sum(F x) {
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
#endif

/// Asks for `bytes` from p on, which will be read soon.
HADAL_INLINE void fetch_ahead(const uint8_t* p, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i, 0, 2);
}

/// Sum of a panel's 16 lanes: lane i + lane i + 8, then + 4, + 2, + 1.
HADAL_INLINE float sum_panel(F x[kParts]) {
  HADAL_UNROLL
  for (int width = kParts / 2; width > 0; width /= 2) {
    HADAL_UNROLL
    for (int i = 0; i < width; ++i) x[i] = add(x[i], x[i + width]);
  }
  return fold_sum(x[0]);
}

#if HADAL_ISA_NEON && !HADAL_ISA_I8MM
// The products take signed codes: the bias of 128 is gone before they see them.
constexpr int kKvBias = 0;
HADAL_INLINE void unbias(B w[8]) {
  HADAL_UNROLL
  for (int g = 0; g < 8; ++g) w[g] = veorq_u8(w[g], vdupq_n_u8(0x80));
}
#else
// The products take unsigned codes: sums start at -128 * sum(x).
constexpr int kKvBias = 128;
HADAL_INLINE void unbias(B*) {}
#endif
