/* Root-mean-square norm of queries and keys: y = w * x / sqrt(mean(x^2) + eps) over a group; values are copied. A group
 * is a head, or all heads of its kind together.
 *
 * rows r0..r1-1 of x, y [R, q_groups * q_dim + k_groups * k_dim + values] act: queries, keys, values
 * q_weight [q_dim], k_weight [k_dim] real, one for all groups of its kind
 * rstd [R, q_groups + k_groups] real: 1 / sqrt(mean + eps), kept for going back */
#ifndef COT_KERNELS_HEAD_NORM_H
#define COT_KERNELS_HEAD_NORM_H

#include "kernels/kernels.h"

typedef struct {
    int32_t q_groups, q_dim, k_groups, k_dim;
    int32_t values;
} cot_head_norm_shape;

typedef struct {
    void (*forward)(int64_t r0, int64_t r1, const cot_head_norm_shape *shape, const void *x, const void *q_weight,
                    const void *k_weight, double eps, void *y, void *rstd);
    /* dx act (+)= the gradient, as in kernels/rmsnorm; q_grad, k_grad real += sums over the rows' groups, shaped as
     * their weights. Each may be NULL. */
    void (*backward)(int64_t r0, int64_t r1, const cot_head_norm_shape *shape, const void *x, const void *q_weight,
                     const void *k_weight, const void *rstd, const void *dy, void *dx, bool accumulate, void *q_grad,
                     void *k_grad);
} cot_head_norm_kernels;

const cot_head_norm_kernels *cot_head_norm_kernels_for(cot_mode mode);

#endif
