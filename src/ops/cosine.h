/* Cosines and temperatures of router scores. */
#ifndef COT_OPS_COSINE_H
#define COT_OPS_COSINE_H

#include "tensor/tape.h"

/* y real of the shape of x [T, d] real or act: rows of length 1; a row of zeros stays. */
cot_tensor *cot_unit_rows(cot_tape *tape, cot_tensor *x);

/* y real of the shape of x = x / max(least, start * exp(t)); x real, t [1] real. The gradient of t is 0 where the bound holds. */
cot_tensor *cot_over_temperature(cot_tape *tape, cot_tensor *x, cot_tensor *t, double start, double least);

#endif
