/* Tile products in bf16 whose left operand is stored [k, m] in pairs along k, as the gradient of a weight matrix wants: both operands
 * come from rows of tokens without a transposition. Six rows by 64 columns of c stay in registers while k runs. */
#include <immintrin.h>

#include "kernels/product/tile_kernels.h"

enum { ROWS = 6, VECTORS = 4, LANES = 16 };

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

typedef struct {
    const uint32_t *a, *b;  /* pairs */
    float          *c;
    size_t          lda, ldb, ldc;
    int             pairs;
    __mmask16       last;   /* columns of the last vector */
    bool            accumulate;
} strip;

static inline __attribute__((always_inline)) void run_strip(const strip *s, int rows, int vectors)
{
    __m512 sum[ROWS][VECTORS];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < vectors; v++)
            sum[i][v] = s->accumulate ? _mm512_maskz_loadu_ps(v == vectors - 1 ? s->last : 0xffff, s->c + (size_t)i * s->ldc + (size_t)v * LANES) : _mm512_setzero_ps();
    const uint32_t *a = s->a, *b = s->b;
    for (int p = 0; p < s->pairs; p++, a += s->lda, b += s->ldb) {
        __m512bh column[VECTORS];
        UNROLL for (int v = 0; v < vectors; v++)
            column[v] = (__m512bh)_mm512_maskz_loadu_epi32(v == vectors - 1 ? s->last : 0xffff, b + (size_t)v * LANES);
        UNROLL for (int i = 0; i < rows; i++) {
            const __m512bh pair = (__m512bh)_mm512_set1_epi32((int)a[i]);
            UNROLL for (int v = 0; v < vectors; v++) sum[i][v] = _mm512_dpbf16_ps(sum[i][v], pair, column[v]);
        }
    }
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < vectors; v++)
            _mm512_mask_storeu_ps(s->c + (size_t)i * s->ldc + (size_t)v * LANES, v == vectors - 1 ? s->last : 0xffff, sum[i][v]);
}

static inline __attribute__((always_inline)) void run_rows(const strip *s, int rows, int vectors)
{
    switch (rows) {
    case 1: run_strip(s, 1, vectors); break;
    case 2: run_strip(s, 2, vectors); break;
    case 3: run_strip(s, 3, vectors); break;
    case 4: run_strip(s, 4, vectors); break;
    case 5: run_strip(s, 5, vectors); break;
    default: run_strip(s, ROWS, vectors);
    }
}

static void run_columns(const strip *s, int rows, int vectors)
{
    switch (vectors) {
    case 1: run_rows(s, rows, 1); break;
    case 2: run_rows(s, rows, 2); break;
    case 3: run_rows(s, rows, 3); break;
    default: run_rows(s, rows, VECTORS);
    }
}

void cot_tile_run_pairs_avx512bf16(const cot_tile *tile, const void *a, const void *b, void *c)
{
    const cot_tile_spec *s = &tile->spec;
    for (int j = 0; j < s->n; j += VECTORS * LANES) {
        const int columns = s->n - j < VECTORS * LANES ? s->n - j : VECTORS * LANES, vectors = (columns + LANES - 1) / LANES;
        for (int i = 0; i < s->m; i += ROWS) {
            const strip at = {.a = (const uint32_t *)a + i, .b = (const uint32_t *)b + j, .c = (float *)c + (size_t)i * (size_t)s->ldc + j,
                              .lda = (size_t)s->lda, .ldb = (size_t)s->ldb, .ldc = (size_t)s->ldc, .pairs = s->k / 2,
                              .last = (__mmask16)(0xffffu >> (vectors * LANES - columns)), .accumulate = s->accumulate};
            run_columns(&at, s->m - i < ROWS ? s->m - i : ROWS, vectors);
        }
    }
}
