/* Rows of length one, and what dividing by a learned temperature needs. Arrays are real where nothing else is said; sums run in f64. */
#ifndef COT_KERNELS_COSINE_H
#define COT_KERNELS_COSINE_H

#include "kernels/kernels.h"

typedef struct {
    /* y = x / length, rows r0..r1-1 of x [T, d] act or real and y [T, d]; length [T] = |x|, but infinite for a row of zeros: it stays */
    void (*unit)(int64_t r0, int64_t r1, int64_t d, const void *x, bool x_is_act, void *y, void *length);
    /* dx (+)= (dy - y <y, dy>) / length, dx [T, d] act or real; 0 for a row of zeros */
    void (*unit_backward)(int64_t r0, int64_t r1, int64_t d, const void *y, const void *dy, const void *length, void *dx, bool dx_is_act,
                          bool accumulate);
    /* y (+)= x / divisor */
    void (*divide)(int64_t i0, int64_t i1, double divisor, const void *x, void *y, bool accumulate);
    /* the sum of x * y */
    double (*dot)(int64_t i0, int64_t i1, const void *x, const void *y);
} cot_cosine_kernels;

const cot_cosine_kernels *cot_cosine_kernels_for(cot_mode mode);

#endif
