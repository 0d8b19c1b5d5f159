/* Sums on the residual stream. */
#ifndef COT_OPS_RESIDUAL_H
#define COT_OPS_RESIDUAL_H

#include "tensor/tape.h"

/* y [T, d] real = residual + x; residual [T, d] real, x [T, d] act. */
cot_tensor *cot_add(cot_tape *tape, cot_tensor *residual, cot_tensor *x);

/* y [T, d] real = residual + sigmoid(logit[t]) * x[t, :]; residual, x [T, d] real, logit [T, 1] real. The gate of a shared expert (Qwen2-MoE). */
cot_tensor *cot_gated_add(cot_tape *tape, cot_tensor *residual, cot_tensor *logit, cot_tensor *x);

#endif
