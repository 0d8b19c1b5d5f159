/* Linear maps. */
#ifndef COT_OPS_LINEAR_H
#define COT_OPS_LINEAR_H

#include "tensor/tape.h"

/* y [T, out] act = x W^T (+ bias); x [T, in] act, w [out, in] real, bias [out] real or NULL. */
cot_tensor *cot_linear(cot_tape *tape, cot_tensor *x, cot_tensor *w, cot_tensor *bias);

/* y [T, out] real = x W^T: a last product whose results keep full precision (logits, a gated branch). */
cot_tensor *cot_linear_real(cot_tape *tape, cot_tensor *x, cot_tensor *w);

/* y [T, out] real = residual + x W^T; residual [T, out] real. Its gradient passes through without a copy. */
cot_tensor *cot_linear_add(cot_tape *tape, cot_tensor *x, cot_tensor *w, cot_tensor *residual);

#endif
