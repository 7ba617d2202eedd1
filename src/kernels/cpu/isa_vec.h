// The private vector layer of the ISA files: thin names over intrinsics, so that most kernels are
// written once and compiled per instruction set. Included inside hadal::<isa>::(anonymous), after
// <immintrin.h> or <arm_neon.h>: everything has internal linkage, nothing is shared between
// objects.
//
// F: kLanes floats. I: kLanes int32. B: 4 * kLanes bytes. A panel of 16 rows is kParts vectors.

// HADAL_ROLL keeps a loop rolled: unrolled, the compiler keeps more values than there are
// registers.
#if defined(__clang__)
#define HADAL_UNROLL _Pragma("unroll")
#define HADAL_ROLL _Pragma("clang loop unroll(disable)")
#else
#define HADAL_UNROLL _Pragma("GCC unroll 16")
#define HADAL_ROLL _Pragma("GCC unroll 1")
#endif
#define HADAL_INLINE inline __attribute__((always_inline))
#define HADAL_LAMBDA_INLINE __attribute__((always_inline))

#if HADAL_ISA_AVX512

constexpr int kLanes = 16;
using F = __m512;
using I = __m512i;
using B = __m512i;

HADAL_INLINE F zero() {
  return _mm512_setzero_ps();
}
HADAL_INLINE F load(const float* p) {
  return _mm512_loadu_ps(p);
}
HADAL_INLINE void store(float* p, F x) {
  _mm512_storeu_ps(p, x);
}
HADAL_INLINE F splat(float x) {
  return _mm512_set1_ps(x);
}
HADAL_INLINE F add(F a, F b) {
  return _mm512_add_ps(a, b);
}
HADAL_INLINE F sub(F a, F b) {
  return _mm512_sub_ps(a, b);
}
HADAL_INLINE F mul(F a, F b) {
  return _mm512_mul_ps(a, b);
}
HADAL_INLINE F div(F a, F b) {
  return _mm512_div_ps(a, b);
}
HADAL_INLINE F fma(F a, F b, F c) {
  return _mm512_fmadd_ps(a, b, c);
}
HADAL_INLINE F fnma(F a, F b, F c) {
  return _mm512_fnmadd_ps(a, b, c);
}
// When either is NaN: b.
HADAL_INLINE F max(F a, F b) {
  return _mm512_max_ps(a, b);
}
HADAL_INLINE F min(F a, F b) {
  return _mm512_min_ps(a, b);
}
HADAL_INLINE F abs(F a) {
  return _mm512_abs_ps(a);
}
HADAL_INLINE F to_float(I x) {
  return _mm512_cvtepi32_ps(x);
}
HADAL_INLINE I to_int(F x) {
  return _mm512_cvtps_epi32(x);
}
HADAL_INLINE F bits_to_float(I x) {
  return _mm512_castsi512_ps(x);
}
HADAL_INLINE I add_int(I a, I b) {
  return _mm512_add_epi32(a, b);
}
HADAL_INLINE I sub_int(I a, I b) {
  return _mm512_sub_epi32(a, b);
}
template <int n>
HADAL_INLINE I shift_right_int(I x) {
  return _mm512_srai_epi32(x, n);
}
/// 32 values that fit signed bytes.
HADAL_INLINE void store_low_bytes(const I v[2], uint8_t* out) {
  HADAL_UNROLL
  for (int i = 0; i < 2; ++i) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 16 * i), _mm512_cvtepi32_epi8(v[i]));
  }
}
/// sum + code * x over the 4 bytes of each lane.
HADAL_INLINE I dot_bytes(I sum, B code, I x) {
  return _mm512_dpbusd_epi32(sum, code, x);
}
HADAL_INLINE I splat_int(int32_t x) {
  return _mm512_set1_epi32(x);
}
HADAL_INLINE I shift_left_int(I x, int n) {
  return _mm512_slli_epi32(x, static_cast<unsigned>(n));
}
HADAL_INLINE I shift_left_by(I x, int n) {
  return _mm512_sll_epi32(x, _mm_cvtsi32_si128(n));
}
HADAL_INLINE int32_t sum_int_lanes(I x) {
  return _mm512_reduce_add_epi32(x);
}
/// Largest lane; none may be NaN.
HADAL_INLINE float max_finite_lanes(F x) {
  return _mm512_reduce_max_ps(x);
}
/// a < b ? 0 : x
HADAL_INLINE F zero_where_less(F a, F b, F x) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ), x);
}
HADAL_INLINE bool any_unordered(F a) {
  return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q) != 0;
}
/// The first `n` lanes of x, -inf in the others.
HADAL_INLINE F keep_first(F x, int n) {
  const __mmask16 mask = n >= 16 ? 0xFFFF : n <= 0 ? 0 : static_cast<__mmask16>((1u << n) - 1u);
  return _mm512_mask_mov_ps(_mm512_set1_ps(-__builtin_inff()), mask, x);
}
HADAL_INLINE F load_f16(const void* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
HADAL_INLINE void store_half(uint16_t* p, F x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
HADAL_INLINE F load_bf16(const void* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p))), 16));
}
/// FP8 E4M3 times 2^-8, by way of half floats, whose exponent has another bias. NaN becomes 480.
HADAL_INLINE F load_f8_e4m3(const void* p) {
  const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  const __m256i mask = _mm256_set1_epi16(static_cast<int16_t>(0xBF80));
  return _mm512_cvtph_ps(_mm256_and_si256(_mm256_slli_epi16(wide, 7), mask));
}
HADAL_INLINE I load_u8_int(const void* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
HADAL_INLINE I load_i8_int(const void* p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
HADAL_INLINE B load_bytes(const void* p) {
  return _mm512_loadu_si512(p);
}
HADAL_INLINE void store_bytes(void* p, B x) {
  _mm512_storeu_si512(p, x);
}
HADAL_INLINE B splat_byte(int x) {
  return _mm512_set1_epi8(static_cast<char>(x));
}
HADAL_INLINE B and_bits(B a, B b) {
  return _mm512_and_si512(a, b);
}
HADAL_INLINE B or_bits(B a, B b) {
  return _mm512_or_si512(a, b);
}
template <int n>
HADAL_INLINE B shift_right_16(B x) {
  return _mm512_srli_epi16(x, n);
}
template <int n>
HADAL_INLINE B shift_left_16(B x) {
  return _mm512_slli_epi16(x, n);
}
HADAL_INLINE B load_table(const uint8_t* p) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
HADAL_INLINE B lookup(B table, B index) {
  return _mm512_shuffle_epi8(table, index);
}

// 512ithin 128-bit lanes.
HADAL_INLINE F unpack_low(F a, F b) {
  return _mm512_unpacklo_ps(a, b);
}
HADAL_INLINE F unpack_high(F a, F b) {
  return _mm512_unpackhi_ps(a, b);
}
HADAL_INLINE F unpack_low_pairs(F a, F b) {
  return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}
HADAL_INLINE F unpack_high_pairs(F a, F b) {
  return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}

#elif HADAL_ISA_NEON

#include "kernels/cpu/isa_vec_neon.h"

#else  // AVX2

constexpr int kLanes = 8;
using F = __m256;
using I = __m256i;
using B = __m256i;

HADAL_INLINE F zero() {
  return _mm256_setzero_ps();
}
HADAL_INLINE F load(const float* p) {
  return _mm256_loadu_ps(p);
}
HADAL_INLINE void store(float* p, F x) {
  _mm256_storeu_ps(p, x);
}
HADAL_INLINE F splat(float x) {
  return _mm256_set1_ps(x);
}
HADAL_INLINE F add(F a, F b) {
  return _mm256_add_ps(a, b);
}
HADAL_INLINE F sub(F a, F b) {
  return _mm256_sub_ps(a, b);
}
HADAL_INLINE F mul(F a, F b) {
  return _mm256_mul_ps(a, b);
}
HADAL_INLINE F div(F a, F b) {
  return _mm256_div_ps(a, b);
}
HADAL_INLINE F fma(F a, F b, F c) {
  return _mm256_fmadd_ps(a, b, c);
}
HADAL_INLINE F fnma(F a, F b, F c) {
  return _mm256_fnmadd_ps(a, b, c);
}
// When either is NaN: b.
HADAL_INLINE F max(F a, F b) {
  return _mm256_max_ps(a, b);
}
HADAL_INLINE F min(F a, F b) {
  return _mm256_min_ps(a, b);
}
HADAL_INLINE F abs(F a) {
  return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
HADAL_INLINE F to_float(I x) {
  return _mm256_cvtepi32_ps(x);
}
HADAL_INLINE I to_int(F x) {
  return _mm256_cvtps_epi32(x);
}
HADAL_INLINE F bits_to_float(I x) {
  return _mm256_castsi256_ps(x);
}
HADAL_INLINE I add_int(I a, I b) {
  return _mm256_add_epi32(a, b);
}
HADAL_INLINE I sub_int(I a, I b) {
  return _mm256_sub_epi32(a, b);
}
template <int n>
HADAL_INLINE I shift_right_int(I x) {
  return _mm256_srai_epi32(x, n);
}
/// 32 values that fit signed bytes.
HADAL_INLINE void store_low_bytes(const I v[4], uint8_t* out) {
  const __m256i bytes =
      _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permutevar8x32_epi32(bytes, order));
}
/// The compiler must not gather the terms of a sum first and add them later, for want of registers.
HADAL_INLINE void keep_order(I& sum) {
  __asm__("" : "+x"(sum));
}
#if HADAL_ISA_VNNI
/// sum + code * x over the 4 bytes of each lane.
HADAL_INLINE I dot_bytes(I sum, B code, I x) {
#ifdef __AVXVNNI__
  return _mm256_dpbusd_avx_epi32(sum, code, x);
#else  // a stand-in for tests on processors that have only the other encoding
  return _mm256_dpbusd_epi32(sum, code, x);
#endif
}
#endif
HADAL_INLINE I splat_int(int32_t x) {
  return _mm256_set1_epi32(x);
}
HADAL_INLINE I shift_left_int(I x, int n) {
  return _mm256_slli_epi32(x, n);
}
HADAL_INLINE I shift_left_by(I x, int n) {
  return _mm256_sll_epi32(x, _mm_cvtsi32_si128(n));
}
HADAL_INLINE int32_t sum_int_lanes(I x) {
  __m128i half = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  half = _mm_add_epi32(half, _mm_unpackhi_epi64(half, half));
  return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 1)));
}
/// Largest lane; none may be NaN.
HADAL_INLINE float max_finite_lanes(F x) {
  __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  half = _mm_max_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_max_ss(half, _mm_shuffle_ps(half, half, 1)));
}
/// a < b ? 0 : x
HADAL_INLINE F zero_where_less(F a, F b, F x) {
  return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_NLT_UQ), x);
}
HADAL_INLINE bool any_unordered(F a) {
  return _mm256_movemask_ps(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)) != 0;
}
/// The first `n` lanes of x, -inf in the others.
HADAL_INLINE F keep_first(F x, int n) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i keep = _mm256_cmpgt_epi32(_mm256_set1_epi32(n), index);
  return _mm256_blendv_ps(_mm256_set1_ps(-__builtin_inff()), x, _mm256_castsi256_ps(keep));
}
HADAL_INLINE F load_f16(const void* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
HADAL_INLINE void store_half(uint16_t* p, F x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
HADAL_INLINE F load_bf16(const void* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(
      _mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))), 16));
}
/// FP8 E4M3 times 2^-8, by way of half floats, whose exponent has another bias. NaN becomes 480.
HADAL_INLINE F load_f8_e4m3(const void* p) {
  const __m128i wide = _mm_cvtepi8_epi16(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
  const __m128i mask = _mm_set1_epi16(static_cast<int16_t>(0xBF80));
  return _mm256_cvtph_ps(_mm_and_si128(_mm_slli_epi16(wide, 7), mask));
}
HADAL_INLINE I load_u8_int(const void* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
}
HADAL_INLINE I load_i8_int(const void* p) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
}
HADAL_INLINE B load_bytes(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
HADAL_INLINE void store_bytes(void* p, B x) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), x);
}
HADAL_INLINE B splat_byte(int x) {
  return _mm256_set1_epi8(static_cast<char>(x));
}
HADAL_INLINE B and_bits(B a, B b) {
  return _mm256_and_si256(a, b);
}
HADAL_INLINE B or_bits(B a, B b) {
  return _mm256_or_si256(a, b);
}
template <int n>
HADAL_INLINE B shift_right_16(B x) {
  return _mm256_srli_epi16(x, n);
}
template <int n>
HADAL_INLINE B shift_left_16(B x) {
  return _mm256_slli_epi16(x, n);
}
HADAL_INLINE B load_table(const uint8_t* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
HADAL_INLINE B lookup(B table, B index) {
  return _mm256_shuffle_epi8(table, index);
}

// 256ithin 128-bit lanes.
HADAL_INLINE F unpack_low(F a, F b) {
  return _mm256_unpacklo_ps(a, b);
}
HADAL_INLINE F unpack_high(F a, F b) {
  return _mm256_unpackhi_ps(a, b);
}
HADAL_INLINE F unpack_low_pairs(F a, F b) {
  return _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
}
HADAL_INLINE F unpack_high_pairs(F a, F b) {
  return _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
}

#endif

#if !HADAL_ISA_NEON
HADAL_INLINE float sqrt_scalar(float x) {
  return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)));
}
HADAL_INLINE float f16_scalar(uint16_t x) {
  return _cvtsh_ss(x);
}
HADAL_INLINE uint16_t to_f16_scalar(float x) {
  return static_cast<uint16_t>(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT));
}
#endif

