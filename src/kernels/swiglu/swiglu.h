/* The gated unit of SwiGLU [shazeer2020glu]: h = silu(g) * u, silu(g) = g / (1 + e^-g), over rows that hold g and u
 * side by side.
 *
 *   gu [R, 2F] act: columns 0 .. F-1 are g, F .. 2F-1 are u;  h, dh [R, F] act;  dgu [R, 2F] act (may be gu) */
#ifndef COT_KERNELS_SWIGLU_H
#define COT_KERNELS_SWIGLU_H

#include "kernels/kernels.h"

typedef struct {
    void (*forward)(int64_t r0, int64_t r1, int64_t F, const void *gu, void *h);
    void (*backward)(int64_t r0, int64_t r1, int64_t F, const void *gu, const void *dh, void *dgu);
    /* An expert's rows, whose output is weighted: out = gate[r] * W h. From dh = W^T dout (not yet weighted) come
     * dgate[r] = <dh, h>, the unit's gradients for gate[r] * dh, and gate[r] * h, which the gradient of W wants
     * (h_weighted [R, F] act, may be dh). gate, dgate [R] real. */
    void (*backward_weighted)(int64_t r0, int64_t r1, int64_t F, const void *gu, const void *dh, const void *gate,
                              void *dgu, void *h_weighted, void *dgate);
} cot_swiglu_kernels;

const cot_swiglu_kernels *cot_swiglu_kernels_for(cot_mode mode);

#endif
