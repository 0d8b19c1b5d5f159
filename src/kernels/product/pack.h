/* Packing: operands of tile products brought into the form that tiles read, gathered, converted and transposed on the
 * way. Small enough to stay in cache, so it costs a percent or two of the product that follows.
 *
 *   panel  the right operand, k x 64: [k][64]; in bf16 pairs along k, [k/2][64][2]. A left operand that lies
 *   transposed makes one too
 *   block  the left operand, m x k: [m][ld] */
#ifndef COT_KERNELS_PRODUCT_PACK_H
#define COT_KERNELS_PRODUCT_PACK_H

#include "kernels/kernels.h"

enum { COT_PANEL = 64 };

/* A matrix to pack from. */
typedef struct {
    const void    *data;
    int64_t        ld;       /* elements from row to row */
    const int32_t *rows;     /* row r lies at rows[r]; NULL: at r */
    bool           is_real;  /* elements are real, not act */
} cot_pack_source;

typedef struct {
    /* n columns in panels one after another, each `padded` long (even in bf16): panel(p, j) = source(r0 + p, c0 + j)
     * for p < k, 0 for k <= p < padded; what lies beyond column n is left alone */
    void (*panels)(const cot_pack_source *source, int64_t r0, int64_t c0, int k, int padded, int64_t n, void *panels);
    /* panel(p, j) = source(r0 + j, c0 + p), real elements; the same rules */
    void (*panels_transposed)(const cot_pack_source *source, int64_t r0, int64_t c0, int k, int padded, int64_t n,
                              void *panels);
    /* block(i, p) = source(r0 + i, c0 + p), i < m, p < k, 0 for k <= p < padded <= ld */
    void (*block)(const cot_pack_source *source, int64_t r0, int64_t c0, int m, int k, int padded, int ld, void *block);
    /* c (+)= sums: m rows of n reals with stride ld to act with stride ldc */
    void (*settle)(int64_t m, int64_t n, const void *sums, int64_t ld, void *c, int64_t ldc, bool accumulate);
} cot_pack_kernels;

const cot_pack_kernels *cot_pack_kernels_for(cot_mode mode);

#endif