/// Makes the compiler forget what it has read at `place`: for a second use it would keep more than
/// there are registers, which costs more than reading again.
template <typename T>
HADAL_INLINE void forget_reads(T& place) {
  __asm__ volatile("" : "+r"(place));
}

constexpr int kParts = cpu::kPanelRows / kLanes;

HADAL_INLINE float load_scalar(const uint8_t* p) {
  float value;
  __builtin_memcpy(&value, p, 4);
  return value;
}
HADAL_INLINE int32_t load_word(const uint8_t* p) {
  int32_t value;
  __builtin_memcpy(&value, p, 4);
  return value;
}

/// Lanes added in a fixed order: neighbours first.
HADAL_INLINE float sum_lanes(F x) {
  float lane[kLanes];
  store(lane, x);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  }
  return lane[0];
}
HADAL_INLINE float max_lanes(F x) {
  float lane[kLanes];
  store(lane, x);
  float best = lane[0];
  for (int i = 1; i < kLanes; ++i) best = lane[i] > best || lane[i] != lane[i] ? lane[i] : best;
  return best;
}

/// e^x within 2 ulp for x in [-87, 88]; 0 below, e^88 above; NaN stays. With x = n ln 2 + r,
/// |r| <= ln(2)/2, e^r is its Taylor polynomial of degree 7 (remainder r^8/8! < 6e-9).
HADAL_INLINE F exp(F x) {
  const F low = splat(-87.0f);
  const F clamped = min(splat(88.0f), max(low, x));
  const I n = to_int(mul(clamped, splat(1.44269504f)));
  const F nf = to_float(n);
  F r = fnma(nf, splat(0.693145752f), clamped);  // ln 2 = 0x1.62e4p-1 (exact in products) + rest
  r = fnma(nf, splat(1.42860677e-6f), r);
  F p = splat(1.0f / 5040);
  p = fma(p, r, splat(1.0f / 720));
  p = fma(p, r, splat(1.0f / 120));
  p = fma(p, r, splat(1.0f / 24));
  p = fma(p, r, splat(1.0f / 6));
  p = fma(p, r, splat(0.5f));
  p = fma(p, r, splat(1.0f));
  p = fma(p, r, splat(1.0f));
  const F scale = bits_to_float(shift_left_int(add_int(n, splat_int(127)), 23));
  return zero_where_less(x, low, mul(p, scale));
}
