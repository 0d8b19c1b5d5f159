/* Softmax cross-entropy over rows of logits.
 *
 * logits [R, v] real; target [R] i32, negative = the row counts for nothing; nll [R] real = -ln softmax(logits)[target] in nats. */
#ifndef COT_KERNELS_CROSS_ENTROPY_H
#define COT_KERNELS_CROSS_ENTROPY_H

#include "kernels/kernels.h"

typedef struct {
    void (*forward)(int64_t r0, int64_t r1, int64_t v, const void *logits, const int32_t *target, void *nll);
    /* The same, and dlogits [R, v] act = scale * (softmax - onehot), zero for rows that count for nothing. In f64 and f32 mode dlogits may be logits. */
    void (*with_gradient)(int64_t r0, int64_t r1, int64_t v, void *logits, const int32_t *target, double scale, void *dlogits, void *nll);
} cot_cross_entropy_kernels;

const cot_cross_entropy_kernels *cot_cross_entropy_kernels_for(cot_mode mode);

#endif
