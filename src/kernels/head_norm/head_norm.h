/* Root-mean-square norm of each query and key head: y = w * x / sqrt(mean(x^2) + eps) over a head; values are copied.
 *
 * rows r0..r1-1 of x, y [R, (q_heads + 2 kv_heads) * dim] act: q heads, k heads, v heads
 * q_weight, k_weight [dim] real, one for all heads of its kind
 * rstd [R, q_heads + kv_heads] real: 1 / sqrt(mean + eps), kept for going back */
#ifndef COT_KERNELS_HEAD_NORM_H
#define COT_KERNELS_HEAD_NORM_H

#include "kernels/kernels.h"

typedef struct {
    int32_t q_heads, kv_heads, dim;
} cot_head_norm_shape;

typedef struct {
    void (*forward)(int64_t r0, int64_t r1, const cot_head_norm_shape *shape, const void *x, const void *q_weight,
                    const void *k_weight, double eps, void *y, void *rstd);
    /* dx act (+)= the gradient, as in kernels/rmsnorm; q_grad, k_grad [dim] real += sums over the rows' heads.
     * Each may be NULL. */
    void (*backward)(int64_t r0, int64_t r1, const cot_head_norm_shape *shape, const void *x, const void *q_weight,
                     const void *k_weight, const void *rstd, const void *dy, void *dx, bool accumulate, void *q_grad,
                     void *k_grad);
} cot_head_norm_kernels;

const cot_head_norm_kernels *cot_head_norm_kernels_for(cot_mode mode);

#endif
