/* Small things over arrays and rows. `act_t` below is the mode's act type, everything else real. */
#ifndef COT_KERNELS_ELEMENTWISE_H
#define COT_KERNELS_ELEMENTWISE_H

#include "kernels/kernels.h"

typedef struct {
    void (*add)(int64_t i0, int64_t i1, const void *x, void *y);                                   /* y += x, real */
    void (*scale_add)(int64_t i0, int64_t i1, double factor, const void *x, void *y, bool accumulate);  /* y (+)= factor * x; x act, y act */
    void (*widen)(int64_t i0, int64_t i1, const void *x, void *y, bool accumulate);                /* y real (+)= x act */
    void (*narrow)(int64_t i0, int64_t i1, const void *x, void *y);                                /* y act = x real */
    void (*add_bias)(int64_t r0, int64_t r1, int64_t d, const void *bias, void *y, bool y_is_act); /* y[r, :] += bias */
    void (*column_sum)(int64_t r0, int64_t r1, int64_t d, const void *x, bool x_is_act, void *sum);  /* sum [d] real += rows of x */
    /* y = x * keep[element] / (1 - rate), keep drawn from (key, element); x may be y; all act or all real */
    void (*dropout)(int64_t i0, int64_t i1, double rate, cot_rng_key key, const void *x, void *y, bool is_act, bool accumulate);
    /* out = base + sigma(logit[r]) * y[r, :]; real */
    void (*gated_add)(int64_t r0, int64_t r1, int64_t d, const void *base, const void *logit, const void *y, void *out);
    /* dy (+)= sigma * dout, dlogit = <dout, y> sigma (1 - sigma) */
    void (*gated_add_backward)(int64_t r0, int64_t r1, int64_t d, const void *logit, const void *y, const void *dout, void *dy, bool dy_accumulate,
                               void *dlogit, bool dlogit_accumulate);
} cot_elementwise_kernels;

const cot_elementwise_kernels *cot_elementwise_kernels_for(cot_mode mode);

#endif
