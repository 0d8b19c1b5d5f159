/* Products of rows with weight matrices, one or a stack grouped by expert: what linear maps, expert pools and the
 * loss stand on. Threaded; results do not depend on the number of threads. They compute at once (no tape records):
 * ops call them in their forward and backward.
 *
 * W is [out, in] or a stack [G, out, in] in the tape's real type. Rows are grouped: rows offset[g] .. offset[g+1]-1
 * meet W_g; groups are ragged and may be empty. With G = 1 offset may be NULL. x_rows, y_rows (each may be NULL) say
 * which row of x (of dy) row r is: sorted assignments then read the tokens where they lie.
 *
 * Weights are packed a few panels at a time in the cache of the thread that uses them, so training keeps no second
 * copy. Generation does: few rows, nothing recorded, and the panels stay with the parameter (param->packed) until its
 * version moves. */
#ifndef COT_OPS_MATMUL_H
#define COT_OPS_MATMUL_H

#include "tensor/tape.h"

typedef struct {
    int64_t        rows;     /* offset[G] when grouped */
    int64_t        in, out;
    int64_t        groups;
    const int64_t *offset;   /* [groups + 1] or NULL */
    const int32_t *x_rows;   /* [rows] or NULL */
    const int32_t *y_rows;   /* [rows] or NULL; of dy only */
} cot_matmul;

/* y[r, :] (+)= x[x_rows[r], :] W_g^T.   x act [*, in]; y [rows, out] of y_dtype (the tape's act or real type). */
void cot_matmul_forward(cot_tape *tape, const cot_matmul *shape, const void *x, cot_tensor *w, void *y,
                        cot_dtype y_dtype, bool accumulate);

/* dx[r, :] (+)= dy[y_rows[r], :] W_g.   dy of dy_dtype (act or real) [*, out]; dx [rows, in] of dx_dtype (act or
 * real). */
void cot_matmul_back_input(cot_tape *tape, const cot_matmul *shape, const void *dy, cot_dtype dy_dtype, cot_tensor *w,
                           void *dx, cot_dtype dx_dtype, bool accumulate);

/* dW_g (+)= sum over r of g: dy[y_rows[r], :]^T x[x_rows[r], :].   dw real [G, out, in]; an empty group gives zero. */
void cot_matmul_back_weight(cot_tape *tape, const cot_matmul *shape, const void *dy, cot_dtype dy_dtype, const void *x,
                            void *dw, bool accumulate);

#endif
