/* Tile products in plain C: a row of c, 64 columns at a time, held in f32 (or f64) while k runs. Four steps of k are
 * taken together so that a sum is loaded and stored once for four products. */
#include "kernels/product/tile_kernels.h"

#ifndef COT_TILE_COLUMNS
#define COT_TILE_COLUMNS 64
#endif

#if COT_IS_BF16

/* sum[j] += a[p] * b(p, j) for one row of a. b holds pairs of k in 32-bit words, the even one low; so does a where it
 * is transposed. */
static inline void K(tile_row)(const cot_tile_spec *s, const cot_bf16 *restrict a, const cot_bf16 *restrict b,
                               int columns, float *restrict sum)
{
    const size_t step = s->a_transposed ? 2 * (size_t)s->lda : 2;
    for (int p = 0; p < s->k; p += 2, a += step) {
        const cot_bf16 *restrict pairs = b + (size_t)p * (size_t)s->ldb;
        const float low = LOAD(a[0]), high = LOAD(a[1]);
        for (int j = 0; j < columns; j++) {
            uint32_t word;
            memcpy(&word, pairs + 2 * j, sizeof word);
            sum[j] += low * cot_bf16_to_f32((cot_bf16)(word & 0xffffu));
            sum[j] += high * cot_bf16_to_f32((cot_bf16)(word >> 16));
        }
    }
}
static inline const cot_bf16 *K(tile_b)(const cot_bf16 *b, int column) { return b + 2 * column; }
static inline const cot_bf16 *K(tile_a)(const cot_tile_spec *s, const cot_bf16 *a, int i)
{
    return a + (s->a_transposed ? 2 * (size_t)i : (size_t)i * (size_t)s->lda);
}

#else

static inline void K(tile_row)(const cot_tile_spec *s, const real *restrict a, const real *restrict b, int columns,
                               real *restrict sum)
{
    const size_t step = s->a_transposed ? (size_t)s->lda : 1, ldb = (size_t)s->ldb;
    int p = 0;
    for (; p + 4 <= s->k; p += 4) {
        const real a0 = a[0], a1 = a[step], a2 = a[2 * step], a3 = a[3 * step];
        for (int j = 0; j < columns; j++)
            sum[j] += a0 * b[j] + a1 * b[ldb + (size_t)j] + a2 * b[2 * ldb + (size_t)j] + a3 * b[3 * ldb + (size_t)j];
        a += 4 * step;
        b += 4 * ldb;
    }
    for (; p < s->k; p++, a += step, b += ldb)
        for (int j = 0; j < columns; j++) sum[j] += a[0] * b[j];
}
static inline const real *K(tile_b)(const real *b, int column) { return b + column; }
static inline const real *K(tile_a)(const cot_tile_spec *s, const real *a, int i)
{
    return a + (s->a_transposed ? (size_t)i : (size_t)i * (size_t)s->lda);
}

#endif

static void K(tile_run)(const cot_tile *tile, const cot_tile_stream *o)
{
    const cot_tile_spec *s = &tile->spec;
    for (int j0 = 0; j0 < s->n; j0 += COT_TILE_COLUMNS) {
        const int columns = s->n - j0 < COT_TILE_COLUMNS ? s->n - j0 : COT_TILE_COLUMNS;
        for (int i = 0; i < s->m; i++) {
            real sum[COT_TILE_COLUMNS] = {0};
            real *out = (real *)o->c + (size_t)i * (size_t)s->ldc + j0;
            if (s->accumulate) memcpy(sum, out, (size_t)columns * sizeof *out);
            K(tile_row)(s, K(tile_a)(s, o->a, o->rows ? o->rows[i] : i), K(tile_b)(o->b, j0), columns, sum);
            memcpy(out, sum, (size_t)columns * sizeof *out);
        }
    }
}

static void K(tile_run_narrow)(const cot_tile *tile, const cot_tile_stream *o)
{
    const cot_tile_spec *s = &tile->spec;
    for (int j0 = 0; j0 < s->n; j0 += COT_TILE_COLUMNS) {
        const int columns = s->n - j0 < COT_TILE_COLUMNS ? s->n - j0 : COT_TILE_COLUMNS;
        for (int i = 0; i < s->m; i++) {
            real sum[COT_TILE_COLUMNS] = {0};
            act *out = (act *)o->c + (size_t)i * (size_t)s->ldc + j0;
            for (int j = 0; s->accumulate && j < columns; j++) sum[j] = LOAD(out[j]);
            K(tile_row)(s, K(tile_a)(s, o->a, o->rows ? o->rows[i] : i), K(tile_b)(o->b, j0), columns, sum);
            for (int j = 0; j < columns; j++) out[j] = STORE(sum[j]);
        }
    }
}

const cot_tile_kernels K(cot_tile) = {K(tile_run), K(tile_run_narrow)};
