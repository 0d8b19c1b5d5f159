/* Rows of router logits: the scores of one token, softmax, log-sum-exp, the k largest, column sums; and jitter of a router's input.
 *
 * h, p [T, e] real, row-major; minus infinity in h masks an expert: its probability and its gradient are exactly 0. A
 * row of nothing but minus infinity has probabilities 0 and log-sum-exp minus infinity. A NaN passes through, except in
 * top_k. */
#ifndef COT_KERNELS_GATING_H
#define COT_KERNELS_GATING_H

#include "kernels/kernels.h"

typedef struct {
    /* p = exp(h - m) / sum exp(h - m), m the row's largest. Not exp(h - lse): at |h| = 80 an f32 lse is off by 4e-6. */
    void (*softmax)(int64_t r0, int64_t r1, int64_t e, const void *h, void *p);
    /* dh (+)= p * (dp - <p, dp>) */
    void (*softmax_backward)(int64_t r0, int64_t r1, int64_t e, const void *p, const void *dp, void *dh,
                             bool accumulate);
    /* lse[r] = m + ln sum exp(h - m), [T] real */
    void (*log_sum_exp)(int64_t r0, int64_t r1, int64_t e, const void *h, void *lse);
    /* dh (+)= factor * lse * softmax(h): the gradient of factor / 2 * lse^2; nothing where lse is minus infinity */
    void (*z_backward)(int64_t r0, int64_t r1, int64_t e, double factor, const void *h, const void *lse, void *dh,
                       bool accumulate);
    /* chosen [T, k] = indices of the k largest, largest first, ties to the lower index; NaN ranks as minus infinity.
     * Returns how many entries are NaN or plus infinity. */
    int64_t (*top_k)(int64_t r0, int64_t r1, int64_t e, int64_t k, const void *h, int32_t *chosen);
    /* sum [e] f64 += rows of x [T, e] */
    void (*column_sum)(int64_t r0, int64_t r1, int64_t e, const void *x, double *sum);
    /* the sum over rows of -sum p ln p, in nats; p = softmax(h) */
    double (*entropy)(int64_t r0, int64_t r1, int64_t e, const void *h, const void *p);
    /* y (+)= x * u, x and y act, u uniform in [1 - eps, 1 + eps] from 16 bits for each element; i0 a multiple of 8 */
    void (*jitter)(int64_t i0, int64_t i1, double eps, cot_rng_key key, const void *x, void *y, bool accumulate);
    /* h[e] = <x, w_e> for rows e0 <= e < e1 of w [E, d]; all real */
    void (*score)(int64_t e0, int64_t e1, int64_t d, const void *w, const void *x, void *h);
} cot_gating_kernels;

const cot_gating_kernels *cot_gating_kernels_for(cot_mode mode);

#endif
