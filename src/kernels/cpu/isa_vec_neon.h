// The vector layer on NEON; see isa_vec.h.

constexpr int kLanes = 4;
using F = float32x4_t;
using I = int32x4_t;
using B = uint8x16_t;

HADAL_INLINE F zero() {
  return vdupq_n_f32(0.0f);
}
HADAL_INLINE F load(const float* p) {
  return vld1q_f32(p);
}
HADAL_INLINE void store(float* p, F x) {
  vst1q_f32(p, x);
}
HADAL_INLINE F splat(float x) {
  return vdupq_n_f32(x);
}
HADAL_INLINE F add(F a, F b) {
  return vaddq_f32(a, b);
}
HADAL_INLINE F sub(F a, F b) {
  return vsubq_f32(a, b);
}
HADAL_INLINE F mul(F a, F b) {
  return vmulq_f32(a, b);
}
HADAL_INLINE F div(F a, F b) {
  return vdivq_f32(a, b);
}
HADAL_INLINE F fma(F a, F b, F c) {
  return vfmaq_f32(c, a, b);
}
HADAL_INLINE F fnma(F a, F b, F c) {
  return vfmsq_f32(c, a, b);
}
// When either is NaN: b.
HADAL_INLINE F max(F a, F b) {
  return vbslq_f32(vcgtq_f32(a, b), a, b);
}
HADAL_INLINE F min(F a, F b) {
  return vbslq_f32(vcltq_f32(a, b), a, b);
}
HADAL_INLINE F abs(F a) {
  return vabsq_f32(a);
}
HADAL_INLINE float sqrt_scalar(float x) {
  return vgetq_lane_f32(vsqrtq_f32(vdupq_n_f32(x)), 0);
}
HADAL_INLINE F to_float(I x) {
  return vcvtq_f32_s32(x);
}
HADAL_INLINE I to_int(F x) {
  return vcvtnq_s32_f32(x);
}
HADAL_INLINE F bits_to_float(I x) {
  return vreinterpretq_f32_s32(x);
}
HADAL_INLINE I add_int(I a, I b) {
  return vaddq_s32(a, b);
}
HADAL_INLINE I splat_int(int32_t x) {
  return vdupq_n_s32(x);
}
HADAL_INLINE I shift_left_by(I x, int n) {
  return vshlq_s32(x, vdupq_n_s32(n));
}
HADAL_INLINE I sub_int(I a, I b) {
  return vsubq_s32(a, b);
}
template <int n>
HADAL_INLINE I shift_right_int(I x) {
  return vshrq_n_s32(x, n);
}
HADAL_INLINE I shift_left_int(I x, int n) {
  return shift_left_by(x, n);
}
HADAL_INLINE int32_t sum_int_lanes(I x) {
  return vaddvq_s32(x);
}
/// Largest lane; none may be NaN.
HADAL_INLINE float max_finite_lanes(F x) {
  return vmaxvq_f32(x);
}
/// a < b ? 0 : x
HADAL_INLINE F zero_where_less(F a, F b, F x) {
  return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(x), vcltq_f32(a, b)));
}
HADAL_INLINE bool any_unordered(F a) {
  return vminvq_u32(vceqq_f32(a, a)) == 0;
}
/// The first `n` lanes of x, -inf in the others.
HADAL_INLINE F keep_first(F x, int n) {
  const int32_t index[4] = {0, 1, 2, 3};
  const uint32x4_t keep = vcgtq_s32(vdupq_n_s32(n), vld1q_s32(index));
  return vbslq_f32(keep, x, vdupq_n_f32(-__builtin_inff()));
}
HADAL_INLINE F load_f16(const void* p) {
  return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(static_cast<const uint8_t*>(p))));
}
HADAL_INLINE void store_half(uint16_t* p, F x) {
  vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x)));
}
HADAL_INLINE float f16_scalar(uint16_t x) {
  return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(x))), 0);
}
HADAL_INLINE uint16_t to_f16_scalar(float x) {
  return vget_lane_u16(vreinterpret_u16_f16(vcvt_f16_f32(vdupq_n_f32(x))), 0);
}
HADAL_INLINE F load_bf16(const void* p) {
  const uint8x8_t halves = vld1_u8(static_cast<const uint8_t*>(p));
  return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(halves), 16));
}
/// FP8 E4M3 times 2^-8, by way of half floats, whose exponent has another bias. NaN becomes 480.
HADAL_INLINE F load_f8_e4m3(const void* p) {
  uint32_t word;
  __builtin_memcpy(&word, p, 4);
  const int16x4_t wide = vget_low_s16(vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(word))));
  const uint16x4_t bits = vreinterpret_u16_s16(vshl_n_s16(wide, 7));
  return vcvt_f32_f16(vreinterpret_f16_u16(vand_u16(bits, vdup_n_u16(0xBF80))));
}
HADAL_INLINE I load_u8_int(const void* p) {
  uint32_t word;
  __builtin_memcpy(&word, p, 4);
  const uint16x8_t wide = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(word)));
  return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(wide)));
}
HADAL_INLINE I load_i8_int(const void* p) {
  uint32_t word;
  __builtin_memcpy(&word, p, 4);
  const int16x8_t wide = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(word)));
  return vmovl_s16(vget_low_s16(wide));
}
HADAL_INLINE B load_bytes(const void* p) {
  return vld1q_u8(static_cast<const uint8_t*>(p));
}
HADAL_INLINE void store_bytes(void* p, B x) {
  vst1q_u8(static_cast<uint8_t*>(p), x);
}
HADAL_INLINE void store_bytes(void* p, I x) {
  store_bytes(p, vreinterpretq_u8_s32(x));
}
HADAL_INLINE B splat_byte(int x) {
  return vdupq_n_u8(static_cast<uint8_t>(x));
}
HADAL_INLINE B and_bits(B a, B b) {
  return vandq_u8(a, b);
}
HADAL_INLINE B or_bits(B a, B b) {
  return vorrq_u8(a, b);
}
// A shift by 0 has no encoding to the right.
template <int n>
HADAL_INLINE B shift_right_16(B x) {
  if constexpr (n == 0) return x;
  return vreinterpretq_u8_u16(vshrq_n_u16(vreinterpretq_u16_u8(x), n == 0 ? 1 : n));
}
template <int n>
HADAL_INLINE B shift_left_16(B x) {
  return vreinterpretq_u8_u16(vshlq_n_u16(vreinterpretq_u16_u8(x), n));
}
HADAL_INLINE B load_table(const uint8_t* p) {
  return vld1q_u8(p);
}
HADAL_INLINE B lookup(B table, B index) {
  return vqtbl1q_u8(table, index);
}

HADAL_INLINE F unpack_low(F a, F b) {
  return vzip1q_f32(a, b);
}
HADAL_INLINE F unpack_high(F a, F b) {
  return vzip2q_f32(a, b);
}
HADAL_INLINE F unpack_low_pairs(F a, F b) {
  return vreinterpretq_f32_f64(vzip1q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
}
HADAL_INLINE F unpack_high_pairs(F a, F b) {
  return vreinterpretq_f32_f64(vzip2q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
}

/// The low bytes of 32 values, in order.
HADAL_INLINE void store_low_bytes(const I v[8], uint8_t* out) {
  HADAL_UNROLL
  for (int i = 0; i < 2; ++i) {
    const int16x8_t a = vcombine_s16(vmovn_s32(v[4 * i]), vmovn_s32(v[4 * i + 1]));
    const int16x8_t b = vcombine_s16(vmovn_s32(v[4 * i + 2]), vmovn_s32(v[4 * i + 3]));
    store_bytes(out + 16 * i, vreinterpretq_u8_s8(vcombine_s8(vmovn_s16(a), vmovn_s16(b))));
  }
}
