/* Root-mean-square norm. */
#ifndef COT_OPS_NORM_H
#define COT_OPS_NORM_H

#include "tensor/tape.h"

/* y [T, d] act = w * x / sqrt(mean(x^2) + eps) for each row; x [T, d] real, w [d] real. */
cot_tensor *cot_rmsnorm(cot_tape *tape, cot_tensor *x, cot_tensor *w, double eps);

#endif
