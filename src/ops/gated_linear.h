/* The gated unit between the two products of a SwiGLU feed-forward. */
#ifndef COT_OPS_GATED_LINEAR_H
#define COT_OPS_GATED_LINEAR_H

#include "tensor/tape.h"

/* h [T, F] act = silu(g) * u with g = gu[:, :F], u = gu[:, F:]; gu [T, 2F] act.   [shazeer2020glu] */
cot_tensor *cot_swiglu(cot_tape *tape, cot_tensor *gu);

#endif
