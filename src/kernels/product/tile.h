/* Product of tiles: the one contract under every large product (linear maps, grouped experts, attention, the loss).
 *
 *   c[i, j] (+)= sum over p < k of a[i, p] * b[p, j]      i < m, j < n; all row-major with row strides lda, ldb, ldc
 *   in elements
 *
 *   COT_TILE_F64    a, b, c f64
 *   COT_TILE_F32    a, b, c f32
 *   COT_TILE_BF16   a bf16, b bf16 packed in pairs along k: element (p, j) lies at b[(p / 2) * 2 * ldb + 2 * j + p %
 *   2], k even;
 *                   c f32; sums in f32
 *   COT_TILE_BF16_OUT  the same with c bf16 (rounded once per call; accumulate adds to the rounded value)
 *   a_transposed    a is stored [k, m]: element (i, p) at a[p * lda + i]; in bf16 in pairs along k like b, at
 *                   a[(p / 2) * 2 * lda + 2 * i + p % 2]
 *
 * cot_tile_find() looks up or makes the kernel for exactly this shape (LIBXSMM generates it: some 20 us the first
 * time, then about 50 ns; where it cannot, the plain C kernel serves). Keep the result for a loop. No allocation,
 * threads or state in a run. */
#ifndef COT_KERNELS_PRODUCT_TILE_H
#define COT_KERNELS_PRODUCT_TILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/product/soon.h"

typedef enum { COT_TILE_F64, COT_TILE_F32, COT_TILE_BF16, COT_TILE_BF16_OUT } cot_tile_type;

typedef struct {
    cot_tile_type type;
    int32_t m, n, k;
    int32_t lda, ldb, ldc;
    bool    a_transposed;
    bool    accumulate;
    bool    streams;     /* a and c come from memory, not from cache: cot_tile_run_stream() */
    bool    past_cache;  /* c is large and finished: written past the caches where a kernel can */
} cot_tile_spec;

/* What lies where, for a tile that streams. */
typedef struct {
    const void    *a;
    const int32_t *rows;     /* row i of a is rows[i]; NULL: i itself. Only where cot_tile_gathers() */
    const void    *b;
    void          *c;
    const void    *next;     /* where the c of the tile after this one begins */
    cot_soon      *soon[2];  /* what else to bring near meanwhile, or NULL ... */
    int            lines[2]; /* ... and how many cache lines of it in each of cot_tile_steps() */
} cot_tile_stream;

typedef struct cot_tile {
    cot_tile_spec spec;
    void (*run)(const struct cot_tile *tile, const cot_tile_stream *operands);
    void (*generated)(void);  /* LIBXSMM's code, or NULL */
} cot_tile;

cot_tile cot_tile_find(cot_tile_spec spec);

/* Has LIBXSMM, where it is built in, the memory that it works with? Without it plain C would serve, whose sums round differently: a step
 * that shall give the same bits on a bad day fails instead. */
bool cot_tile_ready(void);

static inline void cot_tile_run(const cot_tile *tile, const void *a, const void *b, void *c)
{
    const cot_tile_stream operands = {.a = a, .b = b, .c = c, .next = c};
    tile->run(tile, &operands);
}

static inline void cot_tile_run_stream(const cot_tile *tile, const cot_tile_stream *operands)
{
    tile->run(tile, operands);
}

/* May tiles of this type that stream take rows of a from here and there? */
bool cot_tile_gathers(cot_tile_type type);

/* How often a tile that streams turns to what is needed soon, about. */
int64_t cot_tile_steps(cot_tile_type type, int64_t m, int64_t k);

#endif
