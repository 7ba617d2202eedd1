#pragma once
/// The naive twins of every op: plain loops, double accumulators. Tests compare the fast versions
/// with these, and machines without a fitting instruction set run them.
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/attention.h"
#include "kernels/indexer.h"
#include "kernels/latent_attention.h"
#include "kernels/moe.h"
#include "kernels/rope.h"
#include "kernels/sink_attention.h"
#include "tensor/tensor.h"

namespace hadal::reference {

void rms_norm(const float* x, int64_t x_stride, const float* weight, float eps, int64_t rows,
              int64_t n, float* out, int64_t out_stride);
void layer_norm_row(const float* x, const float* weight, const float* bias, float eps, int64_t n,
                    float* out);
void gelu_in_place(float* x, int64_t n);
void silu_mul(const float* gate, const float* up, int64_t n, float* out);
void add_in_place(float* x, const float* y, int64_t n);
int64_t arg_max(const float* x, int64_t n);

/// One row of `rope`.
void rope_row(const RopeTable& table, float* x, int64_t n_heads, int64_t d_head, int32_t position);

/// out[r * out_stride + o] = x[r] . W[o] + bias[o] for `row_begin` <= o < `row_end`; weights
/// decoded by dequantize_row, products summed in double.
void matmul_rows(const TensorView& weight, int64_t row_begin, int64_t row_end, const float* x,
                 int64_t n, int64_t x_stride, const float* bias, float* out, int64_t out_stride);

/// One row of `moe_add`: the whole sum in double, from weights decoded by dequantize_row.
void moe_row(const MoeLayer& layer, const Routing& routing, const float* x, float* out);

/// Row `row` of `kv_write`.
void kv_write_row(KvPool& kv, int64_t layer, const AttentionRows& rows, int64_t row, const float* k,
                  const float* v);

/// Head `head` of row `row` of `attention`.
void attention_head(KvPool& kv, int64_t layer, const AttentionRows& rows, int64_t row, int64_t head,
                    const float* q, int64_t n_heads, float scale, float* out);

/// A record of a position (kv_pool.h): `width` floats into it, and one of its columns.
void store_record(KvType type, const float* x, int64_t width, std::byte* record);
float record_value(KvType type, int64_t width, const std::byte* record, int64_t column);

/// Head `head` of row `row` of `latent_attention_sparse`; an empty list means all that is visible.
void latent_attention_head(KvPool& kv, int64_t layer, const AttentionRows& rows, int64_t row,
                           int64_t head, std::span<const int32_t> list, const float* q,
                           const LatentShape& shape, float scale, float* out);

/// A row's n_heads x d_index queries, each turned (index_key.h) by the definition of the matrix:
/// element (i, j) of a piece is negative when i and j have an odd number of bits in common.
std::vector<double> index_turned(const IndexShape& shape, const float* q);
/// The score of one position (indexer.h): turned queries and their weights against its key.
float index_score(const IndexShape& shape, const double* turned, const float* weights,
                  const std::byte* key);
/// Ops::index_estimates of one key. codes: n_heads x width, weights: n_heads.
float index_estimate(const IndexShape& shape, const int8_t* codes, const float* weights,
                     const std::byte* key);

/// Head `head` of row `row` of `sink_attention`.
void sink_attention_head(KvPool& kv, const SinkAttention& what, const AttentionRows& rows,
                         int64_t row, int64_t head, const float* q, int64_t n_heads, float* out);

}  // namespace hadal::reference
