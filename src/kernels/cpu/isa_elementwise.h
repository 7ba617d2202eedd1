// Row-wise ops. Tails are handled lane by lane through a padded copy, with the same arithmetic.

/// The rest of a row (fewer than kLanes values), padded with zeros.
HADAL_INLINE F load_rest(const float* p, int64_t n) {
  float lane[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) lane[i] = p[i];
  return load(lane);
}
HADAL_INLINE void store_rest(float* p, int64_t n, F x) {
  float lane[kLanes];
  store(lane, x);
  for (int64_t i = 0; i < n; ++i) p[i] = lane[i];
}

void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* out) {
  F sums[4] = {zero(), zero(), zero(), zero()};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    HADAL_UNROLL
    for (int v = 0; v < 4; ++v) {
      const F value = load(x + i + v * kLanes);
      sums[v] = fma(value, value, sums[v]);
    }
  }
  for (; i < n; i += kLanes) {
    const F value = i + kLanes <= n ? load(x + i) : load_rest(x + i, n - i);
    sums[0] = fma(value, value, sums[0]);
  }
  const float total = sum_lanes(add(add(sums[0], sums[1]), add(sums[2], sums[3])));
  const float mean = total / static_cast<float>(n) + eps;
  const F scale = splat(1.0f / sqrt_scalar(mean));
  for (i = 0; i + kLanes <= n; i += kLanes) {
    store(out + i, mul(mul(load(x + i), scale), load(weight + i)));
  }
  if (i < n) {
    store_rest(out + i, n - i,
               mul(mul(load_rest(x + i, n - i), scale), load_rest(weight + i, n - i)));
  }
}

HADAL_INLINE float sum_row(const float* x, int64_t n) {
  F sum = zero();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sum = add(sum, load(x + i));
  if (i < n) sum = add(sum, load_rest(x + i, n - i));
  return sum_lanes(sum);
}

void layer_norm(const float* x, const float* weight, const float* bias, float eps, int64_t n,
                float* out) {
  const F mean = splat(sum_row(x, n) / static_cast<float>(n));
  F squares = zero();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const F value = sub(load(x + i), mean);
    squares = fma(value, value, squares);
  }
  if (i < n) {
    float lane[kLanes] = {};
    store_rest(lane, n - i, sub(load_rest(x + i, n - i), mean));
    squares = fma(load(lane), load(lane), squares);
  }
  const F scale = splat(1.0f / sqrt_scalar(sum_lanes(squares) / static_cast<float>(n) + eps));
  for (i = 0; i + kLanes <= n; i += kLanes) {
    const F value = mul(sub(load(x + i), mean), scale);
    store(out + i, fma(value, load(weight + i), load(bias + i)));
  }
  if (i < n) {
    const F value = mul(sub(load_rest(x + i, n - i), mean), scale);
    store_rest(out + i, n - i,
               fma(value, load_rest(weight + i, n - i), load_rest(bias + i, n - i)));
  }
}

/// max(x, 0) - |x| / 2 * erfc(|x| / sqrt(2)), erfc by Abramowitz and Stegun 7.1.26 (error 1.5e-7).
/// Beyond 16 the second part is 0 in floats; the bound keeps infinity from meeting it.
HADAL_INLINE F gelu_vector(F x) {
  const F a = min(splat(16.0f), abs(x));
  const F z = mul(a, splat(0.707106781f));
  const F t = div(splat(1.0f), fma(splat(0.3275911f), z, splat(1.0f)));
  F p = splat(1.061405429f);
  p = fma(p, t, splat(-1.453152027f));
  p = fma(p, t, splat(1.421413741f));
  p = fma(p, t, splat(-0.284496736f));
  p = fma(p, t, splat(0.254829592f));
  const F tail = mul(mul(p, t), exp(fnma(z, z, zero())));
  return fnma(mul(a, splat(0.5f)), tail, max(zero(), x));
}

void gelu(float* x, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(x + i, gelu_vector(load(x + i)));
  if (i < n) store_rest(x + i, n - i, gelu_vector(load_rest(x + i, n - i)));
}

HADAL_INLINE F silu_mul_vector(F gate, F up) {
  const F denominator = add(splat(1.0f), exp(sub(zero(), gate)));
  return mul(div(gate, denominator), up);
}

void silu_mul(const float* gate, const float* up, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    store(out + i, silu_mul_vector(load(gate + i), load(up + i)));
  if (i < n) {
    store_rest(out + i, n - i,
               silu_mul_vector(load_rest(gate + i, n - i), load_rest(up + i, n - i)));
  }
}

void add_rows(float* x, const float* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(x + i, add(load(x + i), load(y + i)));
  for (; i < n; ++i) x[i] += y[i];
}

int64_t arg_max(const float* x, int64_t n) {
  // The largest value first, then where it stands: two fast passes.
  int64_t i = 0;
  float best = x[0];
  if (n >= kLanes) {
    F top = load(x);
    for (; i + kLanes <= n; i += kLanes) top = max(load(x + i), top);
    float lane[kLanes];
    store(lane, top);
    for (int j = 0; j < kLanes; ++j) best = lane[j] > best ? lane[j] : best;
  }
  for (; i < n; ++i) best = x[i] > best ? x[i] : best;
  for (i = 0; i < n; ++i) {
    if (x[i] == best) return i;
  }
  return 0;
}

void rope_row(const float* cosine, const float* sine, int64_t pairs, int half_split, float* x,
              int64_t n_heads, int64_t d_head) {
  for (int64_t h = 0; h < n_heads; ++h, x += d_head) {
    if (!half_split) {
      for (int64_t i = 0; i < pairs; ++i) {
        const float a = x[2 * i];
        const float b = x[2 * i + 1];
        x[2 * i] = a * cosine[i] - b * sine[i];
        x[2 * i + 1] = a * sine[i] + b * cosine[i];
      }
      continue;
    }
    for (int64_t i = 0; i < pairs; ++i) {
      const float a = x[i];
      const float b = x[i + pairs];
      x[i] = a * cosine[i] - b * sine[i];
      x[i + pairs] = a * sine[i] + b * cosine[i];
    }
  }
}
